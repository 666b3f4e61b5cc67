//! Replay: a second cursor over the local log, which turns events into an application's own state.
//!
//! A replayer that fails stops itself, never replication. Its position, the clock there, and everything it wrote through
//! its [`Projection`] commit in one batch, so inside the store each event is replayed exactly once.

mod core;
mod projection;
mod runner;

pub use core::{ReplayCore, ReplayStep};
pub use projection::Projection;
pub use runner::{ReplayHandle, ReplayStatus};

use crate::clock::VClock;
use crate::event::Event;

/// What a replayer reports when it cannot replay an event.
pub type ReplayError = Box<dyn std::error::Error + Send + Sync>;

/// An application's code that turns events into its own state.
///
/// # To ensure correctness
/// - State that must agree with the log is written through the [`Projection`]: it commits with the position. Effects
///   outside may happen again after a crash; give them the event's id to recognise a repetition.
/// - `replay_event` is deterministic in the events it was given and what it reads through the projection.
/// - An event type it does not know is not an error: skip it by returning `Ok`.
/// - An error or a panic stops this replayer at the event, with back-off, until it succeeds. Nothing that it wrote for
///   the failed event is kept.
/// - It must not block for ever: its thread cannot be killed.
pub trait EventReplayer: Send + 'static {
    /// Its name: `[A-Za-z0-9._-]{1,64}`, as for peers. Position and state are kept under it, so it must stay the same.
    fn name(&self) -> &str;

    /// The families it reads and writes through its projection; created if they do not exist.
    fn families(&self) -> Vec<String>;

    /// Replays one event. Events come in the order of the log, which is causal.
    ///
    /// # Errors
    /// Whatever keeps it from replaying the event now; it is asked again after a back-off.
    fn replay_event(&mut self, event: &Event, projection: &mut Projection<'_>) -> Result<(), ReplayError>;

    /// Told after each committed batch: everything up to this clock is replayed.
    fn merge_clock(&mut self, clock: &VClock) {
        let _ = clock;
    }
}
