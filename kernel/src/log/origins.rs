//! What is kept of an origin besides its chain: who brought it, and how much space it takes.

use std::collections::BTreeMap;

use super::decoded::read_decoded;
use crate::codec::{decode_origin_note, encode_origin_note};
use crate::ids::{Origin, PeerName};
use crate::store::{Batch, Family, Store, StoreError, keys};

/// Of the origins that a clock may hold, so many are kept for the epochs of this cortex and its pinned peers.
pub(super) const RESERVED_ORIGINS: usize = 64;
/// Of the reserved ones, so many are kept for what this cortex appends itself.
pub(super) const OWN_ORIGINS: usize = 16;

/// An origin in this log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OriginNote {
    /// The peer that brought its first event; `None` for what was appended here, and where that was never noted.
    pub brought_by: Option<PeerName>,
    /// Whether it took one of the reserved places of a clock.
    pub reserved: bool,
    /// Bytes of its records in this log.
    pub bytes: u64,
    /// How many of its events those are: fewer than the log holds where some came before this was counted.
    pub events: u64,
}

/// All of them.
pub(crate) type OriginNotes = BTreeMap<Origin, OriginNote>;

/// How much of the reserved origins one peer may fill and has filled. All origins that the peer brings count: or a peer
/// that makes epochs of another one up would spend what is kept for that one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reservation {
    /// How many it has filled.
    pub filled: usize,
    /// How many it may fill.
    pub quota: usize,
}

impl Reservation {
    /// The part of one of so many pinned peers.
    pub(super) fn of(notes: &OriginNotes, peer: Option<&PeerName>, peers: usize) -> Self {
        let filled = notes.values().filter(|note| note.reserved && note.brought_by.as_ref() == peer).count();
        Self { filled, quota: ((RESERVED_ORIGINS - OWN_ORIGINS) / peers.max(1)).max(1) }
    }
}

/// Reads every note.
///
/// # Errors
/// [`StoreError`].
pub(super) fn read_origin_notes(store: &dyn Store) -> Result<OriginNotes, StoreError> {
    let wrong = || StoreError::corrupt("family `meta`: a key is not an origin's");
    let found = read_decoded(store, Family::Meta, keys::META_ORIGINS, keys::origin_of_note, decode_origin_note, wrong)?;
    Ok(found.into_iter().collect())
}

/// Adds a note to a batch.
pub(super) fn put_origin_note(changes: &mut Batch, origin: Origin, note: &OriginNote) {
    changes.put(Family::Meta, &keys::origin_note(origin), &encode_origin_note(note));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{CortexId, Epoch};

    #[test]
    fn what_is_reserved_is_divided_among_peers_and_charged_to_the_one_that_brings_it() {
        let name = |text| PeerName::new(text).unwrap();
        let note = |by| OriginNote { brought_by: Some(name(by)), reserved: true, ..OriginNote::default() };
        let origin = |n| Origin::new(CortexId::from_bytes([1; 16]), Epoch::new(n));
        let mut notes: OriginNotes = (0..20).map(|n| (origin(n), note("liar"))).collect();
        notes.insert(origin(20), OriginNote { reserved: false, ..note("liar") });
        assert_eq!(Reservation::of(&notes, Some(&name("liar")), 2), Reservation { filled: 20, quota: 24 });
        assert_eq!(Reservation::of(&notes, Some(&name("honest")), 2), Reservation { filled: 0, quota: 24 });
        assert_eq!(Reservation::of(&notes, None, 1000).quota, 1);
    }
}
