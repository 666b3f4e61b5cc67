//! What is known of peers at this moment, as gauges. What is not known is absent.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use antiphon_kernel::condition::Condition;
use antiphon_kernel::internals::measure::PeerLabels;
use antiphon_kernel::state::PeerState;
use antiphon_kernel::time::Timestamp;
use metrics::gauge;

use crate::catalogue as c;

/// The peers behind one value of the label `peer`: one, or all those beyond the cap. Of them a gauge shows the worst.
type Group<'a> = Vec<&'a PeerState>;

pub(crate) fn seconds(at: Timestamp) -> f64 {
    at.as_micros() as f64 / 1e6
}

/// Sets the gauges of peers.
pub(crate) fn set(peers: &[PeerState], labels: &PeerLabels, now: Timestamp) {
    let mut groups: BTreeMap<String, Group<'_>> = BTreeMap::new();
    let mut states: BTreeMap<Condition, u32> = Condition::ALL.iter().map(|&state| (state, 0)).collect();
    for peer in peers {
        groups.entry(labels.of(&peer.name)).or_default().push(peer);
        *states.entry(Condition::of(peer, now)).or_default() += 1;
    }
    for (state, count) in states {
        gauge!(c::PEERS.name, "state" => state.as_str()).set(count);
    }
    for (label, group) in groups {
        set_group(label, &group, now);
    }
}

/// The greatest, if all are known and there are any.
fn worst<T: Ord>(each: impl Iterator<Item = Option<T>>) -> Option<T> {
    each.collect::<Option<Vec<_>>>()?.into_iter().max()
}

fn set_group(label: String, group: &Group<'_>, now: Timestamp) {
    let each = || group.iter();
    let conditions: BTreeSet<_> = each().map(|peer| Condition::of(peer, now)).collect();
    if let Some(up) = conditions.iter().filter_map(|state| state.is_up()).min() {
        gauge!(c::PEER_UP.name, "peer" => label.clone()).set(u8::from(up));
    }
    for state in Condition::ALL {
        let is = conditions.contains(state);
        gauge!(c::PEER_STATE.name, "peer" => label.clone(), "state" => state.as_str()).set(u8::from(is));
    }
    // Unknown is the worst: a peer of which nothing is known must not hide behind peers that are well.
    let wanted = || each().filter(|peer| Condition::of(peer, now) != Condition::Paused);
    if let Some(lag) = worst(wanted().map(|peer| peer.lag.map(|lag| lag.events))) {
        gauge!(c::PEER_LAG_EVENTS.name, "peer" => label.clone()).set(lag as f64);
    }
    if let Some(lag) = worst(wanted().map(|peer| peer.lag.and_then(|lag| lag.behind))) {
        gauge!(c::PEER_LAG_SECONDS.name, "peer" => label.clone()).set(lag.as_secs_f64());
    }
    let withheld = |count: fn(&PeerState) -> u64| each().map(|peer| count(peer)).max().unwrap_or(0) as f64;
    gauge!(c::PEER_WITHHELD_HISTORIES.name, "peer" => label.clone()).set(withheld(|peer| peer.withheld.histories));
    gauge!(c::PEER_WITHHELD_EVENTS.name, "peer" => label.clone()).set(withheld(|peer| peer.withheld.events));
    gauge!(c::PEER_SLOWED.name, "peer" => label.clone()).set(u8::from(each().any(|peer| peer.slowed)));
    let pulled = each().filter(|peer| Condition::of(peer, now).is_up().is_some());
    if let Some(Reverse(at)) = worst(pulled.map(|peer| peer.health.last_success.map(Reverse))) {
        gauge!(c::PEER_LAST_SUCCESS.name, "peer" => label.clone()).set(seconds(at));
    }
    let failing =
        each().filter(|peer| peer.health.last_error.is_some()).max_by_key(|peer| peer.health.consecutive_failures);
    if let Some((peer, error)) = failing.and_then(|peer| Some((peer, peer.health.last_error?))) {
        let failures = f64::from(peer.health.consecutive_failures);
        gauge!(c::PEER_FAILURES.name, "peer" => label.clone(), "category" => error.as_str()).set(failures);
    }
    if let Some(skew) = each().filter_map(|peer| peer.skew_ms).max_by_key(|skew| skew.unsigned_abs()) {
        gauge!(c::PEER_SKEW.name, "peer" => label).set(skew as f64 / 1000.0);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use antiphon_kernel::config::PeerMode;
    use antiphon_kernel::health::{ErrorCategory, PeerHealth};
    use antiphon_kernel::ids::PeerName;
    use antiphon_kernel::state::{Lag, Phase};
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    fn peer(name: &str, phase: Phase) -> PeerState {
        PeerState { phase, ..PeerState::unknown(PeerName::new(name).unwrap(), "memory://x", PeerMode::Sync) }
    }

    fn scrape(list: &[PeerState]) -> String {
        let recorder = PrometheusBuilder::new().build_recorder();
        let now = Timestamp::from_micros(1_000_000_000);
        metrics::with_local_recorder(&recorder, || set(list, &PeerLabels::default(), now));
        recorder.handle().render()
    }

    #[test]
    fn what_is_not_known_is_absent_and_never_zero() {
        let lag = Some(Lag { events: 0, behind: Some(std::time::Duration::ZERO) });
        let near = PeerState { lag, ..peer("near", Phase::Live) };
        let health =
            PeerHealth { last_error: Some(ErrorCategory::Timeout), consecutive_failures: 4, ..PeerHealth::default() };
        let gone = PeerState { health, ..peer("gone", Phase::BackingOff) };
        let text = scrape(&[near, gone, peer("rests", Phase::Paused)]);
        assert!(text.contains("antiphon_peer_lag_events{peer=\"near\"} 0\n"), "{text}");
        assert!(!text.contains("antiphon_peer_lag_events{peer=\"gone\"}"), "{text}");
        assert!(
            text.contains("antiphon_peer_up{peer=\"gone\"} 0\n") && !text.contains("antiphon_peer_up{peer=\"rests\"}")
        );
        assert!(text.contains("antiphon_peer_consecutive_failures{peer=\"gone\",category=\"timeout\"} 4\n"), "{text}");
        assert!(!text.contains("antiphon_peer_consecutive_failures{peer=\"near\""), "{text}");
        assert!(
            text.contains("antiphon_peers{state=\"backing_off\"} 1\n")
                && text.contains("antiphon_peers{state=\"rejected\"} 0\n")
        );
        assert!(!text.contains("antiphon_peer_last_success"), "{text}");
    }

    #[test]
    fn peers_beyond_the_cap_show_their_worst_together() {
        let mut list: Vec<_> = (0..5000).map(|n| peer(&format!("p{n:04}"), Phase::Live)).collect();
        let seen = |at| PeerHealth { last_success: Some(Timestamp::from_micros(at)), ..PeerHealth::default() };
        for peer in &mut list {
            (peer.lag, peer.health) = (Some(Lag { events: 0, behind: Some(Duration::ZERO) }), seen(900_000_000));
        }
        list[4001].lag = Some(Lag { events: 77, behind: Some(Duration::from_secs(5)) });
        list[4002].health = seen(500_000_000);
        list[4003] = peer("p4003", Phase::Paused);
        let text = scrape(&list);
        for labels in [
            "up{peer=\"_other\"} 1",
            "up{peer=\"p0007\"} 1",
            "lag_events{peer=\"_other\"} 77",
            "lag_seconds{peer=\"_other\"} 5",
            "last_success_timestamp_seconds{peer=\"_other\"} 500",
            "state{peer=\"_other\",state=\"paused\"} 1",
            "state{peer=\"_other\",state=\"halted\"} 0",
        ] {
            assert!(text.contains(&format!("antiphon_peer_{labels}\n")), "{labels}: {text}");
        }
        // Nothing is known of one peer: then nothing is claimed of the group.
        list[4000] = peer("p4000", Phase::BackingOff);
        list[4004].phase = Phase::Halted;
        let text = scrape(&list);
        for unknown in ["lag_events", "lag_seconds", "last_success_timestamp_seconds"] {
            assert!(!text.contains(&format!("antiphon_peer_{unknown}{{peer=\"_other\"}}")), "{unknown}: {text}");
        }
        assert!(text.contains("antiphon_peer_up{peer=\"_other\"} 0\n"), "{text}");
        assert!(text.contains("antiphon_peer_state{peer=\"_other\",state=\"halted\"} 1\n"), "{text}");
        assert!(text.contains("antiphon_peers{state=\"backing_off\"} 1\n"));
        for metric in c::all() {
            let series = text.lines().filter(|line| line.starts_with(&format!("{}{{", metric.name))).count();
            assert!(series <= c::max_series(&metric, 5000), "{}: {series} series", metric.name);
        }
    }
}
