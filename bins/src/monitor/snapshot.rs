//! What is known at this moment, as metrics. Made anew for each scrape, so that what is not known is absent: a gauge that
//! stays where it was when its peer fell silent is how a lag of 0 is read while nothing flows.

use std::collections::{BTreeMap, BTreeSet};

use antiphon_kernel::condition::Condition;
use antiphon_kernel::ids::CortexId;
use antiphon_kernel::measure::{OTHER_PEERS, PeerLabels};
use antiphon_kernel::service::Served;
use antiphon_kernel::state::PeerState;
use antiphon_kernel::time::Timestamp;
use metrics::{counter, gauge};

use super::catalogue as c;

/// Whoever asks and is no peer of this node's.
const UNKNOWN: &str = "_unknown";

/// What stands behind one value of the label `peer`: a peer, or all those beyond the cap. Of them a gauge shows the worst,
/// a counter the sum.
#[derive(Debug, Default)]
struct Group<'a> {
    peers: Vec<&'a PeerState>,
    sent: (u64, u64),
}

fn seconds(at: Timestamp) -> f64 {
    at.as_micros() as f64 / 1e6
}

/// Sets what is to be told of peers and of what was sent to whom.
pub(super) fn peers(
    peers: &[PeerState],
    served: &[(CortexId, Served)],
    all: Served,
    labels: &PeerLabels,
    now: Timestamp,
) {
    let mut groups: BTreeMap<String, Group<'_>> = BTreeMap::new();
    let mut pins: BTreeMap<CortexId, String> = BTreeMap::new();
    let mut states: BTreeMap<Condition, u32> = Condition::ALL.iter().map(|&state| (state, 0)).collect();
    for peer in peers {
        let label = labels.of(&peer.name);
        pins.extend(peer.cortex_id.map(|cortex| (cortex, label.clone())));
        groups.entry(label).or_default().peers.push(peer);
        *states.entry(Condition::of(peer, now)).or_default() += 1;
    }
    let mut left = (all.events, all.bytes);
    for (cortex, sent) in served {
        let label = pins.get(cortex).map_or(UNKNOWN, String::as_str);
        if label == UNKNOWN {
            continue;
        }
        left = (left.0.saturating_sub(sent.events), left.1.saturating_sub(sent.bytes));
        let group = groups.entry(label.to_owned()).or_default();
        group.sent = (group.sent.0 + sent.events, group.sent.1 + sent.bytes);
    }
    groups.entry(UNKNOWN.to_owned()).or_default().sent = left;
    for (state, count) in states {
        gauge!(c::PEERS.name, "state" => state.as_str()).set(count);
    }
    for (label, group) in groups {
        told(label, &group, now);
    }
}

fn told(label: String, group: &Group<'_>, now: Timestamp) {
    counter!(c::PEER_SENT_EVENTS.name, "peer" => label.clone()).absolute(group.sent.0);
    counter!(c::PEER_SENT_BYTES.name, "peer" => label.clone()).absolute(group.sent.1);
    if group.peers.is_empty() {
        return;
    }
    let each = || group.peers.iter();
    let conditions: BTreeSet<_> = each().map(|peer| Condition::of(peer, now)).collect();
    if let Some(up) = conditions.iter().filter_map(|state| state.is_up()).min() {
        gauge!(c::PEER_UP.name, "peer" => label.clone()).set(u8::from(up));
    }
    if label != OTHER_PEERS {
        for state in Condition::ALL {
            let is = conditions.contains(state);
            gauge!(c::PEER_STATE.name, "peer" => label.clone(), "state" => state.as_str()).set(u8::from(is));
        }
    }
    if let Some(lag) = each().filter_map(|peer| peer.lag).map(|lag| lag.events).max() {
        gauge!(c::PEER_LAG_EVENTS.name, "peer" => label.clone()).set(lag as f64);
    }
    if let Some(lag) = each().filter_map(|peer| peer.lag).filter_map(|lag| lag.behind).max() {
        gauge!(c::PEER_LAG_SECONDS.name, "peer" => label.clone()).set(lag.as_secs_f64());
    }
    let successes = each().filter(|peer| Condition::of(peer, now).is_up().is_some());
    if let Some(at) = successes.filter_map(|peer| peer.health.last_success).min() {
        gauge!(c::PEER_LAST_SUCCESS.name, "peer" => label.clone()).set(seconds(at));
    }
    let worst =
        each().filter(|peer| peer.health.last_error.is_some()).max_by_key(|peer| peer.health.consecutive_failures);
    if let Some((peer, error)) = worst.and_then(|peer| Some((peer, peer.health.last_error?))) {
        let failures = f64::from(peer.health.consecutive_failures);
        gauge!(c::PEER_FAILURES.name, "peer" => label.clone(), "category" => error.as_str()).set(failures);
    }
    if let Some(skew) = each().filter_map(|peer| peer.skew_ms).max_by_key(|skew| skew.unsigned_abs()) {
        gauge!(c::PEER_SKEW.name, "peer" => label.clone()).set(skew as f64 / 1000.0);
    }
    let sum = |of: fn(&PeerState) -> u64| each().map(|peer| of(peer)).sum();
    counter!(c::PEER_RECEIVED_EVENTS.name, "peer" => label.clone()).absolute(sum(|peer| peer.received.events));
    counter!(c::PEER_RECEIVED_BYTES.name, "peer" => label.clone()).absolute(sum(|peer| peer.received.bytes));
    counter!(c::PEER_STORED_EVENTS.name, "peer" => label).absolute(sum(|peer| peer.received.stored));
}

#[cfg(test)]
mod tests {
    use antiphon_kernel::config::PeerMode;
    use antiphon_kernel::health::{ErrorCategory, PeerHealth};
    use antiphon_kernel::ids::PeerName;
    use antiphon_kernel::machine::{Lag, Phase};
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    fn peer(name: &str, phase: Phase) -> PeerState {
        PeerState { phase, ..PeerState::unknown(PeerName::new(name).unwrap(), "memory://x", PeerMode::Sync) }
    }

    fn scrape(list: &[PeerState], served: &[(CortexId, Served)], all: Served) -> String {
        let recorder = PrometheusBuilder::new().build_recorder();
        let now = Timestamp::from_micros(1_000_000_000);
        metrics::with_local_recorder(&recorder, || peers(list, served, all, &PeerLabels::default(), now));
        recorder.handle().render()
    }

    #[test]
    fn what_is_not_known_is_absent_and_never_zero() {
        let lag = Some(Lag { events: 0, behind: Some(std::time::Duration::ZERO) });
        let near = PeerState { lag, ..peer("near", Phase::Live) };
        let health =
            PeerHealth { last_error: Some(ErrorCategory::Timeout), consecutive_failures: 4, ..PeerHealth::default() };
        let gone = PeerState { health, ..peer("gone", Phase::BackingOff) };
        let text = scrape(&[near, gone, peer("rests", Phase::Paused)], &[], Served::default());
        assert!(text.contains("antiphon_peer_lag_events{peer=\"near\"} 0\n"), "{text}");
        assert!(!text.contains("antiphon_peer_lag_events{peer=\"gone\"}"), "{text}");
        assert!(
            text.contains("antiphon_peer_up{peer=\"gone\"} 0\n") && !text.contains("antiphon_peer_up{peer=\"rests\"}")
        );
        assert!(text.contains("antiphon_peer_consecutive_failures{peer=\"gone\",category=\"timeout\"} 4\n"), "{text}");
        assert!(!text.contains("antiphon_peer_consecutive_failures{peer=\"near\""), "{text}");
        assert!(
            text.contains("antiphon_peers{state=\"backing_off\"} 1\n")
                && text.contains("antiphon_peers{state=\"refused\"} 0\n")
        );
        assert!(!text.contains("antiphon_peer_last_success"), "{text}");
    }

    #[test]
    fn peers_beyond_the_cap_show_their_worst_together() {
        let mut list: Vec<_> = (0..5000).map(|n| peer(&format!("p{n:04}"), Phase::Live)).collect();
        list[4000] = peer("p4000", Phase::BackingOff);
        list[4001].lag = Some(Lag { events: 77, behind: Some(std::time::Duration::from_secs(5)) });
        let text = scrape(&list, &[], Served::default());
        assert!(
            text.contains("antiphon_peer_up{peer=\"_other\"} 0\n")
                && text.contains("antiphon_peer_up{peer=\"p0007\"} 1\n")
        );
        assert!(text.contains("antiphon_peer_lag_events{peer=\"_other\"} 77\n"), "{text}");
        assert!(text.contains("antiphon_peers{state=\"backing_off\"} 1\n"));
        for metric in c::all() {
            let series = text.lines().filter(|line| line.starts_with(&format!("{}{{", metric.name))).count();
            assert!(series <= c::bounds::bound(&metric, 5000), "{}: {series} series", metric.name);
        }
    }

    #[test]
    fn what_was_sent_goes_to_the_peer_that_is_pinned_or_to_nobody() {
        let cortex = |n| CortexId::from_bytes([n; 16]);
        let known = PeerState { cortex_id: Some(cortex(1)), ..peer("known", Phase::Live) };
        let sent = |events| Served { events, bytes: events * 10, ..Served::default() };
        let text = scrape(&[known], &[(cortex(1), sent(5)), (cortex(9), sent(3))], sent(20));
        assert!(text.contains("antiphon_peer_sent_events_total{peer=\"known\"} 5\n"), "{text}");
        assert!(text.contains("antiphon_peer_sent_bytes_total{peer=\"_unknown\"} 150\n"), "{text}");
    }
}
