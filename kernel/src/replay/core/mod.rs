//! One replayer's position and its steps, without a thread or a clock.

mod building;
mod commit;
mod open;
mod step;
mod waiting;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::build::{Build, BuildNumber, Builds};
use super::read::Commits;
use super::{EventReplayer, ReplayError, ReplayOptions};
use crate::clock::{ClockError, VClock};
use crate::codec::{RecordRef, StoredError};
use crate::cursor::{Cursor, Seq};
use crate::event::{Event, InvalidEvent};
use crate::ids::Origin;
use crate::log::{Generation, LogEntry, LogReader, Replayed, record_at};
use crate::store::{Family, StoreError, Unreadable as _};
pub use open::OpenReplayerError;
pub use waiting::SkipError;

/// If this number of processes in a row began at one event, the last of them does not try it.
const CRASHES: u32 = 3;
/// How many events one commit may hold.
const BATCH_EVENTS: usize = 512;
/// How many bytes of records are read for one commit.
const BATCH_BYTES: usize = 4 * 1024 * 1024;

/// How a step ended.
#[derive(Debug)]
pub enum ReplayStep {
    /// There was nothing to replay.
    CaughtUp,
    /// This number of events was replayed and committed.
    Replayed(usize),
    /// This number was replayed and committed; the next event failed.
    Failed {
        /// How many went well.
        replayed: usize,
        /// The cursor of the failing one.
        at: Cursor,
        /// What it said.
        error: ReplayError,
    },
}

/// A replayer and its position. Position, clock and the replayer's own writes commit in one batch; it need not be
/// durable at once, because a crash takes all three back together.
pub struct ReplayCore {
    view: LogReader,
    replayer: Box<dyn EventReplayer>,
    options: ReplayOptions,
    families: Vec<String>,
    /// All builds, as they are stored.
    builds: Builds,
    /// The build that is written: position, clock and counts below are of it. 0 where there is none.
    build: BuildNumber,
    /// Where readers are while another build is filled.
    shown: Option<Shown>,
    /// The position at which the build that is filled becomes the current one.
    until: Seq,
    /// Where the next deletion continues: a number of a family, and a key.
    emptied: (usize, Vec<u8>),
    position: Seq,
    clock: VClock,
    /// Each origin's full clock as of the position: what the next causal delta of its chain is relative to.
    chains: BTreeMap<Origin, VClock>,
    /// Subjects with parked events: what comes later waits behind them.
    blocked_subjects: BTreeSet<String>,
    parked: usize,
    /// How many subjects have more than one event that none supersedes.
    conflicts: u64,
    /// By how many the events at hand change that, once they are committed.
    conflicts_change: i64,
    /// Whether their number is stored. Where it is not, all frontiers are counted when the replayer is opened.
    conflicts_stored: bool,
    /// How many processes began where this one did, this one included, and died there; 0 once this one got past it.
    tries: u32,
    /// How many events are still replayed one a commit, so that a crash is pinned to one of them.
    wary: usize,
    busy: Arc<Busy>,
    commits: Arc<Commits>,
    /// As of when its position and all of the above were read.
    generation: Generation,
    /// Why the last commit failed, until it was asked for.
    unwritten: Option<StoreError>,
    /// Up to which fill of the log it tried its unread events again.
    filled: u64,
}

/// The current build while another one is filled. Nothing is written to it.
struct Shown {
    position: Seq,
    clock: VClock,
    conflicts: u64,
}

/// How far a rebuild is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filling {
    /// The number of the build that is filled.
    pub build: BuildNumber,
    /// The version of the replayer that fills it.
    pub version: u32,
    /// The last sequence number replayed into it.
    pub position: Seq,
    /// The position at which readers see it.
    pub until: Seq,
}

/// The event that a replayer is at, as it shows from outside.
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
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.view.store().get(Family::Replay, key)
    }

    /// Whether two processes died at the event after the position.
    const fn is_suspect(&self) -> bool {
        self.tries >= CRASHES
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.replayer.name()
    }

    /// The last sequence number replayed into what readers see.
    #[must_use]
    pub fn position(&self) -> Seq {
        self.shown.as_ref().map_or(self.position, |shown| shown.position)
    }

    /// The clock there: what an application that reads this replayer's state has seen.
    #[must_use]
    pub fn clock(&self) -> &VClock {
        self.shown.as_ref().map_or(&self.clock, |shown| &shown.clock)
    }

    /// How far a rebuild is, while one runs.
    #[must_use]
    pub fn filling(&self) -> Option<Filling> {
        let Build { number, version, .. } = *self.builds.filling.as_ref()?;
        Some(Filling { build: number, version, position: self.position, until: self.until })
    }

    /// Its builds, as they were read last.
    #[must_use]
    pub const fn builds(&self) -> &Builds {
        &self.builds
    }

    /// What its application has seen, and as of when.
    pub(crate) fn replayed(&self) -> Replayed {
        Replayed { replayer: self.name().to_owned(), clock: self.clock().clone(), generation: self.generation }
    }

    /// When its position was read from the store.
    pub(crate) const fn generation(&self) -> Generation {
        self.generation
    }

    /// Whether position, clock and counts are those of the store as it is open now. The next step reads them again if not.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.view.generation() == self.generation
    }

    /// How many events are parked in the build that is written.
    #[must_use]
    pub const fn parked(&self) -> usize {
        self.parked
    }

    /// How many subjects are in conflict in what readers see.
    #[must_use]
    pub fn conflicts(&self) -> u64 {
        self.shown.as_ref().map_or(self.conflicts, |shown| shown.conflicts)
    }

    pub(super) const fn options(&self) -> &ReplayOptions {
        &self.options
    }

    pub(super) fn busy(&self) -> Arc<Busy> {
        Arc::clone(&self.busy)
    }

    pub(super) fn commits(&self) -> Arc<Commits> {
        Arc::clone(&self.commits)
    }

    pub(super) fn families(&self) -> &[String] {
        &self.families
    }

    /// Returns what an entry is to a replayer, with the record's full clock rebuilt from its chain's causal deltas.
    fn found(
        &self,
        entry: &LogEntry,
        chains: &mut BTreeMap<Origin, VClock>,
        clock: &mut VClock,
    ) -> Result<Found, StoreError> {
        let damaged = |e: ClockError| StoreError::corrupt(format!("family `log`: place {}: {e}", entry.seq));
        let record = entry.read()?;
        let origin = record.dot.origin();
        let chain = chains.entry(origin).or_insert_with(|| self.chains.get(&origin).cloned().unwrap_or_default());
        chain.merge(&record.deps).map_err(damaged)?;
        let mut vclock = chain.clone();
        vclock.raise(origin, record.dot.counter()).map_err(damaged)?;
        clock.raise(origin, record.dot.counter()).map_err(damaged)?;
        found(entry, &record, vclock)
    }
}

/// What an entry of the log is to a replayer.
enum Found {
    /// An event to replay.
    Event(Box<Event>),
    /// An event that cannot be read yet: a newer version wrote it, or a part of it is missing. It is parked, whatever the
    /// replayer does with failures, since it may become readable.
    NotYet(VClock, InvalidEvent),
    /// Nothing: a record of the system's own, or an event that was erased.
    Nothing,
}

fn found(entry: &LogEntry, record: &RecordRef<'_>, vclock: VClock) -> Result<Found, StoreError> {
    Ok(match record.event() {
        Ok(event) => {
            let event = Event::from_view(&event, &entry.record, entry.seq, entry.joined, vclock);
            Found::Event(Box::new(event))
        }
        Err(InvalidEvent::NotAnEvent { .. } | InvalidEvent::Absent { is_erased: true }) => Found::Nothing,
        Err(error @ InvalidEvent::Absent { .. }) => Found::NotYet(vclock, error),
        Err(error) if error.is_newer() => Found::NotYet(vclock, error),
        Err(error) => return Err(record_at(entry.seq, &error)),
    })
}
