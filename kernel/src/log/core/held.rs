//! The log as plans see it.

use std::collections::BTreeMap;

use super::Log;
use crate::codec::{StoredChain, StoredDot};
use crate::cursor::Seq;
use crate::digest::Digest;
use crate::ids::{CortexId, EventId, Origin};
use crate::log::LocalIdentity;
use crate::log::entry::{EntryVisitor, LogHead, stored_dot};
use crate::log::forks::forks;
use crate::log::held::LogState;
use crate::log::origins::Reservation;
use crate::store::StoreError;

impl LogState for Log {
    fn identity(&self) -> &LocalIdentity {
        &self.identity
    }

    fn head(&self) -> LogHead {
        self.head
    }

    fn chains(&self) -> &BTreeMap<Origin, StoredChain> {
        &self.chains
    }

    fn last_id(&self) -> EventId {
        self.ids.last()
    }

    fn begun(&self) -> Seq {
        self.lineage.begun()
    }

    fn decisions(&self) -> &BTreeMap<(Origin, u64), Digest> {
        &self.decisions
    }

    fn dot(&self, origin: Origin, counter: u64) -> Result<Option<StoredDot>, StoreError> {
        match self.staged.dots.get(&(origin, counter)) {
            Some(staged) => Ok(Some(*staged)),
            None => stored_dot(&**self.store(), origin, counter),
        }
    }

    fn visit(&self, visit: &mut EntryVisitor<'_>) -> Result<(), StoreError> {
        self.view.scan(Seq::ZERO, self.head.seq, visit)
    }

    fn is_near(&self, origin: Origin) -> Result<bool, StoreError> {
        if origin.cortex() == self.identity.cortex_id {
            return Ok(self.minted.contains(&origin.epoch()));
        }
        Ok(self.view.pinned().contains_key(&origin.cortex()))
    }

    fn reservation(&self, peer: CortexId) -> Reservation {
        let pinned = self.view.pinned();
        Reservation::of(&self.origins, pinned.get(&peer), pinned.len())
    }

    fn other_version(&self, origin: Origin, holder: CortexId) -> Result<Option<Digest>, StoreError> {
        let known = forks(&**self.store())?;
        Ok(known.into_iter().find(|fork| fork.origin == origin && fork.holder == holder).map(|fork| fork.theirs))
    }
}
