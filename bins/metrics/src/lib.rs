//! The metrics of a cortex in Prometheus' text format: what the kernel and the transports count while they work, and what is
//! known of the cortex when it is scraped.
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! # let store = antiphon_kernel::testing::MemoryStore::new();
//! # use antiphon_kernel::cortex::Cortex;
//! let metrics = antiphon_metrics::install()?;
//! let cortex = Cortex::builder(store).name("alpha").start().await?;
//! // In the handler of `GET /metrics`, on a thread that may block:
//! let text = metrics.render(&cortex);
//! # drop(text); cortex.stop().await; Ok(())
//! # }
//! ```
//!
//! Every series has the label `cortex`, the name of its cortex. Two cortexes in one process need two names.

pub mod catalogue;
mod known;
mod labelled;
mod peers;
mod text;
mod traffic;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use antiphon_kernel::cortex::Cortex;
use antiphon_kernel::ids::CortexId;
use antiphon_kernel::internals::measure::{
    DISK_SECONDS, FETCH_SECONDS, INGEST_SECONDS, Metric, PEER_SECONDS, SYNC_SECONDS,
};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

use crate::labelled::Labelled;
use crate::traffic::Traffic;

/// The content type of what [`Metrics::render`] returns.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Why metrics were not installed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InstallError {
    /// The process has one recorder, and another one is installed already.
    #[error("another recorder of metrics is installed in this process")]
    Taken,
    /// The ranges of a histogram are invalid.
    #[error(transparent)]
    Buckets(#[from] BuildError),
}

/// Installs the process's recorder of the `metrics` facade. A cortex that starts earlier is not counted.
///
/// # Errors
/// [`InstallError::Taken`] if the process has a recorder.
pub fn install() -> Result<Metrics, InstallError> {
    let of = |metric: &Metric| Matcher::Full(metric.name.to_owned());
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(of(&FETCH_SECONDS), PEER_SECONDS)?
        .set_buckets_for_metric(of(&INGEST_SECONDS), PEER_SECONDS)?
        .set_buckets_for_metric(of(&SYNC_SECONDS), DISK_SECONDS)?
        .build_recorder();
    let counted = recorder.handle();
    metrics::set_global_recorder(recorder).map_err(|_| InstallError::Taken)?;
    catalogue::measured().iter().for_each(Metric::describe);
    Ok(Metrics { counted, traffic: Arc::default() })
}

/// What was counted in this process, and how it is rendered.
#[derive(Clone)]
pub struct Metrics {
    counted: PrometheusHandle,
    /// What came and went so far, of each cortex that was rendered.
    traffic: Arc<Mutex<BTreeMap<CortexId, Traffic>>>,
}

impl Metrics {
    /// Renders the metrics of a cortex and of the process. Reads the store, so it may block.
    #[must_use]
    pub fn render(&self, cortex: &Cortex) -> String {
        self.render_with(cortex, || ())
    }

    /// The same, with gauges and counters that `more` sets. They get the label `cortex` as well.
    #[must_use]
    pub fn render_with(&self, cortex: &Cortex, more: impl FnOnce()) -> String {
        self.render_each([cortex], more)
    }

    /// Renders the metrics of several cortexes for one scrape.
    #[must_use]
    pub fn render_all<'a>(&self, cortexes: impl IntoIterator<Item = &'a Cortex>) -> String {
        self.render_each(cortexes, || ())
    }

    fn render_each<'a>(&self, cortexes: impl IntoIterator<Item = &'a Cortex>, more: impl FnOnce()) -> String {
        // A recorder that lives for one scrape forgets: a gauge that keeps its value when its peer falls silent would show a
        // lag of 0 while nothing flows.
        let now = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&now, || {
            catalogue::own().iter().for_each(Metric::describe);
            let process = metrics_process::Collector::default();
            process.describe();
            process.collect();
        });
        let (mut names, mut more) = (Vec::new(), Some(more));
        for cortex in cortexes {
            let local = cortex.reader().local();
            let labelled = Labelled::new(&now, &local.name);
            let mut traffic = self.traffic.lock().unwrap_or_else(PoisonError::into_inner);
            let traffic = traffic.entry(local.cortex_id).or_default();
            metrics::with_local_recorder(&labelled, || {
                known::set(cortex, traffic);
                more.take().into_iter().for_each(|more| more());
            });
            names.push(local.name);
        }
        text::of(&self.counted.render(), &names) + &now.handle().render()
    }

    /// Drops what is no longer needed of histograms. Call it every few seconds or minutes if nothing scrapes the process.
    pub fn upkeep(&self) {
        self.counted.run_upkeep();
    }
}
