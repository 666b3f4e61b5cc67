//! What others see of a running node: metrics for Prometheus, and a page for people.

mod catalogue;
mod history;
mod page;
mod scrape;
mod web;

use std::sync::Arc;
use std::time::Duration;

use antiphon_https::{Bounds, Limits, WebServer};
use antiphon_metrics::Metrics;
use anyhow::{Context as _, Result};
use history::History;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::node::Node;

/// The listener of metrics and status page, and the task that looks now and then.
pub(crate) struct Monitor {
    server: WebServer,
    looking: JoinHandle<()>,
}

impl Monitor {
    /// Listens, if that is configured and metrics are installed.
    pub(crate) async fn start(node: &Arc<Node>, metrics: Option<Metrics>) -> Result<Option<Self>> {
        let config = node.config();
        let Some((addr, metrics)) = config.listen.metrics.zip(metrics) else { return Ok(None) };
        let page = config.listen.status_page.unwrap_or(addr.ip().is_loopback());
        let closing = watch::Sender::new(false);
        let history = Arc::new(History::default());
        let shown = web::Shown::new(Arc::clone(node), metrics.clone(), Arc::clone(&history), closing.subscribe());
        let router = web::router(shown, page);
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
                history.look(&node.cortex().syncer().peers());
                metrics.upkeep();
            }
        });
        let what = if page { "metrics and status page" } else { "metrics" };
        tracing::info!(address = %server.local_addr(), "serving {what}");
        Ok(Some(Self { server, looking }))
    }

    pub(crate) async fn shutdown(self) {
        self.looking.abort();
        self.server.shutdown().await;
    }
}
