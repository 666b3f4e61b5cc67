//! Opens a replayer, and reads, begins and rebuilds what is stored of it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use super::{BATCH_BYTES, BATCH_EVENTS, ReplayCore, unreadable};
use crate::clock::VClock;
use crate::codec::{decode_conflicts, decode_replay_position, decode_tries, encode_tries};
use crate::cursor::Seq;
use crate::ids::PeerName;
use crate::log::{Generation, LogReader, ReadError, stored_position};
use crate::replay::parked::parked;
use crate::replay::{EventReplayer, Start, conflicts};
use crate::store::{Batch, Durability, Family, KeyRange, Store, StoreError, StoreErrorKind, keys};

impl ReplayCore {
    /// Continues a replayer where it stopped, or begins where its options say. Call it when the log was opened, before
    /// anything else is appended.
    ///
    /// # Errors
    /// [`StoreError`]; kind `Misuse` for families that cannot be its own.
    pub fn open(view: LogReader, replayer: Box<dyn EventReplayer>) -> Result<Self, StoreError> {
        let families = replayer.families();
        let misuse = |text: String| StoreError::new(StoreErrorKind::Misuse, text);
        PeerName::new(replayer.name()).map_err(|e| misuse(format!("a replayer's name: {e}")))?;
        for family in &families {
            Family::user(family).map_err(|e| misuse(e.to_string()))?;
        }
        let names: Vec<&str> = families.iter().map(String::as_str).collect();
        view.store().ensure_families(&names)?;
        let options = replayer.options();
        let mut core = Self {
            view,
            replayer,
            options,
            families,
            position: Seq::ZERO,
            clock: VClock::new(),
            chains: BTreeMap::new(),
            blocked_subjects: BTreeSet::new(),
            parked: 0,
            conflicts: 0,
            conflicts_change: 0,
            conflicts_stored: false,
            tries: 0,
            wary: 0,
            busy: Arc::default(),
            commits: Arc::default(),
            generation: Generation::default(),
            rebuilding: false,
            unwritten: None,
            filled: 0,
        };
        core.load()?;
        if core.rebuilding {
            core.rebuild()?;
        }
        let known = core.get(&keys::replay_position(core.name()))?.is_some();
        let head = core.view.visible();
        if core.position > head {
            // It replayed what the log does not hold: what comes to those sequence numbers must not be taken for replayed.
            tracing::error!(
                replayer = core.name(),
                at = core.position.get(),
                head = head.get(),
                "a replayer is beyond the end of the log, and begins again"
            );
            core.rebuild()?;
        }
        if !known {
            core.begin()?;
        }
        core.count_try()?;
        core.retry_filled()?;
        Ok(core)
    }

    /// Takes a new replayer past what it does not want to see.
    fn begin(&mut self) -> Result<(), StoreError> {
        if matches!(self.options.start, Start::Beginning) {
            return Ok(());
        }
        let mut batch = Batch::new();
        self.put_start(&mut batch)?;
        self.view.store().commit(&batch, Durability::Sync)?;
        self.load()
    }

    /// Adds the position that its options name: clocks are followed up to it, nothing is replayed.
    fn put_start(&mut self, batch: &mut Batch) -> Result<(), StoreError> {
        self.chains.clear();
        let to = match self.options.start {
            Start::Beginning => Seq::ZERO,
            Start::Now => self.view.visible(),
            Start::After(cursor) => match self.view.resume(&cursor) {
                Ok(cursor) => cursor.seq,
                Err(ReadError::CursorUnknown(unknown)) => {
                    tracing::warn!(replayer = self.name(), %unknown, "a replayer begins earlier than it was asked to");
                    unknown.resume.seq
                }
                Err(ReadError::Store(error)) => return Err(error),
            },
        };
        let (mut chains, mut clock, mut at) = (BTreeMap::new(), VClock::new(), Seq::ZERO);
        while at < to {
            let left = usize::try_from(to.get() - at.get()).unwrap_or(usize::MAX).min(BATCH_EVENTS);
            for entry in self.view.entries(at, left, BATCH_BYTES)? {
                self.found(&entry, &mut chains, &mut clock)?;
                at = entry.seq;
            }
        }
        self.put_position(batch, to, &chains, &clock);
        Ok(())
    }

    /// Notes, durably, that a process begins at this event: the third one that does finds out what became of the others.
    fn count_try(&mut self) -> Result<(), StoreError> {
        if self.view.visible() <= self.position {
            return Ok(());
        }
        let key = keys::replay_tries(self.name());
        let before = self.get(&key)?.map(|bytes| decode_tries(&bytes)).transpose().map_err(|e| unreadable(&e))?;
        self.tries = before.filter(|(at, _)| *at == self.position).map_or(0, |(_, tries)| tries).saturating_add(1);
        self.wary = BATCH_EVENTS;
        let mut batch = Batch::new();
        batch.put(Family::Replay, &key, &encode_tries(self.position, self.tries));
        self.view.store().commit(&batch, Durability::Sync)
    }

    /// The process is alive after its first steps: what it was afraid of did not happen.
    pub(super) fn survived(&mut self, caught_up: bool) -> Result<(), StoreError> {
        let over = caught_up || self.tries == 1 || self.wary == 0;
        if self.tries == 0 || self.is_suspect() || !over {
            return Ok(());
        }
        let mut batch = Batch::new();
        batch.delete(Family::Replay, &keys::replay_tries(self.name()));
        self.view.store().commit(&batch, Durability::Relaxed)?;
        self.tries = 0;
        Ok(())
    }

    /// Empties everything of this replayer and begins again: at the sequence number its options name, or at the log's beginning. An
    /// error or a crash in between leaves it begun, and it is completed before anything else.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn rebuild(&mut self) -> Result<(), StoreError> {
        let name = self.name().to_owned();
        let store = Arc::clone(self.view.store());
        let marker = keys::replay_rebuild(&name);
        let mut batch = Batch::new();
        batch.put(Family::Replay, &marker, &[1]);
        {
            // Readers that began before end first. Later ones see the marker.
            let _alone = self.commits.enter();
            store.commit(&batch, Durability::Sync)?;
        }
        let families = self.families.clone();
        for family in families.iter().map(|family| Family::User(family)) {
            empty(&*store, family, &[], &[])?;
        }
        empty(&*store, Family::Replay, &keys::replay_prefix(&name), &marker)?;
        let mut batch = Batch::new();
        batch.delete(Family::Replay, &marker);
        match self.options.start {
            Start::After(_) => self.put_start(&mut batch)?,
            Start::Beginning | Start::Now => {
                self.chains.clear();
                self.put_position(&mut batch, Seq::ZERO, &BTreeMap::new(), &VClock::new());
            }
        }
        store.commit(&batch, Durability::Sync)?;
        self.tries = 0;
        self.load()
    }

    /// Reads position, clocks and what is parked as they are stored.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn load(&mut self) -> Result<(), StoreError> {
        let name = self.replayer.name();
        // Before anything is read: what belongs to a later one is read again.
        let (store, generation) = (self.view.store(), self.view.generation());
        let rebuilding = store.get(Family::Replay, &keys::replay_rebuild(name))?.is_some();
        let (position, clock) = stored_position(&**store, name)?.unwrap_or_default();
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
                fault = Some(unreadable(&error));
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
        let waiting = parked(&**store, name)?;
        let stored = store.get(Family::Replay, &keys::replay_conflicts(name))?;
        self.conflicts_stored = stored.is_some();
        self.conflicts = match stored {
            Some(bytes) => decode_conflicts(&bytes).map_err(|e| unreadable(&e))?,
            None => conflicts(&**store, name)?.len() as u64,
        };
        self.conflicts_change = 0;
        self.parked = waiting.len();
        self.blocked_subjects = waiting.into_iter().filter_map(|event| event.subject).collect();
        (self.position, self.clock, self.chains) = (position, clock, chains);
        (self.generation, self.rebuilding) = (generation, rebuilding);
        Ok(())
    }
}

/// Deletes all keys with a prefix but one, a bounded number at a time.
fn empty(store: &dyn Store, family: Family<'_>, prefix: &[u8], keep: &[u8]) -> Result<(), StoreError> {
    loop {
        let mut batch = Batch::new();
        let mut count = 0;
        store.scan(family, KeyRange::prefix(prefix), &mut |key, _| {
            if key != keep {
                batch.delete(family, key);
                count += 1;
            }
            if count < 10_000 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        if count == 0 {
            return Ok(());
        }
        store.commit(&batch, Durability::Relaxed)?;
    }
}
