//! One replayer's position and its steps, without a thread or a clock.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{EventReplayer, Projection, ReplayError};
use crate::clock::VClock;
use crate::codec::{decode_replay_position, encode_replay_position};
use crate::cursor::Seq;
use crate::event::Event;
use crate::ids::{Origin, PeerName};
use crate::log::{LogEntry, LogView};
use crate::store::{Batch, Durability, Family, KeyRange, StoreError, keys};

/// How many events one commit may hold.
const BATCH_EVENTS: usize = 512;
/// How many bytes of records are read for one commit.
const BATCH_BYTES: usize = 4 * 1024 * 1024;

/// How a step ended.
#[derive(Debug)]
pub enum ReplayStep {
    /// There was nothing to replay.
    CaughtUp,
    /// So many events were replayed and committed.
    Replayed(usize),
    /// So many were replayed and committed; the one after them failed.
    Failed {
        /// How many went well.
        replayed: usize,
        /// Where the failing one stands.
        at: Seq,
        /// What it said.
        error: ReplayError,
    },
}

/// A replayer and where it stands. Position, clock and the replayer's own writes commit in one batch; it need not be
/// durable at once, because a crash takes all three back together.
pub struct ReplayCore {
    view: LogView,
    replayer: Box<dyn EventReplayer>,
    families: Vec<String>,
    position: Seq,
    clock: VClock,
    /// Each origin's full clock as of the position: what the next causal delta of its chain is relative to.
    chains: BTreeMap<Origin, VClock>,
}

impl ReplayCore {
    /// Takes up a replayer where it stopped, or at the beginning of the log.
    ///
    /// # Errors
    /// [`StoreError`]; kind `Misuse` for families that cannot be its own.
    pub fn open(view: LogView, replayer: Box<dyn EventReplayer>) -> Result<Self, StoreError> {
        let families = replayer.families();
        let misuse = |text: String| StoreError::new(crate::store::StoreErrorKind::Misuse, text);
        PeerName::new(replayer.name()).map_err(|e| misuse(format!("a replayer's name: {e}")))?;
        for family in &families {
            Family::user(family).map_err(|e| misuse(e.to_string()))?;
        }
        let names: Vec<&str> = families.iter().map(String::as_str).collect();
        view.store().ensure_families(&names)?;
        let mut core =
            Self { view, replayer, families, position: Seq::ZERO, clock: VClock::new(), chains: BTreeMap::new() };
        core.load()?;
        Ok(core)
    }

    /// Reads position and clocks as they are stored.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn load(&mut self) -> Result<(), StoreError> {
        let name = self.replayer.name();
        let store = self.view.store();
        let corrupt = |e: crate::codec::StoredError| StoreError::corrupt(format!("family `replay`: {e}"));
        let (position, clock) = match store.get(Family::Replay, &keys::replay_position(name))? {
            Some(bytes) => decode_replay_position(&bytes).map_err(corrupt)?,
            None => (Seq::ZERO, VClock::new()),
        };
        let prefix = keys::replay_clock_prefix(name);
        let mut chains = BTreeMap::new();
        let mut fault = None;
        store.scan(Family::Replay, KeyRange::prefix(&prefix), &mut |key, value| match (
            keys::origin_of_chain(&key[prefix.len()..]),
            decode_replay_position(value),
        ) {
            (Some(origin), Ok((_, clock))) => {
                chains.insert(origin, clock);
                ControlFlow::Continue(())
            }
            (_, Err(error)) => {
                fault = Some(corrupt(error));
                ControlFlow::Break(())
            }
            (None, _) => {
                fault = Some(StoreError::corrupt("family `replay`: a key is not an origin"));
                ControlFlow::Break(())
            }
        })?;
        if let Some(fault) = fault {
            return Err(fault);
        }
        (self.position, self.clock, self.chains) = (position, clock, chains);
        Ok(())
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.replayer.name()
    }

    /// The last place replayed.
    #[must_use]
    pub const fn position(&self) -> Seq {
        self.position
    }

    /// The clock there: what an application that reads this replayer's state has seen.
    #[must_use]
    pub const fn clock(&self) -> &VClock {
        &self.clock
    }

    /// Replays and commits the next events. After a store's error, [`ReplayCore::load`] reads the truth again.
    ///
    /// # Errors
    /// [`StoreError`]: nothing of this step counts.
    pub fn step(&mut self) -> Result<ReplayStep, StoreError> {
        let entries = self.view.entries(self.position, BATCH_EVENTS, BATCH_BYTES)?;
        if entries.is_empty() {
            return Ok(ReplayStep::CaughtUp);
        }
        let view = self.view.clone();
        let families = std::mem::take(&mut self.families);
        let mut projection = Projection::new(&**view.store(), &families);
        let (mut chains, mut clock) = (BTreeMap::new(), self.clock.clone());
        let mut replayed = 0;
        let mut failure = None;
        for entry in &entries {
            let event = self.event(entry, &mut chains, &mut clock);
            let event = match event {
                Ok(event) => event,
                Err(error) => {
                    self.families = families;
                    return Err(error);
                }
            };
            if let Err(error) = replay(&mut *self.replayer, &event, &mut projection) {
                projection.discard();
                failure = Some((entry.seq, error));
                break;
            }
            projection.keep();
            replayed += 1;
        }
        if let Some((at, _)) = &failure {
            // Clocks were advanced for the failed event as well: take them from the entries that went well.
            (chains, clock) = self.clocks_before(&entries, *at)?;
        }
        let committed =
            if replayed > 0 { self.commit(projection, &entries[replayed - 1], chains, clock) } else { Ok(()) };
        self.families = families;
        committed?;
        Ok(match failure {
            Some((at, error)) => ReplayStep::Failed { replayed, at, error },
            None => ReplayStep::Replayed(replayed),
        })
    }

    fn clocks_before(&self, entries: &[LogEntry], at: Seq) -> Result<(BTreeMap<Origin, VClock>, VClock), StoreError> {
        let (mut chains, mut clock) = (BTreeMap::new(), self.clock.clone());
        for entry in entries.iter().take_while(|entry| entry.seq < at) {
            self.event(entry, &mut chains, &mut clock)?;
        }
        Ok((chains, clock))
    }

    /// The event in an entry, with its full clock rebuilt from its chain's causal deltas.
    fn event(
        &self,
        entry: &LogEntry,
        chains: &mut BTreeMap<Origin, VClock>,
        clock: &mut VClock,
    ) -> Result<Event, StoreError> {
        let damaged =
            |e: &dyn std::fmt::Display| StoreError::corrupt(format!("family `log`: place {}: {e}", entry.seq));
        let view = entry.view().map_err(|e| damaged(&e))?;
        let origin = view.dot.origin();
        let chain = chains.entry(origin).or_insert_with(|| self.chains.get(&origin).cloned().unwrap_or_default());
        chain.merge(&view.deps).map_err(|e| damaged(&e))?;
        let mut vclock = chain.clone();
        vclock.raise(origin, view.dot.counter()).map_err(|e| damaged(&e))?;
        clock.raise(origin, view.dot.counter()).map_err(|e| damaged(&e))?;
        Ok(Event::from_view(&view, &entry.record, entry.seq, entry.joined, vclock))
    }

    fn commit(
        &mut self,
        projection: Projection<'_>,
        last: &LogEntry,
        chains: BTreeMap<Origin, VClock>,
        clock: VClock,
    ) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        projection.into_batch(&mut batch);
        let name = self.replayer.name();
        batch.put(Family::Replay, &keys::replay_position(name), &encode_replay_position(last.seq, &clock));
        for (&origin, chain) in &chains {
            if self.chains.get(&origin) != Some(chain) {
                batch.put(Family::Replay, &keys::replay_clock(name, origin), &encode_replay_position(last.seq, chain));
            }
        }
        self.view.store().commit(&batch, Durability::Relaxed)?;
        self.position = last.seq;
        self.clock = clock;
        self.chains.extend(chains);
        // A replayer's panic here must not take its thread down either.
        let told = catch_unwind(AssertUnwindSafe(|| self.replayer.merge_clock(&self.clock)));
        if told.is_err() {
            tracing::error!(replayer = self.replayer.name(), "a replayer panicked in merge_clock");
        }
        Ok(())
    }
}

fn replay(replayer: &mut dyn EventReplayer, event: &Event, projection: &mut Projection<'_>) -> Result<(), ReplayError> {
    // What a panicking replayer left half-done in itself is its own affair; its writes are discarded.
    match catch_unwind(AssertUnwindSafe(|| replayer.replay_event(event, projection))) {
        Ok(result) => result,
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().map(|t| (*t).to_owned());
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
            Err(format!("it panicked: {}", text.unwrap_or_else(|| "no message".to_owned())).into())
        }
    }
}
