//! What is known of every peer, shared by their tasks.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use tokio::sync::watch;

use crate::clock::MAX_CLOCK_ENTRIES;
use crate::ids::{CortexId, PeerName};
use crate::machine::Phase;
use crate::state::PeerState;

pub(super) type Live = Arc<[CortexId]>;

pub(super) struct Statuses {
    peers: RwLock<BTreeMap<PeerName, PeerState>>,
    live: watch::Sender<Live>,
}

impl Default for Statuses {
    fn default() -> Self {
        Self { peers: RwLock::default(), live: watch::Sender::new(Live::default()) }
    }
}

/// The cortex that is pulled live there.
fn live(peer: &PeerState) -> Option<CortexId> {
    peer.cortex_id.filter(|_| matches!(peer.phase, Phase::Live | Phase::CatchingUp))
}

impl Statuses {
    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<PeerName, PeerState>> {
        self.peers.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn publish(&self, status: PeerState) {
        let mut peers = self.peers.write().unwrap_or_else(PoisonError::into_inner);
        let now = live(&status);
        let before = peers.insert(status.name.clone(), status);
        if now != before.as_ref().and_then(live) {
            let all = peers.values().filter_map(live).take(MAX_CLOCK_ENTRIES);
            self.live.send_replace(all.collect());
        }
    }

    pub(super) fn all(&self) -> Vec<PeerState> {
        self.read().values().cloned().collect()
    }

    pub(super) fn names(&self) -> Vec<PeerName> {
        self.read().keys().cloned().collect()
    }

    /// The cortexes that are pulled live: what they write need not come by another road.
    pub(super) fn watch_live(&self) -> watch::Receiver<Live> {
        self.live.subscribe()
    }
}
