//! How far behind each peer was lately, and how its state changed, for the status page.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use antiphon_kernel::condition::Condition;
use antiphon_kernel::ids::PeerName;
use antiphon_kernel::state::PeerState;
use antiphon_kernel::time::Timestamp;

use crate::reply::StateChange;

/// The number of peers that the status page lists, those first that need attention.
pub(super) const PAGE_PEERS: usize = 200;
/// How often it is looked at.
pub(super) const EVERY: Duration = Duration::from_secs(5);
/// How many looks are kept: five minutes.
const KEPT: usize = 60;
/// Number of changes of state that are kept.
const CHANGES: usize = 50;

/// What was seen of peers.
#[derive(Debug, Default)]
pub(super) struct History(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    /// A peer's lag in events, oldest first; `None` where it was not known.
    lags: BTreeMap<PeerName, VecDeque<Option<u64>>>,
    states: BTreeMap<PeerName, Condition>,
    /// Oldest first.
    changes: VecDeque<StateChange>,
}

/// Live and idle differ by whether events come: no change of health.
const fn differ(from: Condition, to: Condition) -> bool {
    use Condition::{Idle, Live};
    from as u8 != to as u8 && !matches!((from, to), (Live, Idle) | (Idle, Live))
}

impl History {
    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a look. Peers that are gone are forgotten, but for their changes of state.
    pub(super) fn look(&self, peers: &[PeerState], now: Timestamp) {
        let Seen { lags: kept, states, changes } = &mut *self.lock();
        states.retain(|name, _| peers.iter().any(|peer| peer.name == *name));
        for peer in peers {
            let to = Condition::of(peer, now);
            if let Some(from) = states.insert(peer.name.clone(), to).filter(|from| differ(*from, to)) {
                if changes.len() >= CHANGES {
                    changes.pop_front();
                }
                changes.push_back(StateChange { at: now, peer: peer.name.clone(), from, to });
            }
        }
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
        self.lock().lags.get(name).map(|looks| looks.iter().copied().collect()).unwrap_or_default()
    }
}

impl History {
    /// The last changes of peers' states, the newest first.
    pub(super) fn changes(&self) -> Vec<StateChange> {
        self.lock().changes.iter().rev().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use antiphon_kernel::config::PeerMode;
    use antiphon_kernel::state::{Lag, Phase};

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
            history.look(&[peer((n % 2 == 0).then_some(n))], Timestamp::from_micros(1));
        }
        let looks = history.of(&name);
        assert_eq!((looks.len(), looks[0], looks[1], looks[59]), (KEPT, Some(10), None, None));
        history.look(&[], Timestamp::from_micros(1));
        assert!(history.of(&name).is_empty());
    }

    #[test]
    fn the_last_changes_of_states_are_kept() {
        let history = History::default();
        let name = PeerName::new("p").unwrap();
        let look = |phase, at| {
            let peer = PeerState { phase, ..PeerState::unknown(name.clone(), "memory://p", PeerMode::Sync) };
            history.look(&[peer], Timestamp::from_micros(at));
        };
        look(Phase::Connecting, 1);
        look(Phase::Connecting, 2);
        assert_eq!(history.changes(), []);
        for at in 3..100 {
            look(if at % 2 == 0 { Phase::Connecting } else { Phase::Paused }, at);
        }
        let changes = history.changes();
        assert_eq!((changes.len(), changes[0].at), (CHANGES, Timestamp::from_micros(99)));
        assert_eq!((changes[0].to, changes[1].from), (Condition::Paused, Condition::Paused));
    }
}
