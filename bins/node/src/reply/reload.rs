//! What a reload changed.

use antiphon_kernel::config::{FederationMode, PeerMode};
use antiphon_kernel::ids::PeerName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a reload changed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Reloaded {
    /// The peers that are pulled from now on.
    #[schemars(with = "Vec<String>")]
    pub added: Vec<PeerName>,
    /// The peers that are not pulled any more.
    #[schemars(with = "Vec<String>")]
    pub removed: Vec<PeerName>,
    /// The peers that are dialled again, at another endpoint or with another authority.
    #[schemars(with = "Vec<String>")]
    pub moved: Vec<PeerName>,
    /// The peers that were paused or resumed.
    pub modes: Vec<ModeChange>,
    /// The new interval in seconds; null if it did not change.
    pub interval_seconds: Option<f64>,
    /// The new mode of the node; null if it did not change.
    #[schemars(with = "Option<String>")]
    pub mode: Option<FederationMode>,
    /// The new floor of free disk space, in MiB; null if it did not change.
    pub min_free_mib: Option<u64>,
    /// The new memory budget, in MiB; null if it did not change.
    pub memory_budget_mib: Option<u64>,
    /// Whether the quotas changed.
    #[serde(default)]
    pub limits_changed: bool,
    /// Whether another key is presented to peers.
    pub key_changed: bool,
    /// Whether other keys are accepted from peers.
    pub accepted_keys_changed: bool,
    /// Whether other authorities are trusted, or other lists of what they revoked are used.
    pub authorities_changed: bool,
    /// Whether peers are shown other client certificates.
    pub client_certificates_changed: bool,
    /// Whether the listeners show another certificate.
    pub certificate_changed: bool,
    /// Whether the listeners use another authority of the clients, or another list of what it revoked.
    pub client_authority_changed: bool,
    /// The day on which the certificate ends; null without TLS.
    pub certificate_until: Option<String>,
    /// What is wrong with the certificate, or will be soon.
    pub certificate_trouble: Option<String>,
    /// What did not work, each as a sentence.
    pub troubles: Vec<String>,
    /// Number of keys that are accepted.
    pub keys: usize,
    /// The settings that a command overrides, each as a sentence.
    pub overridden: Vec<String>,
}

/// A peer that was paused or resumed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ModeChange {
    /// The peer's name.
    #[schemars(with = "String")]
    pub peer: PeerName,
    /// The mode from now on: `sync` or `paused`.
    #[schemars(with = "String")]
    pub mode: PeerMode,
}
