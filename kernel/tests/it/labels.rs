//! Measurements of more peers than have a label of their own, each of which was really made.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use antiphon_kernel::budget::{Budget, MIN_BUDGET_BYTES};
use antiphon_kernel::clock::VClock;
use antiphon_kernel::config::{Config, FederationMode, PeerConfig, SharedKey};
use antiphon_kernel::ids::PeerName;
use antiphon_kernel::internals::measure::{FETCH_SECONDS, INGEST_SECONDS, MAX_PEER_LABELS};
use antiphon_kernel::service::Service;
use antiphon_kernel::store::{Durability, Store};
use antiphon_kernel::testing::{MemoryNetwork, MemoryStore};
use antiphon_kernel::time::Timestamp;
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};

use crate::support::{Node, start, until};

/// Every series that was asked for, as its name and the label `peer`.
#[derive(Debug, Default, Clone)]
struct Seen(Arc<Mutex<BTreeSet<(String, String)>>>);

impl Seen {
    fn note(&self, key: &Key) {
        let peer = key.labels().find(|label| label.key() == "peer").map(|label| label.value().to_owned());
        self.0.lock().unwrap().extend(peer.map(|peer| (key.name().to_owned(), peer)));
    }

    fn peers(&self, metric: &str) -> BTreeSet<String> {
        let seen = self.0.lock().unwrap();
        seen.iter().filter(|(name, _)| name == metric).map(|(_, peer)| peer.clone()).collect()
    }
}

impl Recorder for Seen {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        self.note(key);
        Counter::noop()
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        self.note(key);
        Gauge::noop()
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        self.note(key);
        Histogram::noop()
    }
}

/// Names as odd as they may be.
fn name(n: usize) -> PeerName {
    let text = match n % 3 {
        0 => format!("{}{n}", ".".repeat(40)),
        1 => format!("__name__.{n}"),
        _ => format!("{n}-le._.quantile"),
    };
    let text = if text.starts_with('_') { format!("x{text}") } else { text };
    PeerName::new(&text).unwrap()
}

#[test]
fn peers_without_a_label_of_their_own_share_one() {
    let seen = Seen::default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let count = MAX_PEER_LABELS + 20;
    metrics::with_local_recorder(&seen, || {
        runtime.block_on(async {
            let network = MemoryNetwork::new();
            let mut peers = Vec::new();
            for n in 0..count {
                let mut node = Node::new(n, 1, Arc::new(MemoryStore::new()) as Arc<dyn Store>);
                node.append("s", &VClock::new(), Timestamp::from_micros(0), Durability::Sync);
                // One asker may take a part of a budget alone, and 220 questions to one process are more than that.
                let (log, key) = (node.log.reader(), SharedKey::default());
                let service = Service::within(log, key, FederationMode::Sync, Budget::new(MIN_BUDGET_BYTES));
                network.serve(name(n).as_str(), service);
                let endpoint = format!("memory://{}", name(n));
                peers.push(PeerConfig::new(name(n), endpoint));
            }
            let cortex = start(&network, "own", Config { peers, ..Config::default() }).await;
            until("all were measured", || {
                let peers = cortex.syncer().peers();
                peers.iter().all(|peer| peer.received.events == 1 && peer.lag.is_some())
            })
            .await;
            tokio::time::timeout(Duration::from_secs(30), cortex.stop()).await.unwrap();
        });
    });
    for metric in [FETCH_SECONDS.name, INGEST_SECONDS.name] {
        let labels = seen.peers(metric);
        assert_eq!(labels.len(), MAX_PEER_LABELS + 1, "{metric}");
        assert!(labels.contains("_other"), "{metric}");
    }
}
