//! The replies, as one type.

use serde::{Deserialize, Serialize};

use crate::reply::{
    AppendReply, BroughtBack, Chains, Comparison, Conflicts, CortexAllowed, Done, ForkResolution, Forks, KeptProgress,
    KeyRotated, LatestPage, Location, LogReply, Manifest, ModeSet, NewEpoch, PeerModeSet, PeerReset, Reloaded, Replay,
    ReplayRetried, ReplaySkipped, Resolved, Status, Verified, WaitReply,
};

/// A reply of another kind than the request asks for.
#[derive(Debug, thiserror::Error)]
#[error("the node that serves gave a reply that this command does not expect; run one version of both")]
pub struct UnexpectedReply;

macro_rules! replies {
    ($($(#[$doc:meta])* $variant:ident($type:ty),)+) => {
        /// What a node replies to a [`super::Request`].
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Reply { $($(#[$doc])* $variant(Box<$type>),)+ }

        $(
            impl From<$type> for Reply {
                fn from(reply: $type) -> Self {
                    Self::$variant(Box::new(reply))
                }
            }

            impl TryFrom<Reply> for $type {
                type Error = UnexpectedReply;

                fn try_from(reply: Reply) -> Result<Self, UnexpectedReply> {
                    match reply {
                        Reply::$variant(reply) => Ok(*reply),
                        _ => Err(UnexpectedReply),
                    }
                }
            }
        )+
    };
}

replies! {
    /// To `Append` and `AppendData`.
    Append(AppendReply),
    /// To `ImportProgress`.
    ImportProgress(KeptProgress),
    /// To `Log`.
    Log(LogReply),
    /// To `View`.
    Latest(LatestPage),
    /// To requests without anything to report.
    Done(Done),
    /// To `WaitReplicated`.
    Wait(WaitReply),
    /// To `Conflicts`.
    Conflicts(Conflicts),
    /// To `Resolve`.
    Resolved(Resolved),
    /// To `ReplayList`.
    Replay(Replay),
    /// To `ReplayRetry`.
    ReplayRetried(ReplayRetried),
    /// To `ReplaySkip`.
    ReplaySkipped(ReplaySkipped),
    /// To `Status`.
    Status(Status),
    /// To `Location`.
    Location(Location),
    /// To `Reload`.
    Reloaded(Reloaded),
    /// To `ResetPeer`.
    PeerReset(PeerReset),
    /// To `AllowCortex`.
    Allowed(CortexAllowed),
    /// To `SetPeerMode`.
    PeerMode(PeerModeSet),
    /// To `SetMode`.
    Mode(ModeSet),
    /// To `NewEpoch`.
    NewEpoch(NewEpoch),
    /// To `RotateKey`.
    KeyRotated(KeyRotated),
    /// To `Verify`.
    Verified(Verified),
    /// To `Digest`.
    Chains(Chains),
    /// To `Compare`.
    Comparison(Comparison),
    /// To `Backup`.
    Backup(Manifest),
    /// To `ForkList`.
    Forks(Forks),
    /// To `ForkResolve`.
    ForkResolution(ForkResolution),
    /// To `ForkBringBack`.
    BroughtBack(BroughtBack),
}
