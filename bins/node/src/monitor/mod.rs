//! What others see of a running node: metrics for Prometheus, and a page for people.

pub mod catalogue;
pub mod history;
mod web;

use std::sync::Arc;
use std::time::Duration;

use antiphon_https::{Bounds, Limits, WebServer};
use antiphon_metrics::Metrics;
use anyhow::{Context as _, Result};
use catalogue as c;
use metrics::{counter, gauge};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::REVISION;
use crate::node::Node;

/// The listener of metrics and status page, and the task that looks now and then.
pub struct Monitor {
    server: WebServer,
    looking: JoinHandle<()>,
}

impl Monitor {
    /// Listens, if that is configured and metrics are installed.
    pub async fn start(node: &Arc<Node>, metrics: Option<Metrics>) -> Result<Option<Self>> {
        let config = node.config();
        let Some((addr, metrics)) = config.listen.metrics.zip(metrics) else { return Ok(None) };
        let page = config.listen.status_page.unwrap_or(addr.ip().is_loopback());
        let closing = watch::Sender::new(false);
        let router = web::router(Arc::clone(node), metrics.clone(), page, closing.subscribe());
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
                metrics.upkeep();
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
fn scrape(node: &Node, metrics: &Metrics) -> String {
    metrics.render_with(node.cortex(), || of_node(node))
}

/// Sets what only a node knows.
fn of_node(node: &Node) {
    c::own().iter().for_each(antiphon_kernel::measure::Metric::describe);
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
        gauge!(c::RELOAD_TIME.name).set(at.as_micros() as f64 / 1e6);
    }
    gauge!(c::BUILD_INFO.name, "version" => env!("CARGO_PKG_VERSION"), "revision" => REVISION).set(1);
}
