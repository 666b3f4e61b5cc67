//! What a replayer shows, and why a command or a wait for it failed.

use super::core::{ReplayCore, SkipError};
use crate::cursor::Cursor;
use crate::error_code::ErrorCode;
use crate::store::StoreError;

/// The state of a replayer, for operators.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ReplayStatus {
    /// Its name.
    pub name: String,
    /// The last sequence number replayed into what readers see.
    pub position: u64,
    /// How far a rebuild is, while one runs.
    pub rebuild: Option<RebuildStatus>,
    /// How many tries of the next event failed in a row.
    pub failures: u32,
    /// What the last of them said.
    pub last_error: Option<String>,
    /// How many events of the log it has still to replay.
    pub lag_events: u64,
    /// How many events are parked: in the build that is filled, while a rebuild runs.
    pub parked: usize,
    /// How many subjects are in conflict in what readers see, where it asked for causality.
    pub conflicts: u64,
    /// The cursor of the event that fails.
    pub fails_at: Option<Cursor>,
    /// The cursor of an event that it has been at for longer than its limit.
    pub hangs_at: Option<Cursor>,
}

/// How far a rebuild is. Readers see the earlier state until it is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct RebuildStatus {
    /// The last sequence number replayed into the new build.
    pub position: u64,
    /// The sequence number at which readers see the new build.
    pub until: u64,
    /// The version of the replayer that fills it.
    pub version: u32,
}

impl RebuildStatus {
    /// How far the rebuild of a replayer is, while one runs.
    pub(super) fn of(core: &ReplayCore) -> Option<Self> {
        let filling = core.filling()?;
        Some(Self { position: filling.position.get(), until: filling.until.get(), version: filling.version })
    }
}

/// Why a command for a replayer failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayCommandError {
    /// It could not be carried out.
    #[error(transparent)]
    Skip(#[from] SkipError),
    /// The replayer ended, or hangs in an event and does not hear.
    #[error("the replayer does not answer: it ended, or hangs in an event")]
    Gone,
}

impl ReplayCommandError {
    /// The stable code of this failure.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Skip(error) => error.code(),
            Self::Gone => ErrorCode::ReplayGone,
        }
    }
}

impl From<StoreError> for ReplayCommandError {
    fn from(error: StoreError) -> Self {
        Self::Skip(error.into())
    }
}

/// Why an event is not replayed.
///
/// ```
/// use antiphon_kernel::testing::MemoryStore;
/// use antiphon_kernel::{Cortex, Draft, NotReplayed};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let cortex = Cortex::builder(MemoryStore::new()).name("alpha").start().await?;
/// let event = cortex.append(Draft::new("note.written", "hello")).await?;
/// assert!(matches!(cortex.wait_replayed(&event).await, Err(NotReplayed::NoReplayer)));
/// cortex.stop().await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotReplayed {
    /// Replay halts at this event or an earlier one. It is tried again, with growing pauses.
    #[error("replay halts: {error}")]
    Halted {
        /// What the replayer answered.
        error: String,
    },
    /// The event failed, or follows one of its subject that did, and waits for a retry or a skip.
    #[error("the event is parked: {error}")]
    Parked {
        /// What the replayer answered.
        error: String,
    },
    /// The replayer ended.
    #[error("the replayer ended")]
    Stopped,
    /// The cortex has no causal replayer.
    #[error("the cortex has no causal replayer to wait for")]
    NoReplayer,
    /// It cannot be read whether the event is parked.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl NotReplayed {
    /// The stable code of this failure.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Halted { .. } => ErrorCode::ReplayHalted,
            Self::Parked { .. } => ErrorCode::ReplayParked,
            Self::Stopped => ErrorCode::ReplayStopped,
            Self::NoReplayer => ErrorCode::ReplayNoReplayer,
            Self::Store(error) => error.code(),
        }
    }
}
