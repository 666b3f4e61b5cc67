//! What is answered, and to whom. A key or a token is checked before a body is read, but for the two messages of a greeting.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use antiphon_kernel::budget::Account;
use antiphon_kernel::codec::{Message, WireError, decode, encode};
use antiphon_kernel::cursor::Cursor;
use antiphon_kernel::log::{CursorUnknown, ReadError};
use antiphon_kernel::proof::Channel;
use antiphon_kernel::protocol::{Delivery, FetchReply, FetchRequest, MAX_WAIT, Refusal};
use antiphon_kernel::service::{Caller, Credential, NoPage, Page, Service};
use antiphon_transport_common::{Rejected, Slot};
use axum::body::{Body, HttpBody as _};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, Request, State};
use axum::http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, RETRY_AFTER, WWW_AUTHENTICATE,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use serde::Deserialize;

use crate::host_names::HostNames;
use crate::limits::Limits;
use crate::media::is_type;
use crate::site_guard::{self, Scope};
use crate::{
    EVENTS_CONTENT_TYPE, FRAME_CONTENT_TYPE, HEAD_HEADER, NEXT_HEADER, TOKEN_HEADER, TOKEN_SCHEME, TRANSPORT,
    request_body,
};

/// The most bytes of a frame of a greeting: a key statement with all the ends that it may list, and the rest.
const MAX_GREETING: usize = 64 * 1024;
const DEFAULT_PAGE: usize = 100;
const MAX_PAGE: usize = 1000;
const QUERY_HINT: &str =
    "use ?after=<cursor>&limit=<1 to 1000>&wait=<seconds>; without `after` it begins at the beginning";

#[derive(Clone)]
struct Node {
    service: Service,
    body_bytes: usize,
    body: Duration,
    names: HostNames,
}

/// The address that a request comes from.
#[derive(Clone)]
pub(crate) struct CameFrom(pub(crate) Arc<str>);

pub(crate) fn router(service: Service, limits: &Limits, scope: Scope, names: HostNames) -> Router {
    let node =
        Node { service: service.clone(), body_bytes: limits.body_bytes, body: limits.idle, names: names.clone() };
    let router = Router::new()
        .route("/v1/identity", get(identity))
        .route("/v1/events", get(events))
        .route("/v1/fetch", post(fetch))
        .route("/v1/refresh", post(refresh))
        .route_layer(from_fn_with_state(node.clone(), guard))
        // Before anybody has proved anything.
        .route("/v1/connect", post(connect))
        .route("/v1/hello", post(hello))
        // Whatever looks after processes has no key, and learns nothing but that this one answers.
        .route("/healthz", get(|| async { "ok" }))
        .fallback(|| async { refuse(StatusCode::NOT_FOUND, "there is nothing here", "see docs/protocol.md") })
        .method_not_allowed_fallback(|| async {
            refuse(StatusCode::METHOD_NOT_ALLOWED, "this route has another method", "see docs/protocol.md")
        })
        .with_state(node);
    let guarded = move |request: Request, next: Next| {
        let exempt = is_exempt(&service, scope, &names, &request);
        async move { if exempt { next.run(request).await } else { site_guard::check(scope, request, next).await } }
    };
    router.layer(from_fn(guarded))
}

/// Whether no page of another site can have sent the request: it has the key, or needs one and meets TLS besides. Nor can it send a
/// frame without asking first, which is not answered; a greeting looks after its own name.
fn is_exempt(service: &Service, scope: Scope, names: &HostNames, request: &Request) -> bool {
    let is_greeting = matches!(request.uri().path(), "/v1/connect" | "/v1/hello");
    let is_framed = is_type(request.headers(), FRAME_CONTENT_TYPE);
    let is_in = || is_greeting && is_framed || admitted(service, names, request.headers()).is_ok();
    !service.is_open() && (!scope.plain || is_in())
}

pub(crate) fn refuse(status: StatusCode, error: &str, hint: &str) -> Response {
    (status, Json(serde_json::json!({ "error": error, "hint": hint }))).into_response()
}

/// What a request is bound to: the host that was dialled, if it is one of this server's names and said once.
fn host<'a>(names: &HostNames, headers: &'a HeaderMap) -> Option<&'a str> {
    let mut hosts = headers.get_all(HOST).iter();
    let (host, None) = (hosts.next()?, hosts.next()) else { return None };
    names.checked(host.to_str().ok()?)
}

/// The answer to a greeting that was dialled under another name.
fn other_name() -> Response {
    Rejected::Proof.count(TRANSPORT);
    let error = "this node is not called so";
    last(refuse(
        StatusCode::MISDIRECTED_REQUEST,
        error,
        "dial a name of its certificate, or give the server this name too",
    ))
}

/// Who sends a request: by the token of a cortex that proved itself, or by the shared key.
fn admitted(service: &Service, names: &HostNames, headers: &HeaderMap) -> Result<Caller, Refusal> {
    if let Some(token) = credentials(headers, TOKEN_SCHEME).and_then(|token| std::str::from_utf8(token).ok()) {
        let channel = Channel::Host(host(names, headers).ok_or(Refusal::Proof)?);
        return service.admit(&Credential::Token { token, channel });
    }
    service.admit(&Credential::Key(credentials(headers, "Bearer")))
}

/// Lets in who has a token or the key, for as long as that is valid: a parked question or a run of answers that lasts for hours
/// ends when it is taken back.
async fn guard(State(node): State<Node>, mut request: Request, next: Next) -> Response {
    let caller = match admitted(&node.service, &node.names, request.headers()) {
        Ok(caller) => caller,
        Err(refusal) => return unauthorised(&refusal),
    };
    if request.extensions().get::<Arc<Slot>>().is_some_and(|slot| !slot.prove()) {
        return no_room();
    }
    let caller = match request.extensions().get() {
        Some(CameFrom(address)) => caller.called_from(address),
        None => caller,
    };
    request.extensions_mut().insert(caller.clone());
    let mut revoked = Box::pin(async move {
        caller.revoked().await;
        caller.refusal().unwrap_or(Refusal::Key)
    });
    let response = tokio::select! {
        response = next.run(request) => response,
        refusal = &mut revoked => return unauthorised(&refusal),
    };
    if response.body().size_hint().exact().is_some() {
        // It is made already, and no longer than one answer.
        return response;
    }
    response.map(|body| Body::from_stream(body.into_data_stream().take_until(revoked)))
}

fn unauthorised(refusal: &Refusal) -> Response {
    if *refusal == Refusal::NotAllowed {
        Rejected::NotAllowed.count(TRANSPORT);
        let error = "the caller may not read anything here";
        return last(refuse(StatusCode::FORBIDDEN, error, "a rule of the node's configuration lets it in: `access`"));
    }
    Rejected::Key.count(TRANSPORT);
    let (error, hint) = match refusal {
        Refusal::Proof => {
            ("the token has expired, or is of another process", "greet the node again; see docs/protocol.md")
        }
        _ => (
            "the shared key is missing or wrong",
            "send it as `Authorization: Bearer <key>`; both nodes need the same key",
        ),
    };
    let mut response = refuse(StatusCode::UNAUTHORIZED, error, hint);
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

/// What follows this scheme in the header `Authorization`.
fn credentials<'a>(headers: &'a HeaderMap, scheme: &str) -> Option<&'a [u8]> {
    let value = headers.get(AUTHORIZATION)?.as_bytes();
    let (named, rest) = value.split_at_checked(scheme.len())?;
    let rest = rest.strip_prefix(b" ")?;
    named.eq_ignore_ascii_case(scheme.as_bytes()).then(|| rest.trim_ascii())
}

async fn identity(Extension(caller): Extension<Caller>) -> Response {
    Json(caller.identity()).into_response()
}

/// Proves who answers.
async fn connect(State(node): State<Node>, request: Request) -> Response {
    let Some(host) = host(&node.names, request.headers()).map(str::to_owned) else { return other_name() };
    let connect = match greeting(&node, request).await {
        Ok(Ok(Message::Connect(connect))) => connect,
        Ok(other) => return unreadable(&other),
        Err(response) => return response,
    };
    match node.service.prove(&connect, Channel::Host(&host)).await {
        Ok(proof) => framed(StatusCode::OK, &Message::Proof(proof)),
        Err(refusal) => ungreeted(refusal),
    }
}

/// Lets in who proves who asks. The answer has a token.
async fn hello(State(node): State<Node>, request: Request) -> Response {
    let Some(host) = host(&node.names, request.headers()).map(str::to_owned) else { return other_name() };
    let slot = request.extensions().get::<Arc<Slot>>().cloned();
    let hello = match greeting(&node, request).await {
        Ok(Ok(Message::Hello(hello))) => hello,
        Ok(other) => return unreadable(&other),
        Err(response) => return response,
    };
    let channel = Channel::Host(&host);
    let caller = match node.service.admit(&Credential::Hello { hello: &hello, channel }) {
        Ok(caller) => caller,
        Err(refusal) => return ungreeted(refusal),
    };
    if slot.is_some_and(|slot| !slot.prove()) {
        return no_room();
    }
    let mut response = framed(StatusCode::OK, &Message::Identity(caller.identity()));
    let token = caller.token(channel).and_then(|token| HeaderValue::from_str(&token).ok());
    if let Some(mut token) = token {
        token.set_sensitive(true);
        response.headers_mut().insert(TOKEN_HEADER, token);
    }
    response
}

/// A greeting that came to nothing. The frame says why, and the status says it to clients that read no frames.
fn ungreeted(refusal: Refusal) -> Response {
    let status = match refusal {
        Refusal::Key => StatusCode::UNAUTHORIZED,
        Refusal::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::FORBIDDEN,
    };
    last(frame(status, FetchReply::refused(refusal)))
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

async fn events(Extension(caller): Extension<Caller>, query: Result<Query<EventsQuery>, QueryRejection>) -> Response {
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
    match caller.page(after, limit, wait).await {
        Ok(Some(page)) => page_response(page),
        Ok(None) => {
            Rejected::NotServing.count(TRANSPORT);
            refuse(
                StatusCode::FORBIDDEN,
                "this node does not serve its log (mode subscribe)",
                "ask another node, or set this one to mode sync or publish",
            )
        }
        Err(NoPage::Read(ReadError::CursorUnknown(unknown))) => gone(&unknown),
        Err(NoPage::OverQuota { after }) => page_over_quota(after),
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

/// The reader used up its quota.
fn page_over_quota(after: Duration) -> Response {
    Rejected::OverQuota.count(TRANSPORT);
    let error = "the quota of this caller is used up";
    let response = refuse(StatusCode::TOO_MANY_REQUESTS, error, "ask again after the seconds in `Retry-After`");
    retry_after(response, after)
}

/// Says after how many whole seconds to ask again.
fn retry_after(mut response: Response, after: Duration) -> Response {
    let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    response
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

/// Reads one frame of a greeting: small, so that strangers wait for nothing that belongs to others.
async fn greeting(node: &Node, request: Request) -> Result<Result<Message, WireError>, Response> {
    message(node, request, MAX_GREETING.min(node.body_bytes), None).await
}

/// Reads one frame of a peer's, charged to it. A page of another site cannot send its content type without asking first.
async fn message(
    node: &Node,
    request: Request,
    cap: usize,
    account: Option<&Account>,
) -> Result<Result<Message, WireError>, Response> {
    if !is_type(request.headers(), FRAME_CONTENT_TYPE) {
        Rejected::Malformed.count(TRANSPORT);
        let error = format!("the content type is not {FRAME_CONTENT_TYPE}");
        return Err(refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, &error, "send one frame; see docs/protocol.md"));
    }
    let charged = account.map(|account| (node.service.budget(), account));
    match request_body::read(request.into_body(), cap, node.body, charged).await {
        Ok((body, _room)) => Ok(decode(&body)),
        Err(StatusCode::SERVICE_UNAVAILABLE) => {
            Rejected::NoRoom.count(TRANSPORT);
            let hint = "retry later: answers to others hold the node's memory budget";
            Err(refuse(StatusCode::SERVICE_UNAVAILABLE, "no memory is free for the request", hint))
        }
        Err(StatusCode::PAYLOAD_TOO_LARGE) => {
            Rejected::TooLarge.count(TRANSPORT);
            let error = format!("the request has more than {cap} bytes");
            let hint = "a question is one small frame; see docs/protocol.md";
            Err(refuse(StatusCode::PAYLOAD_TOO_LARGE, &error, hint))
        }
        Err(status) => {
            Rejected::Timeout.count(TRANSPORT);
            Err(refuse(status, "the request did not come whole, or not in time", "send it again"))
        }
    }
}

async fn fetch(State(node): State<Node>, Extension(caller): Extension<Caller>, request: Request) -> Response {
    match message(&node, request, node.body_bytes, Some(&caller.account())).await {
        Ok(Ok(Message::Fetch(question))) => run(&caller, question).await,
        Ok(other) => unreadable(&other),
        Err(response) => response,
    }
}

async fn refresh(State(node): State<Node>, Extension(caller): Extension<Caller>, request: Request) -> Response {
    match message(&node, request, node.body_bytes, Some(&caller.account())).await {
        Ok(Ok(Message::Refresh(refresh))) => {
            caller.refresh(refresh);
            StatusCode::NO_CONTENT.into_response()
        }
        Ok(other) => unreadable(&other),
        Err(response) => response,
    }
}

/// Frame after frame, each made when the one before is on its way. The run ends where the asker has caught up: an answer
/// that is complete is passed on by whatever stands in between, and a live one might be held back there.
async fn run(caller: &Caller, mut question: FetchRequest) -> Response {
    if question.delivery == Delivery::Live {
        question.delivery = Delivery::CatchUp;
    }
    let once = question.delivery == Delivery::Once;
    let mut answers = caller.answers(question);
    let Some(first) = answers.next().await else {
        return frame(StatusCode::OK, FetchReply::refused(Refusal::Busy));
    };
    if let FetchReply::Refused { refusal: Refusal::OverQuota { after }, .. } = first {
        return retry_after(frame(StatusCode::TOO_MANY_REQUESTS, first), after);
    }
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
    framed(status, &Message::Reply(reply))
}

fn framed(status: StatusCode, message: &Message) -> Response {
    let body: Bytes = encode(message);
    (status, [(CONTENT_TYPE, FRAME_CONTENT_TYPE)], body).into_response()
}
