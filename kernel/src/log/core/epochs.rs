//! Continuing under a new epoch.

use std::sync::Arc;

use super::Log;
use crate::codec::{encode_epoch_peer, encode_identity};
use crate::cursor::Seq;
use crate::digest::Digest;
use crate::identity::{ChainStart, EndOfEpoch, Inception, SharedSigner};
use crate::ids::{Epoch, IdGenerator, LogId, Origin, PeerName};
use crate::log::LocalIdentity;
use crate::log::epoch::{EpochPlan, is_ahead, plan_epoch, put_epoch};
use crate::log::epoch_change::{EpochChange, EpochEnd};
use crate::log::held::LogState;
use crate::log::lineage::Lineage;
use crate::log::minted::{NewEpochError, last_id_within};
use crate::log::rotation::{IssueKeys, RotateError, ends, follows};
use crate::mutant::{self, Mutant};
use crate::protocol::OwnHead;
use crate::store::{Batch, Durability, Family, StoreError, StoreErrorKind, keys};
use crate::time::Timestamp;

impl Log {
    /// Stages that this cortex continues under a new epoch: what is appended from here on is of another origin.
    ///
    /// # Errors
    /// [`StoreError`] while recovery is due.
    pub fn begin_epoch(&mut self, why: EpochEnd, now: Timestamp) -> Result<(), StoreError> {
        self.usable()?;
        self.close_group()?;
        let next = Epoch::new((self.options.entropy)() as u64);
        let plan = plan_epoch(next, why, now, self)?;
        self.stage_epoch(plan)
    }

    /// Begins a new epoch because the last event id is too far ahead of the clock for another one. Commits at once, and what
    /// was staged before with it.
    ///
    /// # Errors
    /// [`NewEpochError`].
    pub fn new_epoch(&mut self, now: Timestamp) -> Result<LocalIdentity, NewEpochError> {
        self.usable()?;
        if last_id_within(self.ids.last(), now) == self.ids.last() {
            return Err(NewEpochError::NotNeeded);
        }
        self.begin_epoch(EpochEnd::ClockSetBack, now)?;
        self.commit(Durability::Sync)?;
        Ok(self.identity.clone())
    }

    /// Replaces the keys of this cortex: commits what was staged, has the next ones made, and begins a new epoch, since each epoch has one key.
    ///
    /// # Errors
    /// [`RotateError`]; the present keys stay in use.
    pub fn rotate_keys(&mut self, issue: IssueKeys, now: Timestamp) -> Result<LocalIdentity, RotateError> {
        self.usable()?;
        self.close_group()?;
        // The next statement must list nothing that a crash could take.
        self.commit(Durability::Sync)?;
        let present = self.keys().ok_or(RotateError::NoKeys)?.statement().clone();
        let ends = ends(&present, self.identity.cortex_id, &self.minted, &self.chains);
        let next = issue(&present, ends).map_err(RotateError::NotMade)?;
        follows(next.statement(), &present)?;
        let before = self.identity.signer.replace(SharedSigner::new(Arc::clone(&next)));
        let begun = self.begin_epoch(EpochEnd::NewKey, now).and_then(|()| self.commit(Durability::Sync).map(|_| ()));
        if let Err(error) = begun {
            self.identity.signer = before;
            return Err(error.into());
        }
        self.options.keys = Some(next);
        Ok(self.identity.clone())
    }

    /// Draws the epoch of the next own event, if that is another: these data were written in another place, where they may be
    /// written on.
    pub(super) fn next_epoch(&mut self) -> Option<Epoch> {
        let moved = self.moved.is_some() && !mutant::is(Mutant::ExtendOldEpoch);
        moved.then(|| Epoch::new((self.options.entropy)() as u64))
    }

    pub(super) fn stage_epoch(&mut self, plan: EpochPlan) -> Result<(), StoreError> {
        let EpochPlan { next, why, at, shared, restart } = plan;
        let mut changes = Batch::new();
        self.ended = Some(EpochChange { from: self.identity.epoch, why, at });
        put_epoch(&mut changes, (&mut self.identity, &mut self.lineage), next, (why, shared), at);
        self.minted.insert(self.identity.epoch);
        if let Some(last) = restart {
            self.ids = IdGenerator::after(last);
            changes.put(Family::Meta, keys::META_LAST_ID, &last.to_bytes());
        }
        if let Some(here) = self.moved.take() {
            changes.put(Family::Meta, keys::META_PLACE, &here);
        }
        self.stage_state(&changes)
    }

    /// Returns how the chain of an own epoch starts and its inception, if the epoch has no event yet. `next` says why the present epoch
    /// ends, if this one was not begun yet.
    pub(super) fn begins(
        &self,
        epoch: Epoch,
        log: LogId,
        next: Option<EpochEnd>,
    ) -> Result<Option<(ChainStart, Vec<u8>)>, StoreError> {
        if self.chains.contains_key(&Origin::new(self.identity.cortex_id, epoch)) {
            return Ok(None);
        }
        let inception = self.inception(epoch, log, next)?;
        Ok(Some((inception.start(), inception.to_bytes())))
    }

    fn inception(&self, epoch: Epoch, log: LogId, next: Option<EpochEnd>) -> Result<Inception, StoreError> {
        let keys = self
            .keys()
            .ok_or_else(|| StoreError::new(StoreErrorKind::Misuse, "a log without keys cannot write events"))?;
        let before = match next {
            Some(why) => Some((self.identity.epoch, why)),
            None => self.ended.map(|change| (change.from, change.why)),
        };
        let previous = before.map(|(epoch, _)| {
            let tip = self.chains.get(&Origin::new(self.identity.cortex_id, epoch));
            let (counter, digest) = tip.map_or((0, Digest::ZERO), |tip| (tip.counter, tip.digest));
            EndOfEpoch { epoch, counter, digest: digest.to_bytes() }
        });
        let reason = before.map_or(0, |(_, why)| why.code() + 1);
        Ok(Inception::new(log, epoch, keys.statement(), previous, reason))
    }

    /// Takes another epoch since a peer holds more of this one. False if that was done before, and for that reason.
    pub(super) fn leave_epoch(&mut self, peer: &PeerName, now: Timestamp) -> Result<bool, StoreError> {
        if self.moved.is_some() {
            // It was known to be a copy of what is written elsewhere: no claim of the peer.
            self.begin_epoch(EpochEnd::Copied, now)?;
        } else if self.epoch_taken == Some(self.identity.epoch) {
            return Ok(false);
        } else {
            self.begin_epoch_for(peer, EpochEnd::RolledBack, now)?;
        }
        Ok(true)
    }

    /// Stages another epoch if a peer holds more of the present one than this log does, by this log's own seal. The next event is of the
    /// other epoch then. A seal does not say where the two histories of the epoch parted: this log may have continued since it was set back. So
    /// readers' cursors of the epoch prove no more than where it began.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn note_own_head(&mut self, peer: &PeerName, head: &OwnHead, now: Timestamp) -> Result<(), StoreError> {
        self.usable()?;
        self.close_group()?;
        let Some(key) = self.keys().map(|keys| keys.statement().working()) else { return Ok(()) };
        if !is_ahead(head, self, key) || mutant::is(Mutant::OwnHeadIgnored) {
            return Ok(());
        }
        if !self.leave_epoch(peer, now)? {
            tracing::error!(%peer, origin = %head.origin, "the peer holds more of the epoch that this process began: another process writes it too");
        } else if self.lineage.cut_epoch(head.origin.epoch(), Seq::ZERO) {
            self.stage_lineage()?;
        }
        Ok(())
    }

    /// Takes another epoch because a peer has another history of this one, which parted from ours after this counter.
    pub(super) fn part_epoch(&mut self, peer: &PeerName, counter: u64, now: Timestamp) -> Result<(), StoreError> {
        let shared = self.seq_of_own(counter)?;
        self.begin_epoch_for(peer, EpochEnd::Forked, now)?;
        self.lineage.cut(shared);
        self.stage_lineage()
    }

    fn begin_epoch_for(&mut self, peer: &PeerName, why: EpochEnd, now: Timestamp) -> Result<(), StoreError> {
        let from = self.identity.epoch;
        self.begin_epoch(why, now)?;
        let mut changes = Batch::new();
        changes.put(Family::Meta, keys::META_EPOCH_PEER, &encode_epoch_peer(from, peer));
        self.stage_state(&changes)?;
        self.epoch_taken = Some(self.identity.epoch);
        Ok(())
    }

    /// Stages that another history of an earlier epoch of this log exists, which parted from this one after the event with this
    /// counter: cursors of that epoch prove nothing about later sequence numbers.
    pub(super) fn cut_epoch(&mut self, own: Origin, counter: u64) -> Result<(), StoreError> {
        let shared = self.seq_of(own, counter)?;
        if self.lineage.cut_epoch(own.epoch(), shared) { self.stage_lineage() } else { Ok(()) }
    }

    /// Stages which log this cortex belongs to from now on.
    pub(super) fn stage_log(&mut self, log: LogId) -> Result<(), StoreError> {
        self.identity.log = Some(log);
        let mut changes = Batch::new();
        changes.put(Family::Meta, keys::META_IDENTITY, &encode_identity(&self.identity));
        self.stage_state(&changes)
    }

    pub(super) fn stage_lineage(&mut self) -> Result<(), StoreError> {
        let mut changes = Batch::new();
        self.lineage.put(&mut changes);
        self.stage_state(&changes)
    }

    /// Stages that the log is that of an earlier epoch up to this sequence number, and follows on the lineage of another store.
    pub(in crate::log) fn replace_lineage(
        &mut self,
        lineage: Lineage,
        ended: Epoch,
        shared: Seq,
    ) -> Result<(), StoreError> {
        self.lineage = lineage;
        self.lineage.end(ended, shared);
        self.stage_lineage()
    }
}
