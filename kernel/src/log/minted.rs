//! Which epochs this cortex began itself. Any holder of the federation's key can write under its id as well; what is not of
//! an epoch that this store began is a stranger's.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use super::LocalIdentity;
use super::decoded::read_decoded;
use super::entry::damaged;
use super::epoch_change::read_epoch_change;
use super::held::LogState;
use crate::codec::{decode_brought, decode_epoch_peer, encode_brought, encode_timestamp};
use crate::error_code::ErrorCode;
use crate::ids::{Epoch, EventId, MAX_DRIFT_MS, Origin, PeerName};
use crate::store::{Batch, Family, KeyRange, Store, StoreError, keys};
use crate::time::Timestamp;

/// Epochs that this cortex began.
pub(super) type Minted = BTreeSet<Epoch>;

/// An epoch under this cortex's id that its store did not begin: made up, or begun after the backup that was restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimedEpoch {
    /// The epoch.
    pub epoch: Epoch,
    /// The peer that brought the first event of it.
    pub peer: PeerName,
    /// When that came, on our clock.
    pub since: Timestamp,
}

/// Why no new epoch was begun on request.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NewEpochError {
    /// Ids can be made as they are.
    #[error("no new epoch is needed: the last event id is not more than 24 hours ahead of this node's clock")]
    NotNeeded,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl NewEpochError {
    /// The stable code of this failure.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::NotNeeded => ErrorCode::EpochNotNeeded,
            Self::Store(error) => error.code(),
        }
    }
}

/// The epochs that a store remembers to have begun. One from before they were remembered knows of the current epoch and the
/// previous one.
pub(super) fn minted(store: &dyn Store, identity: &LocalIdentity) -> Result<Minted, StoreError> {
    let mut epochs = remembered(store)?;
    if epochs.is_empty() {
        epochs.insert(identity.epoch);
        epochs.extend(read_epoch_change(store)?.map(|change| change.from));
    }
    Ok(epochs)
}

fn remembered(store: &dyn Store) -> Result<Minted, StoreError> {
    let (mut epochs, mut fault) = (Minted::new(), None);
    store.scan(Family::Meta, KeyRange::prefix(keys::META_MINTED), &mut |key, _| match keys::epoch_after(
        keys::META_MINTED,
        key,
    ) {
        Some(epoch) => {
            epochs.insert(epoch);
            ControlFlow::Continue(())
        }
        None => {
            fault = Some(StoreError::corrupt("family `meta`: a key is no epoch"));
            ControlFlow::Break(())
        }
    })?;
    fault.map_or(Ok(epochs), Err)
}

/// Adds to a batch that this cortex began an epoch.
pub(super) fn put_minted(changes: &mut Batch, epoch: Epoch, at: Timestamp) {
    changes.put(Family::Meta, &keys::minted(epoch), &encode_timestamp(at));
}

/// Adds what a store from before epochs were remembered knows of them.
pub(super) fn migrate(
    store: &dyn Store,
    minted: &Minted,
    now: Timestamp,
    changes: &mut Batch,
) -> Result<(), StoreError> {
    if remembered(store)?.is_empty() {
        minted.iter().for_each(|&epoch| put_minted(changes, epoch, now));
    }
    Ok(())
}

/// The newest id to go on from under a new epoch. One further ahead of the clock than may be is left behind: a new chain
/// need not exceed it.
pub(super) fn last_id_within(last: EventId, now: Timestamp) -> EventId {
    let ahead = last.timestamp_ms() > now.ulid_ms().saturating_add(MAX_DRIFT_MS);
    if ahead { EventId::from_bytes([0; 16]) } else { last }
}

/// The epochs under this cortex's id that came from peers and were not begun here.
///
/// # Errors
/// [`StoreError`].
pub fn claimed_epochs(store: &dyn Store) -> Result<Vec<ClaimedEpoch>, StoreError> {
    let wrong = || StoreError::corrupt("family `meta`: a key is no epoch");
    let epoch = |key: &[u8]| keys::epoch_after(keys::META_CLAIMED, key);
    let found = read_decoded(store, Family::Meta, keys::META_CLAIMED, epoch, decode_brought, wrong)?;
    Ok(found.into_iter().map(|(epoch, (peer, since))| ClaimedEpoch { epoch, peer, since }).collect())
}

/// The peer that made the last change of epoch necessary, by an event of this cortex's own that its log did not have.
///
/// # Errors
/// [`StoreError`].
pub fn read_epoch_peer(store: &dyn Store) -> Result<Option<PeerName>, StoreError> {
    let Some(change) = read_epoch_change(store)? else { return Ok(None) };
    let bytes = store.get(Family::Meta, keys::META_EPOCH_PEER)?;
    let shown = bytes.map(|b| decode_epoch_peer(&b).map_err(|e| damaged(Family::Meta, &e))).transpose()?;
    Ok(shown.filter(|(from, _)| *from == change.from).map(|(_, peer)| peer))
}

/// Returns the changes that note which peer brought the first event of an epoch under our id that we did not begin. `origins`
/// are those that a batch extends.
pub(super) fn note_claimed<'a>(
    origins: impl Iterator<Item = &'a Origin>,
    (peer, now): (&PeerName, Timestamp),
    minted: &Minted,
    held: &dyn LogState,
) -> Batch {
    let own = held.identity().cortex_id;
    let strange = |origin: &&Origin| {
        origin.cortex() == own && !minted.contains(&origin.epoch()) && held.chain(**origin).is_none()
    };
    let mut changes = Batch::new();
    for origin in origins.filter(strange) {
        tracing::warn!(
            %peer, epoch = %origin.epoch(), code = %ErrorCode::EpochClaimed,
            "events under this node's id came, of an epoch that its store did not begin"
        );
        changes.put(Family::Meta, &keys::claimed(origin.epoch()), &encode_brought(peer, now));
    }
    changes
}
