//! What counts against the quotas of what is stored: bytes of events by who wrote them, and origins that began within a day.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::asked::IngestError;
use super::entry::damaged;
use super::exclusions::ExclusionCause;
use super::held::LogState;
use super::ingest::IngestPlan;
use super::log_reader::LogReader;
use super::origins::{OriginNote, OriginNotes};
use crate::codec::decode_brought;
use crate::ids::{CortexId, Origin, PeerName};
use crate::limits::PeerLimits;
use crate::store::{Family, Store, StoreError, keys};
use crate::time::Timestamp;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// The bytes of events of a cortex that its quota leaves room for.
pub(super) fn stored_room(limits: &PeerLimits, notes: &OriginNotes, cortex: CortexId) -> u64 {
    let Some(limit) = limits.of(cortex).stored_bytes else { return u64::MAX };
    let stored = notes.iter().filter(|(origin, _)| origin.cortex() == cortex).map(|(_, note)| note.bytes).sum();
    limit.saturating_sub(stored)
}

/// The origins that are held, and where to find when they began.
pub(super) struct Begun<'a> {
    pub(super) store: &'a dyn Store,
    pub(super) notes: &'a OriginNotes,
    /// Origins that are staged and not stored: they begin now.
    pub(super) staged: &'a BTreeSet<Origin>,
    pub(super) now: Timestamp,
}

impl Begun<'_> {
    /// The new origins of a cortex that its quota leaves room for today, and that of the peer that brings them.
    pub(super) fn room(
        &self,
        limits: &PeerLimits,
        cortex: CortexId,
        (name, peer): (Option<&PeerName>, CortexId),
    ) -> Result<u64, StoreError> {
        let mut room = u64::MAX;
        if let Some(limit) = limits.of(cortex).new_origins_per_day {
            room = limit.saturating_sub(self.count(|origin, _| origin.cortex() == cortex)?);
        }
        if let Some(limit) = limits.of(peer).new_origins_per_day {
            let brought = self.count(|_, note| note.brought_by.as_ref() == name)?;
            room = room.min(limit.saturating_sub(brought));
        }
        Ok(room)
    }

    /// How many of these began within a day. Origins that were begun by appends here do not count.
    fn count(&self, counts: impl Fn(Origin, &OriginNote) -> bool) -> Result<u64, StoreError> {
        let mut count = 0;
        for (&origin, note) in self.notes {
            if note.brought_by.is_some() && counts(origin, note) && self.is_of_today(origin)? {
                count += 1;
            }
        }
        Ok(count)
    }

    fn is_of_today(&self, origin: Origin) -> Result<bool, StoreError> {
        if self.staged.contains(&origin) {
            return Ok(true);
        }
        // Its first event came with the note of who brought it.
        let Some(brought) = self.store.get(Family::Evidence, &keys::bringer(origin, 1))? else { return Ok(false) };
        let (_, at) = decode_brought(&brought).map_err(|e| damaged(Family::Evidence, &e))?;
        Ok(self.now.saturating_since(at) < DAY)
    }
}

/// Whether what is new in a batch stays within the quotas of the cortexes that wrote it, and of the peer that brings it. What this cortex
/// wrote itself comes back, whatever it costs.
pub(super) fn check_quotas(plan: &IngestPlan<'_>, peer: CortexId, held: &dyn LogState) -> Result<(), IngestError> {
    if !held.has_quotas() {
        return Ok(());
    }
    let own = held.identity().cortex_id;
    let mut new = BTreeMap::<CortexId, (u64, u64)>::new();
    for event in plan.events.iter().filter(|event| event.dot.origin().cortex() != own) {
        new.entry(event.dot.origin().cortex()).or_default().0 += event.bytes.len() as u64;
    }
    for origin in plan.chains.keys().filter(|origin| origin.cortex() != own) {
        new.entry(origin.cortex()).or_default().1 += u64::from(held.chain(*origin).is_none());
    }
    // The share of the peer is for the origins of all cortexes together.
    let mut begun = 0;
    for (cortex, (bytes, origins)) in new {
        let over = |cause, need| Err(IngestError::OverQuota { cortex, cause, need });
        if bytes > held.stored_room(cortex) {
            return over(ExclusionCause::StoredQuota, bytes);
        }
        if origins > 0 && begun + origins > held.origins_room(cortex, peer)? {
            return over(ExclusionCause::OriginQuota, origins);
        }
        begun += origins;
    }
    Ok(())
}

impl LogReader {
    pub(super) fn set_limits(&self, limits: &PeerLimits) {
        self.shared.set_limits(limits.clone());
    }

    /// The bytes of events of a cortex that its quota leaves room for.
    pub(crate) fn stored_room(&self, cortex: CortexId) -> u64 {
        stored_room(&self.shared.limits(), &self.shared.notes(), cortex)
    }

    /// The new origins of a cortex that its quota leaves room for today, and that of the peer that brings them.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) fn origins_room(
        &self,
        cortex: CortexId,
        peer: (&PeerName, CortexId),
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let (notes, staged) = (self.origins(), BTreeSet::new());
        let begun = Begun { store: &**self.store(), notes: &notes, staged: &staged, now };
        begun.room(&self.shared.limits(), cortex, (Some(peer.0), peer.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::encode_brought;
    use crate::ids::Epoch;
    use crate::limits::{CortexLimits, Limits};
    use crate::store::{Batch, Durability};
    use crate::testing::MemoryStore;

    fn cortex(n: u8) -> CortexId {
        CortexId::from_bytes([n; 16])
    }

    fn name(text: &str) -> PeerName {
        PeerName::new(text).unwrap()
    }

    #[test]
    fn all_origins_of_a_cortex_count_against_its_bytes() {
        let origin = |n, epoch| Origin::new(cortex(n), Epoch::new(epoch));
        let note = |bytes| OriginNote { bytes, ..OriginNote::default() };
        let notes = OriginNotes::from([(origin(1, 1), note(40)), (origin(1, 2), note(50)), (origin(2, 1), note(60))]);
        let default = Limits { stored_bytes: Some(100), ..Limits::default() };
        let rule = CortexLimits { cortex: cortex(2), name: None, limits: Limits::default() };
        let limits = PeerLimits { default, peers: vec![rule] };
        let room = |n| stored_room(&limits, &notes, cortex(n));
        assert_eq!((room(1), room(2), room(3)), (10, u64::MAX, 100));
    }

    #[test]
    fn origins_count_for_a_day_with_their_cortex_and_with_the_peer_that_brought_them() {
        let (store, hour) = (MemoryStore::new(), 3_600_000_000);
        let at = |hours: i64| Timestamp::from_micros(hours * hour);
        let (mut notes, mut changes) = (OriginNotes::new(), Batch::new());
        for (n, epoch, by, hours) in [(1, 1, "hub", 0), (1, 2, "hub", 20), (2, 1, "hub", 20), (1, 3, "other", 21)] {
            let origin = Origin::new(cortex(n), Epoch::new(epoch));
            notes.insert(origin, OriginNote { brought_by: Some(name(by)), ..OriginNote::default() });
            changes.put(Family::Evidence, &keys::bringer(origin, 1), &encode_brought(&name(by), at(hours)));
        }
        // One of its own, and one that is not stored yet.
        let (own, fresh) = (Origin::new(cortex(9), Epoch::new(1)), Origin::new(cortex(1), Epoch::new(4)));
        notes.insert(own, OriginNote::default());
        notes.insert(fresh, OriginNote { brought_by: Some(name("hub")), ..OriginNote::default() });
        store.commit(&changes, Durability::Sync).unwrap();
        let staged = BTreeSet::from([fresh]);
        let of = |of: &[(u8, u64)]| PeerLimits {
            default: Limits::default(),
            peers: of
                .iter()
                .map(|&(n, origins)| CortexLimits {
                    cortex: cortex(n),
                    name: None,
                    limits: Limits { new_origins_per_day: Some(origins), ..Limits::default() },
                })
                .collect(),
        };
        let room = |limits: &[(u8, u64)], n, hours| {
            let begun = Begun { store: &store, notes: &notes, staged: &staged, now: at(hours) };
            begun.room(&of(limits), cortex(n), (Some(&name("hub")), cortex(5))).unwrap()
        };
        assert_eq!(room(&[], 1, 23), u64::MAX);
        // Of the cortex itself: all four within a day, and one of them not any more.
        assert_eq!((room(&[(1, 10)], 1, 23), room(&[(1, 10)], 1, 24)), (6, 7));
        // Of the peer: what it brought of any cortex.
        assert_eq!((room(&[(5, 10)], 3, 23), room(&[(5, 10)], 3, 24)), (6, 7));
        assert_eq!(room(&[(1, 10), (5, 5)], 1, 23), 1, "the smaller of both");
        assert_eq!(room(&[(1, 2)], 1, 23), 0);
    }
}
