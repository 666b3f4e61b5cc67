//! The mode of the node, and which peers are pulled.

use antiphon_kernel::config::{FederationMode, PeerMode};
use antiphon_kernel::ids::PeerName;
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
