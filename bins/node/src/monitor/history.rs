//! How far behind each peer was lately, for the status page.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use antiphon_kernel::ids::PeerName;
use antiphon_kernel::state::PeerState;

/// The number of peers that the status page lists, those first that need attention.
pub(super) const PAGE_PEERS: usize = 200;
/// How often it is looked at.
pub(super) const EVERY: Duration = Duration::from_secs(5);
/// How many looks are kept: five minutes.
const KEPT: usize = 60;
/// A peer's lag in events, oldest first; `None` where it was not known.
#[derive(Debug, Default)]
pub(super) struct History(Mutex<BTreeMap<PeerName, VecDeque<Option<u64>>>>);

impl History {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<PeerName, VecDeque<Option<u64>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a look. Peers that are gone are forgotten.
    pub(super) fn look(&self, peers: &[PeerState]) {
        let mut kept = self.lock();
        kept.retain(|name, _| peers.iter().any(|peer| peer.name == *name));
        for peer in peers {
            if kept.len() >= PAGE_PEERS && !kept.contains_key(&peer.name) {
                continue;
            }
            let looks = kept.entry(peer.name.clone()).or_default();
            if looks.len() >= KEPT {
                looks.pop_front();
            }
            looks.push_back(peer.lag.map(|lag| lag.events));
        }
    }

    pub(super) fn of(&self, name: &PeerName) -> Vec<Option<u64>> {
        self.lock().get(name).map(|looks| looks.iter().copied().collect()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use antiphon_kernel::config::PeerMode;
    use antiphon_kernel::machine::Lag;

    use super::*;

    #[test]
    fn five_minutes_are_kept_with_their_gaps() {
        let history = History::default();
        let name = PeerName::new("p").unwrap();
        let peer = |lag: Option<u64>| PeerState {
            lag: lag.map(|events| Lag { events, behind: None }),
            ..PeerState::unknown(name.clone(), "memory://p", PeerMode::Sync)
        };
        for n in 0..70 {
            history.look(&[peer((n % 2 == 0).then_some(n))]);
        }
        let looks = history.of(&name);
        assert_eq!((looks.len(), looks[0], looks[1], looks[59]), (KEPT, Some(10), None, None));
        history.look(&[]);
        assert!(history.of(&name).is_empty());
    }
}
