//! The requests.

use std::path::PathBuf;

use antiphon_kernel::config::{FederationMode, PeerMode};
use antiphon_kernel::cursor::Cursor;
use antiphon_kernel::ids::{CortexId, EventId, PeerName};
use serde::{Deserialize, Serialize};

use super::attached::Attached;
use crate::reply::Progress;

/// What a command asks of a node.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum Request {
    /// CloudEvents JSON texts, appended together.
    Append {
        events: Attached,
        lowercase_extensions: bool,
        /// The progress of the import, which is kept with the events or not at all.
        progress: Option<ImportProgress>,
    },
    /// One event, of data as they are.
    AppendData {
        event_type: String,
        subject: Option<String>,
        content_type: Option<String>,
        data: Attached,
    },
    /// What is kept about an earlier import of an input that begins so.
    ImportProgress {
        key: String,
    },
    Log {
        after: Option<Cursor>,
        limit: usize,
        wait_ms: u64,
    },
    View {
        subject: Option<String>,
        /// Continue after this subject.
        after: Option<String>,
    },
    /// Whether it makes sense to wait for these peers, before anything is appended.
    CanWait {
        peers: Vec<PeerName>,
    },
    WaitReplicated {
        id: EventId,
        peers: Vec<PeerName>,
        count: usize,
        timeout_ms: u64,
    },
    Conflicts,
    Resolve {
        subject: String,
        /// Keep this one, or ...
        take: Option<EventId>,
        /// ... the type (that of the newest, if none) and content type of what replaces them ...
        replacement: Option<(Option<String>, String)>,
        /// ... and its data.
        data: Attached,
    },
    ReplayList {
        /// The node's own, if none.
        #[serde(default)]
        replayer: Option<String>,
    },
    ReplayRetry {
        #[serde(default)]
        replayer: Option<String>,
        subject: Option<String>,
    },
    ReplaySkip {
        #[serde(default)]
        replayer: Option<String>,
        at: Cursor,
    },
    Status,
    /// Whether its files are where its path leads to.
    Location,
    /// Read the configuration again and take it up.
    Reload,
    ResetPeer {
        name: PeerName,
    },
    AllowCortex {
        name: PeerName,
        cortex: CortexId,
    },
    SetPeerMode {
        name: PeerName,
        mode: PeerMode,
    },
    SetMode {
        mode: FederationMode,
    },
    /// Begin a new epoch, where ids cannot be made under this one.
    NewEpoch,
    /// Replace the working key.
    RotateKey,
    Verify,
    Compare {
        peer: PeerName,
    },
    Digest,
    Backup {
        to: PathBuf,
        /// Whether the backup gets the node's own keys.
        #[serde(default)]
        with_keys: bool,
    },
    ForkList,
    ForkEvidence {
        skip: usize,
        limit: usize,
    },
    ForkResolve(Wanted),
    /// Append again what was set aside: what this node wrote, or all.
    ForkBringBack {
        all: bool,
    },
}

impl Request {
    /// Whether it puts events into the log.
    pub const fn appends(&self) -> bool {
        matches!(
            self,
            Self::Append { .. } | Self::AppendData { .. } | Self::Resolve { .. } | Self::ForkBringBack { .. }
        )
    }

    /// The bytes that follow the command.
    pub(crate) const fn attached(&self) -> Option<&Attached> {
        match self {
            Self::Append { events, .. } => Some(events),
            Self::AppendData { data, .. } | Self::Resolve { data, .. } => Some(data),
            _ => None,
        }
    }

    pub(crate) const fn attached_mut(&mut self) -> Option<&mut Attached> {
        match self {
            Self::Append { events, .. } => Some(events),
            Self::AppendData { data, .. } | Self::Resolve { data, .. } => Some(data),
            _ => None,
        }
    }
}

/// The progress of an import, and the key that it is kept under.
#[derive(Debug, Serialize, Deserialize)]
pub struct ImportProgress {
    pub key: String,
    pub progress: Progress,
}

/// Which version of which forks to keep.
#[derive(Debug, Serialize, Deserialize)]
pub struct Wanted {
    pub choice: Choice,
    /// Of this origin alone.
    pub origin: Option<String>,
    /// Report the costs, and change nothing.
    pub dry_run: bool,
}

/// Which version to keep.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Choice {
    /// A digest, or enough of its beginning; or `owner`.
    Keep(String),
    /// The versions that a peer holds.
    Follow(PeerName),
}
