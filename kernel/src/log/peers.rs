//! What is kept about peers beside the log: cursors, pins, last contact, health. Read straight from the store; written
//! through the one writer.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::entry::damaged;
use crate::codec::{decode_cursor, decode_failure, decode_health, decode_pin, decode_timestamp, encode_pin};
use crate::cursor::Cursor;
use crate::health::PeerHealth;
use crate::identity::PublicKey;
use crate::ids::{CortexId, PeerName};
use crate::store::{Batch, Family, KeyRange, Store, StoreError, keys};
use crate::time::Timestamp;

/// The identity a peer proved at first contact; ever after it must prove the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pin {
    /// The cortex it is.
    pub cortex_id: CortexId,
    /// Its root key; `None` before the first contact of a peer that was pinned by its id alone.
    pub root: Option<PublicKey>,
    /// The highest number of its key statements that was seen; 0 before the first contact.
    pub statement: u64,
    /// When it was pinned.
    pub since: Timestamp,
}

impl Pin {
    /// The pin of a peer of which only the id is known yet.
    #[must_use]
    pub const fn of_id(cortex_id: CortexId, since: Timestamp) -> Self {
        Self { cortex_id, root: None, statement: 0, since }
    }
}

/// Adds to a batch that a peer is pinned to this identity.
pub fn put_pin(changes: &mut Batch, peer: &PeerName, pin: &Pin) {
    changes.put(Family::Pins, keys::peer(peer), &encode_pin(pin));
}

/// How far a peer's log has been read.
///
/// # Errors
/// [`StoreError`].
pub fn read_cursor(store: &dyn Store, peer: &PeerName) -> Result<Option<Cursor>, StoreError> {
    let bytes = store.get(Family::Cursors, &keys::peer_cursor(peer))?;
    bytes.map(|b| decode_cursor(&b).map_err(|e| damaged(Family::Cursors, &e))).transpose()
}

/// When a peer was last reached.
///
/// # Errors
/// [`StoreError`].
pub(crate) fn read_seen(store: &dyn Store, peer: &PeerName) -> Result<Option<Timestamp>, StoreError> {
    let bytes = store.get(Family::Cursors, &keys::peer_seen(peer))?;
    bytes.map(|b| decode_timestamp(&b).map_err(|e| damaged(Family::Cursors, &e))).transpose()
}

/// What exactly failed last with a peer; `None` after a success.
///
/// # Errors
/// [`StoreError`].
pub(crate) fn read_failure(store: &dyn Store, peer: &PeerName) -> Result<Option<String>, StoreError> {
    let bytes = store.get(Family::Cursors, &keys::peer_failure(peer))?;
    bytes.map(|b| decode_failure(&b).map_err(|e| damaged(Family::Cursors, &e))).transpose()
}

/// Who a peer is pinned to be.
///
/// # Errors
/// [`StoreError`].
pub fn read_pin(store: &dyn Store, peer: &PeerName) -> Result<Option<Pin>, StoreError> {
    let bytes = store.get(Family::Pins, keys::peer(peer))?;
    bytes.map(|b| decode_pin(&b).map_err(|e| damaged(Family::Pins, &e))).transpose()
}

/// The pinned cortexes.
pub(crate) type Pinned = BTreeMap<CortexId, PinnedTo>;

/// What a cortex is pinned to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PinnedTo {
    /// The peer's name.
    pub(crate) name: PeerName,
    /// The highest number of its key statements that was seen.
    pub(crate) statement: u64,
}

/// Reads every pin, by cortex.
///
/// # Errors
/// [`StoreError`].
pub(super) fn read_pinned(store: &dyn Store) -> Result<Pinned, StoreError> {
    Ok(read_pins(store)?
        .into_iter()
        .map(|(name, pin)| (pin.cortex_id, PinnedTo { name, statement: pin.statement }))
        .collect())
}

/// Every name that is pinned, and to which identity.
///
/// # Errors
/// [`StoreError`].
pub fn read_pins(store: &dyn Store) -> Result<Vec<(PeerName, Pin)>, StoreError> {
    let (mut pins, mut fault) = (Vec::new(), None);
    store.scan(Family::Pins, KeyRange::prefix(&[]), &mut |key, value| {
        let name = std::str::from_utf8(key).ok().and_then(|name| PeerName::new(name).ok());
        match (name, decode_pin(value)) {
            (Some(name), Ok(pin)) => pins.push((name, pin)),
            // A name of another version's: it is left alone.
            (None, _) => {}
            (_, Err(error)) => fault = Some(damaged(Family::Pins, &error)),
        }
        if fault.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    fault.map_or(Ok(pins), Err)
}

/// How a peer fares; healthy and never reached if nothing is kept.
///
/// # Errors
/// [`StoreError`].
pub(crate) fn read_health(store: &dyn Store, peer: &PeerName) -> Result<PeerHealth, StoreError> {
    let bytes = store.get(Family::Health, keys::peer(peer))?;
    let health = bytes.map(|b| decode_health(&b).map_err(|e| damaged(Family::Health, &e))).transpose()?;
    Ok(health.unwrap_or_default())
}
