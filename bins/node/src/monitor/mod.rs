//! What others see of a running node: metrics for Prometheus, and a page for people.

pub mod catalogue;
pub mod history;
pub mod snapshot;
mod web;

use std::sync::Arc;
use std::time::Duration;

use antiphon_https::{Bounds, Limits, WebServer};
use antiphon_kernel::measure::{
    APPENDED_EVENTS, DISK_SECONDS, FETCH_SECONDS, INGEST_SECONDS, PEER_SECONDS, SYNC_SECONDS,
};
use antiphon_kernel::time::Timestamp;
use anyhow::{Context as _, Result};
use catalogue as c;
use metrics::{counter, gauge};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::node::Node;
use crate::space;

/// What was counted since the process began.
#[derive(Clone)]
pub struct Counted(PrometheusHandle);

/// Begins to count. Before anything else starts, or it is not counted.
pub fn count() -> Result<Counted> {
    let buckets = |metric: &antiphon_kernel::measure::Metric| Matcher::Full(metric.name.to_owned());
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(buckets(&FETCH_SECONDS), PEER_SECONDS)?
        .set_buckets_for_metric(buckets(&INGEST_SECONDS), PEER_SECONDS)?
        .set_buckets_for_metric(buckets(&SYNC_SECONDS), DISK_SECONDS)?
        .build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).context("something counts already")?;
    c::all().iter().for_each(antiphon_kernel::measure::Metric::describe);
    // None yet is 0, and not unknown.
    counter!(APPENDED_EVENTS.name).increment(0);
    Ok(Counted(handle))
}

/// The listener of metrics and status page, and the task that looks now and then.
pub struct Monitor {
    server: WebServer,
    looking: JoinHandle<()>,
}

impl Monitor {
    /// Listens, where that is configured and something was counted.
    pub async fn start(node: &Arc<Node>, counted: Option<Counted>) -> Result<Option<Self>> {
        let config = node.config();
        let Some((addr, counted)) = config.listen.metrics.zip(counted) else { return Ok(None) };
        let page = config.listen.status_page.unwrap_or(addr.ip().is_loopback());
        let closing = watch::Sender::new(false);
        let router = web::router(Arc::clone(node), counted.clone(), page, closing.subscribe());
        // More than the pages that stay open (`web::MAX_STREAMS`), so that they and Prometheus may share an address. A scraper
        // that keeps its connection comes back within two minutes.
        let unproven = Bounds { total: 64, per_address: 32 };
        let limits = Limits { unproven, unproven_idle: Duration::from_secs(120), ..Limits::default() };
        let close = move || {
            closing.send_replace(true);
        };
        let server = WebServer::start("metrics", addr, router, limits, close).await.context("listen.metrics")?;
        let node = Arc::clone(node);
        let looking = tokio::spawn(async move {
            let mut every = tokio::time::interval(history::EVERY);
            every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                every.tick().await;
                node.look();
                counted.0.run_upkeep();
            }
        });
        let what = if page { "metrics and status page" } else { "metrics" };
        tracing::info!(address = %server.local_addr(), "serving {what}");
        Ok(Some(Self { server, looking }))
    }

    pub async fn shutdown(self) {
        self.looking.abort();
        self.server.shutdown().await;
    }
}

/// All metrics, in Prometheus' text format.
fn scrape(node: &Node, counted: &Counted) -> String {
    // One recorder for what was counted, and one for what is known now, which forgets.
    let now = PrometheusBuilder::new().build_recorder();
    metrics::with_local_recorder(&now, || {
        c::all().iter().for_each(antiphon_kernel::measure::Metric::describe);
        known(node);
        let process = metrics_process::Collector::default();
        process.describe();
        process.collect();
    });
    counted.0.render() + &now.handle().render()
}

fn known(node: &Node) {
    let seconds = |at: Timestamp| at.as_micros() as f64 / 1e6;
    let cortex = node.cortex();
    let (view, service, syncer) = (cortex.view(), cortex.service(), cortex.syncer());
    let (peers, served) = (syncer.peers(), service.served_by_asker());
    snapshot::peers(&peers, &served, service.served(), syncer.labels(), node.traffic(), Timestamp::now());
    gauge!(c::LOG_EVENTS.name).set(view.visible().get() as f64);
    gauge!(c::LOG_DURABLE.name).set(view.head().seq.get() as f64);
    gauge!(c::CLOCK_ENTRIES.name).set(view.heads().len() as f64);
    gauge!(c::STORE_READ_ONLY.name).set(u8::from(view.failure().is_some()));
    gauge!(c::DOUBLES.name).set(view.doubles().list().len() as f64);
    gauge!(c::APPENDS_REFUSED.name).set(u8::from(view.refuses_appends(Timestamp::now()).is_some()));
    gauge!(c::OPEN_QUESTIONS.name).set(service.open_questions() as f64);
    let origins = view.origins();
    let mut brought = std::collections::BTreeMap::<String, space::Brought>::new();
    for (peer, more) in space::by_peer(&origins) {
        let label = peer.map_or_else(|| c::OWN_EVENTS.to_owned(), |peer| syncer.labels().of(&peer));
        let sum = brought.entry(label).or_default();
        (sum.origins, sum.bytes) = (sum.origins + more.origins, sum.bytes + more.bytes);
    }
    for (label, brought) in brought {
        gauge!(c::PEER_BROUGHT_ORIGINS.name, "peer" => label.clone()).set(brought.origins as f64);
        gauge!(c::PEER_BROUGHT_BYTES.name, "peer" => label).set(brought.bytes as f64);
    }
    for (origin, note) in space::largest(&origins, c::MAX_ORIGINS) {
        gauge!(c::ORIGIN_BYTES.name, "origin" => origin.to_string()).set(note.bytes as f64);
    }
    let memory = service.budget().usage();
    gauge!(c::MEMORY_BUDGET.name).set(memory.limit as f64);
    gauge!(c::MEMORY_USED.name).set(memory.used as f64);
    counter!(c::MEMORY_REFUSED.name).absolute(memory.refused);
    for replayer in cortex.replayers() {
        let status = replayer.status();
        gauge!(c::REPLAY_LAG.name, "replayer" => status.name.clone()).set(status.lag_events as f64);
        gauge!(c::REPLAY_FAILURES.name, "replayer" => status.name.clone()).set(status.failures);
        gauge!(c::REPLAY_PARKED.name, "replayer" => status.name.clone()).set(status.parked as f64);
        gauge!(c::REPLAY_HANGING.name, "replayer" => status.name.clone()).set(u8::from(status.hangs_at.is_some()));
        gauge!(c::CONFLICTS.name).set(status.conflicts as f64);
    }
    // A store that cannot be read says so by being absent, and by `antiphon_store_read_only`.
    if let Ok(forks) = antiphon_kernel::log::forks(&**view.store()) {
        gauge!(c::FORKS.name).set(forks.len() as f64);
    }
    if let Ok(suspects) = crate::forks::suspects(node) {
        let mut counts = std::collections::BTreeMap::<String, usize>::new();
        for peer in &peers {
            let count = suspects.get(&peer.name).copied().unwrap_or(0);
            // Of those without a label of their own, the one with most.
            let most = counts.entry(syncer.labels().of(&peer.name)).or_default();
            *most = count.max(*most);
        }
        for (label, count) in counts {
            gauge!(c::PEER_SUSPECT_FORKS.name, "peer" => label).set(count as f64);
        }
    }
    if let Ok(Some(change)) = antiphon_kernel::log::read_epoch_change(&**view.store()) {
        gauge!(c::EPOCH_CHANGE.name, "why" => c::why(change.why)).set(seconds(change.at));
    }
    if let Ok(Some(free)) = view.store().free_bytes() {
        gauge!(c::DISK_FREE.name).set(free as f64);
    }
    gauge!(c::DISK_FLOOR.name).set(syncer.min_free() as f64);
    if let Ok(sizes) = node.store().sizes() {
        for (family, bytes) in sizes.families.into_iter().take(c::MAX_FAMILIES) {
            gauge!(c::STORE_BYTES.name, "family" => family).set(bytes as f64);
        }
        gauge!(c::STORE_MEMORY.name).set(sizes.memory as f64);
        gauge!(c::STORE_WAL.name).set(sizes.wal as f64);
    }
    for (transport, bytes) in node.wire_sent() {
        counter!(c::WIRE_SENT.name, "transport" => transport).absolute(bytes);
    }
    if let Some(until) = node.certificate_until() {
        gauge!(c::CERTIFICATE.name).set(until as f64);
    }
    if let Some(holds) = node.certificate_holds() {
        gauge!(c::CERTIFICATE_VALID.name).set(u8::from(holds));
    }
    let reloads = node.reloads();
    if let Some(worked) = reloads.last {
        gauge!(c::RELOAD_SUCCESS.name).set(u8::from(worked));
    }
    if let Some(at) = reloads.succeeded {
        gauge!(c::RELOAD_TIME.name).set(seconds(at));
    }
    gauge!(c::BUILD_INFO.name, "version" => env!("CARGO_PKG_VERSION")).set(1);
    let local = view.local();
    let (cortex_id, mode) = (local.cortex_id.to_string(), service.mode().as_str());
    gauge!(c::NODE_INFO.name, "name" => local.name, "cortex_id" => cortex_id, "mode" => mode).set(1);
}
