//! Subjects in conflict.

use antiphon_kernel::ids::EventId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// All subjects in conflict. The texts of their events follow, in the same order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Conflicts(pub Vec<OpenConflict>);

/// One subject in conflict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenConflict {
    /// The subject.
    pub subject: String,
    /// Number of events whose texts follow.
    pub events: usize,
    /// Number of events in conflict whose texts do not follow.
    pub more: usize,
}

/// One subject in conflict, with its events.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ConflictReport<'a> {
    /// The concurrent events as CloudEvents, oldest first.
    #[schemars(with = "Vec<std::collections::BTreeMap<String, String>>")]
    pub events: Vec<&'a RawValue>,
    /// Number of events in conflict that are not listed.
    pub more: usize,
    /// The subject.
    pub subject: &'a str,
}

/// A conflict that ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Resolved {
    /// Id of the event that ended the conflict.
    #[schemars(with = "String")]
    pub id: EventId,
    /// Sequence number of this event.
    pub seq: u64,
    /// Ids of the events that it supersedes.
    #[schemars(with = "Vec<String>")]
    pub superseded: Vec<EventId>,
    /// Number of events that stay in conflict.
    pub left: usize,
}
