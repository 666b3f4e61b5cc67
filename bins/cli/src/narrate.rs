//! What happens to peers, as it happens: the first failure of a kind in full with its remedy, repetitions briefly, and
//! that a peer is back. Pure.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use antiphon_kernel::condition::Condition;
use antiphon_kernel::health::ErrorCategory;
use antiphon_kernel::ids::PeerName;
use antiphon_node::reply::Peer;
use antiphon_node::terminal;

/// The number of lines that are kept.
const RECENT: usize = 20;

#[derive(Debug, Default)]
pub(crate) struct Narrator {
    /// Each peer's failure, as last reported.
    reported: BTreeMap<PeerName, Reported>,
    states: BTreeMap<PeerName, Option<Condition>>,
    recent: VecDeque<String>,
}

#[derive(Debug)]
struct Reported {
    error: ErrorCategory,
    failures: u32,
    remedy: Option<String>,
}

/// Whether a state means that the peer answers.
const fn reached(state: Condition) -> bool {
    matches!(state, Condition::Live | Condition::Idle | Condition::CatchingUp | Condition::Withheld)
}

fn words(state: Option<Condition>) -> String {
    state.map(|state| state.as_str().replace('_', " ")).unwrap_or_default()
}

/// What is wrong with a peer in full, and what to do.
pub(crate) fn explain(peer: &Peer) -> Option<String> {
    let reason = peer.reason.as_ref()?;
    let again = match peer.consecutive_failures {
        failures @ 2.. => format!(" ({failures} times in a row)"),
        _ => String::new(),
    };
    Some(format!("{}{again}; {}", terminal::line(reason), peer.remedy.as_deref().unwrap_or("-")))
}

impl Narrator {
    /// What there is to report since the last time.
    pub(crate) fn news(&mut self, peers: &[Peer]) -> Vec<String> {
        let mut news = self.forgotten(peers);
        for peer in peers {
            let (name, failures) = (&peer.name, peer.consecutive_failures);
            let before = self.states.insert(name.clone(), peer.state);
            let failure = peer.last_error.map(|error| Reported { error, failures, remedy: peer.remedy.clone() });
            match (self.reported.get(name), failure) {
                (Some(_), None) => {
                    self.reported.remove(name);
                    // Its failures may also have been forgotten on purpose, or it is not wanted any more.
                    let back = peer.state.is_some_and(reached);
                    let how = if back { "reachable again".to_owned() } else { words(peer.state) };
                    news.push(format!("{name} is {how}"));
                }
                (Some(known), Some(failure)) if known.error == failure.error && known.remedy == failure.remedy => {
                    // Each tenth time: the operator has read it.
                    if failures >= known.failures.saturating_add(10) {
                        news.push(format!("{name} still failing: {}, {failures} times in a row", failure.error));
                        self.reported.insert(name.clone(), failure);
                    }
                }
                (_, Some(failure)) => {
                    news.extend(explain(peer));
                    self.reported.insert(name.clone(), failure);
                }
                (None, None) => {
                    if before != Some(peer.state) {
                        news.push(format!("{name} is {}", words(peer.state)));
                    }
                }
            }
        }
        self.recent.extend(news.iter().cloned());
        while self.recent.len() > RECENT {
            self.recent.pop_front();
        }
        news
    }

    /// Peers that are not configured any more; one that comes back under the name begins again.
    fn forgotten(&mut self, peers: &[Peer]) -> Vec<String> {
        let here: BTreeSet<_> = peers.iter().map(|peer| &peer.name).collect();
        self.reported.retain(|name, _| here.contains(name));
        let gone: Vec<_> = self.states.keys().filter(|name| !here.contains(name)).cloned().collect();
        self.states.retain(|name, _| here.contains(name));
        gone.into_iter().map(|name| format!("{name} is no peer any more")).collect()
    }

    /// What was reported lately, oldest first.
    pub(crate) fn recent(&self) -> impl Iterator<Item = &str> {
        self.recent.iter().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use antiphon_kernel::config::PeerMode;

    use super::*;

    fn peer(state: Condition, last_error: Option<ErrorCategory>, consecutive_failures: u32) -> [Peer; 1] {
        let (reason, remedy) = last_error.map(|_| ("bravo does not answer in time", "check the network path")).unzip();
        [Peer {
            state: Some(state),
            last_error,
            consecutive_failures,
            reason: reason.map(str::to_owned),
            remedy: remedy.map(str::to_owned),
            ..Peer::unknown(PeerName::new("bravo").unwrap(), "https://b:1", PeerMode::Sync)
        }]
    }

    #[test]
    fn the_first_failure_is_explained_repeats_are_brief_and_the_end_is_reported() {
        let mut narrator = Narrator::default();
        assert_eq!(narrator.news(&peer(Condition::Live, None, 0)), ["bravo is live"]);
        assert!(narrator.news(&peer(Condition::Live, None, 0)).is_empty());
        let first = narrator.news(&peer(Condition::BackingOff, Some(ErrorCategory::Timeout), 1));
        assert_eq!(first, ["bravo does not answer in time; check the network path"]);
        assert!(narrator.news(&peer(Condition::BackingOff, Some(ErrorCategory::Timeout), 2)).is_empty());
        let again = narrator.news(&peer(Condition::BackingOff, Some(ErrorCategory::Timeout), 11));
        assert_eq!(again, ["bravo still failing: timeout, 11 times in a row"]);
        let other = narrator.news(&peer(Condition::Rejected, Some(ErrorCategory::Auth), 12));
        assert_eq!(other, ["bravo does not answer in time (12 times in a row); check the network path"]);
        assert_eq!(narrator.news(&peer(Condition::Live, None, 0)), ["bravo is reachable again"]);
        assert_eq!(narrator.recent().count(), 5);
        narrator.news(&peer(Condition::Rejected, Some(ErrorCategory::Auth), 1));
        assert_eq!(
            narrator.news(&peer(Condition::Connecting, None, 0)),
            ["bravo is connecting"],
            "reset, and not reached yet"
        );
        narrator.news(&peer(Condition::Rejected, Some(ErrorCategory::Auth), 1));
        assert_eq!(narrator.news(&[]), ["bravo is no peer any more"]);
        assert!(narrator.news(&[]).is_empty());
        assert_eq!(
            narrator.news(&peer(Condition::Live, None, 0)),
            ["bravo is live"],
            "nothing of the earlier one is left"
        );
    }
}
