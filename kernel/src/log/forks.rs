//! Forks: two histories of one origin. What is kept of them, and what it changes.
//!
//! Whether two cortexes hold the same history of an origin is a question about those two: digests that were really
//! compared answer it. Between the two, tainted events (those from the first difference on, and those that causally follow them) do not
//! cross, in either direction. Everything else flows, and so does this origin between cortexes that agree on it.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::decoded::read_decoded;
use crate::codec::{decode_decision, decode_fork};
use crate::digest::Digest;
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

/// All forks that are known, by origin.
///
/// # Errors
/// [`StoreError`].
pub fn forks(store: &dyn Store) -> Result<Vec<Fork>, StoreError> {
    let wrong = || StoreError::corrupt("family `evidence`: a key is not a fork's");
    let found = read_decoded(store, Family::Evidence, keys::FORKS, keys::fork_of, decode_fork, wrong)?;
    let fork = |((origin, holder), (from, ours, theirs, peer, since))| Fork {
        origin,
        from,
        ours,
        theirs,
        peer,
        holder,
        since,
    };
    Ok(found.into_iter().map(fork).collect())
}

/// Versions that an operator decided to keep, by where they differ from others. What lost must not come in again from
/// whoever still has it.
pub(super) type Decisions = BTreeMap<(Origin, u64), Digest>;

pub(super) fn decisions(store: &dyn Store) -> Result<Decisions, StoreError> {
    let wrong = || StoreError::corrupt("family `evidence`: a key is not a decision's");
    let found = read_decoded(store, Family::Evidence, keys::DECISIONS, keys::decision_of, decode_decision, wrong)?;
    Ok(found.into_iter().collect())
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

fn visit_evidence(store: &dyn Store, fork: &Fork, visit: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), StoreError> {
    let prefix = keys::evidence_of(fork.origin, fork.theirs);
    store.scan(Family::Evidence, KeyRange::prefix(&prefix), &mut |key, value| {
        visit(key, value);
        ControlFlow::Continue(())
    })
}

pub(super) fn size_of_evidence(store: &dyn Store, fork: &Fork) -> Result<usize, StoreError> {
    let mut bytes = 0;
    visit_evidence(store, fork, &mut |key, value| bytes += key.len() + value.len())?;
    Ok(bytes)
}

/// How many events of the other version of a fork are kept as evidence.
///
/// # Errors
/// [`StoreError`].
pub(super) fn count_evidence(store: &dyn Store, fork: &Fork) -> Result<u64, StoreError> {
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

/// Returns the deletions of what was kept as evidence of a holder's forks of these origins.
pub(super) fn evidence_of(store: &dyn Store, origins: &[Origin], holder: CortexId) -> Result<Batch, StoreError> {
    let mut over = Batch::new();
    if !origins.is_empty() {
        let known = forks(store)?;
        for fork in known.iter().filter(|fork| fork.holder == holder && origins.contains(&fork.origin)) {
            forget_evidence(store, fork, &known, &mut over)?;
        }
    }
    Ok(over)
}
