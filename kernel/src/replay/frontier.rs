//! Per subject, the events that a replayer saw and that none of them supersedes: more than one is a conflict.

use std::ops::ControlFlow;

use crate::clock::VClock;
use crate::codec::{decode_frontier, encode_frontier};
use crate::event::Event;
use crate::ids::{Dot, EventId};
use crate::store::{Family, KeyRange, Store, StoreError, keys};

/// The most events that may stand beside each other at one subject.
pub const MAX_FRONTIER: usize = 64;

/// How an event stands to those of its subject that were replayed before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Its writer had seen all of them, or there are none.
    Supersedes,
    /// Its writer had not seen these, and theirs had not seen it.
    Concurrent {
        /// Their ids, oldest first.
        with: Vec<EventId>,
    },
}

/// More concurrent events at one subject than may be kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{subject}` has {MAX_FRONTIER} concurrent events already, and this would be another one; leave it out \
     (`antiphon replay skip`), or none that comes later is replayed either, and resolve the conflict with one whose writer has \
     seen them all"
)]
pub struct FrontierFull {
    subject: String,
}

/// The events of one subject that none supersedes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Frontier(Vec<(Dot, EventId)>);

impl Frontier {
    pub(super) fn decode(bytes: Option<&[u8]>) -> Result<Self, StoreError> {
        let marks = bytes.map(decode_frontier).transpose();
        Ok(Self(marks.map_err(|e| StoreError::corrupt(format!("family `replay`: {e}")))?.unwrap_or_default()))
    }

    pub(super) const fn is_conflict(&self) -> bool {
        self.0.len() > 1
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        encode_frontier(&self.0)
    }

    /// Takes an event in: what its writer had seen leaves, the rest is concurrent with it. An event never arrives after
    /// one that supersedes it, because replay is causal.
    pub(super) fn admit(&mut self, event: &Event) -> Result<Standing, FrontierFull> {
        let mut with = self.clone();
        with.0.retain(|(dot, _)| !event.vclock.contains(*dot));
        if with.0.len() >= MAX_FRONTIER {
            return Err(FrontierFull { subject: event.subject.clone().unwrap_or_default() });
        }
        let standing = if with.0.is_empty() {
            Standing::Supersedes
        } else {
            Standing::Concurrent { with: with.0.iter().map(|(_, id)| *id).collect() }
        };
        *self = with;
        self.0.push((event.dot, event.id));
        self.0.sort_unstable_by_key(|(_, id)| *id);
        Ok(standing)
    }
}

/// A subject at which several events stand beside each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// The subject.
    pub subject: String,
    /// The events, oldest id first.
    pub events: Vec<(Dot, EventId)>,
}

impl Conflict {
    /// What an append must have seen to supersede all of them, and nothing that came since: the context for
    /// [`crate::log::Context::Seen`].
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

/// The open conflicts of a replayer that asked for causality, in order of subject.
///
/// # Errors
/// [`StoreError`].
pub fn conflicts(store: &dyn Store, replayer: &str) -> Result<Vec<Conflict>, StoreError> {
    let prefix = keys::replay_frontier_prefix(replayer);
    let (mut found, mut fault) = (Vec::new(), None);
    store.scan(Family::Replay, KeyRange::prefix(&prefix), &mut |key, value| match (
        std::str::from_utf8(&key[prefix.len()..]),
        Frontier::decode(Some(value)),
    ) {
        (Ok(subject), Ok(frontier)) => {
            if frontier.0.len() > 1 {
                found.push(Conflict { subject: subject.to_owned(), events: frontier.0 });
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
