//! What decisions may ask of the log: one read-only trait, so that each can be tested without a store.

use std::collections::BTreeMap;

use super::LocalIdentity;
use super::entry::{EntryVisitor, LogHead, missing};
use super::origins::Reservation;
use crate::codec::{StoredChain, StoredDot};
use crate::cursor::Seq;
use crate::digest::Digest;
use crate::event::EventBytes;
use crate::identity::ChainStart;
use crate::ids::{CortexId, Dot, EventId, Origin};
use crate::store::StoreError;

/// An event that a decision adds to the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NewEvent {
    pub(super) id: EventId,
    pub(super) dot: Dot,
    /// Its chain's digest there.
    pub(super) digest: Digest,
    pub(super) record: EventBytes,
}

/// What a log holds, staged changes included.
pub trait LogState {
    /// Returns this cortex and its epoch.
    fn identity(&self) -> &LocalIdentity;

    /// Returns the newest entry.
    fn head(&self) -> LogHead;

    /// Returns the tips of all chains.
    fn chains(&self) -> &BTreeMap<Origin, StoredChain>;

    /// Returns the newest id that this cortex made, or zero.
    fn last_id(&self) -> EventId;

    /// Returns a sequence number that the current epoch cannot have begun before.
    fn begun(&self) -> Seq;

    /// Returns which version of an origin's event at a counter an operator chose to keep, by origin and counter.
    fn decisions(&self) -> &BTreeMap<(Origin, u64), Digest>;

    /// Returns the sequence number and chain digest of an event, or `None` if it is not held.
    ///
    /// # Errors
    /// [`StoreError`] where it cannot be read.
    fn dot(&self, origin: Origin, counter: u64) -> Result<Option<StoredDot>, StoreError>;

    /// Returns the sequence number of an event, or `None` if it is not held.
    ///
    /// # Errors
    /// [`StoreError`] where it cannot be read.
    fn seq(&self, origin: Origin, counter: u64) -> Result<Option<Seq>, StoreError> {
        Ok(self.dot(origin, counter)?.map(|dot| dot.seq))
    }

    /// Returns the first sequence number of each stored segment, from the one that holds this sequence number on.
    ///
    /// # Errors
    /// [`StoreError`] where they cannot be read.
    fn segments_from(&self, seq: Seq) -> Result<Vec<Seq>, StoreError>;

    /// Visits all entries in order. A missing entry is damage.
    ///
    /// # Errors
    /// [`StoreError`] where they cannot be read.
    fn visit(&self, visit: &mut EntryVisitor<'_>) -> Result<(), StoreError>;

    /// Returns whether an origin is an epoch that this cortex began, or of a cortex that a peer's name is pinned to.
    ///
    /// # Errors
    /// [`StoreError`] where it cannot be read.
    fn is_near(&self, origin: Origin) -> Result<bool, StoreError>;

    /// Returns how much of the reserved origins a peer may fill and has filled.
    fn reservation(&self, peer: CortexId) -> Reservation;

    /// Returns whether there is any quota of what is stored.
    fn has_quotas(&self) -> bool {
        false
    }

    /// Returns the bytes of events of a cortex that its quota leaves room for.
    fn stored_room(&self, _cortex: CortexId) -> u64 {
        u64::MAX
    }

    /// Returns the new origins of a cortex that its quota leaves room for today, and that of the peer that brings them.
    ///
    /// # Errors
    /// [`StoreError`] where it cannot be read when origins began.
    fn origins_room(&self, _cortex: CortexId, _peer: CortexId) -> Result<u64, StoreError> {
        Ok(u64::MAX)
    }

    /// Returns the version of an origin that a cortex is known to hold instead of ours.
    ///
    /// # Errors
    /// [`StoreError`] where it cannot be read.
    fn other_version(&self, origin: Origin, holder: CortexId) -> Result<Option<Digest>, StoreError>;

    /// Returns the tip of an origin's chain, or `None` if nothing of it is held.
    fn chain(&self, origin: Origin) -> Option<&StoredChain> {
        self.chains().get(&origin)
    }

    /// Returns what the chain of an origin begins with, also if only its inception is held.
    ///
    /// # Errors
    /// [`StoreError`] where it cannot be read.
    fn start(&self, origin: Origin) -> Result<Option<ChainStart>, StoreError> {
        Ok(self.chain(origin).map(|chain| chain.start))
    }

    /// Returns how many origins are held.
    fn origins(&self) -> usize {
        self.chains().len()
    }

    /// Returns the highest counter held of an origin, or 0.
    fn counter(&self, origin: Origin) -> u64 {
        self.chain(origin).map_or(0, |chain| chain.counter)
    }

    /// Returns which version of an origin's event at a counter an operator chose to keep, if there was ever a choice.
    fn decided(&self, origin: Origin, counter: u64) -> Option<Digest> {
        self.decisions().get(&(origin, counter)).copied()
    }

    /// Returns the digest of a chain at a counter that is held, or `None` if it is not.
    ///
    /// # Errors
    /// [`StoreError`] where it cannot be read.
    fn digest_at(&self, origin: Origin, counter: u64) -> Result<Option<Digest>, StoreError> {
        match self.dot(origin, counter)? {
            Some(dot) => Ok(Some(dot.digest)),
            // "Not held" would leave two histories uncompared.
            None if self.chain(origin).is_some_and(|tip| tip.counter >= counter) => Err(missing(origin, counter)),
            None => Ok(None),
        }
    }

    /// Returns the sequence number of an event, or zero.
    ///
    /// # Errors
    /// [`StoreError`] where it cannot be read.
    fn seq_of(&self, origin: Origin, counter: u64) -> Result<Seq, StoreError> {
        Ok(self.seq(origin, counter)?.unwrap_or(Seq::ZERO))
    }

    /// Returns the sequence number of the event of our current chain with this counter, or one that the epoch cannot have
    /// begun before.
    ///
    /// # Errors
    /// [`StoreError`] where it cannot be read.
    fn seq_of_own(&self, counter: u64) -> Result<Seq, StoreError> {
        Ok(self.seq_of(self.identity().origin(), counter)?.max(self.begun()))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::ids::Epoch;
    use crate::time::Timestamp;

    /// A log of a few events in memory.
    pub(in crate::log) struct Few {
        pub(in crate::log) identity: LocalIdentity,
        pub(in crate::log) chains: BTreeMap<Origin, StoredChain>,
        pub(in crate::log) decisions: BTreeMap<(Origin, u64), Digest>,
        pub(in crate::log) last_id: EventId,
        pub(in crate::log) begun: Seq,
        /// What each chain begins with.
        pub(in crate::log) start: ChainStart,
        dots: BTreeMap<(Origin, u64), StoredDot>,
        entries: Vec<(Timestamp, EventBytes)>,
    }

    impl Few {
        /// An empty log of cortex 1 in epoch 1.
        pub(in crate::log) fn new() -> Self {
            Self {
                identity: LocalIdentity::new(cortex(1), Epoch::new(1), "few".to_owned()),
                chains: BTreeMap::new(),
                decisions: BTreeMap::new(),
                last_id: EventId::from_bytes([0; 16]),
                begun: Seq::ZERO,
                start: ChainStart::NONE,
                dots: BTreeMap::new(),
                entries: Vec::new(),
            }
        }

        pub(in crate::log) fn push(&mut self, event: &NewEvent, chain: StoredChain) {
            self.entries.push((Timestamp::from_micros(0), event.record.clone()));
            let seq = Seq::new(self.entries.len() as u64);
            let (origin, counter) = (event.dot.origin(), event.dot.counter());
            self.dots.insert((origin, counter), StoredDot { seq, digest: event.digest });
            self.chains.insert(origin, chain);
        }
    }

    pub(in crate::log) fn cortex(n: u8) -> CortexId {
        CortexId::from_bytes([n; 16])
    }

    impl LogState for Few {
        fn identity(&self) -> &LocalIdentity {
            &self.identity
        }

        fn head(&self) -> LogHead {
            LogHead { seq: Seq::new(self.entries.len() as u64), ..LogHead::EMPTY }
        }

        fn chains(&self) -> &BTreeMap<Origin, StoredChain> {
            &self.chains
        }

        fn last_id(&self) -> EventId {
            self.last_id
        }

        fn begun(&self) -> Seq {
            self.begun
        }

        fn decisions(&self) -> &BTreeMap<(Origin, u64), Digest> {
            &self.decisions
        }

        fn dot(&self, origin: Origin, counter: u64) -> Result<Option<StoredDot>, StoreError> {
            Ok(self.dots.get(&(origin, counter)).copied())
        }

        fn segments_from(&self, seq: Seq) -> Result<Vec<Seq>, StoreError> {
            // Each has one entry but the first, which has two.
            let after = (seq.get().max(3)..=self.entries.len() as u64).map(Seq::new);
            Ok(Some(Seq::new(1)).filter(|_| seq < Seq::new(3)).into_iter().chain(after).collect())
        }

        fn visit(&self, visit: &mut EntryVisitor<'_>) -> Result<(), StoreError> {
            for (seq, (joined, record)) in (1..).zip(&self.entries) {
                if visit(Seq::new(seq), *joined, record).is_break() {
                    break;
                }
            }
            Ok(())
        }

        fn start(&self, _: Origin) -> Result<Option<ChainStart>, StoreError> {
            Ok(Some(self.start))
        }

        fn is_near(&self, _: Origin) -> Result<bool, StoreError> {
            Ok(false)
        }

        fn reservation(&self, _: CortexId) -> Reservation {
            Reservation { filled: 0, quota: 0 }
        }

        fn other_version(&self, _: Origin, _: CortexId) -> Result<Option<Digest>, StoreError> {
            Ok(None)
        }
    }
}
