//! The routes of the monitor's listener. Nothing here has a secret, takes anything in, or changes anything.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use antiphon_kernel::time::Timestamp;
use antiphon_metrics::Metrics;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures_util::stream;
use sha2::{Digest as _, Sha256};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::history::History;
use super::{page, scrape};
use crate::error_text::explained;
use crate::node::Node;

const PAGE: &str = include_str!("../page/index.html");
/// How often the page receives the status.
const TELL_EVERY: Duration = Duration::from_secs(2);

/// The number of pages that receive it at the same time; well below what one address may have open, so that they never keep Prometheus out.
pub(super) const MAX_STREAMS: usize = 16;

/// What the routes show.
#[derive(Clone)]
pub(super) struct Shown {
    node: Arc<Node>,
    metrics: Metrics,
    history: Arc<History>,
    closing: watch::Receiver<bool>,
    policy: HeaderValue,
    streams: Arc<Semaphore>,
}

impl Shown {
    pub(super) fn new(
        node: Arc<Node>,
        metrics: Metrics,
        history: Arc<History>,
        closing: watch::Receiver<bool>,
    ) -> Self {
        let policy = HeaderValue::from_str(&policy(PAGE)).unwrap_or(HeaderValue::from_static("default-src 'none'"));
        Self { node, metrics, history, closing, policy, streams: Arc::new(Semaphore::new(MAX_STREAMS)) }
    }

    /// The JSON of the status.
    async fn status(&self) -> Result<String, Response> {
        let (node, history) = (Arc::clone(&self.node), Arc::clone(&self.history));
        blocking(move || page::json(&node, &history)).await
    }
}

/// With `page`, people are served as well.
pub(super) fn router(shown: Shown, page: bool) -> Router {
    let mut router = Router::new().route("/metrics", get(scraped)).route("/healthz", get(healthy));
    if page {
        router = router.route("/", get(index)).route("/status", get(now)).route("/status/events", get(events));
    }
    router
        .fallback(|| async { (StatusCode::NOT_FOUND, "there is nothing here; see /metrics\n") })
        .layer(from_fn(plainly))
        .with_state(shown)
}

/// The page may run its own script and speak to this listener, and nothing else, whatever stands in a peer's name.
fn policy(page: &str) -> String {
    let hash = |tag: &str| {
        let inside = page.split(&format!("<{tag}>")).nth(1).and_then(|rest| rest.split(&format!("</{tag}>")).next());
        format!("'sha256-{}'", BASE64_STANDARD.encode(Sha256::digest(inside.unwrap_or_default())))
    };
    format!(
        "default-src 'none'; style-src {}; script-src {}; connect-src 'self'; img-src data:; base-uri 'none'; form-action \
         'none'; frame-ancestors 'none'",
        hash("style"),
        hash("script")
    )
}

/// Nothing is kept by a browser, or taken for something else than it is.
async fn plainly(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Reads the store, so it is done where that delays nobody.
async fn blocking<T: Send + 'static>(make: impl FnOnce() -> T + Send + 'static) -> Result<T, Response> {
    tokio::task::spawn_blocking(make).await.map_err(|error| {
        tracing::error!(%error, "the status could not be read");
        StatusCode::INTERNAL_SERVER_ERROR.into_response()
    })
}

async fn scraped(State(shown): State<Shown>) -> Response {
    match blocking(move || scrape::render(&shown.node, &shown.metrics)).await {
        Ok(text) => ([(CONTENT_TYPE, antiphon_metrics::CONTENT_TYPE)], text).into_response(),
        Err(response) => response,
    }
}

/// For probes: as `antiphon status --check`.
async fn healthy(State(shown): State<Shown>) -> Response {
    let view = shown.node.cortex().reader().clone();
    match blocking(move || view.refuses_appends(Timestamp::now())).await {
        Ok(None) => "ok\n".into_response(),
        Ok(Some(why)) => {
            let says = format!("{}\n", explained(&anyhow::Error::from(why).context("the node refuses appends")));
            (StatusCode::SERVICE_UNAVAILABLE, says).into_response()
        }
        Err(response) => response,
    }
}

async fn index(State(shown): State<Shown>) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(CONTENT_SECURITY_POLICY, shown.policy);
    (headers, PAGE).into_response()
}

async fn now(State(shown): State<Shown>) -> Response {
    match shown.status().await {
        Ok(json) => ([(CONTENT_TYPE, "application/json")], json).into_response(),
        Err(response) => response,
    }
}

/// The status at once, and then now and then, as server-sent events.
async fn events(State(shown): State<Shown>) -> Response {
    // Each holds a connection for as long as somebody looks.
    let Ok(place) = Arc::clone(&shown.streams).try_acquire_owned() else {
        let says = "as many pages as this node tells by itself are open; /status answers all the same\n";
        return (StatusCode::SERVICE_UNAVAILABLE, says).into_response();
    };
    let mut every = interval_at(Instant::now(), TELL_EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let statuses = stream::unfold((shown, every, place), |(mut shown, mut every, place)| async move {
        tokio::select! {
            _ = every.tick() => {}
            _ = shown.closing.wait_for(|closing| *closing) => return None,
        }
        let json = shown.status().await.ok()?;
        Some((Ok::<_, Infallible>(format!("event: status\ndata: {json}\n\n")), (shown, every, place)))
    });
    ([(CONTENT_TYPE, "text/event-stream")], Body::from_stream(statuses)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_brings_everything_along() {
        assert_eq!((PAGE.matches("<style>").count(), PAGE.matches("<script>").count()), (1, 1));
        for outside in
            ["src=\"http", "href=\"http", "@import", "url(http", "//cdn", "innerHTML", " style=\"", " onclick="]
        {
            assert!(!PAGE.contains(outside), "{outside}");
        }
        let policy = policy(PAGE);
        assert!(policy.contains("script-src 'sha256-") && !policy.contains("sha256-47DEQpj8HBSa"), "{policy}");
    }
}
