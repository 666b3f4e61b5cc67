//! Continuing under a new epoch: what a peer may still hold more of is never extended. A pure decision.

use super::LocalIdentity;
use super::epoch_change::{EpochChange, EpochEnd};
use super::held::LogState;
use super::lineage::Lineage;
use super::minted::{last_id_within, put_minted};
use crate::codec::{RecordRef, encode_epoch_change, encode_identity};
use crate::cursor::Seq;
use crate::identity::{PublicKey, Sealed};
use crate::ids::{Epoch, EventId};
use crate::mutant::{self, Mutant};
use crate::protocol::{ChainHead, EventBatch, OwnHead};
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

/// Returns whether a peer holds more of our current origin than we do: its key sealed an event beyond our head. `key` is the working key
/// of this cortex.
pub(super) fn is_ahead(head: &OwnHead, held: &dyn LogState, key: PublicKey) -> bool {
    let own = held.identity().origin();
    let (key, counter) = held.chain(own).map_or((key, 0), |tip| (tip.start.key, tip.counter));
    let &OwnHead { origin, digest, id, clock, ref seal, .. } = head;
    let sealed = Sealed { origin, counter: head.counter, digest, id, clock };
    let is_sealed = || mutant::is(Mutant::OwnHeadNotSealed) || sealed.is_sealed_by(&key, seal);
    origin == own && head.counter > counter && is_sealed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::StoredChain;
    use crate::digest::Digest;
    use crate::event::EventBytes;
    use crate::identity::Signer;
    use crate::ids::Dot;
    use crate::log::held::NewEvent;
    use crate::log::held::tests::Few;
    use crate::testing::seeded_keys;

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

    #[test]
    fn a_head_of_our_own_counts_only_beyond_ours_and_with_our_seal() {
        let mut held = held();
        let (keys, other) = (seeded_keys(1), seeded_keys(2));
        let (own, key) = (held.identity.origin(), keys.statement().working());
        let of = |origin, counter, keys: &dyn Signer| {
            let (digest, id, clock) = (Digest::of(b"lost"), EventId::from_parts(counter, 0), [7; 32]);
            let seal = Sealed { origin, counter, digest, id, clock }.sign(keys).unwrap();
            OwnHead { origin, counter, digest, id, clock, seal }
        };
        let ahead = of(own, 3, &*keys);
        let chain = held.chains.get_mut(&own).unwrap();
        chain.start.key = key;
        assert!(is_ahead(&ahead, &held, key));
        assert!(!is_ahead(&of(own, 2, &*keys), &held, key), "it is held here");
        assert!(!is_ahead(&of(own, 3, &*other), &held, key), "the seal of another key");
        assert!(!is_ahead(&OwnHead { clock: [8; 32], ..ahead }, &held, key), "not what was sealed");
        let former = crate::ids::Origin::new(own.cortex(), Epoch::new(77));
        assert!(!is_ahead(&of(former, 9, &*keys), &held, key), "it is not written on");
        // Of an epoch of which nothing is held, the key is that of this cortex.
        held.identity.epoch = Epoch::new(78);
        let ahead = of(held.identity.origin(), 1, &*keys);
        assert!(is_ahead(&ahead, &held, key) && !is_ahead(&ahead, &held, other.statement().working()));
    }
}
