//! The node's keys.

use std::path::PathBuf;

use antiphon_kernel::ids::CortexId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who a node is, by its key files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodeIdentity {
    /// Cortex id of the node.
    #[schemars(with = "String")]
    pub cortex_id: CortexId,
    /// Fingerprint of the root public key: the first 16 bytes of its SHA-256.
    pub root_fingerprint: String,
    /// Fingerprint of the working public key.
    pub working_fingerprint: String,
    /// Number of the key statement that certifies the working key.
    pub statement: u64,
    /// Whether the root key is in the data directory.
    pub root_key_here: bool,
    /// Path of the file with the working key and its statement.
    pub identity_key: PathBuf,
    /// Path of the file with the root key, if it is here.
    pub root_key: PathBuf,
}

/// A root key that was moved out or copied in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RootKeyMoved {
    /// Cortex id of the node.
    #[schemars(with = "String")]
    pub cortex_id: CortexId,
    /// Path of the file outside of the data directory.
    pub file: PathBuf,
    /// Whether the root key is in the data directory now.
    pub root_key_here: bool,
}

/// A working key that was replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeyRotated {
    /// Cortex id of the node; it stays the same.
    #[schemars(with = "String")]
    pub cortex_id: CortexId,
    /// Fingerprint of the new working public key.
    pub working_fingerprint: String,
    /// Number of the key statement that certifies it.
    pub statement: u64,
    /// Earlier epochs that the statement lists with their ends.
    pub ended_epochs: usize,
    /// The epoch from now on.
    pub epoch: String,
    /// Path of the file with the new key and its statement.
    pub identity_key: PathBuf,
}
