//! What came from peers and went to them, as counters.

use std::collections::{BTreeMap, BTreeSet};

use antiphon_kernel::ids::{CortexId, PeerName};
use antiphon_kernel::internals::measure::PeerLabels;
use antiphon_kernel::service::Served;
use antiphon_kernel::state::PeerState;
use metrics::counter;

use crate::catalogue as c;

/// What came and went, by the label that it belonged to when it was first seen. Peers come and go, and an asker may become a peer or
/// cease to be one. A counter must neither go backwards by that nor take over the past of another.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    labels: BTreeMap<String, Moved>,
    received: BTreeMap<PeerName, [u64; 3]>,
    sent: BTreeMap<CortexId, [u64; 2]>,
    all_sent: [u64; 2],
}

/// Of one label: what was received (events, bytes, events that were new), and what was sent (events, bytes; `None` where
/// that is not known).
#[derive(Debug, Default, Clone, Copy)]
struct Moved {
    received: Option<[u64; 3]>,
    sent: Option<[u64; 2]>,
}

/// How much was added since `before`, which becomes `now`. A count that began again is added whole.
fn added<const N: usize>(before: &mut [u64; N], now: [u64; N]) -> [u64; N] {
    let restarted = before.iter().zip(&now).any(|(before, now)| now < before);
    let from = if restarted { [0; N] } else { *before };
    *before = now;
    std::array::from_fn(|at| now[at] - from[at])
}

fn add<const N: usize>(to: &mut Option<[u64; N]>, more: [u64; N]) {
    let to = to.get_or_insert([0; N]);
    to.iter_mut().zip(more).for_each(|(to, more)| *to += more);
}

impl Traffic {
    /// Adds what came and went since the last call.
    fn add(&mut self, peers: &[PeerState], served: &[(CortexId, Served)], all: Served, labels: &PeerLabels) {
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
        add(&mut self.labels.entry(c::UNKNOWN.to_owned()).or_default().sent, unknown);
    }

    /// Sets the counters.
    pub(crate) fn set(&mut self, peers: &[PeerState], served: &[(CortexId, Served)], all: Served, labels: &PeerLabels) {
        self.add(peers, served, all, labels);

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

#[cfg(test)]
mod tests {
    use antiphon_kernel::config::PeerMode;
    use antiphon_kernel::state::{Phase, Received};
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    fn peer(name: &str, phase: Phase) -> PeerState {
        PeerState { phase, ..PeerState::unknown(PeerName::new(name).unwrap(), "memory://x", PeerMode::Sync) }
    }

    fn scrape(list: &[PeerState], served: &[(CortexId, Served)], all: Served, traffic: &mut Traffic) -> String {
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, || traffic.set(list, served, all, &PeerLabels::default()));
        recorder.handle().render()
    }

    #[test]
    fn counters_never_go_backwards_whichever_peers_come_and_go() {
        let cortex = |n| CortexId::from_bytes([n; 16]);
        let sent = |events| Served { events, bytes: events * 10, ..Served::default() };
        let mut traffic = Traffic::default();
        let with = |pin: Option<CortexId>, events| {
            let received = Received { events, bytes: events * 10, stored: events };
            PeerState { cortex_id: pin, received, ..peer("bravo", Phase::Live) }
        };
        let mut values = |list: &[PeerState], to_one: u64, all: u64| {
            let text = scrape(list, &[(cortex(1), sent(to_one))], sent(all), &mut traffic);
            let value = |name: &str, peer: &str| -> Option<u64> {
                let start = format!("antiphon_peer_{name}_events_total{{peer=\"{peer}\"}} ");
                text.lines().find_map(|line| line.strip_prefix(&start)).map(|value| value.parse().unwrap())
            };
            [value("received", "bravo"), value("sent", "bravo"), value("sent", "_unknown")]
        };
        assert_eq!(values(&[with(None, 5)], 3, 3), [Some(5), None, Some(3)], "who asked is not known yet");
        assert_eq!(values(&[with(Some(cortex(1)), 7)], 10, 12), [Some(7), Some(7), Some(5)], "from now on it is bravo");
        // It moved, so its task and its counts begin again; then the pin is cleared; then it is gone.
        assert_eq!(values(&[with(Some(cortex(1)), 2)], 10, 12), [Some(9), Some(7), Some(5)]);
        assert_eq!(values(&[with(None, 2)], 14, 16), [Some(9), Some(7), Some(9)]);
        assert_eq!(values(&[], 14, 17), [Some(9), Some(7), Some(10)]);
        assert_eq!(values(&[with(Some(cortex(1)), 1)], 15, 18), [Some(10), Some(8), Some(10)]);
    }

    #[test]
    fn what_was_sent_goes_to_the_peer_that_is_pinned_or_to_nobody() {
        let cortex = |n| CortexId::from_bytes([n; 16]);
        let known = PeerState { cortex_id: Some(cortex(1)), ..peer("known", Phase::Live) };
        let sent = |events| Served { events, bytes: events * 10, ..Served::default() };
        let text = scrape(&[known], &[(cortex(1), sent(5)), (cortex(9), sent(3))], sent(20), &mut Traffic::default());
        assert!(text.contains("antiphon_peer_sent_events_total{peer=\"known\"} 5\n"), "{text}");
        assert!(text.contains("antiphon_peer_sent_bytes_total{peer=\"_unknown\"} 150\n"), "{text}");
    }
}
