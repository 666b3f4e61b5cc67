//! The store: backups, repairs, epochs.

use std::path::PathBuf;

use antiphon_kernel::cursor::Cursor;
use antiphon_kernel::ids::{CortexId, PeerName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a backup says about itself. It holds no shared key and no certificate: those are the configuration's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Manifest {
    /// Cortex id of the node.
    #[schemars(with = "String")]
    pub cortex_id: CortexId,
    /// Name of the node.
    pub name: String,
    /// Epoch of the node.
    pub epoch: String,
    /// Number of events.
    pub events: u64,
    /// Digest of all events: what `antiphon digest` prints.
    pub digest: String,
    /// When the backup was made.
    pub made_at: String,
    /// Version of the program that made it.
    pub version: String,
    /// Whether it holds the node's own keys.
    #[serde(default)]
    pub keys: bool,
}

/// A store that was put back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Restored {
    /// The backup.
    pub backup: Manifest,
    /// The epoch that the node continues under.
    pub epoch: String,
    /// Cursor at the end of the backup: what the earlier data hold beyond it begins after this cursor.
    #[schemars(with = "String")]
    pub cursor: Cursor,
    /// Path of the earlier data; null if there were none.
    pub before: Option<PathBuf>,
}

/// What a repair did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Repaired {
    /// What was wrong; null if nothing was, and then nothing was changed.
    pub fault: Option<String>,
    /// Number of events that were whole and are kept.
    pub kept: u64,
    /// Number of whole events behind a gap. They join the log once the gap is filled.
    pub waiting: u64,
    /// Events that must come from peers: origin, first counter, last counter.
    pub lost: Vec<(String, u64, u64)>,
    /// Number of durable events at the end of the log that are gone, of whichever origin; null if that is not known.
    pub lost_at_end: Option<u64>,
    /// What else to know, each as a sentence.
    pub notes: Vec<String>,
    /// Path of the damaged data; null if nothing was changed.
    pub before: Option<PathBuf>,
}

/// An epoch that begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NewEpoch {
    /// The epoch that ended.
    pub from: String,
    /// The epoch from now on.
    pub epoch: String,
}

/// Whether the files of a node that serves are where its path leads to. This reply and its request never change: a command of any
/// version must find a node of any version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Location {
    /// `node.name` in the configuration.
    pub name: PeerName,
    /// Process id of the node.
    pub process: u32,
    /// What became of the files; null if they are in place.
    pub displaced: Option<String>,
}
