//! What follows from a fork: of one origin from a counter on, and everything that depends on it, through any number of
//! hands. Where two histories differ, that is what must not cross.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Mutex, PoisonError};

use super::view::{LogView, stored_dot};
use crate::codec::EventView;
use crate::cursor::Seq;
use crate::ids::{Dot, Origin};
use crate::store::StoreError;

/// The most forks that one question may name, and that are kept track of at once: following one reads the log from there.
pub(super) const MAX_WITHHELD: usize = 64;

/// The first counter of each origin that is withheld.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Withheld(BTreeMap<Origin, u64>);

impl Withheld {
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

    fn merge(&mut self, other: &Self) {
        for (origin, first) in other.iter() {
            let entry = self.0.entry(origin).or_insert(first);
            *entry = first.min(*entry);
        }
    }
}

/// What was followed so far, so that each entry of the log is looked at once for each fork.
#[derive(Default)]
pub(super) struct Followed(Mutex<Vec<Trail>>);

struct Trail {
    from: (Origin, u64),
    rewrites: u64,
    at: Seq,
    withheld: Withheld,
}

impl LogView {
    /// What follows from these forks in this log, up to a place.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(super) fn withheld(
        &self,
        forks: impl IntoIterator<Item = (Origin, u64)>,
        until: Seq,
    ) -> Result<Withheld, StoreError> {
        let mut all = Withheld::default();
        let mut forks = forks.into_iter().peekable();
        if forks.peek().is_none() {
            return Ok(all);
        }
        let rewrites = self.durable().rewrites;
        let mut followed = self.shared.followed.0.lock().unwrap_or_else(PoisonError::into_inner);
        followed.retain(|trail| trail.rewrites == rewrites);
        for from in forks {
            let mut trail = match followed.iter().position(|trail| trail.from == from) {
                Some(at) => followed.remove(at),
                None => {
                    let Some(dot) = stored_dot(&**self.store(), from.0, from.1)? else { continue };
                    let withheld = Withheld(BTreeMap::from([from]));
                    Trail { from, rewrites, at: dot.seq.prev(), withheld }
                }
            };
            self.follow_to(until, &mut trail)?;
            all.merge(&trail.withheld);
            // The one used last stands last, and the first one goes.
            followed.push(trail);
            if followed.len() > MAX_WITHHELD {
                followed.remove(0);
            }
        }
        Ok(all)
    }

    fn follow_to(&self, until: Seq, trail: &mut Trail) -> Result<(), StoreError> {
        if trail.at >= until {
            return Ok(());
        }
        let mut fault = None;
        self.scan(trail.at, until, &mut |seq, _, record| match EventView::decode(record) {
            Ok(event) => {
                trail.withheld.follow(&event);
                trail.at = seq;
                ControlFlow::Continue(())
            }
            Err(error) => {
                fault = Some(StoreError::corrupt(format!("family `log`: the record at place {seq}: {error}")));
                ControlFlow::Break(())
            }
        })?;
        fault.map_or(Ok(()), Err)
    }
}
