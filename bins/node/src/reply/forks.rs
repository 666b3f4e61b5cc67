//! Forks, their costs, and how they ended.

use antiphon_kernel::ids::{CortexId, PeerName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// All forks that the node knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Forks(pub Vec<ForkReport>);

/// One fork: both versions, and what each choice costs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ForkReport {
    /// The origin with two histories.
    pub origin: String,
    /// Counter of the first event that differs.
    pub from: u64,
    /// Digest of the version here, at this counter.
    pub ours: String,
    /// Whether this node holds the version in `ours`; false while a chosen version has not arrived.
    pub held: bool,
    /// Whether the origin is this node's own.
    pub own: bool,
    /// The peer that brought the version here; null if this node wrote it.
    #[schemars(with = "Option<String>")]
    pub brought_by: Option<PeerName>,
    /// Digest of the other version, at this counter.
    pub theirs: String,
    /// The peer that holds the other version.
    #[schemars(with = "String")]
    pub peer: PeerName,
    /// Cortex id of this peer.
    #[schemars(with = "String")]
    pub holder: CortexId,
    /// Whether this peer is the origin's own cortex.
    pub by_owner: bool,
    /// When the fork was found.
    pub since: String,
    /// The peers that brought events which the origin's own cortex is not known to hold.
    #[schemars(with = "Vec<String>")]
    pub suspects: Vec<PeerName>,
    /// What each choice costs.
    pub costs: ForkCosts,
    /// The version to keep.
    pub advice: Advice,
}

/// What each choice costs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ForkCosts {
    /// The costs of keeping the version here.
    pub ours: KeepOurs,
    /// The costs of keeping the other version.
    pub theirs: KeepTheirs,
}

/// The costs of keeping the version here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeepOurs {
    /// Number of events that leave the log here: 0.
    pub here: u64,
    /// Number of events that leave the peer's log, at least.
    pub there_at_least: u64,
}

/// The costs of keeping the other version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeepTheirs {
    /// Number of events that leave the log here.
    pub here: u64,
    /// Number of events in the log here.
    pub of: u64,
    /// The events that leave the log here, by origin.
    pub whose: Vec<OwnedEvents>,
}

/// Events of one origin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OwnedEvents {
    /// The origin.
    pub origin: String,
    /// Number of events.
    pub events: u64,
    /// Whether the origin is this node's own.
    pub own: bool,
    /// The peer whose origin it is, if it is configured here.
    #[schemars(with = "Option<String>")]
    pub peer: Option<PeerName>,
}

/// The version to keep, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Advice {
    /// Digest of the version.
    pub keep: String,
    /// The reason.
    pub why: String,
}

/// How forks ended, or what a choice would do. The fields differ: see each form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ForkResolution {
    /// With `--dry-run`.
    DryRun {
        /// True.
        dry_run: bool,
        /// The forks that would end.
        would: Vec<ForkChoice>,
        /// The forks that would stay, as origin and counter.
        left: Vec<String>,
    },
    /// With `--keep owner` and with `--follow`.
    Each {
        /// The forks that ended.
        resolved: Vec<ResolvedFork>,
        /// The forks that stay, as origin and counter.
        left: Vec<String>,
    },
    /// With `--keep DIGEST`.
    One(ResolvedFork),
}

/// A fork, and what a choice would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ForkChoice {
    /// The fork.
    #[serde(flatten)]
    pub fork: ForkReport,
    /// Digest of the version that would be kept.
    pub keep: String,
    /// Number of events that would leave the log here.
    pub set_aside: u64,
}

/// A fork that ended here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ResolvedFork {
    /// Whether this node holds the version that was kept; false until it arrives from a peer.
    pub held: bool,
    /// The origin.
    pub origin: String,
    /// Counter of the first event that differed.
    pub from: u64,
    /// Digest of the version that was kept.
    pub kept: String,
    /// Number of events that left the log here.
    pub set_aside: u64,
}

/// Events that were appended again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BroughtBack {
    /// Number of events that were appended again under new ids.
    pub appended: u64,
    /// Number of events that are in the log again unchanged.
    pub held: u64,
    /// Number of events of other nodes, which were not appended.
    pub others: u64,
    /// Number of events that cannot be read, which were not appended: a part of them is missing, or a newer version wrote them.
    pub unread: u64,
}
