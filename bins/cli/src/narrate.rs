//! What happens to peers, told as it happens: the first failure of a kind in full with its remedy, repetitions briefly, and
//! that a peer is back. Pure.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::Value;

use crate::commands::show::explain;

/// So many lines are kept.
const RECENT: usize = 20;

#[derive(Debug, Default)]
pub(crate) struct Narrator {
    /// Each peer's error, its number of failures and its remedy, as last logged.
    told: BTreeMap<String, (String, u64, String)>,
    states: BTreeMap<String, String>,
    recent: VecDeque<String>,
}

impl Narrator {
    /// What there is to tell since the last time.
    pub(crate) fn news(&mut self, peers: &Value) -> Vec<String> {
        let mut news = self.forgotten(peers);
        for peer in peers.as_array().into_iter().flatten() {
            let text = |key: &str| peer[key].as_str().unwrap_or_default().to_owned();
            let (name, state, error) = (text("name"), text("state"), text("last_error"));
            let remedy = text("remedy");
            let failures = peer["consecutive_failures"].as_u64().unwrap_or(0);
            let before = self.states.insert(name.clone(), state.clone());
            match self.told.get(&name) {
                Some(_) if error.is_empty() => {
                    self.told.remove(&name);
                    // Its failures may also have been forgotten on purpose, or it is not wanted any more.
                    let reached = matches!(state.as_str(), "live" | "idle" | "catching_up" | "withheld");
                    let how = if reached { "reachable again".to_owned() } else { state.replace('_', " ") };
                    news.push(format!("{name} is {how}"));
                }
                Some((known, times, what)) if *known == error && *what == remedy => {
                    // Each tenth time: whoever watches has read it.
                    if failures >= times.saturating_add(10) {
                        news.push(format!("{name} still failing: {error}, {failures} times in a row"));
                        self.told.insert(name, (error, failures, remedy));
                    }
                }
                _ if !error.is_empty() => {
                    news.extend(explain(peer));
                    self.told.insert(name, (error, failures, remedy));
                }
                _ => {
                    if before.as_ref() != Some(&state) {
                        news.push(format!("{name} is {}", state.replace('_', " ")));
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

    /// Peers that are not configured any more; one that comes back under the name begins anew.
    fn forgotten(&mut self, peers: &Value) -> Vec<String> {
        let here: BTreeSet<_> =
            peers.as_array().into_iter().flatten().filter_map(|peer| peer["name"].as_str()).collect();
        self.told.retain(|name, _| here.contains(name.as_str()));
        let gone: Vec<_> = self.states.keys().filter(|name| !here.contains(name.as_str())).cloned().collect();
        gone.iter().for_each(|name| drop(self.states.remove(name)));
        gone.into_iter().map(|name| format!("{name} is no peer any more")).collect()
    }

    /// What was told lately, oldest first.
    pub(crate) fn recent(&self) -> impl Iterator<Item = &str> {
        self.recent.iter().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn peer(state: &str, error: Option<&str>, failures: u64) -> Value {
        let (reason, remedy) =
            (error.map(|_| "bravo does not answer in time"), error.map(|_| "check the network path"));
        json!([{ "name": "bravo", "state": state, "last_error": error, "consecutive_failures": failures, "reason": reason, "remedy": remedy }])
    }

    #[test]
    fn the_first_failure_is_explained_repeats_are_brief_and_the_end_is_told() {
        let mut narrator = Narrator::default();
        assert_eq!(narrator.news(&peer("live", None, 0)), ["bravo is live"]);
        assert!(narrator.news(&peer("live", None, 0)).is_empty());
        let first = narrator.news(&peer("backing_off", Some("timeout"), 1));
        assert_eq!(first, ["bravo does not answer in time; check the network path"]);
        assert!(narrator.news(&peer("backing_off", Some("timeout"), 2)).is_empty());
        let again = narrator.news(&peer("backing_off", Some("timeout"), 11));
        assert_eq!(again, ["bravo still failing: timeout, 11 times in a row"]);
        let other = narrator.news(&peer("refused", Some("auth"), 12));
        assert_eq!(other, ["bravo does not answer in time (12 times in a row); check the network path"]);
        assert_eq!(narrator.news(&peer("live", None, 0)), ["bravo is reachable again"]);
        assert_eq!(narrator.recent().count(), 5);
        narrator.news(&peer("refused", Some("auth"), 1));
        assert_eq!(narrator.news(&peer("connecting", None, 0)), ["bravo is connecting"], "reset, and not reached yet");
        narrator.news(&peer("refused", Some("auth"), 1));
        assert_eq!(narrator.news(&json!([])), ["bravo is no peer any more"]);
        assert!(narrator.news(&json!([])).is_empty());
        assert_eq!(narrator.news(&peer("live", None, 0)), ["bravo is live"], "nothing of the one before is left");
    }
}
