//! What commands report besides what a node knows.

use std::path::PathBuf;

use antiphon_kernel::ids::{CortexId, LogId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A node that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Initialised {
    /// Cortex id of the node.
    #[schemars(with = "String")]
    pub cortex_id: CortexId,
    /// Id of the log that the node belongs to.
    #[schemars(with = "Option<String>")]
    pub log: Option<LogId>,
    /// Epoch of the node.
    pub epoch: String,
    /// Path of the data directory.
    pub data_dir: PathBuf,
    /// Path of the configuration file.
    pub config: PathBuf,
    /// Path of the file with the working key, which the node signs with.
    pub identity_key: PathBuf,
    /// Path of the file with the root key, which names the cortex.
    pub root_key: PathBuf,
    /// Path of the file with the shared key; null if the configuration names none.
    pub key_file: Option<PathBuf>,
}

/// Certificates that were made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Certificates {
    /// Path of their directory.
    pub dir: PathBuf,
}

/// A configuration that can be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Checked {
    /// True. A configuration that cannot be used is an error.
    pub ok: bool,
    /// Number of peers.
    pub peers: usize,
}

/// Why a watched node has no status at present.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Unseen {
    /// Whether a node serves.
    pub serving: bool,
    /// Why it has no status.
    pub error: String,
    /// Its stable code; absent if it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub code: Option<String>,
}

/// Why the status page has no status at present.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Failure {
    /// The error.
    pub error: String,
    /// Its stable code; absent if it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub code: Option<String>,
}

/// A request was carried out, and there is nothing to report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done;
