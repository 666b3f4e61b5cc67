//! The log as plans see it.

use std::collections::BTreeMap;

use super::Log;
use crate::codec::{StoredChain, StoredDot};
use crate::cursor::Seq;
use crate::digest::Digest;
use crate::identity::ChainStart;
use crate::ids::{CortexId, EventId, Origin};
use crate::limits::Limits;
use crate::log::LocalIdentity;
use crate::log::entry::{EntryVisitor, LogHead, missing};
use crate::log::forks::forks;
use crate::log::held::LogState;
use crate::log::marks::read_inception;
use crate::log::origins::Reservation;
use crate::log::quotas::{Begun, stored_room};
use crate::log::segments::{segments_from, stored_digest, stored_dot, stored_seq};
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
        match self.staged.dot(origin, counter) {
            Some(staged) => Ok(Some(staged)),
            None => stored_dot(&**self.store(), origin, counter),
        }
    }

    fn seq(&self, origin: Origin, counter: u64) -> Result<Option<Seq>, StoreError> {
        match self.staged.dot(origin, counter) {
            Some(staged) => Ok(Some(staged.seq)),
            None => stored_seq(&**self.store(), origin, counter),
        }
    }

    fn digest_at(&self, origin: Origin, counter: u64) -> Result<Option<Digest>, StoreError> {
        if let Some(staged) = self.staged.dot(origin, counter) {
            return Ok(Some(staged.digest));
        }
        match self.chains.get(&origin) {
            Some(tip) if tip.counter == counter => Ok(Some(tip.digest)),
            // "Not held" would leave two histories uncompared.
            Some(tip) if tip.counter > counter => {
                let digest = stored_digest(&**self.store(), origin, counter)?;
                digest.ok_or_else(|| missing(origin, counter)).map(Some)
            }
            _ => Ok(None),
        }
    }

    fn segments_from(&self, seq: Seq) -> Result<Vec<Seq>, StoreError> {
        segments_from(&**self.store(), seq)
    }

    fn visit(&self, visit: &mut EntryVisitor<'_>) -> Result<(), StoreError> {
        self.view.scan(Seq::ZERO, self.head.seq, visit)
    }

    fn start(&self, origin: Origin) -> Result<Option<ChainStart>, StoreError> {
        match self.chains.get(&origin) {
            Some(chain) => Ok(Some(chain.start)),
            None => Ok(read_inception(&**self.store(), origin)?.map(|inception| ChainStart::verified(&inception))),
        }
    }

    fn is_near(&self, origin: Origin) -> Result<bool, StoreError> {
        if origin.cortex() == self.identity.cortex_id {
            return Ok(self.minted.contains(&origin.epoch()));
        }
        Ok(self.view.pinned().contains_key(&origin.cortex()))
    }

    fn reservation(&self, peer: CortexId) -> Reservation {
        let pinned = self.view.pinned();
        Reservation::of(&self.origins, pinned.get(&peer).map(|pin| &pin.name), pinned.len())
    }

    fn has_quotas(&self) -> bool {
        let limits = self.view.shared.limits();
        let bounds = |limits: &Limits| limits.stored_bytes.is_some() || limits.new_origins_per_day.is_some();
        bounds(&limits.default) || limits.peers.iter().any(|rule| bounds(&rule.limits))
    }

    fn stored_room(&self, cortex: CortexId) -> u64 {
        stored_room(&self.view.shared.limits(), &self.origins, cortex)
    }

    fn origins_room(&self, cortex: CortexId, peer: CortexId) -> Result<u64, StoreError> {
        let pinned = self.view.pinned();
        let name = pinned.get(&peer).map(|pin| &pin.name);
        let (store, staged) = (&**self.store(), &self.staged.begun);
        let begun = Begun { store, notes: &self.origins, staged, now: self.ingests_at };
        begun.room(&self.view.shared.limits(), cortex, (name, peer))
    }

    fn other_version(&self, origin: Origin, holder: CortexId) -> Result<Option<Digest>, StoreError> {
        let known = forks(&**self.store())?;
        Ok(known.into_iter().find(|fork| fork.origin == origin && fork.holder == holder).map(|fork| fork.theirs))
    }
}
