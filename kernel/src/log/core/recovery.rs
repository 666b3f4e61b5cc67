//! Reading the store again after a write that failed, or after the log was rewritten.

use std::sync::RwLockWriteGuard;

use super::{Log, Staged};
use crate::ids::IdGenerator;
use crate::log::LocalIdentity;
use crate::log::epoch_change::EpochEnd;
use crate::log::forks::read_withheld;
use crate::log::load::{load, moved_to, or_none};
use crate::log::shared::Durable;
use crate::store::{Durability, StoreError};

impl Log {
    /// After a failed write: opens the store again and reads what really is there, before another sequence number is assigned.
    ///
    /// # Errors
    /// [`StoreError`]: recovery stays due.
    pub fn recover(&mut self) -> Result<(), StoreError> {
        let view = self.view.clone();
        let read = self.read_again(false, view.shared.move_places());
        view.shared.send_rewrites();
        read.inspect_err(|error| {
            view.shared.set_failure(Some(error));
            // Replayers read their position again after each opening, also one that failed later on.
            view.shared.visible_head.send_modify(|_| {});
        })
    }

    /// The same after the log was made shorter on purpose. The caller holds the lock on sequence numbers.
    pub(super) fn recover_rewritten(&mut self, moving: RwLockWriteGuard<'_, ()>) -> Result<(), StoreError> {
        let read = self.read_again(true, moving);
        self.view.shared.send_rewrites();
        read.inspect_err(|error| self.view.shared.set_failure(Some(error)))
    }

    fn read_again(&mut self, rewritten: bool, moving: RwLockWriteGuard<'_, ()>) -> Result<(), StoreError> {
        let (was_durable, was_visible) = (self.view.head().seq, self.view.visible());
        let knew = self.store().lost_end();
        let reopened = self.store().reopen();
        // Also where it failed: it may be open for reading then.
        self.view.shared.durable_mut().openings += 1;
        reopened?;
        // Said once: what fails after it must not make that forgotten.
        self.lost_end |= !rewritten && !knew && self.store().lost_end();
        self.store().sync()?;
        let state = load(&**self.store())?;
        if let Some(identity) = state.identity {
            let signer = self.identity.signer.take();
            self.identity = LocalIdentity { protocols: self.identity.protocols, signer, ..identity };
        }
        self.lineage = state.lineage;
        self.decisions = state.decisions;
        self.waiting = state.waiting;
        self.moved = moved_to(&**self.store())?;
        self.minted = state.minted;
        self.bringers.clear();
        self.view.shared.set_pinned(state.pinned);
        self.view.shared.set_withheld(or_none("forks", read_withheld(&**self.store())));
        *self.view.shared.notes() = state.origins.clone();
        self.origins = state.origins;
        self.ended = state.ended;
        self.chains = state.chains;
        self.head = state.head;
        self.ids = IdGenerator::after(state.last_id.max(self.ids.last()));
        self.staged = Staged::default();
        self.view.shared.debts.begin(state.owed);
        self.unsynced.clear();
        self.dirty = false;
        let mut durable = self.view.shared.durable_mut();
        // A replayer that replayed lost events must not take the events at their sequence numbers for replayed.
        let rewrites = durable.rewrites + u64::from(self.head.seq < was_visible);
        let openings = durable.openings;
        *durable = Durable::of(self.identity.clone(), self.head, &self.chains, rewrites);
        (durable.openings, durable.number) = (openings, self.published);
        drop(durable);
        // Readers go by these heads: one that begins between would look for events that are gone.
        self.view.shared.visible_head.send_replace(self.head.seq);
        self.view.shared.durable_head.send_replace(self.head.seq);
        drop(moving);
        self.failed = false;
        self.lost_end |= !rewritten && self.head.seq < was_durable;
        if self.lost_end {
            tracing::error!(had = was_durable.get(), has = self.head.seq.get(), "the log lost its end");
            // The disk gave up what it had said to have, and peers may hold it: as if it were found at the next start. Until
            // the new epoch is durable that stays to be done, however often it fails.
            self.begin_epoch(EpochEnd::LostTail, self.head.time)?;
            self.commit(Durability::Sync)?;
            self.lost_end = false;
        } else {
            // It may be shorter than what was noted: where events were set aside, for one.
            self.view.shared.note(self.identity.epoch, self.head.seq, Durability::Sync);
        }
        self.view.shared.set_failure(None);
        Ok(())
    }
}
