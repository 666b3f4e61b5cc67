//! What is known at this moment, as metrics. Made anew for each scrape, so that what is not known is absent: a gauge that
//! stays where it was when its peer fell silent is how a lag of 0 is read while nothing flows.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use antiphon_kernel::condition::Condition;
use antiphon_kernel::ids::{CortexId, PeerName};
use antiphon_kernel::measure::PeerLabels;
use antiphon_kernel::service::Served;
use antiphon_kernel::state::PeerState;
use antiphon_kernel::time::Timestamp;
use metrics::{counter, gauge};

use super::catalogue as c;

/// Whoever asks and is no peer of this node's.
const UNKNOWN: &str = "_unknown";

/// What stands behind one value of the label `peer`: a peer, or all those beyond the cap. Of them a gauge shows the worst.
type Group<'a> = Vec<&'a PeerState>;

/// What came and went, by the label that it belonged to when it was first seen. Peers come and go, and askers turn out to be
/// peers or to be none any more; a counter must neither go backwards by that nor take over another one's past.
#[derive(Debug, Default)]
pub struct Traffic {
    labels: BTreeMap<String, Moved>,
    received: BTreeMap<PeerName, [u64; 3]>,
    sent: BTreeMap<CortexId, [u64; 2]>,
    all_sent: [u64; 2],
}

/// Of one label: what was received (events, bytes, events that were new), and what was sent (events, bytes; unknown where
/// nobody told it apart).
#[derive(Debug, Default, Clone, Copy)]
struct Moved {
    received: Option<[u64; 3]>,
    sent: Option<[u64; 2]>,
}

/// How much was added since `before`, which becomes `now`. A count that began anew was added whole.
fn added<const N: usize>(before: &mut [u64; N], now: [u64; N]) -> [u64; N] {
    let anew = before.iter().zip(&now).any(|(before, now)| now < before);
    let from = if anew { [0; N] } else { *before };
    *before = now;
    std::array::from_fn(|at| now[at] - from[at])
}

fn add<const N: usize>(to: &mut Option<[u64; N]>, more: [u64; N]) {
    let to = to.get_or_insert([0; N]);
    to.iter_mut().zip(more).for_each(|(to, more)| *to += more);
}

impl Traffic {
    /// Takes note of how far everything is now.
    fn look(&mut self, peers: &[PeerState], served: &[(CortexId, Served)], all: Served, labels: &PeerLabels) {
        let mut pins: BTreeMap<CortexId, String> = BTreeMap::new();
        for peer in peers {
            let label = labels.of(&peer.name);
            pins.extend(peer.cortex_id.map(|cortex| (cortex, label.clone())));
            let now = [peer.received.events, peer.received.bytes, peer.received.stored];
            let more = added(self.received.entry(peer.name.clone()).or_default(), now);
            add(&mut self.labels.entry(label).or_default().received, more);
        }
        if self.received.len() > peers.len() {
            let here: BTreeSet<_> = peers.iter().map(|peer| &peer.name).collect();
            self.received.retain(|name, _| here.contains(name));
        }
        let mut unknown = added(&mut self.all_sent, [all.events, all.bytes]);
        for (cortex, sent) in served {
            let more = added(self.sent.entry(*cortex).or_default(), [sent.events, sent.bytes]);
            let Some(label) = pins.get(cortex) else { continue };
            add(&mut self.labels.entry(label.clone()).or_default().sent, more);
            unknown = std::array::from_fn(|at| unknown[at].saturating_sub(more[at]));
        }
        add(&mut self.labels.entry(UNKNOWN.to_owned()).or_default().sent, unknown);
    }

    fn tell(&self) {
        for (label, moved) in &self.labels {
            if let Some([events, bytes, stored]) = moved.received {
                counter!(c::PEER_RECEIVED_EVENTS.name, "peer" => label.clone()).absolute(events);
                counter!(c::PEER_RECEIVED_BYTES.name, "peer" => label.clone()).absolute(bytes);
                counter!(c::PEER_STORED_EVENTS.name, "peer" => label.clone()).absolute(stored);
            }
            if let Some([events, bytes]) = moved.sent {
                counter!(c::PEER_SENT_EVENTS.name, "peer" => label.clone()).absolute(events);
                counter!(c::PEER_SENT_BYTES.name, "peer" => label.clone()).absolute(bytes);
            }
        }
    }
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
    traffic: &Mutex<Traffic>,
    now: Timestamp,
) {
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
        told(label, &group, now);
    }
    let mut traffic = traffic.lock().unwrap_or_else(PoisonError::into_inner);
    traffic.look(peers, served, all, labels);
    traffic.tell();
}

/// The greatest, if all are known and there are any.
fn worst<T: Ord>(each: impl Iterator<Item = Option<T>>) -> Option<T> {
    each.collect::<Option<Vec<_>>>()?.into_iter().max()
}

fn told(label: String, group: &Group<'_>, now: Timestamp) {
    let each = || group.iter();
    let conditions: BTreeSet<_> = each().map(|peer| Condition::of(peer, now)).collect();
    if let Some(up) = conditions.iter().filter_map(|state| state.is_up()).min() {
        gauge!(c::PEER_UP.name, "peer" => label.clone()).set(u8::from(up));
    }
    for state in Condition::ALL {
        let is = conditions.contains(state);
        gauge!(c::PEER_STATE.name, "peer" => label.clone(), "state" => state.as_str()).set(u8::from(is));
    }
    // The worst of all is what is not known: one of whom nothing is known must not hide behind those who are well.
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
    use antiphon_kernel::machine::{Lag, Phase};
    use antiphon_kernel::state::Received;
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    fn peer(name: &str, phase: Phase) -> PeerState {
        PeerState { phase, ..PeerState::unknown(PeerName::new(name).unwrap(), "memory://x", PeerMode::Sync) }
    }

    fn scrape(list: &[PeerState], served: &[(CortexId, Served)], all: Served) -> String {
        scrape_again(list, served, all, &Mutex::default())
    }

    fn scrape_again(
        list: &[PeerState],
        served: &[(CortexId, Served)],
        all: Served,
        traffic: &Mutex<Traffic>,
    ) -> String {
        let recorder = PrometheusBuilder::new().build_recorder();
        let now = Timestamp::from_micros(1_000_000_000);
        metrics::with_local_recorder(&recorder, || peers(list, served, all, &PeerLabels::default(), traffic, now));
        recorder.handle().render()
    }

    #[test]
    fn counters_never_go_backwards_whoever_comes_goes_and_is_pinned_anew() {
        let cortex = |n| CortexId::from_bytes([n; 16]);
        let sent = |events| Served { events, bytes: events * 10, ..Served::default() };
        let traffic = Mutex::default();
        let with = |pin: Option<CortexId>, events| {
            let received = Received { events, bytes: events * 10, stored: events };
            PeerState { cortex_id: pin, received, ..peer("bravo", Phase::Live) }
        };
        let told = |list: &[PeerState], to_one: u64, all: u64| {
            let text = scrape_again(list, &[(cortex(1), sent(to_one))], sent(all), &traffic);
            let value = |name: &str, peer: &str| -> Option<u64> {
                let start = format!("antiphon_peer_{name}_events_total{{peer=\"{peer}\"}} ");
                text.lines().find_map(|line| line.strip_prefix(&start)).map(|value| value.parse().unwrap())
            };
            [value("received", "bravo"), value("sent", "bravo"), value("sent", "_unknown")]
        };
        assert_eq!(told(&[with(None, 5)], 3, 3), [Some(5), None, Some(3)], "who asked is not known yet");
        assert_eq!(told(&[with(Some(cortex(1)), 7)], 10, 12), [Some(7), Some(7), Some(5)], "from now on it is bravo");
        // It moved, so its task and its counts begin anew; then the pin is cleared; then it is gone.
        assert_eq!(told(&[with(Some(cortex(1)), 2)], 10, 12), [Some(9), Some(7), Some(5)]);
        assert_eq!(told(&[with(None, 2)], 14, 16), [Some(9), Some(7), Some(9)]);
        assert_eq!(told(&[], 14, 17), [Some(9), Some(7), Some(10)]);
        assert_eq!(told(&[with(Some(cortex(1)), 1)], 15, 18), [Some(10), Some(8), Some(10)]);
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
        let seen = |at| PeerHealth { last_success: Some(Timestamp::from_micros(at)), ..PeerHealth::default() };
        for peer in &mut list {
            (peer.lag, peer.health) = (Some(Lag { events: 0, behind: Some(Duration::ZERO) }), seen(900_000_000));
        }
        list[4001].lag = Some(Lag { events: 77, behind: Some(Duration::from_secs(5)) });
        list[4002].health = seen(500_000_000);
        list[4003] = peer("p4003", Phase::Paused);
        let text = scrape(&list, &[], Served::default());
        for told in [
            "up{peer=\"_other\"} 1",
            "up{peer=\"p0007\"} 1",
            "lag_events{peer=\"_other\"} 77",
            "lag_seconds{peer=\"_other\"} 5",
            "last_success_timestamp_seconds{peer=\"_other\"} 500",
            "state{peer=\"_other\",state=\"paused\"} 1",
            "state{peer=\"_other\",state=\"halted\"} 0",
        ] {
            assert!(text.contains(&format!("antiphon_peer_{told}\n")), "{told}: {text}");
        }
        // One of whom nothing is known: then nothing is claimed of all.
        list[4000] = peer("p4000", Phase::BackingOff);
        list[4004].phase = Phase::Halted;
        let text = scrape(&list, &[], Served::default());
        for unknown in ["lag_events", "lag_seconds", "last_success_timestamp_seconds"] {
            assert!(!text.contains(&format!("antiphon_peer_{unknown}{{peer=\"_other\"}}")), "{unknown}: {text}");
        }
        assert!(text.contains("antiphon_peer_up{peer=\"_other\"} 0\n"), "{text}");
        assert!(text.contains("antiphon_peer_state{peer=\"_other\",state=\"halted\"} 1\n"), "{text}");
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
