//! Opens a replayer, and reads what is stored of it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use super::{BATCH_BYTES, BATCH_EVENTS, ReplayCore, Shown, unreadable};
use crate::clock::VClock;
use crate::codec::{decode_conflicts, decode_replay_position, decode_tries, encode_tries};
use crate::cursor::Seq;
use crate::error_code::ErrorCode;
use crate::ids::PeerName;
use crate::log::{Generation, LogReader, ReadError, position_in};
use crate::replay::build::{BuildNumber, Builds};
use crate::replay::frontier::conflicts_in;
use crate::replay::parked::parked_in;
use crate::replay::{EventReplayer, Start};
use crate::store::{Batch, Durability, Family, KeyRange, Store, StoreError, StoreErrorKind, keys};

/// Why a replayer was not opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenReplayerError {
    /// The state was written by a newer version of the replayer.
    #[error("the state of replayer `{replayer}` is of version {stored}, and this program has version {version}")]
    Downgrade {
        /// The replayer.
        replayer: String,
        /// The version that wrote the state.
        stored: u32,
        /// The version of this program ([`EventReplayer::version`]).
        version: u32,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl OpenReplayerError {
    /// The stable code of this failure.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Downgrade { .. } => ErrorCode::ReplayDowngrade,
            Self::Store(error) => error.code(),
        }
    }
}

impl From<OpenReplayerError> for StoreError {
    fn from(error: OpenReplayerError) -> Self {
        match error {
            OpenReplayerError::Store(error) => error,
            OpenReplayerError::Downgrade { .. } => Self::new(StoreErrorKind::NewerFormat, error.to_string()),
        }
    }
}

impl ReplayCore {
    /// Continues a replayer where it stopped, or begins where its options say. A version above that of its state begins a
    /// rebuild. Call it when the log was opened, before anything else is appended.
    ///
    /// # Errors
    /// [`OpenReplayerError`]; a [`StoreError`] of kind `Misuse` for families that cannot be its own.
    pub fn open(view: LogReader, replayer: Box<dyn EventReplayer>) -> Result<Self, OpenReplayerError> {
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
            builds: Builds::default(),
            build: BuildNumber::default(),
            shown: None,
            until: Seq::ZERO,
            emptied: Default::default(),
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
            unwritten: None,
            filled: 0,
        };
        core.load()?;
        // Those of an earlier version are emptied.
        let builds = core.builds.current.iter().chain(&core.builds.filling).chain(&core.builds.emptying);
        let names: Vec<&str> = builds.flat_map(|build| &build.families).map(String::as_str).collect();
        core.view.store().ensure_families(&names)?;
        let head = core.view.visible();
        if core.position().max(core.position) > head {
            // It replayed what the log does not hold: what comes to those sequence numbers must not be taken for replayed.
            tracing::error!(
                replayer = core.name(),
                at = core.position().get(),
                head = head.get(),
                "a replayer is beyond the end of the log, and begins again"
            );
            core.void()?;
        }
        core.follow_version()?;
        core.be_current()?;
        core.count_try()?;
        core.retry_filled()?;
        Ok(core)
    }

    /// Adds the position that its options name: clocks are followed up to it, nothing is replayed.
    pub(super) fn put_start(&self, batch: &mut Batch) -> Result<(), StoreError> {
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
        let key = keys::replay_tries(self.name(), self.build);
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
        batch.delete(Family::Replay, &keys::replay_tries(self.name(), self.build));
        self.view.store().commit(&batch, Durability::Relaxed)?;
        self.tries = 0;
        Ok(())
    }

    /// Reads position, clocks and what is parked as they are stored.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn load(&mut self) -> Result<(), StoreError> {
        let name = self.replayer.name();
        // Before anything is read: what belongs to a later one is read again.
        let (store, generation) = (self.view.store(), self.view.generation());
        let builds = Builds::read(&**store, name)?;
        // No build has the number 0: nothing is found of it.
        let build = builds.written().unwrap_or_default();
        let shown = builds.current().filter(|current| *current != build);
        let shown = shown.map(|current| shown_in(&**store, name, current)).transpose()?;
        let (position, clock) = position_in(&**store, name, build)?.unwrap_or_default();
        let prefix = keys::replay_clock_prefix(name, build);
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
        let waiting = parked_in(&**store, name, build)?;
        let (conflicts, stored) = conflicts_stored(&**store, name, build)?;
        (self.conflicts, self.conflicts_stored) = (conflicts, stored);
        self.conflicts_change = 0;
        self.parked = waiting.len();
        self.blocked_subjects = waiting.into_iter().filter_map(|event| event.subject).collect();
        (self.position, self.clock, self.chains) = (position, clock, chains);
        self.until = shown.as_ref().map_or(Seq::ZERO, |shown| self.view.visible().max(shown.position));
        (self.builds, self.build, self.shown) = (builds, build, shown);
        self.emptied = Default::default();
        self.generation = generation;
        Ok(())
    }
}

fn shown_in(store: &dyn Store, name: &str, build: BuildNumber) -> Result<Shown, StoreError> {
    let (position, clock) = position_in(store, name, build)?.unwrap_or_default();
    Ok(Shown { position, clock, conflicts: conflicts_stored(store, name, build)?.0 })
}

/// How many subjects are in conflict, and whether that number is stored. If not, they are counted.
fn conflicts_stored(store: &dyn Store, name: &str, build: BuildNumber) -> Result<(u64, bool), StoreError> {
    match store.get(Family::Replay, &keys::replay_conflicts(name, build))? {
        Some(bytes) => Ok((decode_conflicts(&bytes).map_err(|e| unreadable(&e))?, true)),
        None => Ok((conflicts_in(store, name, build)?.len() as u64, false)),
    }
}
