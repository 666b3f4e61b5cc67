//! One replayer's position and its steps, without a thread or a clock.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::frontier::Frontier;
use super::parked::{Parked, parked};
use super::{EventReplayer, OnFailure, Projection, ReplayError, ReplayOptions, Start};
use crate::clock::{ClockError, VClock};
use crate::codec::{
    StoredError, decode_conflicts, decode_parked, decode_replay_position, decode_tries, encode_conflicts,
    encode_parked, encode_replay_position, encode_skipped, encode_tries,
};
use crate::cursor::{Cursor, Seq};
use crate::event::Event;
use crate::ids::{Origin, PeerName};
use crate::log::{CursorUnknown, Generation, LogEntry, LogView, ReadError};
use crate::store::{Batch, Durability, Family, KeyRange, Store, StoreError, StoreErrorKind, keys};
use crate::time::Timestamp;

/// An event at which so many processes began, the last of them this one, is not tried by it.
const CRASHES: u32 = 3;
/// What an event waits for that is parked though nothing is wrong with it.
const BEHIND: &str = "it waits behind an earlier event of its subject";
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
        /// The cursor of the failing one.
        at: Cursor,
        /// What it said.
        error: ReplayError,
    },
}

/// Why an event was not skipped.
#[derive(Debug, thiserror::Error)]
pub enum SkipError {
    /// It is neither parked nor the next one.
    #[error("the event at cursor {at} is neither parked nor the next to replay; `antiphon replay list` shows both")]
    NotWaiting {
        /// Its cursor.
        at: Cursor,
    },
    /// The cursor is of another history: its place may have another event now.
    #[error(transparent)]
    CursorUnknown(#[from] CursorUnknown),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<ReadError> for SkipError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::CursorUnknown(unknown) => Self::CursorUnknown(unknown),
            ReadError::Store(error) => Self::Store(error),
        }
    }
}

/// A replayer and where it stands. Position, clock and the replayer's own writes commit in one batch; it need not be
/// durable at once, because a crash takes all three back together.
pub struct ReplayCore {
    view: LogView,
    replayer: Box<dyn EventReplayer>,
    options: ReplayOptions,
    families: Vec<String>,
    position: Seq,
    clock: VClock,
    /// Each origin's full clock as of the position: what the next causal delta of its chain is relative to.
    chains: BTreeMap<Origin, VClock>,
    /// Subjects with parked events: what comes later waits behind them.
    lanes: BTreeSet<String>,
    parked: usize,
    /// How many subjects have more than one event that none supersedes.
    conflicts: u64,
    /// By how many the events at hand change that, once they are committed.
    conflicts_change: i64,
    /// Whether their number is stored. Where it is not, all frontiers are counted when the replayer is opened.
    conflicts_stored: bool,
    /// How many processes began where this one did, this one included, and died there; 0 once that is over.
    tries: u32,
    /// How many events are still replayed one a commit, so that a crash is pinned to one of them.
    wary: usize,
    busy: Arc<Busy>,
    /// As of when its position and all of the above were read.
    generation: Generation,
    /// Whether a rebuild was begun and is not over.
    rebuilding: bool,
    /// Why the last commit failed, until it was asked for.
    unwritten: Option<StoreError>,
}

/// What a replayer is at, for whoever watches it from outside.
#[derive(Debug, Default)]
pub(super) struct Busy(Mutex<Option<(Instant, Cursor)>>);

impl Busy {
    /// Since when it has been at one event, and which.
    pub(super) fn since(&self) -> Option<(Instant, Cursor)> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, at: Option<Cursor>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = at.map(|at| (Instant::now(), at));
    }
}

fn unreadable(fault: &StoredError) -> StoreError {
    StoreError::unreadable("family `replay`", fault)
}

impl ReplayCore {
    /// Takes up a replayer where it stopped, or begins where its options say. Call it when the log was opened, before
    /// anything else is appended.
    ///
    /// # Errors
    /// [`StoreError`]; kind `Misuse` for families that cannot be its own.
    pub fn open(view: LogView, replayer: Box<dyn EventReplayer>) -> Result<Self, StoreError> {
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
            lanes: BTreeSet::new(),
            parked: 0,
            conflicts: 0,
            conflicts_change: 0,
            conflicts_stored: false,
            tries: 0,
            wary: 0,
            busy: Arc::default(),
            generation: Generation::default(),
            rebuilding: false,
            unwritten: None,
        };
        core.load()?;
        if core.rebuilding {
            core.rebuild()?;
        }
        let known = core.get(&keys::replay_position(core.name()))?.is_some();
        let head = core.view.visible();
        if core.position > head {
            // It replayed what the log does not hold: what comes to those places must not be taken for replayed.
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
        Ok(core)
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.view.store().get(Family::Replay, key)
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
                self.event(&entry, &mut chains, &mut clock)?;
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
    fn survived(&mut self, caught_up: bool) -> Result<(), StoreError> {
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

    /// Whether two processes died at the event after the position.
    const fn is_suspect(&self) -> bool {
        self.tries >= CRASHES
    }

    /// Empties everything of this replayer and begins again: at the place its options name, or at the log's beginning. After an
    /// error or a crash in between, it is gone on with before anything else.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn rebuild(&mut self) -> Result<(), StoreError> {
        let name = self.name().to_owned();
        let store = Arc::clone(self.view.store());
        let marker = keys::replay_rebuild(&name);
        let mut batch = Batch::new();
        batch.put(Family::Replay, &marker, &[1]);
        store.commit(&batch, Durability::Sync)?;
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
        let (position, clock) = match store.get(Family::Replay, &keys::replay_position(name))? {
            Some(bytes) => decode_replay_position(&bytes).map_err(|e| unreadable(&e))?,
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
            None => super::conflicts(&**store, name)?.len() as u64,
        };
        self.conflicts_change = 0;
        self.parked = waiting.len();
        self.lanes = waiting.into_iter().filter_map(|event| event.subject).collect();
        (self.position, self.clock, self.chains) = (position, clock, chains);
        (self.generation, self.rebuilding) = (generation, rebuilding);
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

    /// Whether position, clock and counts are those of the store as it is open now. The next step reads them again if not.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.view.generation() == self.generation
    }

    /// How many events are parked.
    #[must_use]
    pub const fn parked(&self) -> usize {
        self.parked
    }

    /// How many subjects are in conflict.
    #[must_use]
    pub const fn conflicts(&self) -> u64 {
        self.conflicts
    }

    /// Commits a batch, and with it how many conflicts there are then. False, and nothing counts, where what it was made from is
    /// not what is stored any more.
    fn commit_counted(&mut self, mut batch: Batch) -> Result<bool, StoreError> {
        let now = self.conflicts.saturating_add_signed(self.conflicts_change);
        if now != self.conflicts || !self.conflicts_stored {
            batch.put(Family::Replay, &keys::replay_conflicts(self.replayer.name()), &encode_conflicts(now));
        }
        let committed = self.view.as_of(self.generation, || self.view.store().commit(&batch, Durability::Relaxed));
        if let Some(committed) = committed {
            committed.inspect_err(|error| {
                // A family that is not there is the replayer's mistake, and no fault of the store.
                self.unwritten = (error.kind() != StoreErrorKind::Misuse).then(|| error.clone());
            })?;
            (self.conflicts, self.conflicts_change, self.conflicts_stored) = (now, 0, true);
            return Ok(true);
        }
        Ok(false)
    }

    /// Why the last commit failed, once: the log is to open the store again.
    pub(super) fn take_unwritten(&mut self) -> Option<StoreError> {
        self.unwritten.take()
    }

    pub(super) const fn options(&self) -> &ReplayOptions {
        &self.options
    }

    pub(super) fn busy(&self) -> Arc<Busy> {
        Arc::clone(&self.busy)
    }

    /// Replays and commits the next events. After a store's error, [`ReplayCore::load`] reads the truth again, and once more by
    /// itself when the store was opened again: what failed may be there then.
    ///
    /// # Errors
    /// [`StoreError`]: nothing of this step counts.
    pub fn step(&mut self) -> Result<ReplayStep, StoreError> {
        self.be_current()?;
        let families = std::mem::take(&mut self.families);
        let step = self.try_step(&families);
        self.families = families;
        let step = step?;
        self.survived(matches!(step, ReplayStep::CaughtUp | ReplayStep::Failed { .. }))?;
        Ok(step)
    }

    /// Where places came to mean other events, or the store was opened again, what is stored is where it stands.
    fn be_current(&mut self) -> Result<(), StoreError> {
        if !self.is_current() {
            self.load()?;
        }
        if self.rebuilding { self.rebuild() } else { Ok(()) }
    }

    fn try_step(&mut self, families: &[String]) -> Result<ReplayStep, StoreError> {
        let limit = if self.tries > 1 { 1 } else { BATCH_EVENTS };
        let entries = self.view.entries(self.position, limit, BATCH_BYTES)?;
        if entries.is_empty() {
            return Ok(ReplayStep::CaughtUp);
        }
        let view = self.view.clone();
        let mut projection = Projection::new(&**view.store(), families);
        let (mut chains, mut clock) = (BTreeMap::new(), self.clock.clone());
        let (mut replayed, mut failure) = (0, None);
        let epoch = view.local().epoch;
        self.conflicts_change = 0;
        let (mut lanes, mut newly_parked) = (BTreeSet::new(), 0);
        for entry in &entries {
            let event = self.event(entry, &mut chains, &mut clock)?;
            let behind = event.subject.as_ref().is_some_and(|s| self.lanes.contains(s) || lanes.contains(s));
            let at = Cursor { epoch, seq: event.seq, last_event: event.id };
            let outcome =
                if behind { Err((0, BEHIND.to_owned().into())) } else { self.attempt(&event, at, &mut projection)? };
            match outcome {
                Ok(()) => {}
                Err((tries, error)) if behind || self.options.on_failure == OnFailure::Quarantine => {
                    self.park(&event, tries, &error, &mut projection);
                    lanes.extend(event.subject.clone());
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
            self.lanes.append(&mut lanes);
            self.parked += newly_parked;
            self.wary = self.wary.saturating_sub(replayed);
            if self.is_suspect() {
                // The suspect is parked; whoever comes after it is not accused.
                self.tries = 1;
            }
        }
        Ok(match failure {
            Some((at, error)) => ReplayStep::Failed { replayed, at, error },
            None => ReplayStep::Replayed(replayed),
        })
    }

    /// Gives one event to the replayer; what it wrote counts if it succeeded. An error comes with the number of tries.
    fn attempt(
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
        let subject = event.subject.as_deref().filter(|_| self.options.causality);
        let frontier = match subject {
            None => None,
            Some(subject) => {
                let key = keys::replay_frontier(self.replayer.name(), subject);
                let mut frontier = Frontier::decode(projection.own(&key)?.as_deref())?;
                let before = frontier.is_conflict();
                let standing = frontier.admit(event);
                let change = i64::from(frontier.is_conflict()) - i64::from(before);
                Some((key, frontier, standing, change))
            }
        };
        projection.set_standing(frontier.as_ref().map(|(_, _, standing, _)| standing.clone()));
        self.busy.set(Some(at));
        let replayed = replay(&mut *self.replayer, event, projection);
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

    fn park(&self, event: &Event, tries: u32, error: &ReplayError, projection: &mut Projection<'_>) {
        let value = (event.subject.clone(), tries, bounded(&error.to_string()), event.vclock.clone());
        projection.put_own(keys::replay_parked(self.name(), event.seq), Some(encode_parked(&value)));
    }

    /// Tries parked events again, those of one subject or all, in order; a subject's first failure leaves the rest of it
    /// parked. Returns how many were replayed. The event that halts replay, if there is one, is merely freed of suspicion.
    ///
    /// # Errors
    /// [`StoreError`]; then [`ReplayCore::load`] reads the truth again.
    pub fn retry(&mut self, subject: Option<&str>) -> Result<usize, StoreError> {
        self.be_current()?;
        self.tries = self.tries.min(1);
        let waiting = parked(&**self.view.store(), self.name())?;
        let wanted = waiting.into_iter().filter(|event| subject.is_none() || event.subject.as_deref() == subject);
        let families = std::mem::take(&mut self.families);
        let (mut failed, mut replayed) = (BTreeSet::new(), 0);
        let result = wanted.into_iter().try_for_each(|event| {
            if event.subject.as_ref().is_some_and(|subject| failed.contains(subject)) {
                return Ok(());
            }
            let ok = self.retry_one(&event, &families)?;
            if ok {
                replayed += 1
            } else {
                failed.extend(event.subject)
            }
            Ok(())
        });
        self.families = families;
        result.and_then(|()| self.load()).map(|()| replayed)
    }

    fn retry_one(&mut self, waiting: &Parked, families: &[String]) -> Result<bool, StoreError> {
        let key = keys::replay_parked(self.name(), waiting.seq);
        let missing = || StoreError::corrupt(format!("family `replay`: parked place {} is not there", waiting.seq));
        let (_, tries, _, vclock) = decode_parked(&self.get(&key)?.ok_or_else(missing)?).map_err(|e| unreadable(&e))?;
        let entry = self.view.entry(waiting.seq)?.ok_or_else(missing)?;
        let view = entry.view()?;
        let event = Event::from_view(&view, &entry.record, entry.seq, entry.joined, vclock);
        let log = self.view.clone();
        let mut projection = Projection::new(&**log.store(), families);
        let at = Cursor { epoch: log.local().epoch, seq: event.seq, last_event: event.id };
        let outcome = self.attempt(&event, at, &mut projection)?;
        match &outcome {
            Ok(()) => projection.put_own(key, None),
            Err((_, error)) => self.park(&event, tries.saturating_add(1), error, &mut projection),
        }
        let mut batch = Batch::new();
        projection.into_batch(&mut batch);
        Ok(self.commit_counted(batch)? && outcome.is_ok())
    }

    /// Leaves the event at a cursor out for good: a parked one, or the next one. The decision is recorded. A place alone would
    /// name another event after a restore, a repair or a resolved fork.
    ///
    /// # Errors
    /// [`SkipError`].
    pub fn skip(&mut self, at: &Cursor, now: Timestamp) -> Result<(), SkipError> {
        self.be_current()?;
        let seq = self.view.resume(at)?.seq;
        let waiting = parked(&**self.view.store(), self.name())?.into_iter().find(|event| event.seq == seq);
        let next = self.position.next() == seq;
        let Some(entry) = self.view.entry(seq)?.filter(|_| waiting.is_some() || next) else {
            return Err(SkipError::NotWaiting { at: *at });
        };
        let (mut chains, mut clock) = (BTreeMap::new(), self.clock.clone());
        let id = entry.view()?.id;
        let families = self.families.clone();
        let view = self.view.clone();
        let mut projection = Projection::new(&**view.store(), &families);
        let subject = entry.view()?.subject.to_owned();
        let subject = (!subject.is_empty()).then_some(subject);
        let error = waiting.as_ref().map_or_else(|| "it halted replay".to_owned(), |event| event.error.clone());
        let record = encode_skipped(&(id, subject, error, now));
        projection.put_own(keys::replay_skipped(self.name(), seq), Some(record));
        if waiting.is_some() {
            projection.put_own(keys::replay_parked(self.name(), seq), None);
            (chains, clock) = (BTreeMap::new(), self.clock.clone());
        } else {
            self.event(&entry, &mut chains, &mut clock)?;
        }
        let position = if waiting.is_some() { self.position } else { seq };
        if !self.commit(projection, position, chains, clock)? {
            // It is another place now.
            return Err(SkipError::NotWaiting { at: *at });
        }
        self.tries = self.tries.min(1);
        self.view.store().sync()?;
        Ok(self.load()?)
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
        let damaged = |e: ClockError| StoreError::corrupt(format!("family `log`: place {}: {e}", entry.seq));
        let view = entry.view()?;
        let origin = view.dot.origin();
        let chain = chains.entry(origin).or_insert_with(|| self.chains.get(&origin).cloned().unwrap_or_default());
        chain.merge(&view.deps).map_err(damaged)?;
        let mut vclock = chain.clone();
        vclock.raise(origin, view.dot.counter()).map_err(damaged)?;
        clock.raise(origin, view.dot.counter()).map_err(damaged)?;
        Ok(Event::from_view(&view, &entry.record, entry.seq, entry.joined, vclock))
    }

    fn put_position(&self, batch: &mut Batch, at: Seq, chains: &BTreeMap<Origin, VClock>, clock: &VClock) {
        let name = self.replayer.name();
        batch.put(Family::Replay, &keys::replay_position(name), &encode_replay_position(at, clock));
        for (&origin, chain) in chains {
            if self.chains.get(&origin) != Some(chain) {
                batch.put(Family::Replay, &keys::replay_clock(name, origin), &encode_replay_position(at, chain));
            }
        }
    }

    fn commit(
        &mut self,
        projection: Projection<'_>,
        last: Seq,
        chains: BTreeMap<Origin, VClock>,
        clock: VClock,
    ) -> Result<bool, StoreError> {
        let mut batch = Batch::new();
        projection.into_batch(&mut batch);
        self.put_position(&mut batch, last, &chains, &clock);
        if self.tries > 1 {
            // Still wary: a crash at the next event counts on.
            let tries = encode_tries(last, self.tries.min(CRASHES - 1));
            batch.put(Family::Replay, &keys::replay_tries(self.replayer.name()), &tries);
        }
        if !self.commit_counted(batch)? {
            return Ok(false);
        }
        self.position = last;
        self.clock = clock;
        self.chains.extend(chains);
        // A replayer's panic here must not take its thread down either.
        let merged = catch_unwind(AssertUnwindSafe(|| self.replayer.merge_clock(&self.clock)));
        if merged.is_err() {
            tracing::error!(replayer = self.replayer.name(), "a replayer panicked in merge_clock");
        }
        Ok(true)
    }
}

/// What is kept of what a replayer said.
fn bounded(text: &str) -> String {
    text.chars().take(500).collect()
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
