//! Why a cortex goes on under a new epoch. Whatever somebody may still hold more of is never extended.

use std::fmt;

use super::LocalIdentity;
use super::core::Log;
use super::entry::stored_dot;
use super::lineage::Lineage;
use super::minted::put_minted;
use crate::codec::{EventView, decode_epoch_change, encode_epoch_change, encode_epoch_peer, encode_identity};
use crate::cursor::Seq;
use crate::digest::Digest;
use crate::ids::{Epoch, Origin, PeerName};
use crate::mutant::{self, Mutant};
use crate::protocol::{ChainHead, EventBatch};
use crate::store::{Batch, Family, Store, StoreError, keys};
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
    /// A peer holds another event at a place of this cortex's chain.
    Forked,
    /// A fork was resolved by setting events aside.
    Resolved,
    /// Its store was damaged, and what was whole was taken over into another.
    Repaired,
    /// Its last event id was further ahead of the clock than ids may be.
    ClockSetBack,
}

impl EpochEnd {
    const ALL: [Self; 8] = [
        Self::Copied,
        Self::LostTail,
        Self::RolledBack,
        Self::Restored,
        Self::Forked,
        Self::Resolved,
        Self::Repaired,
        Self::ClockSetBack,
    ];

    /// Whether an operator began the new epoch with a command: nothing to warn of.
    #[must_use]
    pub const fn is_on_purpose(self) -> bool {
        matches!(self, Self::Restored | Self::Resolved | Self::Repaired | Self::ClockSetBack)
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
    bytes.map(|b| decode_epoch_change(&b).map_err(|e| super::entry::damaged(Family::Meta, &e))).transpose()
}

/// Adds to a batch that this cortex continues under the epoch `next`. Up to the place `shared` the log is what it was in the epoch
/// that ends.
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

impl Log {
    /// Whether a batch brings events that follow on our own chain and that we do not have: with the very next one, chained
    /// to our own digest, up to the head that it tells.
    pub(super) fn shows_lost(&self, batch: &EventBatch) -> bool {
        let own = self.identity.origin();
        let (mut counter, mut digest) = self.chains.get(&own).map_or((0, Digest::ZERO), |c| (c.counter, c.digest));
        let held = counter;
        for (_, record) in &batch.events {
            match EventView::decode_dot(record) {
                Ok((_, dot)) if dot.origin() == own && dot.counter() == counter + 1 => {
                    (counter, digest) = (dot.counter(), digest.chain(record));
                }
                _ => {}
            }
        }
        counter > held && batch.heads.get(own) == Some(ChainHead { counter, digest })
    }

    /// Takes another epoch since a peer holds more of this one. False if that was done before, and for that reason.
    pub(super) fn leave_epoch(&mut self, peer: &PeerName, now: Timestamp) -> Result<bool, StoreError> {
        if self.moved.is_some() {
            // It was known to be a copy of what is written elsewhere: no claim of the peer's.
            self.begin_epoch(EpochEnd::Copied, now)?;
        } else if self.epoch_taken == Some(self.identity.epoch) {
            return Ok(false);
        } else {
            self.begin_epoch_for(peer, EpochEnd::RolledBack, now)?;
            self.epoch_taken = Some(self.identity.epoch);
        }
        Ok(true)
    }

    /// The epoch of the next own event, if it is to be another: these data were written in another place, where they may be
    /// written on.
    pub(super) fn next_epoch(&mut self) -> Option<Epoch> {
        let moved = self.moved.is_some() && !mutant::is(Mutant::ExtendOldEpoch);
        moved.then(|| Epoch::new((self.options.entropy)() as u64))
    }

    /// Stages that this cortex continues under this epoch, in this place.
    pub(super) fn stage_epoch(&mut self, next: Epoch, why: EpochEnd, now: Timestamp) -> Result<(), StoreError> {
        let shared = match why {
            // Another history of this epoch exists, or may: it parted from this one after our last event that both have.
            EpochEnd::RolledBack | EpochEnd::Forked | EpochEnd::Copied => {
                let own = self.identity.origin();
                self.place_of_own(self.chains.get(&own).map_or(0, |chain| chain.counter))?
            }
            _ => self.head.seq,
        };
        let mut changes = Batch::new();
        put_epoch(&mut changes, (&mut self.identity, &mut self.lineage), next, (why, shared), now);
        self.minted.insert(self.identity.epoch);
        self.restart_ids(now, &mut changes);
        if let Some(here) = self.moved.take() {
            changes.put(Family::Meta, keys::META_PLACE, &here);
        }
        self.stage_state(&changes)
    }

    /// Stages that this cortex goes on under a new epoch: what is appended from here on is of another origin.
    ///
    /// # Errors
    /// [`StoreError`] while recovery is due.
    pub fn begin_epoch(&mut self, why: EpochEnd, now: Timestamp) -> Result<(), StoreError> {
        self.usable()?;
        let next = Epoch::new((self.options.entropy)() as u64);
        self.stage_epoch(next, why, now)
    }

    /// The same, because of what a peer showed.
    pub(super) fn begin_epoch_for(&mut self, peer: &PeerName, why: EpochEnd, now: Timestamp) -> Result<(), StoreError> {
        let from = self.identity.epoch;
        self.begin_epoch(why, now)?;
        let mut changes = Batch::new();
        changes.put(Family::Meta, keys::META_EPOCH_PEER, &encode_epoch_peer(from, peer));
        self.stage_state(&changes)
    }

    /// Stages that after this place the log is another one than in any earlier epoch.
    pub(super) fn cut_lineage(&mut self, shared: Seq) -> Result<(), StoreError> {
        self.lineage.cut(shared);
        let mut changes = Batch::new();
        self.lineage.put(&mut changes);
        self.stage_state(&changes)
    }

    /// Stages that another history of an earlier epoch of this log exists, which parted from this one after the event with this
    /// counter: cursors of that epoch prove nothing about later places.
    pub(super) fn cut_epoch(&mut self, own: Origin, counter: u64) -> Result<(), StoreError> {
        let shared = self.place_of(own, counter)?;
        if !self.lineage.cut_epoch(own.epoch(), shared) {
            return Ok(());
        }
        let mut changes = Batch::new();
        self.lineage.put(&mut changes);
        self.stage_state(&changes)
    }

    /// The place of the event of our current chain with this counter, or a place that the epoch cannot have begun before.
    pub(super) fn place_of_own(&self, counter: u64) -> Result<Seq, StoreError> {
        Ok(self.place_of(self.identity.origin(), counter)?.max(self.lineage.begun()))
    }

    /// The place of an event, or zero.
    fn place_of(&self, origin: Origin, counter: u64) -> Result<Seq, StoreError> {
        let place = match self.staged.dots.get(&(origin, counter)) {
            Some(dot) => Some(dot.seq),
            None => stored_dot(&**self.store(), origin, counter)?.map(|dot| dot.seq),
        };
        Ok(place.unwrap_or_default())
    }
}
