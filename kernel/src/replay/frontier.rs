//! Per subject, the events that a replayer saw and that none of them supersedes: more than one is a conflict.

use std::ops::ControlFlow;

use super::build::BuildNumber;
use super::current::read_current;
use crate::clock::VClock;
use crate::codec::{decode_frontier, encode_frontier};
use crate::event::Event;
use crate::ids::{Dot, EventId};
use crate::store::{Family, KeyRange, Store, StoreError, keys};

/// The most events of one conflict that are listed. The others are listed once these are superseded.
pub const MAX_FRONTIER: usize = 64;

/// How an event relates to the events of its subject that were replayed before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Relation {
    /// Its writer had seen all of them, or there are none.
    Supersedes,
    /// Its writer had not seen these, and theirs had not seen it.
    Concurrent {
        /// Their ids, oldest first.
        with: Vec<EventId>,
    },
}

/// How many events a writer had seen: the sum of its clock. An event that had seen another one weighs more. Of concurrent
/// events, the greatest by weight and then by id is the same on every node.
#[must_use]
pub fn weight(event: &Event) -> u64 {
    event.vclock.iter().fold(0_u64, |sum, (_, counter)| sum.saturating_add(counter))
}

/// One event of a frontier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) dot: Dot,
    pub(crate) id: EventId,
    /// See [`weight`]; 0 where it was stored without one.
    pub(crate) weight: u64,
}

/// The events of one subject that none supersedes, oldest id first: at most one of each origin, since an origin's later
/// event supersedes its earlier one. So the log's bound on origins is the bound here, and no valid event exceeds it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Frontier(Vec<Mark>);

impl Frontier {
    pub(super) fn decode(bytes: Option<&[u8]>) -> Result<Self, StoreError> {
        let marks = bytes.map(decode_frontier).transpose();
        Ok(Self(marks.map_err(|e| StoreError::unreadable("family `replay`", &e))?.unwrap_or_default()))
    }

    pub(super) const fn is_conflict(&self) -> bool {
        self.0.len() > 1
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        encode_frontier(&self.0)
    }

    /// Takes an event in: what its writer had seen leaves, the rest is concurrent with it. An event never arrives after
    /// one that supersedes it, because replay is causal.
    pub(super) fn admit(&mut self, event: &Event) -> Relation {
        self.0.retain(|mark| !event.vclock.contains(mark.dot));
        let relation = if self.0.is_empty() {
            Relation::Supersedes
        } else {
            Relation::Concurrent { with: self.0.iter().map(|mark| mark.id).collect() }
        };
        let at = self.0.partition_point(|mark| mark.id < event.id);
        self.0.insert(at, Mark { dot: event.dot, id: event.id, weight: weight(event) });
        relation
    }

    /// The greatest of them, oldest id first, and how many more there are.
    fn listed(mut self) -> (Vec<(Dot, EventId)>, usize) {
        let more = self.0.len().saturating_sub(MAX_FRONTIER);
        if more > 0 {
            self.0.sort_unstable_by_key(|mark| (mark.weight, mark.id));
            self.0.drain(..more);
            self.0.sort_unstable_by_key(|mark| mark.id);
        }
        (self.0.into_iter().map(|mark| (mark.dot, mark.id)).collect(), more)
    }
}

/// A subject that has several concurrent events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// The subject, or the replayer's own conflict key ([`super::EventReplayer::conflict_key`]).
    pub subject: String,
    /// The events, oldest id first: of more than [`MAX_FRONTIER`], the greatest by [`weight`] and id.
    pub events: Vec<(Dot, EventId)>,
    /// How many more there are. They stay in conflict when those that are listed are superseded.
    pub more: usize,
}

impl Conflict {
    /// What an append must have seen to supersede all that are listed, and nothing that came since: the context for
    /// [`crate::log::CausalContext::Exactly`].
    #[must_use]
    pub fn context(&self) -> VClock {
        let mut clock = VClock::new();
        for (dot, _) in &self.events {
            // At most 64 entries, of counters that came out of dots.
            let _ = clock.raise(dot.origin(), dot.counter());
        }
        clock
    }
}

/// The open conflict of a replayer that asked for causality at one subject, or at its own conflict key; `None` where there is
/// none. While a rebuild fills another build: as of the one that readers see.
///
/// # Errors
/// [`StoreError`].
pub fn conflict_at(store: &dyn Store, replayer: &str, subject: &str) -> Result<Option<Conflict>, StoreError> {
    read_current(store, replayer, |state| {
        let Some(build) = state.build() else { return Ok(None) };
        let stored = store.get(Family::Replay, &keys::replay_frontier(replayer, build, subject))?;
        let frontier = Frontier::decode(stored.as_deref())?;
        if !frontier.is_conflict() {
            return Ok(None);
        }
        let (events, more) = frontier.listed();
        Ok(Some(Conflict { subject: subject.to_owned(), events, more }))
    })
}

/// The open conflicts of a replayer that asked for causality, in order of subject. While a rebuild fills another build: as of
/// the one that readers see.
///
/// # Errors
/// [`StoreError`].
pub fn conflicts(store: &dyn Store, replayer: &str) -> Result<Vec<Conflict>, StoreError> {
    read_current(store, replayer, |state| {
        state.build().map_or(Ok(Vec::new()), |build| conflicts_in(store, replayer, build))
    })
}

/// The open conflicts in one build.
pub(super) fn conflicts_in(store: &dyn Store, replayer: &str, build: BuildNumber) -> Result<Vec<Conflict>, StoreError> {
    let prefix = keys::replay_frontier_prefix(replayer, build);
    let (mut found, mut fault) = (Vec::new(), None);
    store.scan(Family::Replay, KeyRange::prefix(&prefix), &mut |key, value| match (
        std::str::from_utf8(&key[prefix.len()..]),
        Frontier::decode(Some(value)),
    ) {
        (Ok(subject), Ok(frontier)) => {
            if frontier.is_conflict() {
                let (events, more) = frontier.listed();
                found.push(Conflict { subject: subject.to_owned(), events, more });
            }
            ControlFlow::Continue(())
        }
        (_, Err(error)) => {
            fault = Some(error);
            ControlFlow::Break(())
        }
        (Err(_), _) => {
            fault = Some(StoreError::corrupt("family `replay`: a subject is not UTF-8"));
            ControlFlow::Break(())
        }
    })?;
    fault.map_or(Ok(found), Err)
}
