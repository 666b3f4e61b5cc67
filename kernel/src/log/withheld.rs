//! What follows from a fork: of one origin from a counter on, and everything that depends on it, through any number of
//! hands. Where two histories differ, that is what must not cross.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use super::answer::{MAX_SCAN, MAX_SCAN_BYTES, Work};
use super::entry::{record_at, stored_dot};
use super::view::LogView;
use crate::codec::EventView;
use crate::cursor::Seq;
use crate::ids::{Dot, Origin};
use crate::store::StoreError;

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
    pub(super) fn follow(&mut self, event: &EventView<'_>) -> bool {
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
    from: BTreeMap<Origin, u64>,
    rewrites: u64,
    at: Seq,
    pub(super) withheld: Withheld,
}

/// What was followed lately, for whoever asks the same again.
#[derive(Default)]
struct Recent(Mutex<Vec<Trail>>);

/// The same, apart for forks that are known here with their asker and for mere claims: no number of made-up claims makes what
/// was followed for a known fork forgotten.
#[derive(Default)]
pub(super) struct Followed {
    proven: Recent,
    claimed: Recent,
}

impl Followed {
    const fn of(&self, proven: bool) -> &Recent {
        if proven { &self.proven } else { &self.claimed }
    }
}

impl Recent {
    fn recall(&self, from: &BTreeMap<Origin, u64>, rewrites: u64) -> Option<Trail> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().find(|trail| trail.rewrites == rewrites && trail.from == *from).cloned()
    }

    fn remember(&self, trail: &Trail) {
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

impl LogView {
    /// A trail of what follows from these forks, as far as it was followed before; it may not have begun yet.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(super) fn trail(&self, from: BTreeMap<Origin, u64>, proven: bool) -> Result<Trail, StoreError> {
        let rewrites = self.shared.durable().rewrites;
        if let Some(known) = self.shared.followed.of(proven).recall(&from, rewrites) {
            return Ok(known);
        }
        // What is not here stands behind all that was here before it was looked for, if it ever comes.
        let mut at = self.visible();
        for (&origin, &counter) in &from {
            if let Some(dot) = stored_dot(&**self.store(), origin, counter)? {
                at = at.min(dot.seq.prev());
            }
        }
        Ok(Trail { withheld: Withheld::of(from.clone()), from, rewrites, at })
    }

    /// Follows it towards a place; false while it is not there. A peer may name any forks: so nobody is kept waiting for what
    /// that costs, it goes no further than [`MAX_SCAN`] entries at once.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(super) fn follow_trail(
        &self,
        trail: &mut Trail,
        until: Seq,
        proven: bool,
        gone: &AtomicBool,
    ) -> Result<(bool, Work), StoreError> {
        let (mut fault, mut work) = (None, Work::default());
        if trail.at >= until {
            return Ok((true, work));
        }
        let end = until.min(Seq::new(trail.at.get().saturating_add(MAX_SCAN)));
        self.scan(trail.at, end, &mut |seq, _, record| match EventView::decode(record) {
            Ok(event) => {
                trail.withheld.follow(&event);
                trail.at = seq;
                work.add(Work { entries: 1, bytes: record.len() as u64 });
                let more = work.bytes < MAX_SCAN_BYTES && !gone.load(Ordering::Relaxed);
                if more { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            }
            Err(error) => {
                fault = Some(record_at(seq, &error));
                ControlFlow::Break(())
            }
        })?;
        fault.map_or(Ok(()), Err)?;
        self.shared.followed.of(proven).remember(trail);
        Ok((trail.at >= until, work))
    }
}
