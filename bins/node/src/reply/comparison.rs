//! The log compared with itself and with a peer's.

use antiphon_kernel::sync::Compared;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A log that was read in full and compared with itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Verified {
    /// Whether no fault was found.
    pub clean: bool,
    /// Number of events that were read.
    pub events: u64,
    /// Number of origins of these events.
    pub origins: usize,
    /// Digest of all chain heads, computed again from the records.
    pub digest: String,
    /// The faults, each as a sentence; at most the first 100.
    pub faults: Vec<String>,
}

/// The digest of everything held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Chains {
    /// Digest of all chain heads: equal on nodes that hold the same events.
    pub digest: String,
    /// The chain head of each origin.
    pub chains: Vec<Chain>,
}

/// The chain head of one origin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Chain {
    /// The origin.
    pub origin: String,
    /// Counter of the newest event of this origin.
    pub counter: u64,
    /// Digest of the chain up to this event.
    pub digest: String,
}

/// All histories, compared with those of a peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Comparison(pub Vec<OriginComparison>);

/// One history, compared with a peer's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OriginComparison {
    /// The origin.
    pub origin: String,
    /// `result` is `agree` (with `up_to`, the last equal counter), `differ` (with `from`, the first different counter), `only_here` or
    /// `only_there`.
    #[schemars(with = "std::collections::BTreeMap<String, String>")]
    pub compared: Compared,
}
