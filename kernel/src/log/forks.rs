//! Forks: two histories of one origin. What is kept of them, and what it changes.
//!
//! Whether two cortexes hold the same history of an origin is a question about those two: digests that were really
//! compared answer it. Between the two, what follows from the first difference does not cross, in either direction;
//! everything else flows, and so does this origin between those who agree on it.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::core::Log;
use super::entry::damaged;
use super::epoch::EpochEnd;
use super::ingest::Held;
use super::withheld::MAX_WITHHELD;
use crate::codec::{EventView, decode_decision, decode_fork, encode_fork, encode_log_entry};
use crate::digest::Digest;
use crate::event::{EventBytes, check_id};
use crate::ids::{CortexId, Origin, PeerName};
use crate::protocol::{ChainHead, Heads};
use crate::store::{Batch, Family, KeyRange, Store, StoreError, keys};
use crate::time::Timestamp;

/// That a peer holds another history of an origin than we do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fork {
    /// The origin.
    pub origin: Origin,
    /// The first counter at which the histories differ.
    pub from: u64,
    /// Our digest there: names our version.
    pub ours: Digest,
    /// The peer's digest there: names its version.
    pub theirs: Digest,
    /// The peer's name here.
    pub peer: PeerName,
    /// Who it is. If it owns the origin, its answer outranks any relay's.
    pub holder: CortexId,
    /// When it was found, on our clock.
    pub since: Timestamp,
}

impl Fork {
    /// Whether the other version is the owner's own.
    #[must_use]
    pub fn by_owner(&self) -> bool {
        self.holder == self.origin.cortex()
    }

    /// The version that the origin's own cortex holds, as seen from a cortex; `None` where only relays are known to differ.
    #[must_use]
    pub fn owners(&self, own: CortexId) -> Option<Digest> {
        match self.origin.cortex() {
            owner if owner == own => Some(self.ours),
            owner if owner == self.holder => Some(self.theirs),
            _ => None,
        }
    }
}

/// What was found out about a fork: the peer's events from the first difference on, as many as are worth keeping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForkFinding {
    /// The peer's name here.
    pub peer: PeerName,
    /// Who it is.
    pub holder: CortexId,
    /// The origin.
    pub origin: Origin,
    /// The first counter at which the histories differ.
    pub from: u64,
    /// Its events from there, in order.
    pub records: Vec<EventBytes>,
}

/// Why a finding was not kept: a mere claim changes nothing.
#[derive(Debug, thiserror::Error)]
pub enum NotAFork {
    /// What the peer showed does not prove it.
    #[error("the peer claims another history of {origin} at counter {from}, but what it shows does not prove it")]
    Unproven {
        /// The origin.
        origin: Origin,
        /// The counter.
        from: u64,
    },
    /// The two differed there once, and hold the same by now: that is taken note of instead.
    #[error("the histories of {origin} agree again at counter {from}")]
    Over {
        /// The origin.
        origin: Origin,
        /// The counter.
        from: u64,
    },
    /// As many are known with this cortex as one question can name. Nothing more is pulled from it before some are resolved.
    #[error(
        "{holder} differs in more than {MAX_WITHHELD} histories; resolve some of them first, see `antiphon fork list`"
    )]
    TooMany {
        /// The cortex.
        holder: CortexId,
    },
    /// Our own store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// All forks that are known, by origin.
///
/// # Errors
/// [`StoreError`].
pub fn forks(store: &dyn Store) -> Result<Vec<Fork>, StoreError> {
    let (mut found, mut fault) = (Vec::new(), None);
    store.scan(Family::Evidence, KeyRange::prefix(keys::FORKS), &mut |key, value| {
        match (keys::fork_of(key), decode_fork(value)) {
            (Some((origin, holder)), Ok((from, ours, theirs, peer, since))) => {
                found.push(Fork { origin, from, ours, theirs, peer, holder, since });
                return ControlFlow::Continue(());
            }
            (None, _) => fault = Some(StoreError::corrupt("family `evidence`: a key is not a fork's")),
            (_, Err(error)) => fault = Some(damaged(Family::Evidence, &error)),
        }
        ControlFlow::Break(())
    })?;
    fault.map_or(Ok(found), Err)
}

/// Versions that an operator decided to keep, by where they differ from others. What lost must not come in again from
/// whoever still has it.
pub(super) type Decisions = BTreeMap<(Origin, u64), Digest>;

pub(super) fn decisions(store: &dyn Store) -> Result<Decisions, StoreError> {
    let (mut found, mut fault) = (Decisions::new(), None);
    store.scan(Family::Evidence, KeyRange::prefix(keys::DECISIONS), &mut |key, value| {
        match (keys::decision_of(key), decode_decision(value)) {
            (Some(place), Ok(keep)) => {
                found.insert(place, keep);
                return ControlFlow::Continue(());
            }
            (None, _) => fault = Some(StoreError::corrupt("family `evidence`: a key is not a decision's")),
            (_, Err(error)) => fault = Some(damaged(Family::Evidence, &error)),
        }
        ControlFlow::Break(())
    })?;
    fault.map_or(Ok(found), Err)
}

/// What is not to cross between a cortex and us.
///
/// # Errors
/// [`StoreError`].
pub fn withhold_from(store: &dyn Store, holder: CortexId) -> Result<Heads, StoreError> {
    let with = forks(store)?.into_iter().filter(|fork| fork.holder == holder);
    Ok(Heads::new(with.map(|fork| (fork.origin, ChainHead { counter: fork.from, digest: fork.ours })).collect()))
}

/// What does not come from a cortex because its histories differ from ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WithheldFrom {
    /// How many origins' histories differ.
    pub histories: u64,
    /// How many events of its versions are known, at least one for each; those that depend on them come on top, uncounted.
    pub events: u64,
}

/// By cortex, what does not come from it.
///
/// # Errors
/// [`StoreError`].
pub(super) fn read_withheld(store: &dyn Store) -> Result<BTreeMap<CortexId, WithheldFrom>, StoreError> {
    let mut withheld = BTreeMap::<CortexId, WithheldFrom>::new();
    for fork in forks(store)? {
        let from = withheld.entry(fork.holder).or_default();
        from.histories += 1;
        from.events += count_evidence(store, &fork)?.max(1);
    }
    Ok(withheld)
}

/// The most bytes of evidence that are kept of one holder.
const MAX_EVIDENCE_BYTES: usize = 16 << 20;

fn visit_evidence(store: &dyn Store, fork: &Fork, visit: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), StoreError> {
    let prefix = keys::evidence_of(fork.origin, fork.theirs);
    store.scan(Family::Evidence, KeyRange::prefix(&prefix), &mut |key, value| {
        visit(key, value);
        ControlFlow::Continue(())
    })
}

fn size_of_evidence(store: &dyn Store, fork: &Fork) -> Result<usize, StoreError> {
    let mut bytes = 0;
    visit_evidence(store, fork, &mut |key, value| bytes += key.len() + value.len())?;
    Ok(bytes)
}

/// How many events of the other version of a fork are kept as evidence.
///
/// # Errors
/// [`StoreError`].
fn count_evidence(store: &dyn Store, fork: &Fork) -> Result<u64, StoreError> {
    let mut count = 0;
    visit_evidence(store, fork, &mut |_, _| count += 1)?;
    Ok(count)
}

/// Adds to a batch that the evidence of a fork is gone, unless another fork that is known has the same version.
pub(super) fn forget_evidence(
    store: &dyn Store,
    fork: &Fork,
    known: &[Fork],
    changes: &mut Batch,
) -> Result<(), StoreError> {
    let version = |one: &&Fork| (one.origin, one.theirs) == (fork.origin, fork.theirs);
    if known.iter().filter(version).count() > 1 {
        return Ok(());
    }
    visit_evidence(store, fork, &mut |key, _| changes.delete(Family::Evidence, key))
}

impl Log {
    /// Stages what was found out about a fork, with its evidence. If the origin is the one that we append under, we go on
    /// under a new epoch: another incarnation of us writes the old one.
    ///
    /// # Errors
    /// [`NotAFork`]; then nothing is staged, but for [`NotAFork::Over`].
    pub fn note_fork(&mut self, finding: &ForkFinding, now: Timestamp) -> Result<Fork, NotAFork> {
        self.usable()?;
        let &ForkFinding { origin, from, holder, .. } = finding;
        let known = withhold_from(&**self.store(), holder)?;
        if known.len() >= MAX_WITHHELD && known.get(origin).is_none() {
            return Err(NotAFork::TooMany { holder });
        }
        let unproven = || NotAFork::Unproven { origin, from };
        let before = match from {
            0 => return Err(unproven()),
            1 => Digest::ZERO,
            _ => self.digest_at(origin, from - 1)?.ok_or_else(unproven)?,
        };
        // What was decided for stands for what is not held yet.
        let ours = self.digest_at(origin, from)?.or_else(|| self.decided(origin, from));
        let mut changes = Batch::new();
        let (mut digest, mut theirs) = (before, None);
        for (counter, record) in (from..).zip(&finding.records) {
            let event = EventView::decode(record).map_err(|_| unproven())?;
            check_id(event.id).map_err(|_| unproven())?;
            if event.dot.origin() != origin || event.dot.counter() != counter {
                return Err(unproven());
            }
            digest = digest.chain(record);
            let version = *theirs.get_or_insert(digest);
            let key = keys::evidence(origin, version, counter);
            changes.put_parts(Family::Evidence, &key, &[&encode_log_entry(now), record]);
        }
        let theirs = theirs.ok_or_else(unproven)?;
        let ours = match ours {
            Some(ours) if ours != theirs => ours,
            // What is known of its version is out of date, or ours left when another fork was resolved: nothing differs by
            // now.
            _ => return Err(self.note_over(finding, known.get(origin).is_some_and(|head| head.counter == from))?),
        };
        let fork = Fork { origin, from, ours, theirs, peer: finding.peer.clone(), holder, since: now };
        self.make_room_for(&fork, &mut changes)?;
        changes.put(Family::Evidence, &keys::fork(origin, holder), &encode_fork(&fork));
        self.stage_state(&changes)?;
        self.staged.forks.insert(holder);
        tracing::error!(
            %origin, from, peer = %fork.peer,
            "two histories of one origin: what follows from there does not cross; see `antiphon fork list`"
        );
        if origin == self.identity.origin() && self.epoch_taken != Some(origin.epoch()) {
            let shared = self.place_of_own(from - 1)?;
            self.begin_epoch_for(&finding.peer, EpochEnd::Forked, now)?;
            self.cut_lineage(shared)?;
            self.epoch_taken = Some(self.identity.epoch);
        } else if origin.cortex() == self.identity.cortex_id {
            self.cut_epoch(origin, from - 1)?;
        }
        Ok(fork)
    }

    /// Evidence of the same origin and holder gives way to what is in the batch, which is left out where the holder has as much
    /// already: a fork is known without it, and a peer could show another history each time.
    fn make_room_for(&self, fork: &Fork, changes: &mut Batch) -> Result<(), StoreError> {
        let known = forks(&**self.store())?;
        let of_holder = known.iter().filter(|one| one.holder == fork.holder && one.origin != fork.origin);
        let mut bytes = changes.bytes();
        for other in of_holder {
            bytes += size_of_evidence(&**self.store(), other)?;
        }
        if bytes > MAX_EVIDENCE_BYTES {
            tracing::warn!(peer = %fork.peer, origin = %fork.origin, "the evidence of another fork of this peer's is not kept: {bytes} bytes");
            *changes = Batch::new();
        }
        let earlier = known.iter().find(|one| one.holder == fork.holder && one.origin == fork.origin);
        match earlier {
            Some(earlier) if earlier.theirs != fork.theirs => {
                forget_evidence(&**self.store(), earlier, &known, changes)
            }
            _ => Ok(()),
        }
    }

    /// A fork that is known is over.
    fn note_over(&mut self, finding: &ForkFinding, is_known: bool) -> Result<NotAFork, StoreError> {
        let &ForkFinding { origin, from, holder, .. } = finding;
        if !is_known {
            return Ok(NotAFork::Unproven { origin, from });
        }
        let mut over = Batch::new();
        let known = forks(&**self.store())?;
        if let Some(fork) = known.iter().find(|fork| fork.origin == origin && fork.holder == holder) {
            forget_evidence(&**self.store(), fork, &known, &mut over)?;
        }
        over.delete(Family::Evidence, &keys::fork(origin, holder));
        over.delete(Family::Cursors, &keys::peer_cursor(&finding.peer));
        self.stage_state(&over)?;
        self.staged.forks.insert(holder);
        Ok(NotAFork::Over { origin, from })
    }
}
