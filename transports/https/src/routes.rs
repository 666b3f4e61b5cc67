//! What is answered, and to whom. The key is checked before a body is read.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use antiphon_kernel::codec::{Message, WireError, decode, encode};
use antiphon_kernel::config::SharedKey;
use antiphon_kernel::cursor::Cursor;
use antiphon_kernel::log::{CursorUnknown, ReadError};
use antiphon_kernel::protocol::{Delivery, FetchReply, FetchRequest, MAX_WAIT, Refusal};
use antiphon_kernel::service::{Page, Service};
use antiphon_transport_common::{Rejected, Slot};
use axum::Router;
use axum::body::{Body, HttpBody as _};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, Request, State};
use axum::http::header::{AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use serde::Deserialize;

use crate::limits::Limits;
use crate::media::is_type;
use crate::site_guard::{self, Scope};
use crate::{EVENTS_CONTENT_TYPE, FRAME_CONTENT_TYPE, HEAD_HEADER, NEXT_HEADER, TRANSPORT, request_body};

const DEFAULT_PAGE: usize = 100;
const MAX_PAGE: usize = 1000;
const QUERY_HINT: &str =
    "use ?after=<cursor>&limit=<1 to 1000>&wait=<seconds>; without `after` it begins at the beginning";

#[derive(Clone)]
struct Node {
    service: Service,
    body_bytes: usize,
    body: Duration,
}

/// The address that a request comes from.
#[derive(Clone)]
pub(crate) struct Caller(pub(crate) Arc<str>);

pub(crate) fn router(service: Service, limits: &Limits, scope: Scope) -> Router {
    let node = Node { service: service.clone(), body_bytes: limits.body_bytes, body: limits.idle };
    let router = Router::new()
        .route("/v1/identity", get(identity))
        .route("/v1/events", get(events))
        .route("/v1/fetch", post(fetch))
        .route("/v1/refresh", post(refresh))
        .route_layer(from_fn_with_state(node.clone(), guard))
        // Whatever looks after processes has no key, and learns nothing but that this one answers.
        .route("/healthz", get(|| async { "ok" }))
        .fallback(|| async { refuse(StatusCode::NOT_FOUND, "there is nothing here", "see docs/protocol.md") })
        .method_not_allowed_fallback(|| async {
            refuse(StatusCode::METHOD_NOT_ALLOWED, "this route has another method", "see docs/protocol.md")
        })
        .with_state(node);
    let guarded = move |request: Request, next: Next| {
        let exempt = is_exempt(&service, scope, request.headers());
        async move { if exempt { next.run(request).await } else { site_guard::check(scope, request, next).await } }
    };
    router.layer(from_fn(guarded))
}

/// Whether no page of another site can have sent the request: it has the key, or needs one and meets TLS besides.
fn is_exempt(service: &Service, scope: Scope, headers: &HeaderMap) -> bool {
    let keyed = !service.authorises(None);
    keyed && (!scope.plain || service.authorises(bearer(headers)))
}

pub(crate) fn refuse(status: StatusCode, error: &str, hint: &str) -> Response {
    (status, Json(serde_json::json!({ "error": error, "hint": hint }))).into_response()
}

/// Lets in who has the key, for as long as it is valid: a parked question or a run of answers that goes on for hours ends when
/// its key is taken out.
async fn guard(State(node): State<Node>, request: Request, next: Next) -> Response {
    let mut changes = node.service.watch_keys();
    let presented = bearer(request.headers());
    if !node.service.authorises(presented) {
        return unauthorised();
    }
    if request.extensions().get::<Arc<Slot>>().is_some_and(|slot| !slot.prove()) {
        return no_room();
    }
    // What is no key was let in because none is needed.
    let presented = presented.and_then(|key| SharedKey::new(std::str::from_utf8(key).ok()?).ok());
    let service = node.service.clone();
    let mut revoked = Box::pin(async move {
        while service.authorises(presented.as_ref().map(|key| key.expose().as_bytes())) {
            changes.changed().await;
        }
    });
    let response = tokio::select! {
        response = next.run(request) => response,
        () = &mut revoked => return unauthorised(),
    };
    if response.body().size_hint().exact().is_some() {
        // It is made already, and no longer than one answer.
        return response;
    }
    response.map(|body| Body::from_stream(body.into_data_stream().take_until(revoked)))
}

fn unauthorised() -> Response {
    Rejected::Key.count(TRANSPORT);
    let mut response = refuse(
        StatusCode::UNAUTHORIZED,
        "the shared key is missing or wrong",
        "send it as `Authorization: Bearer <key>`; both nodes need the same key",
    );
    response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    last(response)
}

fn no_room() -> Response {
    let error = "as many connections are open as this node serves";
    last(refuse(StatusCode::SERVICE_UNAVAILABLE, error, "try again later, and keep fewer connections open"))
}

/// An answer after which the connection closes.
fn last(mut response: Response) -> Response {
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(AUTHORIZATION)?.as_bytes();
    let (scheme, key) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| key.trim_ascii())
}

async fn identity(State(node): State<Node>) -> Response {
    Json(node.service.identity()).into_response()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EventsQuery {
    #[serde(default)]
    after: Option<String>,
    #[serde(default)]
    limit: Option<usize>,
    #[serde(default)]
    wait: f64,
}

async fn events(State(node): State<Node>, query: Result<Query<EventsQuery>, QueryRejection>) -> Response {
    let query = match query {
        Ok(Query(query)) => query,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, &error.body_text(), QUERY_HINT),
    };
    let limit = query.limit.unwrap_or(DEFAULT_PAGE).min(MAX_PAGE);
    if limit == 0 {
        return refuse(StatusCode::BAD_REQUEST, "limit is 0", QUERY_HINT);
    }
    // An empty one is that of a client that has no cursor yet.
    let after = query.after.filter(|after| !after.is_empty()).map(|after| after.parse::<Cursor>());
    let after = match after.transpose() {
        Ok(after) => after,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, &format!("after: {error}"), QUERY_HINT),
    };
    let wait = Duration::try_from_secs_f64(query.wait.clamp(0.0, MAX_WAIT.as_secs_f64())).unwrap_or_default();
    match node.service.page(after, limit, wait).await {
        Ok(Some(page)) => page_response(page),
        Ok(None) => {
            Rejected::NotServing.count(TRANSPORT);
            refuse(
                StatusCode::FORBIDDEN,
                "this node does not serve its log (mode subscribe)",
                "ask another node, or set this one to mode sync or publish",
            )
        }
        Err(ReadError::CursorUnknown(unknown)) => gone(&unknown),
        Err(error) => internal(&error),
    }
}

/// The reader's cursor is of another history. It gets the cursor to read on after.
fn gone(unknown: &CursorUnknown) -> Response {
    let body = serde_json::json!({
        "error": format!("cursor {} is of another history than this log's: {}", unknown.cursor, unknown.mismatch),
        "hint": "read on after `resume`: events may come again, recognise them by their ids",
        "code": "cursor_unknown",
        "resume": unknown.resume,
    });
    (StatusCode::GONE, Json(body)).into_response()
}

/// Answers with a page, whose text is made as the reader takes it. With its length a text that broke off is noticed.
fn page_response(page: Page) -> Response {
    let headers = [
        (CONTENT_TYPE.as_str(), EVENTS_CONTENT_TYPE.to_owned()),
        (CONTENT_LENGTH.as_str(), page.bytes.to_string()),
        (HEAD_HEADER, page.head.to_string()),
        (NEXT_HEADER, page.next.to_string()),
    ];
    let pieces = page
        .into_pieces()
        .inspect_err(|error| tracing::error!(%error, code = %error.code(), "a page of the log broke off"));
    (headers, Body::from_stream(pieces)).into_response()
}

fn internal(error: &dyn std::fmt::Display) -> Response {
    tracing::error!(%error, "a page of the log could not be answered");
    refuse(StatusCode::INTERNAL_SERVER_ERROR, "the log could not be read", "look at this node's own log")
}

/// Reads one frame of a peer's. A page of another site cannot send its content type without asking first.
async fn message(node: &Node, request: Request) -> Result<Result<Message, WireError>, Response> {
    if !is_type(request.headers(), FRAME_CONTENT_TYPE) {
        Rejected::Malformed.count(TRANSPORT);
        let error = format!("the content type is not {FRAME_CONTENT_TYPE}");
        return Err(refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, &error, "send one frame; see docs/protocol.md"));
    }
    match request_body::read(request.into_body(), node.body_bytes, node.body, node.service.budget()).await {
        Ok((body, _room)) => Ok(decode(&body)),
        Err(StatusCode::SERVICE_UNAVAILABLE) => {
            Rejected::NoRoom.count(TRANSPORT);
            let hint = "retry later: answers to others hold the node's memory budget";
            Err(refuse(StatusCode::SERVICE_UNAVAILABLE, "no memory is free for the request", hint))
        }
        Err(StatusCode::PAYLOAD_TOO_LARGE) => {
            Rejected::TooLarge.count(TRANSPORT);
            let error = format!("the request has more than {} bytes", node.body_bytes);
            let hint = "a question is one small frame; see docs/protocol.md";
            Err(refuse(StatusCode::PAYLOAD_TOO_LARGE, &error, hint))
        }
        Err(status) => {
            Rejected::Timeout.count(TRANSPORT);
            Err(refuse(status, "the request did not come whole, or not in time", "send it again"))
        }
    }
}

async fn fetch(State(mut node): State<Node>, request: Request) -> Response {
    if let Some(Caller(address)) = request.extensions().get() {
        node.service = node.service.called_from(address);
    }
    match message(&node, request).await {
        Ok(Ok(Message::Fetch(question))) => run(&node, question).await,
        Ok(other) => unreadable(&other),
        Err(response) => response,
    }
}

async fn refresh(State(node): State<Node>, request: Request) -> Response {
    match message(&node, request).await {
        Ok(Ok(Message::Refresh(refresh))) => {
            node.service.refresh(refresh);
            StatusCode::NO_CONTENT.into_response()
        }
        Ok(other) => unreadable(&other),
        Err(response) => response,
    }
}

/// Frame after frame, each made when the one before is on its way. The run ends where the asker has caught up: an answer
/// that is complete is passed on by whatever stands in between, and a live one might be held back there.
async fn run(node: &Node, mut question: FetchRequest) -> Response {
    if question.delivery == Delivery::Live {
        question.delivery = Delivery::CatchUp;
    }
    let once = question.delivery == Delivery::Once;
    let mut answers = node.service.answers(question);
    let Some(first) = answers.next().await else {
        return frame(StatusCode::OK, FetchReply::refused(Refusal::Busy));
    };
    if once || matches!(first, FetchReply::Refused { .. }) {
        Rejected::count_reply(TRANSPORT, &first);
        let body = answers.frame(first);
        return (StatusCode::OK, [(CONTENT_TYPE, FRAME_CONTENT_TYPE)], body).into_response();
    }
    let first = answers.frame(first);
    let more = stream::unfold(answers, |mut answers| async move {
        let reply = answers.next().await?;
        Some((answers.frame(reply), answers))
    });
    let frames = stream::once(async move { first }).chain(more).map(Ok::<_, Infallible>);
    (StatusCode::OK, [(CONTENT_TYPE, FRAME_CONTENT_TYPE)], Body::from_stream(frames)).into_response()
}

/// The answer to a frame that is no request of this route.
fn unreadable(message: &Result<Message, WireError>) -> Response {
    let refusal = message.as_ref().err().map_or(Refusal::Malformed, Refusal::from);
    frame(StatusCode::BAD_REQUEST, FetchReply::refused(refusal))
}

fn frame(status: StatusCode, reply: FetchReply) -> Response {
    Rejected::count_reply(TRANSPORT, &reply);
    let body: Bytes = encode(&Message::Reply(reply));
    (status, [(CONTENT_TYPE, FRAME_CONTENT_TYPE)], body).into_response()
}
