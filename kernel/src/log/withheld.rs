//! What follows from a fork: of one origin from a counter on, and everything that depends on it, through any number of
//! hands. Where two histories differ, that is what must not cross.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::codec::EventRef;
use crate::cursor::Seq;
use crate::ids::{Dot, Origin};

/// The most forks that one question may name.
pub(super) const MAX_WITHHELD: usize = 64;
/// So many trails are remembered.
const MAX_TRAILS: usize = 64;

/// The first counter of each origin that is withheld.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Withheld(BTreeMap<Origin, u64>);

impl Withheld {
    pub(super) const fn of(forks: BTreeMap<Origin, u64>) -> Self {
        Self(forks)
    }

    pub(super) fn holds(&self, dot: Dot) -> bool {
        self.reaches(dot.origin(), dot.counter())
    }

    pub(super) fn reaches(&self, origin: Origin, counter: u64) -> bool {
        self.0.get(&origin).is_some_and(|&first| first <= counter)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Origin, u64)> + '_ {
        self.0.iter().map(|(&origin, &first)| (origin, first))
    }

    /// Takes in one event of a log, in the log's order. Its chain's later events and whatever names it follow it.
    pub(super) fn follow(&mut self, event: &EventRef<'_>) -> bool {
        let dot = event.dot;
        let follows = self.holds(dot) || event.deps.iter().any(|(origin, counter)| self.reaches(origin, counter));
        if follows {
            self.0.entry(dot.origin()).or_insert(dot.counter());
        }
        follows
    }
}

/// How far it was followed through the log what follows from some forks.
#[derive(Debug, Clone)]
pub(super) struct Trail {
    pub(super) from: BTreeMap<Origin, u64>,
    pub(super) rewrites: u64,
    pub(super) at: Seq,
    pub(super) withheld: Withheld,
}

/// What was followed lately, for whoever asks the same again.
#[derive(Default)]
pub(super) struct Recent(Mutex<Vec<Trail>>);

/// The same, apart for forks that are known here with their asker and for mere claims: no number of made-up claims makes what
/// was followed for a known fork forgotten.
#[derive(Default)]
pub(super) struct Followed {
    proven: Recent,
    claimed: Recent,
}

impl Followed {
    pub(super) const fn of(&self, proven: bool) -> &Recent {
        if proven { &self.proven } else { &self.claimed }
    }
}

impl Recent {
    pub(super) fn recall(&self, from: &BTreeMap<Origin, u64>, rewrites: u64) -> Option<Trail> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().find(|trail| trail.rewrites == rewrites && trail.from == *from).cloned()
    }

    pub(super) fn remember(&self, trail: &Trail) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let further =
            known.iter().find(|one| one.from == trail.from && one.rewrites == trail.rewrites && one.at > trail.at);
        let kept = further.unwrap_or(trail).clone();
        known.retain(|one| one.rewrites == kept.rewrites && one.from != kept.from);
        // The one used last stands last, and the first one goes.
        known.push(kept);
        if known.len() > MAX_TRAILS {
            known.remove(0);
        }
    }
}
