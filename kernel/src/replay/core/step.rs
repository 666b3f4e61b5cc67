//! Replays the next events.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{BATCH_BYTES, BATCH_EVENTS, CRASHES, Found, ReplayCore, ReplayStep};
use crate::causes::WithCauses;
use crate::clock::VClock;
use crate::cursor::{Cursor, Seq};
use crate::event::Event;
use crate::ids::Origin;
use crate::log::LogEntry;
use crate::replay::frontier::Frontier;
use crate::replay::{EventReplayer, MAX_CONFLICT_KEY_BYTES, OnFailure, Projection, ReplayError};
use crate::spans;
use crate::store::{StoreError, keys};

/// What an event waits for that is parked though nothing is wrong with it.
const BEHIND: &str = "it waits behind an earlier event of its subject";

impl ReplayCore {
    /// Replays and commits the next events, deletes some of an old build, or has readers see the build that a rebuild filled. After a
    /// store's error, [`ReplayCore::load`] reads the truth again, and once more by
    /// itself when the store was opened again: what failed may be there then.
    ///
    /// # Errors
    /// [`StoreError`]: nothing of this step counts.
    pub fn step(&mut self) -> Result<ReplayStep, StoreError> {
        self.be_current()?;
        self.empty_some()?;
        if self.is_filled() {
            self.switch()?;
            return Ok(ReplayStep::Replayed(0));
        }
        self.retry_filled()?;
        let families = std::mem::take(&mut self.families);
        let step = self.try_step(&families);
        self.families = families;
        let step = step?;
        self.survived(matches!(step, ReplayStep::CaughtUp | ReplayStep::Failed { .. }))?;
        Ok(match step {
            // There is more to delete.
            ReplayStep::CaughtUp if !self.builds.emptying.is_empty() => ReplayStep::Replayed(0),
            step => step,
        })
    }

    fn try_step(&mut self, families: &[String]) -> Result<ReplayStep, StoreError> {
        let limit = if self.tries > 1 { 1 } else { BATCH_EVENTS };
        let entries = self.view.entries(self.position, limit, BATCH_BYTES)?;
        if entries.is_empty() {
            return Ok(ReplayStep::CaughtUp);
        }
        let view = self.view.clone();
        let mut projection = Projection::new(&**view.store(), families, self.build);
        let (mut chains, mut clock) = (BTreeMap::new(), self.clock.clone());
        let (mut replayed, mut failure) = (0, None);
        let epoch = view.local().epoch;
        self.conflicts_change = 0;
        let (mut blocked_subjects, mut newly_parked) = (BTreeSet::new(), 0);
        for entry in &entries {
            let event = match self.found(entry, &mut chains, &mut clock)? {
                Found::Event(event) => event,
                Found::NotYet(vclock, why) => {
                    self.park(entry.seq, (None, 0, WithCauses(&why).to_string(), vclock), &mut projection);
                    newly_parked += 1;
                    replayed += 1;
                    continue;
                }
                Found::Nothing => {
                    replayed += 1;
                    continue;
                }
            };
            let behind = event
                .subject
                .as_ref()
                .is_some_and(|s| self.blocked_subjects.contains(s) || blocked_subjects.contains(s));
            let at = Cursor { epoch, seq: event.seq, last_event: event.id };
            let outcome =
                if behind { Err((0, BEHIND.to_owned().into())) } else { self.attempt(&event, at, &mut projection)? };
            match outcome {
                Ok(()) => {}
                Err((tries, error)) if behind || self.options.on_failure == OnFailure::Quarantine => {
                    let why = (event.subject.clone(), tries, error.to_string(), event.vclock.clone());
                    self.park(event.seq, why, &mut projection);
                    blocked_subjects.extend(event.subject.clone());
                    newly_parked += 1;
                }
                Err((_, error)) => {
                    failure = Some((at, error));
                    break;
                }
            }
            replayed += 1;
        }
        if let Some((at, _)) = &failure {
            // Clocks were advanced for the failed event as well: take them from the entries that went well.
            (chains, clock) = self.clocks_before(&entries, at.seq)?;
        }
        if replayed > 0 {
            if !self.commit(projection, entries[replayed - 1].seq, chains, clock)? {
                // The next step begins where the store says by now.
                return Ok(ReplayStep::Replayed(0));
            }
            self.blocked_subjects.append(&mut blocked_subjects);
            self.parked += newly_parked;
            self.wary = self.wary.saturating_sub(replayed);
            if self.is_suspect() {
                // The suspect is parked; the next event is none.
                self.tries = 1;
            }
        }
        Ok(match failure {
            Some((at, error)) => ReplayStep::Failed { replayed, at, error },
            None => ReplayStep::Replayed(replayed),
        })
    }

    /// Gives one event to the replayer; what it wrote counts if it succeeded. An error comes with the number of tries.
    pub(super) fn attempt(
        &mut self,
        event: &Event,
        at: Cursor,
        projection: &mut Projection<'_>,
    ) -> Result<Result<(), (u32, ReplayError)>, StoreError> {
        if self.is_suspect() {
            let text =
                format!("{} processes in a row died while they replayed it; `retry` tries it again", CRASHES - 1);
            return Ok(Err((self.tries - 1, text.into())));
        }
        let conflict_key = match self.options.causality {
            true => conflict_key(&*self.replayer, event),
            false => Ok(None),
        };
        let conflict_key = match conflict_key {
            Ok(key) => key,
            Err(error) => return Ok(Err((1, error))),
        };
        let frontier = match conflict_key {
            None => None,
            Some(key) => {
                let key = keys::replay_frontier(self.replayer.name(), self.build, &key);
                let mut frontier = Frontier::decode(projection.own(&key)?.as_deref())?;
                let before = frontier.is_conflict();
                let relation = frontier.admit(event);
                let change = i64::from(frontier.is_conflict()) - i64::from(before);
                Some((key, frontier, relation, change))
            }
        };
        projection.set_relation(frontier.as_ref().map(|(_, _, relation, _)| relation.clone()));
        self.busy.set(Some(at));
        let span = spans::replay(self.replayer.name(), event);
        let replayed = span.in_scope(|| replay(&mut *self.replayer, event, projection));
        self.busy.set(None);
        match replayed {
            Ok(()) => {
                if let Some((key, frontier, _, change)) = frontier {
                    projection.put_own(key, Some(frontier.encode()));
                    self.conflicts_change += change;
                }
                projection.keep();
                Ok(Ok(()))
            }
            Err(error) => {
                projection.discard();
                Ok(Err((1, error)))
            }
        }
    }

    fn clocks_before(&self, entries: &[LogEntry], at: Seq) -> Result<(BTreeMap<Origin, VClock>, VClock), StoreError> {
        let (mut chains, mut clock) = (BTreeMap::new(), self.clock.clone());
        for entry in entries.iter().take_while(|entry| entry.seq < at) {
            self.found(entry, &mut chains, &mut clock)?;
        }
        Ok((chains, clock))
    }
}

fn replay(replayer: &mut dyn EventReplayer, event: &Event, projection: &mut Projection<'_>) -> Result<(), ReplayError> {
    // What a panicking replayer left half-done in itself is its own affair; its writes are discarded.
    catch(|| replayer.replay_event(event, projection))?
}

fn conflict_key<'e>(replayer: &dyn EventReplayer, event: &'e Event) -> Result<Option<Cow<'e, str>>, ReplayError> {
    let key = catch(|| replayer.conflict_key(event))?;
    match key.as_ref().map_or(0, |key| key.len()) {
        0..=MAX_CONFLICT_KEY_BYTES => Ok(key),
        bytes => {
            Err(format!("its conflict key has {bytes} bytes; at most {MAX_CONFLICT_KEY_BYTES} are allowed").into())
        }
    }
}

/// A panic of the replayer's code as an error.
fn catch<T>(call: impl FnOnce() -> T) -> Result<T, ReplayError> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|panic| {
        let text = panic.downcast_ref::<&str>().map(|t| (*t).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        format!("it panicked: {}", text.unwrap_or_else(|| "no message".to_owned())).into()
    })
}
