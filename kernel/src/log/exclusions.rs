//! Cortexes of which nothing is taken from a peer. One fork or one origin too many concerns the cortex that wrote it, and must
//! not keep the events of others from coming.
//!
//! An exclusion is stored before the question that it changes. It ends together with the cursor, which passed what was excluded.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::entry::damaged;
use crate::codec::{decode_exclusions, encode_exclusions};
use crate::ids::{CortexId, PeerName};
use crate::store::{Batch, Family, Store, StoreError, keys};
use crate::time::Timestamp;

/// Why a cortex is excluded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExclusionCause {
    /// The peer differs in as many histories as one question can name, and in one of this cortex besides.
    Forks,
    /// The cortex has an origin for which a clock here has no place.
    Origins,
    /// The quota of its stored bytes is used up.
    StoredQuota,
    /// Its quota of new origins is used up for now, or that of the peer.
    OriginQuota,
}

impl ExclusionCause {
    pub(crate) const fn number(self) -> u8 {
        match self {
            Self::Forks => 1,
            Self::Origins => 2,
            Self::StoredQuota => 4,
            Self::OriginQuota => 5,
        }
    }

    pub(crate) const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Forks),
            2 => Some(Self::Origins),
            4 => Some(Self::StoredQuota),
            5 => Some(Self::OriginQuota),
            _ => None,
        }
    }
}

impl fmt::Display for ExclusionCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Forks => "one of its histories differs, and as many as a question can name differ already",
            Self::Origins => "it has an origin too many for a clock",
            Self::StoredQuota => "its events take as much space here as its quota allows",
            Self::OriginQuota => "as many origins began here within 24 hours as its quota or that of the peer allows",
        })
    }
}

/// A cortex of which nothing is taken from a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exclusion {
    /// The cortex.
    pub cortex: CortexId,
    /// Why.
    pub cause: ExclusionCause,
    /// How many forks with the peer, or origins, there were then. With fewer the exclusion ends. Of a quota, how much was to be stored:
    /// with room for that it ends.
    pub count: u64,
    /// Since when, on our clock.
    pub since: Timestamp,
}

/// Reads the exclusions of a peer, by cortex.
///
/// # Errors
/// [`StoreError`].
pub fn exclusions(store: &dyn Store, peer: &PeerName) -> Result<Vec<Exclusion>, StoreError> {
    let bytes = store.get(Family::Cursors, &keys::peer_exclusions(peer))?;
    let read = bytes.map(|b| decode_exclusions(&b).map_err(|e| damaged(Family::Cursors, &e))).transpose()?;
    Ok(read.unwrap_or_default())
}

/// Reads the cortexes that a question to a peer excludes, in order.
///
/// # Errors
/// [`StoreError`].
pub fn excluded(store: &dyn Store, peer: &PeerName) -> Result<Vec<CortexId>, StoreError> {
    Ok(exclusions(store, peer)?.into_iter().map(|exclusion| exclusion.cortex).collect())
}

/// Adds to a batch that these are the exclusions of a peer.
pub(crate) fn put_exclusions(changes: &mut Batch, peer: &PeerName, mut exclusions: Vec<Exclusion>) {
    let key = keys::peer_exclusions(peer);
    if exclusions.is_empty() {
        return changes.delete(Family::Cursors, &key);
    }
    exclusions.sort_unstable_by_key(|exclusion| exclusion.cortex);
    changes.put(Family::Cursors, &key, &encode_exclusions(&exclusions));
}
