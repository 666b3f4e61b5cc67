//! Replay: a second cursor over the local log, which turns events into an application's own state.
//!
//! A replayer that fails stops itself, never replication. Its position, the clock there, and everything it wrote through
//! its [`Projection`] commit in one batch, so inside the store each event is replayed exactly once.

mod build;
mod core;
mod current;
mod frontier;
pub mod latest;
mod parked;
mod projection;
mod read;
mod runner;
mod status;

pub use build::BuildNumber;
pub(crate) use build::{Build, Builds};
pub use core::{OpenReplayerError, SkipError};
pub use current::{CurrentState, read_current};
pub(crate) use frontier::Mark;
pub use frontier::{Conflict, MAX_FRONTIER, Relation, conflict_at, conflicts, weight};
pub(crate) use internals::*;
pub use parked::{Parked, Skipped, parked, skipped};
pub use projection::Projection;
pub use read::{ReadAt, ReadStateError, Snapshot};
pub use runner::ReplayHandle;
pub use status::{NotReplayed, RebuildStatus, ReplayCommandError, ReplayStatus};

pub(crate) mod internals {
    pub use super::core::{ReplayCore, ReplayStep};
    pub use super::parked::{parked_in, skipped_in};
}

use std::borrow::Cow;
use std::time::Duration;

use crate::clock::VClock;
use crate::cursor::Cursor;
use crate::event::{Event, MAX_SUBJECT_BYTES};

/// The most bytes of a conflict key: as many as a subject may have.
pub const MAX_CONFLICT_KEY_BYTES: usize = MAX_SUBJECT_BYTES;

/// Where a replayer that was never here before begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Start {
    /// At the beginning of the log.
    #[default]
    Beginning,
    /// After what the log holds when it is first opened.
    Now,
    /// After this cursor. If it is of another history than the log's, after the newest sequence number that both have: events
    /// may come again, and none is missed.
    After(Cursor),
}

/// What becomes of an event that cannot be replayed.
///
/// ```
/// use antiphon_kernel::{OnFailure, ReplayOptions};
///
/// let options = ReplayOptions { on_failure: OnFailure::Quarantine, ..ReplayOptions::default() };
/// assert_eq!(ReplayOptions::default().on_failure, OnFailure::Halt);
/// # assert_ne!(options, ReplayOptions::default());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnFailure {
    /// Nothing is replayed beyond it; it is tried again, with back-off, until it succeeds or is skipped.
    #[default]
    Halt,
    /// It is parked at its first failure, and every later event of its subject behind it, in order; all else flows. An
    /// event without a subject is parked alone. Parked events wait for a command: retry, or skip.
    Quarantine,
}

/// How a replayer wants to be driven. Start applies once; the others to each run.
///
/// ```
/// use std::time::Duration;
///
/// use antiphon_kernel::ReplayOptions;
///
/// // What `EventReplayer::options` returns, to learn of conflicts and to notice a hanging event sooner.
/// let options =
///     ReplayOptions { causality: true, hangs_after: Duration::from_secs(5), ..ReplayOptions::default() };
/// # assert_ne!(options, ReplayOptions::default());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplayOptions {
    /// Where it begins.
    pub start: Start,
    /// What becomes of an event that fails.
    pub on_failure: OnFailure,
    /// Whether each event comes with its [`Relation`], from a frontier kept for each conflict key
    /// ([`EventReplayer::conflict_key`]).
    pub causality: bool,
    /// After how long in one event it is reported as hanging. Its thread cannot be killed.
    pub hangs_after: Duration,
}

impl Default for ReplayOptions {
    fn default() -> Self {
        Self {
            start: Start::default(),
            on_failure: OnFailure::default(),
            causality: false,
            hangs_after: Duration::from_secs(30),
        }
    }
}

/// What a replayer reports when it cannot replay an event.
///
/// ```
/// use antiphon_kernel::ReplayError;
///
/// fn check(data: &[u8]) -> Result<(), ReplayError> {
///     if data.is_empty() {
///         return Err("the event has no data".into());
///     }
///     std::str::from_utf8(data)?;
///     Ok(())
/// }
/// # assert!(check(b"").is_err() && check(b"text").is_ok());
/// ```
pub type ReplayError = Box<dyn std::error::Error + Send + Sync>;

/// An application's code that turns events into its own state.
///
/// # To ensure correctness
/// - State that must agree with the log is written through the [`Projection`]: it commits with the position. Effects
///   outside may happen again after a crash; give them the event's id to recognise a repetition.
/// - `replay_event` is deterministic in the events it was given and what it reads through the projection.
/// - An event type it does not know is not an error: skip it by returning `Ok`.
/// - An error or a panic stops this replayer at the event, with back-off, until it succeeds; or the event is parked
///   ([`OnFailure`]). Nothing that it wrote for the failed event is kept.
/// - An event at which the whole process died twice is not tried a third time: it counts as failed until `retry`.
/// - It must not block indefinitely: its thread cannot be killed.
///
/// ```
/// use antiphon_kernel::testing::MemoryStore;
/// use antiphon_kernel::{Cortex, Draft, Event, EventReplayer, Projection, ReplayError};
///
/// /// Keeps the newest note of each subject.
/// struct Notes;
///
/// impl EventReplayer for Notes {
///     fn name(&self) -> &str {
///         "notes"
///     }
///
///     fn families(&self) -> Vec<String> {
///         vec!["notes".to_owned()]
///     }
///
///     fn replay_event(&mut self, event: &Event, notes: &mut Projection<'_>) -> Result<(), ReplayError> {
///         let subject = event.subject.as_deref().unwrap_or_default();
///         Ok(notes.put("notes", subject.as_bytes(), &event.data)?)
///     }
/// }
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let cortex = Cortex::builder(MemoryStore::new()).causal_replayer(Notes).start().await?;
/// let event = cortex.append(Draft::new("note.written", "hello").subject("notes/1")).await?;
/// cortex.wait_replayed(&event).await?;
/// cortex.stop().await;
/// # Ok(())
/// # }
/// ```
pub trait EventReplayer: Send + 'static {
    /// Its name: `[A-Za-z0-9._-]{1,64}`, as for peers. Position and state are kept under it, so it must stay the same.
    fn name(&self) -> &str;

    /// The families it reads and writes through its projection; created if they do not exist.
    fn families(&self) -> Vec<String>;

    /// The version of what it makes of events. Raise it when `replay_event` writes other state for the same events: the
    /// program that starts with a higher version rebuilds the replayer. Readers see the old state until the rebuild is complete
    /// ([`Snapshot::version`]). A program with a lower version than the state's does not start
    /// ([`OpenReplayerError::Downgrade`]).
    fn version(&self) -> u32 {
        1
    }

    /// How it wants to be driven.
    fn options(&self) -> ReplayOptions {
        ReplayOptions::default()
    }

    /// Returns the key by which an event can be in conflict with others: by default its subject. Events with one key have one
    /// frontier. `None`: the event is in conflict with no other.
    ///
    /// The key may have at most [`MAX_CONFLICT_KEY_BYTES`]; a longer one fails the event. The result must depend on the event
    /// alone. A program that changes its keys raises [`EventReplayer::version`], because old frontiers keep their old keys.
    fn conflict_key<'e>(&self, event: &'e Event) -> Option<Cow<'e, str>> {
        event.subject.as_deref().map(Cow::Borrowed)
    }

    /// Replays one event. Events come in the order of the log, which is causal.
    ///
    /// # Errors
    /// Whatever keeps it from replaying the event now; it is asked again after a back-off.
    fn replay_event(&mut self, event: &Event, projection: &mut Projection<'_>) -> Result<(), ReplayError>;

    /// Called after each committed batch: everything up to this clock is replayed. A rebuild begins with an empty clock.
    fn merge_clock(&mut self, clock: &VClock) {
        let _ = clock;
    }
}
