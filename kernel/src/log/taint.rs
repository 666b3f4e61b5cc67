//! Taint: an event is tainted by a fork if it is of one of the two histories from the fork on, or causally follows such an event.
//! Tainted events do not cross between two cortexes whose histories differ. A question that excludes a cortex taints all of the
//! cortex's events.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use crate::codec::RecordRef;
use crate::cursor::Seq;
use crate::ids::{CortexId, Dot, Origin};

/// The most forks that one question may name.
pub(super) const MAX_WITHHELD: usize = 64;
/// The number of scans that are remembered.
const MAX_SCANS: usize = 64;

/// Cortexes that a question excludes: all of their events are tainted.
pub(super) type Excluded = Arc<BTreeSet<CortexId>>;

/// The first tainted counter of each origin, and the cortexes whose origins are tainted from the first counter on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Taint(BTreeMap<Origin, u64>, Excluded);

impl Taint {
    /// Returns the taint of these forks and cortexes alone, before any event is added.
    pub(super) const fn of(forks: BTreeMap<Origin, u64>, excluded: Excluded) -> Self {
        Self(forks, excluded)
    }

    pub(super) fn holds(&self, dot: Dot) -> bool {
        self.reaches(dot.origin(), dot.counter())
    }

    pub(super) fn reaches(&self, origin: Origin, counter: u64) -> bool {
        self.1.contains(&origin.cortex()) || self.0.get(&origin).is_some_and(|&first| first <= counter)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Origin, u64)> + '_ {
        self.0.iter().map(|(&origin, &first)| (origin, first))
    }

    /// Adds one event of a log, in the log's order, and returns whether it is tainted. Later events of its chain are then tainted
    /// too, and so are events that depend on it.
    pub(super) fn add(&mut self, event: &RecordRef<'_>) -> bool {
        let dot = event.dot;
        let tainted = self.holds(dot) || event.deps.iter().any(|(origin, counter)| self.reaches(origin, counter));
        if tainted {
            self.0.entry(dot.origin()).or_insert(dot.counter());
        }
        tainted
    }
}

/// A scan of the log for events that are tainted by some forks, up to a sequence number.
#[derive(Debug, Clone)]
pub(super) struct TaintScan {
    pub(super) from: BTreeMap<Origin, u64>,
    pub(super) excluded: Excluded,
    pub(super) rewrites: u64,
    pub(super) at: Seq,
    pub(super) taint: Taint,
}

/// The scans of late, for a peer that names the same forks again.
#[derive(Default)]
pub(super) struct Recent(Mutex<Vec<TaintScan>>);

/// The same, apart for forks that are known here with their asker and for mere claims: no number of made-up claims drops the
/// scan of a known fork.
#[derive(Default)]
pub(super) struct TaintScans {
    proven: Recent,
    claimed: Recent,
}

impl TaintScans {
    pub(super) const fn of(&self, proven: bool) -> &Recent {
        if proven { &self.proven } else { &self.claimed }
    }
}

impl Recent {
    pub(super) fn recall(&self, from: &BTreeMap<Origin, u64>, excluded: &Excluded, rewrites: u64) -> Option<TaintScan> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |scan: &&TaintScan| scan.rewrites == rewrites && scan.from == *from && scan.excluded == *excluded;
        known.iter().find(same).cloned()
    }

    pub(super) fn remember(&self, scan: &TaintScan) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |one: &TaintScan| one.from == scan.from && one.excluded == scan.excluded;
        let further = known.iter().find(|one| same(one) && one.rewrites == scan.rewrites && one.at > scan.at);
        let kept = further.unwrap_or(scan).clone();
        known.retain(|one| one.rewrites == kept.rewrites && !same(one));
        // The one that was used last comes last, and the first one goes.
        known.push(kept);
        if known.len() > MAX_SCANS {
            known.remove(0);
        }
    }
}
