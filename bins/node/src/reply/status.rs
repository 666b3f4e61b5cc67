//! The status of a node and its peers.

use std::collections::BTreeMap;

use antiphon_kernel::condition::Condition;
use antiphon_kernel::config::{FederationMode, PeerMode};
use antiphon_kernel::health::ErrorCategory;
use antiphon_kernel::ids::{CortexId, EventId, LogId, PeerName};
use antiphon_kernel::internals::log::EpochEnd;
use antiphon_kernel::log::ExclusionCause;
use antiphon_kernel::state::Phase;
use antiphon_kernel::time::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::federation::PendingCortex;
use super::replay::Replayer;

/// The status of a node and its peers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// Name of the node, as its store has it.
    pub name: String,
    /// Cortex id of the node.
    #[schemars(with = "String")]
    pub cortex_id: CortexId,
    /// Id of the log that the node belongs to; null until its first event.
    #[schemars(with = "Option<String>")]
    pub log: Option<LogId>,
    /// Epoch of the node.
    pub epoch: String,
    /// The last change of the epoch; null if there was none.
    pub epoch_change: Option<EpochChange>,
    /// Epochs under this node's id that its store did not begin.
    pub claimed_epochs: Vec<ClaimedEpoch>,
    /// Version of the program.
    pub version: String,
    /// Whether a node serves.
    pub serving: bool,
    /// `sync`, `publish` or `subscribe`.
    #[schemars(with = "String")]
    pub mode: FederationMode,
    /// The node's clock.
    #[schemars(with = "String")]
    pub now: Timestamp,
    /// When the process opened the store.
    #[schemars(with = "String")]
    pub started_at: Timestamp,
    /// Number of events in the log.
    pub events: u64,
    /// Number of events that are durable.
    pub durable_events: u64,
    /// Number of events that this node appended, in all its epochs.
    pub own_events: u64,
    /// Number of them that no other node is known to hold durably. After a start that is all of them, until peers ask again.
    pub own_events_only_here: u64,
    /// The nodes that pulled this one since its start: peers by name, then other nodes by their last question; at most 200.
    pub pulled_by: Vec<Puller>,
    /// The nodes that want to connect and may not read anything here; at most 256.
    pub pending: Vec<PendingCortex>,
    /// Number of origins in the log.
    pub origins: usize,
    /// Digest of all durable events: equal on nodes that hold the same ones.
    pub digest: String,
    /// Number of forks that are not resolved.
    pub forks: usize,
    /// Cortexes of which two processes run.
    pub doubles: Vec<Double>,
    /// `node.name` in the configuration, if the store has another name.
    #[schemars(with = "Option<String>")]
    pub configured_name: Option<PeerName>,
    /// Number of keys that are accepted.
    pub keys: usize,
    /// Where the keys come from: `environment` or `file`; null without keys.
    pub keys_from: Option<String>,
    /// Limit of open files of the process.
    pub open_files_limit: Option<u64>,
    /// Number of subjects in conflict.
    pub conflicts: u64,
    /// Why nothing can be written; null if writes succeed.
    pub read_only: Option<String>,
    /// Why appends are refused; null if they are not.
    pub appends_refused: Option<AppendsRefused>,
    /// Size of the memory budget, in bytes.
    pub memory_budget_bytes: u64,
    /// Bytes of the memory budget that are in use.
    pub memory_used_bytes: u64,
    /// Number of callers that wait for a share of the memory budget.
    pub memory_waiting: usize,
    /// Number of callers that found no share in time.
    pub memory_refused: u64,
    /// Free bytes on the disk of the store.
    pub disk_free_bytes: Option<u64>,
    /// Free bytes below which no peer is pulled.
    pub disk_floor_bytes: u64,
    /// What is wrong with the disk space, or will be soon.
    pub disk_trouble: Option<String>,
    /// What each peer brought.
    pub brought: Vec<Brought>,
    /// The origins that take the most space.
    pub largest_origins: Vec<LargestOrigin>,
    /// Bytes of events that are kept as evidence of forks and repairs.
    pub evidence_bytes: Option<u64>,
    /// The day on which the certificate of the listeners ends; null without TLS.
    pub certificate_until: Option<String>,
    /// What is wrong with the certificate, or will be soon.
    pub certificate_trouble: Option<String>,
    /// Whether the certificate is valid now.
    pub certificate_holds: Option<bool>,
    /// What is wrong with the list of revoked client certificates, or will be soon.
    pub client_list_trouble: Option<String>,
    /// Whether peers get answers: a listener is open, and the mode serves.
    pub answers_peers: bool,
    /// Why the last reload was refused; null if it succeeded.
    pub reload_refused: Option<String>,
    /// The replayers.
    pub replayers: Vec<Replayer>,
    /// The peers, by name. The status page lists at most 200, those that need attention first.
    pub peers: Vec<Peer>,
    /// Number of peers; on the status page alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u64")]
    pub peers_total: Option<usize>,
    /// Number of peers in each state; on the status page alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "BTreeMap<String, u32>")]
    pub peers_by_state: Option<BTreeMap<String, u32>>,
    /// The last changes of peers' states, the newest first; on the status page alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Vec<StateChange>")]
    pub changes: Option<Vec<StateChange>>,
}

/// A change of a peer's state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StateChange {
    /// When it was noticed; the states are read each 5 seconds.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// The peer.
    #[schemars(with = "String")]
    pub peer: PeerName,
    /// Its state before.
    #[schemars(with = "String")]
    pub from: Condition,
    /// Its state since.
    #[schemars(with = "String")]
    pub to: Condition,
}

/// A node that pulls this one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Puller {
    /// Its cortex id.
    #[schemars(with = "String")]
    pub cortex_id: CortexId,
    /// Whether it proved that the id is its own. Otherwise it is what its questions say.
    pub proven: bool,
    /// The peer that is pinned to this cortex id, if the id is proved; null if none is.
    #[schemars(with = "Option<String>")]
    pub peer: Option<PeerName>,
    /// The address that it asked from last, with the port; behind a proxy the proxy's. Null if the transport has none.
    pub address: Option<String>,
    /// When it last asked.
    #[schemars(with = "String")]
    pub asked: Timestamp,
    /// Whether a question of it is open.
    pub connected: bool,
    /// The sequence number up to which it had read this log when it asked; null if it asked by its clock.
    pub read_up_to: Option<u64>,
    /// Number of events sent to it since the start.
    pub sent_events: u64,
    /// Bytes of these events.
    pub sent_bytes: u64,
    /// Whether its quota slowed or refused it within the last ten seconds.
    #[serde(default)]
    pub slowed: bool,
    /// Number of its questions that were refused since the start because its quota was used up.
    #[serde(default)]
    pub refused_over_quota: u64,
}

/// A change of the node's epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EpochChange {
    /// The epoch that ended.
    pub from: String,
    /// Code of the reason, such as `restored`.
    #[schemars(with = "String")]
    pub why: EpochEnd,
    /// The reason as a sentence.
    pub reason: String,
    /// When the epoch changed.
    pub at: String,
    /// The peer that showed the reason, if one did.
    #[schemars(with = "Option<String>")]
    pub peer: Option<PeerName>,
    /// Whether an operator caused the change.
    pub on_purpose: bool,
}

/// An epoch under this node's id that its store did not begin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClaimedEpoch {
    /// The epoch.
    pub epoch: String,
    /// The peer that brought its first event.
    #[schemars(with = "String")]
    pub peer: PeerName,
    /// When this event came.
    pub since: String,
    /// Number of its events in the log.
    pub events: u64,
}

/// A cortex of which two processes run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Double {
    /// Cortex id.
    #[schemars(with = "String")]
    pub cortex_id: CortexId,
    /// Whether it is this node's own.
    pub own: bool,
    /// The peers that are pinned to it.
    #[schemars(with = "Vec<String>")]
    pub peers: Vec<PeerName>,
    /// When that was noticed.
    pub since: String,
}

/// Why appends are refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AppendsRefused {
    /// `store`, `clock` or `origins`.
    pub why: String,
    /// The reason as a sentence.
    pub reason: String,
    /// The stable code of the reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub code: Option<String>,
    /// What to do.
    pub remedy: String,
}

/// What one peer brought.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Brought {
    /// The peer; null for what was appended here.
    #[schemars(with = "Option<String>")]
    pub peer: Option<PeerName>,
    /// Number of origins.
    pub origins: u64,
    /// Number of events.
    pub events: u64,
    /// Bytes of these events.
    pub bytes: u64,
}

/// An origin and its space.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LargestOrigin {
    /// The origin.
    pub origin: String,
    /// The peer that brought it; null for what was appended here.
    #[schemars(with = "Option<String>")]
    pub brought_by: Option<PeerName>,
    /// Number of events.
    pub events: u64,
    /// Bytes of these events.
    pub bytes: u64,
}

/// All peers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Peers(pub Vec<Peer>);

/// The state of one peer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Peer {
    /// Its name in the configuration.
    #[schemars(with = "String")]
    pub name: PeerName,
    /// Its endpoint in the configuration.
    pub endpoint: String,
    /// `sync` or `paused`.
    #[schemars(with = "String")]
    pub mode: PeerMode,
    /// What the node does about it, such as `live` or `catching_up`; null if no node serves.
    #[schemars(with = "Option<String>")]
    pub phase: Option<Phase>,
    /// Its state, such as `live`, `backing_off` or `halted`; null if no node serves.
    #[schemars(with = "Option<String>")]
    pub state: Option<Condition>,
    /// Its pinned cortex id; null before the first contact.
    #[schemars(with = "Option<String>")]
    pub cortex_id: Option<CortexId>,
    /// The cursor up to which its log was read.
    pub cursor: Option<String>,
    /// Id of the last event that was read from its log.
    #[schemars(with = "Option<String>")]
    pub last_event: Option<EventId>,
    /// When it was last reached.
    #[schemars(with = "Option<String>")]
    pub last_seen: Option<Timestamp>,
    /// Number of its events that are not here yet; null while unknown.
    pub lag_events: Option<u64>,
    /// Seconds between its newest event and the newest event read; null while unknown.
    pub lag_seconds: Option<f64>,
    /// Its clock minus this node's clock, in seconds; null while unknown.
    pub skew_seconds: Option<f64>,
    /// Version of its program.
    pub version: Option<String>,
    /// Number of exchanges that failed in a row.
    pub consecutive_failures: u32,
    /// Category of the last failure; null after a success.
    #[schemars(with = "Option<String>")]
    pub last_error: Option<ErrorCategory>,
    /// The stable code of the last failure; absent if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub code: Option<String>,
    /// Details of the last failure.
    pub detail: Option<String>,
    /// What is wrong, as a sentence.
    pub reason: Option<String>,
    /// What to do.
    pub remedy: Option<String>,
    /// Number of this node's own events that it is known to hold durably; null until it reports some after a start.
    pub holds_own_events: Option<u64>,
    /// Number of events that came from it since the process began.
    pub received_events: u64,
    /// Number of forks in which it may have brought events that the origin's own cortex does not hold.
    pub suspect_forks: usize,
    /// Number of its histories that differ from those here.
    pub withheld_histories: u64,
    /// Number of its events that do not come because of that, at least.
    pub withheld_events: u64,
    /// Cortexes of which nothing is taken from the peer, and why.
    pub excluded: Vec<Excluded>,
    /// Whether its quota here slows what is pulled from it, or did within the last ten seconds.
    #[serde(default)]
    pub slowed: bool,
    /// `lag_events` of the last five minutes, one each 5 seconds, oldest first; on the status page alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Vec<Option<u64>>")]
    pub lag_history: Option<Vec<Option<u64>>>,
}

impl Peer {
    /// A peer that is configured, and of which nothing else is known.
    pub fn unknown(name: PeerName, endpoint: &str, mode: PeerMode) -> Self {
        Self {
            name,
            endpoint: endpoint.to_owned(),
            mode,
            phase: None,
            state: None,
            cortex_id: None,
            cursor: None,
            last_event: None,
            last_seen: None,
            lag_events: None,
            lag_seconds: None,
            skew_seconds: None,
            version: None,
            consecutive_failures: 0,
            last_error: None,
            code: None,
            detail: None,
            reason: None,
            remedy: None,
            holds_own_events: None,
            received_events: 0,
            suspect_forks: 0,
            excluded: Vec::new(),
            slowed: false,
            withheld_histories: 0,
            withheld_events: 0,
            lag_history: None,
        }
    }
}

/// A cortex of which nothing is taken from a peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Excluded {
    /// Cortex id.
    #[schemars(with = "String")]
    pub cortex_id: CortexId,
    /// `forks` or `origins`.
    #[schemars(with = "String")]
    pub cause: ExclusionCause,
    /// The cause, as a sentence.
    pub reason: String,
    /// When it was excluded.
    #[schemars(with = "String")]
    pub since: Timestamp,
}
