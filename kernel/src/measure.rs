//! What the kernel measures, for a program that installs a recorder of the [`metrics`] facade before it starts a cortex. Without
//! one, measuring costs next to nothing. Every series has the label [`CORTEX`], so that two cortexes in one process differ.
//!
//! Everything else that is known about a cortex is read when it is asked for: [`crate::sync::Syncer::peers`],
//! [`crate::replay::ReplayHandle::status`], [`crate::service::Service::served`], [`crate::log::LogReader`].

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use crate::ids::PeerName;

/// The label of every series of a cortex. Its value is the cortex's name.
pub const CORTEX: &str = "cortex";

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// A value that goes up and down.
    Gauge,
    /// A value that only grows while the process lives.
    Counter,
    /// How many observations fell into each of a few ranges.
    Histogram,
}

/// A metric, as it stands in the documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// Its name; the unit is part of it.
    pub name: &'static str,
    /// What it is.
    pub kind: MetricKind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it says, in one sentence.
    pub help: &'static str,
}

impl Metric {
    /// A gauge.
    #[must_use]
    pub const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Self {
        Self { name, kind: MetricKind::Gauge, labels, help }
    }

    /// A counter.
    #[must_use]
    pub const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Self {
        Self { name, kind: MetricKind::Counter, labels, help }
    }

    /// A histogram, in seconds.
    #[must_use]
    pub const fn histogram(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Self {
        Self { name, kind: MetricKind::Histogram, labels, help }
    }

    /// Tells the installed recorder of it.
    pub fn describe(&self) {
        match self.kind {
            MetricKind::Gauge => metrics::describe_gauge!(self.name, self.help),
            MetricKind::Counter => metrics::describe_counter!(self.name, self.help),
            MetricKind::Histogram => metrics::describe_histogram!(self.name, self.help),
        }
    }
}

/// How long questions took.
pub const FETCH_SECONDS: Metric = Metric::histogram(
    "antiphon_peer_fetch_seconds",
    &["peer"],
    "From a question to its first answer, and from answer to answer while catching up; waiting for something new is left out.",
);
/// How long batches took.
pub const INGEST_SECONDS: Metric = Metric::histogram(
    "antiphon_peer_ingest_seconds",
    &["peer"],
    "A batch of a peer's, from being handed to the log until it is visible here.",
);
/// How often exchanges failed.
pub const EXCHANGE_FAILURES: Metric = Metric::counter(
    "antiphon_exchange_failures_total",
    &["category"],
    "Exchanges with peers that failed, by what was in the way.",
);
/// How much was written here.
pub const APPENDED_EVENTS: Metric =
    Metric::counter("antiphon_appended_events_total", &[], "Events that were appended here, and confirmed.");
/// How long the disk took.
pub const SYNC_SECONDS: Metric = Metric::histogram("antiphon_sync_seconds", &[], "One sync of the store to its disk.");

/// All of them.
pub const METRICS: &[Metric] = &[FETCH_SECONDS, INGEST_SECONDS, EXCHANGE_FAILURES, APPENDED_EVENTS, SYNC_SECONDS];

/// Bounds of the ranges of [`FETCH_SECONDS`] and [`INGEST_SECONDS`]. Few, because they are kept for each peer.
pub const PEER_SECONDS: &[f64] = &[0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0];
/// Bounds of the ranges of [`SYNC_SECONDS`].
pub const DISK_SECONDS: &[f64] =
    &[0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.0, 10.0];

/// Counts what a cortex of this name appends.
pub(crate) fn appended(cortex: &str) -> metrics::Counter {
    metrics::counter!(APPENDED_EVENTS.name, CORTEX => cortex.to_owned())
}

/// So many peers have a label of their own; all further ones share `_other`. A process never gives away more,
/// however often its configuration changes.
pub const MAX_PEER_LABELS: usize = 200;
/// The label of all peers beyond [`MAX_PEER_LABELS`]. No name of a peer begins like that.
const OTHER_PEERS: &str = "_other";

/// Which peers have a label of their own. Who came first keeps it.
#[derive(Debug, Default)]
pub struct PeerLabels(Mutex<BTreeSet<PeerName>>);

impl PeerLabels {
    /// The label of a peer, from now on.
    #[must_use]
    pub fn of(&self, name: &PeerName) -> String {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.contains(name) {
            if known.len() >= MAX_PEER_LABELS {
                return OTHER_PEERS.to_owned();
            }
            known.insert(name.clone());
        }
        name.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_bounded_and_who_has_one_keeps_it() {
        let labels = PeerLabels::default();
        let name = |n: usize| PeerName::new(&format!("p{n}")).unwrap();
        let given: BTreeSet<_> = (0..5000).map(|n| labels.of(&name(n))).collect();
        assert_eq!(given.len(), MAX_PEER_LABELS + 1);
        assert_eq!((labels.of(&name(7)), labels.of(&name(4000))), ("p7".to_owned(), OTHER_PEERS.to_owned()));
    }

    #[test]
    fn names_carry_prefix_and_unit() {
        for metric in METRICS {
            assert!(metric.name.starts_with("antiphon_"), "{}", metric.name);
            assert_eq!(metric.kind == MetricKind::Counter, metric.name.ends_with("_total"), "{}", metric.name);
            assert_eq!(metric.kind == MetricKind::Histogram, metric.name.ends_with("_seconds"), "{}", metric.name);
        }
    }
}
