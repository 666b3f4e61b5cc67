//! Why a cortex continues under a new epoch.

use std::fmt;

use super::entry::damaged;
use crate::codec::decode_epoch_change;
use crate::ids::Epoch;
use crate::store::{Family, Store, StoreError, keys};
use crate::time::Timestamp;

/// What made an epoch end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EpochEnd {
    /// The data are in another place than they were written in: a copy, or a clone of a machine.
    Copied,
    /// The end of the log is missing that was durable once.
    LostTail,
    /// A peer holds more of what was written here than this log does.
    RolledBack,
    /// They were restored from a backup.
    Restored,
    /// A peer holds another event at a counter of this cortex's chain.
    Forked,
    /// A fork was resolved by setting events aside.
    Resolved,
    /// Its store was damaged, and what was whole was taken over into another.
    Repaired,
    /// Its last event id was further ahead of the clock than ids may be.
    ClockSetBack,
    /// Its working key was replaced: each epoch has one.
    NewKey,
}

impl EpochEnd {
    const ALL: [Self; 9] = [
        Self::Copied,
        Self::LostTail,
        Self::RolledBack,
        Self::Restored,
        Self::Forked,
        Self::Resolved,
        Self::Repaired,
        Self::ClockSetBack,
        Self::NewKey,
    ];

    /// Whether an operator began the new epoch with a command: nothing to warn of.
    #[must_use]
    pub const fn is_on_purpose(self) -> bool {
        matches!(self, Self::Restored | Self::Resolved | Self::Repaired | Self::ClockSetBack | Self::NewKey)
    }

    pub(crate) fn code(self) -> u8 {
        Self::ALL.iter().position(|&reason| reason == self).and_then(|at| u8::try_from(at).ok()).unwrap_or(0)
    }

    pub(crate) fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }
}

impl fmt::Display for EpochEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Copied => "the data directory is a copy of another one, or was moved to another machine",
            Self::LostTail => "the end of the log is missing, which was durable once",
            Self::RolledBack => "a peer holds events of this node that its store has lost",
            Self::Restored => "the store was restored from a backup",
            Self::Forked => "a peer holds other events than this node does at places of this node's own history",
            Self::Resolved => "events were set aside to resolve a fork",
            Self::Repaired => "the store was damaged, and what was whole of it was taken over",
            Self::ClockSetBack => "the last event id was more than 24 hours ahead of this node's clock",
            Self::NewKey => "the node has a new working key",
        })
    }
}

/// The last change of epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochChange {
    /// The epoch that ended.
    pub from: Epoch,
    /// Why.
    pub why: EpochEnd,
    /// When, on this cortex's clock.
    pub at: Timestamp,
}

/// The last change of epoch that this store remembers.
///
/// # Errors
/// [`StoreError`].
pub fn read_epoch_change(store: &dyn Store) -> Result<Option<EpochChange>, StoreError> {
    let bytes = store.get(Family::Meta, keys::META_EPOCH_CHANGE)?;
    bytes.map(|b| decode_epoch_change(&b).map_err(|e| damaged(Family::Meta, &e))).transpose()
}
