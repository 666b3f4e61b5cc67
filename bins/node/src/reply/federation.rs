//! The mode of the node, and which peers are pulled.

use antiphon_kernel::config::{FederationMode, PeerMode};
use antiphon_kernel::ids::{CortexId, PeerName};
use antiphon_kernel::time::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The mode of the node, as a command set it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ModeSet {
    /// The mode from now on: `sync`, `publish` or `subscribe`.
    #[schemars(with = "String")]
    pub mode: FederationMode,
    /// The mode in the configuration file.
    #[schemars(with = "String")]
    pub in_file: FederationMode,
}

/// The mode of a peer, as a command set it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PeerModeSet {
    /// The peer's name.
    #[schemars(with = "String")]
    pub peer: PeerName,
    /// The mode from now on: `sync` or `paused`.
    #[schemars(with = "String")]
    pub mode: PeerMode,
    /// The mode in the configuration file.
    #[schemars(with = "Option<String>")]
    pub in_file: Option<PeerMode>,
}

/// A peer whose state was cleared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PeerReset {
    /// The peer's name.
    #[schemars(with = "String")]
    pub reset: PeerName,
}

/// A cortex that may read from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CortexAllowed {
    /// Its id.
    #[schemars(with = "String")]
    pub cortex_id: CortexId,
    /// Its name, for people.
    #[schemars(with = "String")]
    pub name: PeerName,
    /// The same as a rule below `access.rules` of the configuration.
    pub rule: String,
}

/// A cortex that wants to connect and is not allowed to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PendingCortex {
    /// Its id. It proved that the id is its own.
    #[schemars(with = "String")]
    pub cortex_id: CortexId,
    /// The fingerprint of its root key, as `antiphon identity show` prints it there.
    pub fingerprint: String,
    /// The name that it gives itself.
    pub name: String,
    /// When it first asked, since the node's start.
    #[schemars(with = "String")]
    pub since: Timestamp,
    /// When it last asked.
    #[schemars(with = "String")]
    pub asked: Timestamp,
    /// How many times it was refused.
    pub refused: u64,
}

/// The cortexes that want to connect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PendingCortexes(pub Vec<PendingCortex>);
