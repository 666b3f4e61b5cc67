//! Replayers, and the events that they could not replay.

use antiphon_kernel::cursor::Cursor;
use antiphon_kernel::ids::EventId;
use antiphon_kernel::replay::ReplayStatus;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The state of one replayer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Replayer {
    /// Name of the replayer.
    pub name: String,
    /// Sequence number of the last event that was replayed.
    pub position: u64,
    /// Sequence number up to which a running rebuild has replayed.
    pub rebuild_position: Option<u64>,
    /// Sequence number at which a running rebuild is complete.
    pub rebuild_until: Option<u64>,
    /// Number of tries of the next event that failed in a row.
    pub failures: u32,
    /// The error of the last of these tries.
    pub last_error: Option<String>,
    /// Number of sequence numbers that are not replayed yet.
    pub lag_events: u64,
    /// Number of parked events.
    pub parked: usize,
    /// Number of subjects in conflict; 0 for a replayer without causality.
    pub conflicts: u64,
    /// Cursor of the event that fails.
    #[schemars(with = "Option<String>")]
    pub fails_at: Option<Cursor>,
    /// Cursor of an event that takes longer than its limit.
    #[schemars(with = "Option<String>")]
    pub hangs_at: Option<Cursor>,
}

impl From<ReplayStatus> for Replayer {
    fn from(status: ReplayStatus) -> Self {
        let rebuild = status.rebuild;
        Self {
            name: status.name,
            position: status.position,
            rebuild_position: rebuild.map(|rebuild| rebuild.position),
            rebuild_until: rebuild.map(|rebuild| rebuild.until),
            failures: status.failures,
            last_error: status.last_error,
            lag_events: status.lag_events,
            parked: status.parked,
            conflicts: status.conflicts,
            fails_at: status.fails_at,
            hangs_at: status.hangs_at,
        }
    }
}

/// One replayer, with its parked and skipped events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Replay {
    /// The replayer.
    pub replayer: Replayer,
    /// The parked events, oldest first.
    pub parked: Vec<ParkedEvent>,
    /// The skipped events, oldest first.
    pub skipped: Vec<SkippedEvent>,
}

/// An event that is parked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ParkedEvent {
    /// Cursor of the event, which `antiphon replay skip` takes.
    #[schemars(with = "Option<String>")]
    pub cursor: Option<Cursor>,
    /// Subject of the event.
    pub subject: Option<String>,
    /// Number of tries; 0 for an event that waits for an earlier one of its subject.
    pub tries: u32,
    /// The error of the last try, or what the event waits for.
    pub error: String,
}

/// An event that a command skipped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SkippedEvent {
    /// Id of the event.
    #[schemars(with = "String")]
    pub id: EventId,
    /// Subject of the event.
    pub subject: Option<String>,
    /// The error of its last try.
    pub error: String,
    /// When it was skipped.
    pub at: String,
}

/// Parked events that were tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReplayRetried {
    /// Number of events that were replayed.
    pub replayed: usize,
    /// Number of events that are still parked.
    pub parked: usize,
}

/// An event that is skipped from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReplaySkipped {
    /// Cursor of the event.
    #[schemars(with = "String")]
    pub skipped: Cursor,
}
