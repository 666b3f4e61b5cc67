//! Every metric of a cortex, and how many series each may have.

use antiphon_kernel::condition::Condition;
use antiphon_kernel::health::ErrorCategory;
use antiphon_kernel::internals::log::EpochEnd;
use antiphon_kernel::internals::measure::{self, DISK_SECONDS, MAX_PEER_LABELS, Metric, MetricKind, PEER_SECONDS};
use antiphon_transport_common::{POOLS, Rejected};

macro_rules! metrics {
    ($($id:ident = $kind:ident $name:literal $labels:tt $help:literal;)+) => {
        $(pub(crate) const $id: Metric = Metric::$kind($name, &$labels, $help);)+
        const OWN: &[Metric] = &[$($id),+];
    };
}

metrics! {
    PEER_UP = gauge "antiphon_peer_up" ["peer"] "1 while exchanges with the peer succeed, 0 while they do not; absent while it is not pulled.";
    PEER_STATE = gauge "antiphon_peer_state" ["peer", "state"] "1 for the state that the peer is in, 0 for the others; for `_other` 1 for each state of one of them.";
    PEER_LAG_EVENTS = gauge "antiphon_peer_lag_events" ["peer"] "Events of the peer's durable log that are not here yet, as the peer reports; absent while unknown.";
    PEER_LAG_SECONDS = gauge "antiphon_peer_lag_seconds" ["peer"] "Time between the peer's newest entry and the newest one that was read, both on its clock; absent while unknown.";
    PEER_LAST_SUCCESS = gauge "antiphon_peer_last_success_timestamp_seconds" ["peer"] "When an exchange with the peer last succeeded; absent if never.";
    PEER_FAILURES = gauge "antiphon_peer_consecutive_failures" ["peer", "category"] "Exchanges that failed in a row, by cause; absent while all succeed.";
    PEER_SKEW = gauge "antiphon_peer_clock_skew_seconds" ["peer"] "The peer's clock minus this node's, read each ten minutes, without the part that the network path may explain. Absent while out of contact.";
    PEER_RECEIVED_EVENTS = counter "antiphon_peer_received_events_total" ["peer"] "Events that came from the peer.";
    PEER_RECEIVED_BYTES = counter "antiphon_peer_received_bytes_total" ["peer"] "Bytes of the records that came from the peer.";
    PEER_STORED_EVENTS = counter "antiphon_peer_stored_events_total" ["peer"] "Events that came from the peer and were new here.";
    PEER_SENT_EVENTS = counter "antiphon_peer_sent_events_total" ["peer"] "Events that were sent to the peer; `_unknown` are askers that are no peers of this node.";
    PEER_SENT_BYTES = counter "antiphon_peer_sent_bytes_total" ["peer"] "Bytes of the records that were sent to the peer.";
    PEER_WITHHELD_HISTORIES = gauge "antiphon_peer_withheld_histories" ["peer"] "Origins whose histories differ between the peer and this node.";
    PEER_WITHHELD_EVENTS = gauge "antiphon_peer_withheld_events" ["peer"] "Events of the peer that are known not to come because histories differ; part of its lag.";
    PEER_SLOWED = gauge "antiphon_peer_slowed" ["peer"] "1 while the peer's quota here slows what is pulled from it, or did within the last ten seconds.";
    SLOWED_ANSWERS = counter "antiphon_slowed_answers_total" [] "Answers to others that waited for the quota of their asker.";
    OVER_QUOTA = counter "antiphon_over_quota_total" [] "Questions of others that were refused because the quota of their asker was used up.";
    PEER_BROUGHT_ORIGINS = gauge "antiphon_peer_brought_origins" ["peer"] "Origins in the log whose first event the peer brought; `_own` is what was appended here or came before that was noted.";
    PEER_BROUGHT_BYTES = gauge "antiphon_peer_brought_bytes" ["peer"] "Bytes of records in the log, of origins that the peer brought; `_own` as above.";
    ORIGIN_BYTES = gauge "antiphon_origin_bytes" ["origin"] "Bytes of records in the log, of the 32 origins that have the most.";
    PEERS = gauge "antiphon_peers" ["state"] "Peers that are in this state, those without a label of their own included.";
    LOG_EVENTS = gauge "antiphon_log_events" [] "The newest sequence number of the log.";
    LOG_DURABLE = gauge "antiphon_log_durable_events" [] "The newest sequence number that is durable, and served.";
    OWN_EVENTS_HERE = gauge "antiphon_own_events" [] "Events that this cortex appended, of all its epochs.";
    OWN_ONLY_HERE = gauge "antiphon_own_events_only_here" [] "Own events that no other cortex is known to hold durably; all of them after a start, until peers ask again.";
    PEER_HOLDS = gauge "antiphon_peer_holds_own_events" ["peer"] "Own events that the peer is known to hold durably; absent until it reports some after a start.";
    CLOCK_ENTRIES = gauge "antiphon_clock_entries" [] "Origins in the clock of everything held; the protocol's bound is 1,024.";
    FORKS = gauge "antiphon_forks" [] "Forks that this node knows of and that are not resolved.";
    DOUBLES = gauge "antiphon_doubles" [] "Cortexes of which two nodes run, this one included: one of the two is a copy of the other's data directory.";
    PEER_SUSPECT_FORKS = gauge "antiphon_peer_suspect_forks" ["peer"] "Forks in which the peer, or a node that it pulls, brought what the origin's own cortex is not known to hold.";
    CONFLICTS = gauge "antiphon_conflicts" [] "Subjects whose newest events had not seen each other.";
    REPLAY_LAG = gauge "antiphon_replay_lag_events" ["replayer"] "Entries of the log that the replayer has not replayed yet.";
    REPLAY_FAILURES = gauge "antiphon_replay_failures" ["replayer"] "Failed tries of the same event in a row.";
    REPLAY_PARKED = gauge "antiphon_replay_parked_events" ["replayer"] "Events in quarantine.";
    REPLAY_HANGING = gauge "antiphon_replay_hanging" ["replayer"] "1 while the replayer has been at one event for longer than its limit.";
    DISK_FREE = gauge "antiphon_disk_free_bytes" [] "Bytes that are free where the store is.";
    DISK_FLOOR = gauge "antiphon_disk_floor_bytes" [] "Peers are not pulled while fewer bytes are free.";
    STORE_BYTES = gauge "antiphon_store_bytes" ["family"] "Bytes of the family, in its sorted files and in memory.";
    STORE_MEMORY = gauge "antiphon_store_memory_bytes" [] "Bytes of the store's newest writes that are in memory.";
    STORE_WAL = gauge "antiphon_store_wal_bytes" [] "Bytes of the store's write-ahead log.";
    STORE_READ_ONLY = gauge "antiphon_store_read_only" [] "1 while a failed write keeps the node from writing.";
    APPENDS_REFUSED = gauge "antiphon_appends_refused" [] "1 while each append is refused: the store cannot be written, the clock is far behind the last event id, or no origin is left.";
    OPEN_QUESTIONS = gauge "antiphon_open_questions" [] "Questions of peers that are being answered, or wait for something new.";
    MEMORY_BUDGET = gauge "antiphon_memory_budget_bytes" [] "The size of the memory budget for answers and received frames.";
    MEMORY_USED = gauge "antiphon_memory_budget_used_bytes" [] "Bytes of the memory budget that are in use.";
    MEMORY_REFUSED = counter "antiphon_memory_budget_refused_total" [] "Answers and frames that found no room in the memory budget in time.";
    EPOCH_CHANGE = gauge "antiphon_epoch_change_timestamp_seconds" ["why"] "When the log last continued under a new epoch; absent if never.";
    NODE_INFO = gauge "antiphon_node_info" ["name", "cortex_id", "mode"] "1; the labels are the node's name, id and mode.";
}

/// Families of a store with a label of their own: the kernel's, and those of replayers.
pub(crate) const MAX_FAMILIES: usize = 32;
/// The most origins with a label of their own.
pub(crate) const MAX_ORIGINS: usize = 32;
/// The label of what was appended here. No name of a peer begins like that.
pub(crate) const OWN_EVENTS: &str = "_own";
/// The label of askers that are no peers of this cortex.
pub(crate) const UNKNOWN: &str = "_unknown";
/// `https`, `quic`, and a listener for metrics.
const TRANSPORTS: usize = 3;

/// Returns the metrics that need only a cortex, with those of the kernel and of the network transports.
#[must_use]
pub fn all() -> Vec<Metric> {
    [own(), &measured()].concat()
}

/// Returns the metrics that this crate reads from a cortex when it renders.
#[must_use]
pub const fn own() -> &'static [Metric] {
    OWN
}

/// Returns the metrics that the kernel and the network transports count while they work.
#[must_use]
pub fn measured() -> Vec<Metric> {
    [measure::METRICS, antiphon_transport_common::measure::METRICS].concat()
}

/// Returns the most series that a metric can have, for one cortex with one replayer.
#[must_use]
pub fn max_series(metric: &Metric, peers: usize) -> usize {
    let labels = metric.labels.iter().map(|label| match *label {
        // Those beyond the cap share one, and there are `_unknown` or `_own`.
        "peer" => peers.min(MAX_PEER_LABELS) + 2,
        "state" => Condition::ALL.len(),
        "category" if metric.labels.len() == 1 => ErrorCategory::ALL.len(),
        "transport" => TRANSPORTS,
        "pool" => POOLS.len(),
        "reason" => Rejected::ALL.len(),
        "family" => MAX_FAMILIES,
        "origin" => MAX_ORIGINS,
        // One value at a time.
        _ => 1,
    });
    let buckets = match (metric.kind, metric.labels) {
        (MetricKind::Histogram, []) => DISK_SECONDS.len() + 3,
        (MetricKind::Histogram, _) => PEER_SECONDS.len() + 3,
        _ => 1,
    };
    labels.product::<usize>() * buckets
}

/// The label that says why an epoch ended.
pub(crate) fn why(end: EpochEnd) -> String {
    serde_json::to_value(end).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_carry_the_prefix() {
        let mut names: Vec<_> = all().iter().map(|metric| metric.name).collect();
        assert!(names.iter().all(|name| name.starts_with("antiphon_")));
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn no_metric_has_a_label_of_its_own_for_the_cortex() {
        assert!(all().iter().all(|metric| !metric.labels.contains(&measure::CORTEX)));
    }
}
