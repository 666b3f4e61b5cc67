//! Continuing under a new epoch: what a peer may still hold more of is never extended. A pure decision.

use super::LocalIdentity;
use super::epoch_change::{EpochChange, EpochEnd};
use super::held::LogState;
use super::lineage::Lineage;
use super::minted::{last_id_within, put_minted};
use crate::codec::{RecordRef, encode_epoch_change, encode_identity};
use crate::cursor::Seq;
use crate::ids::{Epoch, EventId};
use crate::mutant::{self, Mutant};
use crate::protocol::{ChainHead, EventBatch};
use crate::store::{Batch, Family, StoreError, keys};
use crate::time::Timestamp;

/// Adds to a batch that this cortex continues under the epoch `next`. Up to the sequence number `shared` the log is what it was
/// in the epoch that ends.
pub(super) fn put_epoch(
    changes: &mut Batch,
    (identity, lineage): (&mut LocalIdentity, &mut Lineage),
    next: Epoch,
    (why, shared): (EpochEnd, Seq),
    at: Timestamp,
) {
    if mutant::is(Mutant::ExtendOldEpoch) {
        return;
    }
    let change = EpochChange { from: identity.epoch, why, at };
    if why.is_on_purpose() {
        tracing::info!(from = %identity.epoch, to = %next, "this node continues under a new epoch: {why}");
    } else {
        tracing::warn!(from = %identity.epoch, to = %next, "this node continues under a new epoch: {why}");
    }
    lineage.end(identity.epoch, shared);
    lineage.put(changes);
    identity.epoch = next;
    put_minted(changes, next, at);
    changes.put(Family::Meta, keys::META_IDENTITY, &encode_identity(identity));
    changes.put(Family::Meta, keys::META_EPOCH_CHANGE, &encode_epoch_change(&change));
}

/// A change of epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct EpochPlan {
    pub(super) next: Epoch,
    pub(super) why: EpochEnd,
    pub(super) at: Timestamp,
    /// The last sequence number that names the same event in every history of the epoch that ends.
    pub(super) shared: Seq,
    /// The id to continue from, where the newest one is too far ahead of the clock. The epoch is new, so no event of its
    /// chain has it.
    pub(super) restart: Option<EventId>,
}

/// Plans that this cortex continues under the epoch `next`.
pub(super) fn plan_epoch(
    next: Epoch,
    why: EpochEnd,
    at: Timestamp,
    held: &dyn LogState,
) -> Result<EpochPlan, StoreError> {
    let shared = match why {
        // Another history of this epoch exists, or may: it parted from this one after our last event that both have.
        EpochEnd::RolledBack | EpochEnd::Forked | EpochEnd::Copied => {
            held.seq_of_own(held.counter(held.identity().origin()))?
        }
        _ => held.head().seq,
    };
    let last = last_id_within(held.last_id(), at);
    Ok(EpochPlan { next, why, at, shared, restart: (last != held.last_id()).then_some(last) })
}

/// Returns whether a batch brings events that follow on our own chain and that we do not have: with the very next one, chained
/// to our own digest, up to the head in the batch.
pub(super) fn shows_lost(batch: &EventBatch, held: &dyn LogState) -> bool {
    let own = held.identity().origin();
    let tip = held.chain(own).cloned().unwrap_or_default();
    let (mut counter, mut digest) = (tip.counter, tip.digest);
    for (_, record) in &batch.events {
        match RecordRef::decode(record) {
            Ok(record) if record.dot.origin() == own && record.dot.counter() == counter + 1 => {
                (counter, digest) = (record.dot.counter(), record.digest_after(digest));
            }
            _ => {}
        }
    }
    counter > tip.counter && batch.heads.get(own) == Some(ChainHead { counter, digest })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::StoredChain;
    use crate::event::EventBytes;
    use crate::ids::Dot;
    use crate::log::held::NewEvent;
    use crate::log::held::tests::Few;

    /// Two events of its own and one entry of another cortex after them.
    fn held() -> Few {
        let mut held = Few::new();
        let own = held.identity.origin();
        let other = crate::ids::Origin::new(crate::log::held::tests::cortex(2), Epoch::new(1));
        for (origin, counter) in [(own, 1), (own, 2), (other, 1)] {
            let dot = Dot::new(origin, counter).unwrap();
            let chain = StoredChain { counter, ..StoredChain::default() };
            let id = EventId::from_parts(counter, 0);
            held.push(&NewEvent { id, dot, digest: chain.digest, record: EventBytes::from_static(b"x") }, chain);
        }
        held
    }

    #[test]
    fn what_all_histories_share_ends_at_the_last_own_event_where_another_history_may_exist() {
        let mut held = held();
        let at = Timestamp::from_micros(0);
        let mut shared = |why| plan_epoch(Epoch::new(2), why, at, &held).unwrap().shared.get();
        assert_eq!([EpochEnd::RolledBack, EpochEnd::Forked, EpochEnd::Copied].map(&mut shared), [2, 2, 2]);
        assert_eq!([EpochEnd::Restored, EpochEnd::LostTail, EpochEnd::Resolved].map(&mut shared), [3, 3, 3]);
        held.begun = Seq::new(3);
        assert_eq!(plan_epoch(Epoch::new(2), EpochEnd::Copied, at, &held).unwrap().shared, Seq::new(3));
    }

    #[test]
    fn an_id_too_far_ahead_of_the_clock_is_left_behind() {
        let mut held = held();
        let restart = |held: &Few| {
            plan_epoch(Epoch::new(2), EpochEnd::ClockSetBack, Timestamp::from_micros(0), held).unwrap().restart
        };
        held.last_id = EventId::from_parts(1000, 0);
        assert_eq!(restart(&held), None);
        held.last_id = EventId::from_parts(u64::from(u32::MAX), 0);
        assert_eq!(restart(&held), Some(EventId::from_bytes([0; 16])));
    }
}
