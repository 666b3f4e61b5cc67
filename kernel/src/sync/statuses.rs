//! What is known of every peer, shared by their tasks.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use tokio::sync::{broadcast, watch};

use crate::clock::MAX_CLOCK_ENTRIES;
use crate::health::ErrorCategory;
use crate::ids::{CortexId, PeerName};
use crate::machine::Phase;
use crate::state::PeerState;
use crate::time::Timestamp;

pub(super) type Live = Arc<[CortexId]>;

pub(super) struct Statuses {
    peers: RwLock<BTreeMap<PeerName, PeerState>>,
    /// Who waits to be tried again, by the cortex that is pinned. Asked with each question of anybody's, so it has a place of
    /// its own.
    waiting: ByCortex,
    /// Who is pulled, likewise.
    pulled: ByCortex,
    live: watch::Sender<Live>,
    events: broadcast::Sender<SyncEvent>,
}

/// Names of peers by the cortex that is pinned to them.
type ByCortex = RwLock<BTreeMap<CortexId, PeerName>>;

/// A peer's state changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncEvent {
    /// Which peer's.
    pub peer: PeerName,
    /// To what: [`Phase::Live`] says that we have caught up with it.
    pub phase: Phase,
}

/// How many changes wait for a subscriber that does not take them; then it is told that it missed some.
const EVENTS: usize = 256;

impl Default for Statuses {
    fn default() -> Self {
        Self {
            peers: RwLock::default(),
            waiting: RwLock::default(),
            pulled: RwLock::default(),
            live: watch::Sender::new(Live::default()),
            events: broadcast::Sender::new(EVENTS),
        }
    }
}

/// The cortex that is pulled live there.
fn live(peer: &PeerState) -> Option<CortexId> {
    peer.cortex_id.filter(|_| matches!(peer.phase, Phase::Live | Phase::CatchingUp))
}

/// The cortex that waits there to be tried again.
fn waiting(peer: &PeerState) -> Option<CortexId> {
    peer.cortex_id.filter(|_| peer.phase == Phase::BackingOff)
}

/// Notes under which cortex a peer is found.
fn note(peers: &ByCortex, name: &PeerName, before: Option<CortexId>, now: Option<CortexId>) {
    if before == now {
        return;
    }
    let mut peers = peers.write().unwrap_or_else(PoisonError::into_inner);
    // Two names may be pinned to one cortex: each takes away its own alone.
    if let Some(cortex) = before.filter(|cortex| peers.get(cortex) == Some(name)) {
        peers.remove(&cortex);
    }
    if let Some(cortex) = now {
        peers.insert(cortex, name.clone());
    }
}

fn named(peers: &ByCortex, cortex: CortexId) -> Option<PeerName> {
    peers.read().unwrap_or_else(PoisonError::into_inner).get(&cortex).cloned()
}

impl Statuses {
    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<PeerName, PeerState>> {
        self.peers.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn publish(&self, mut status: PeerState) {
        let mut peers = self.peers.write().unwrap_or_else(PoisonError::into_inner);
        // The wall clock may have been set back. None says that the peer was reset.
        let before = peers.get(&status.name).and_then(|before| before.last_seen);
        status.last_seen = status.last_seen.map(|seen| before.map_or(seen, |before| seen.max(before)));
        let (now, name) = (live(&status), status.name.clone());
        let event = SyncEvent { peer: status.name.clone(), phase: status.phase };
        let before = peers.insert(status.name.clone(), status);
        if before.as_ref().is_none_or(|before| before.phase != event.phase) {
            // Nobody need listen.
            let _ = self.events.send(event);
        }
        if now != before.as_ref().and_then(live) {
            self.tell_live(&peers);
        }
        note(&self.waiting, &name, before.as_ref().and_then(waiting), peers.get(&name).and_then(waiting));
        note(&self.pulled, &name, before.as_ref().and_then(live), now);
    }

    /// The peer that is pinned to this cortex, if it waits to be tried again.
    pub(super) fn waiting(&self, cortex: CortexId) -> Option<PeerName> {
        named(&self.waiting, cortex)
    }

    /// The peer that is pinned to this cortex, if it is pulled.
    pub(super) fn pulled(&self, cortex: CortexId) -> Option<PeerName> {
        named(&self.pulled, cortex)
    }

    fn tell_live(&self, peers: &BTreeMap<PeerName, PeerState>) {
        let all = peers.values().filter_map(live).take(MAX_CLOCK_ENTRIES);
        self.live.send_replace(all.collect());
    }

    /// A peer is not configured any more.
    pub(super) fn remove(&self, name: &PeerName) {
        let mut peers = self.peers.write().unwrap_or_else(PoisonError::into_inner);
        let before = peers.remove(name);
        if before.as_ref().and_then(live).is_some() {
            self.tell_live(&peers);
        }
        note(&self.waiting, name, before.as_ref().and_then(waiting), None);
        note(&self.pulled, name, before.as_ref().and_then(live), None);
    }

    /// Nobody pulls a peer any more.
    pub(super) fn halt(&self, name: &PeerName, why: ErrorCategory, now: Timestamp) {
        let Some(mut status) = self.read().get(name).cloned() else { return };
        status.health.failed(now, why);
        status.phase = Phase::Halted;
        status.lag = None;
        self.publish(status);
    }

    pub(super) fn subscribe(&self) -> broadcast::Receiver<SyncEvent> {
        self.events.subscribe()
    }

    /// The peers that are configured.
    pub(super) fn names(&self) -> Vec<PeerName> {
        self.read().keys().cloned().collect()
    }

    pub(super) fn all(&self) -> Vec<PeerState> {
        self.read().values().cloned().collect()
    }

    /// Which cortexes are pinned under other names than this one. From memory: it is asked at each contact.
    pub(super) fn pinned_under_others(&self, name: &PeerName) -> Vec<CortexId> {
        let peers = self.read();
        peers.iter().filter(|(other, _)| *other != name).filter_map(|(_, peer)| peer.cortex_id).collect()
    }

    /// The cortexes that are pulled live: what they write need not come by another road.
    pub(super) fn watch_live(&self) -> watch::Receiver<Live> {
        self.live.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::PeerMode;

    #[test]
    fn when_a_peer_was_last_seen_goes_back_only_by_a_reset() {
        let statuses = Statuses::default();
        let seen = |at: Option<i64>| {
            let name = PeerName::new("bravo").unwrap();
            let last_seen = at.map(Timestamp::from_micros);
            statuses.publish(PeerState { last_seen, ..PeerState::unknown(name, "memory://b", PeerMode::Sync) });
            statuses.all()[0].last_seen.map(Timestamp::as_micros)
        };
        assert_eq!(seen(Some(50)), Some(50));
        assert_eq!(seen(Some(20)), Some(50), "the wall clock was set back");
        assert_eq!(seen(Some(60)), Some(60));
        assert_eq!(seen(None), None);
        assert_eq!(seen(Some(10)), Some(10));
    }
}
