//! What is answered over HTTP.

use std::time::Duration;

use antiphon_kernel::codec::{Message, decode, encode};
use antiphon_kernel::cursor::Seq;
use antiphon_kernel::protocol::{FetchReply, Refusal};
use antiphon_kernel::service::Service;
use axum::Router;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use serde::Deserialize;
use serde_json::json;

pub(crate) const IDENTITY: &str = "/v1/identity";
pub(crate) const FETCH: &str = "/v1/fetch";
const EVENTS: &str = "/v1/events";
pub(crate) const JSON: &str = "application/json";
/// Binary frames, between peers.
pub(crate) const FRAME: &str = "application/vnd.antiphon.frame";
const BATCH: &str = "application/cloudevents-batch+json";

/// The largest request: `known` and `direct` at their bounds are far below.
const MAX_REQUEST_BYTES: usize = 1024 * 1024;
const DEFAULT_PAGE: usize = 100;
const MAX_PAGE: usize = 1000;

#[derive(Clone)]
struct Shared {
    service: Service,
    idle: Duration,
}

/// Everything this node answers. `idle` is the longest silence within a request's body.
pub(crate) fn router(service: Service, idle: Duration) -> Router {
    let shared = Shared { service, idle };
    Router::new()
        .route(IDENTITY, get(identity))
        .route(EVENTS, get(events))
        .route(FETCH, post(fetch))
        .layer(from_fn_with_state(shared.clone(), authorise))
        .route("/healthz", get(|| async { "ok\n" }))
        .with_state(shared)
}

fn fault(status: StatusCode, error: &str, hint: &str) -> Response {
    (status, Json(json!({ "error": error, "hint": hint }))).into_response()
}

async fn authorise(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    if shared.service.authorises(bearer(request.headers())) {
        return next.run(request).await;
    }
    let mut response = fault(
        StatusCode::UNAUTHORIZED,
        "the shared key is missing or wrong",
        "send it as `Authorization: Bearer <key>`",
    );
    response.headers_mut().insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
    response
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(header::AUTHORIZATION)?.as_bytes();
    let (scheme, key) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then_some(key)
}

async fn identity(State(shared): State<Shared>) -> Response {
    Json(shared.service.identity()).into_response()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EventsQuery {
    #[serde(default)]
    after: u64,
    limit: Option<usize>,
    #[serde(default)]
    wait: f64,
}

async fn events(State(shared): State<Shared>, query: Result<Query<EventsQuery>, QueryRejection>) -> Response {
    let query = match query {
        Ok(Query(query)) => query,
        Err(error) => {
            return fault(
                StatusCode::BAD_REQUEST,
                &error.body_text(),
                "use after=<place>, limit=1..1000, wait=<seconds>",
            );
        }
    };
    let limit = query.limit.unwrap_or(DEFAULT_PAGE).clamp(1, MAX_PAGE);
    let wait = Duration::try_from_secs_f64(query.wait.clamp(0.0, 60.0)).unwrap_or_default();
    match shared.service.page(Seq::new(query.after), limit, wait).await {
        Ok(Some(page)) => {
            let next = page.entries.last().map_or(query.after, |entry| entry.seq.get());
            let events: Result<Vec<_>, _> = page.entries.iter().map(|entry| entry.to_cloud_event()).collect();
            match events {
                Ok(events) => {
                    let body = serde_json::Value::Array(events).to_string();
                    let headers = [
                        (header::CONTENT_TYPE.as_str(), BATCH.to_owned()),
                        ("antiphon-next", next.to_string()),
                        ("antiphon-head", page.head.to_string()),
                    ];
                    (headers, body).into_response()
                }
                Err(error) => internal(&error),
            }
        }
        Ok(None) => {
            fault(StatusCode::FORBIDDEN, "this node does not serve its log (mode subscribe)", "ask another node")
        }
        Err(error) => internal(&error),
    }
}

fn internal(error: &dyn std::fmt::Display) -> Response {
    tracing::error!(%error, "a request could not be answered");
    fault(StatusCode::INTERNAL_SERVER_ERROR, "the log could not be read", "look at this node's log")
}

async fn fetch(State(shared): State<Shared>, request: Request) -> Response {
    let body = match read_body(request.into_body(), shared.idle).await {
        Ok(body) => body,
        Err(status) => return fault(status, "the request's body was not taken", "send one frame of at most 1 MiB"),
    };
    let (status, reply) = match decode(&body) {
        Ok(Message::Fetch(request)) => (StatusCode::OK, shared.service.fetch(request).await),
        Ok(Message::Reply(_)) | Err(_) => (StatusCode::BAD_REQUEST, FetchReply::Refused(Refusal::Malformed)),
    };
    (status, [(header::CONTENT_TYPE, FRAME)], encode(&Message::Reply(reply))).into_response()
}

/// Reads a body under a running cap; what it claims about its length is not trusted.
async fn read_body(body: Body, idle: Duration) -> Result<Bytes, StatusCode> {
    let mut stream = body.into_data_stream();
    let mut read = BytesMut::new();
    loop {
        match tokio::time::timeout(idle, stream.next()).await {
            Ok(Some(Ok(chunk))) if read.len() + chunk.len() <= MAX_REQUEST_BYTES => read.extend_from_slice(&chunk),
            Ok(Some(Ok(_))) => return Err(StatusCode::PAYLOAD_TOO_LARGE),
            Ok(Some(Err(_))) => return Err(StatusCode::BAD_REQUEST),
            Ok(None) => return Ok(read.freeze()),
            Err(_) => return Err(StatusCode::REQUEST_TIMEOUT),
        }
    }
}
