//! Events that were appended, and their copies.

use antiphon_kernel::cursor::Cursor;
use antiphon_kernel::ids::{EventId, PeerName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What came of an append.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AppendReply {
    /// All events are durable.
    Appended(Appended),
    /// One event was refused, and none was appended.
    Refused(Refused),
}

/// Events that are durable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Appended {
    /// The events, in the order given.
    pub appended: Vec<AppendedEvent>,
    /// Whether the node serves its log, so that other nodes can fetch the events.
    pub leaves: bool,
    /// Whether an origin of this node is forked.
    pub forked: bool,
}

/// One event that is durable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AppendedEvent {
    /// Sequence number of the event in this node's log.
    pub seq: u64,
    /// CloudEvents `id` of the event.
    #[schemars(with = "String")]
    pub id: EventId,
    /// Origin and counter of the event.
    pub dot: String,
    /// Cursor of the event.
    #[schemars(with = "String")]
    pub cursor: Cursor,
}

/// One event that cannot be appended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// Its index in the command, from 0.
    pub refused: usize,
    /// Why it was refused.
    pub error: String,
    /// Its stable code; absent if it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
}

/// What came of waiting for copies of an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitReply {
    /// Every wanted peer holds the event.
    Replicated(Replicated),
    /// The time ended before that.
    Late(Late),
}

/// The copies of an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Replicated {
    /// Number of other cortexes that durably hold the event.
    pub confirmed: usize,
}

/// The copies of an event, and those that are missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Late {
    /// Number of other cortexes that durably hold the event.
    pub confirmed: usize,
    /// The peers that did not confirm the event in time.
    pub missing: Vec<PeerName>,
    /// The peers that were never in contact.
    pub unknown: Vec<PeerName>,
    /// The same as a sentence.
    pub error: String,
    /// Its stable code; absent if it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
}

/// The progress of one import. The node keeps it with the events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Number of events, counted from the beginning of the input.
    pub events: u64,
    /// Digest of their texts.
    pub digest: String,
    /// When the last of them was appended.
    pub at: String,
}

/// The progress that is kept of an import; nothing if none is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeptProgress(pub Option<Progress>);

/// An import that is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Imported {
    /// Number of events that were appended.
    #[serde(rename = "imported")]
    pub appended: u64,
    /// Number of events that an earlier import of the same input had appended.
    pub skipped: u64,
}
