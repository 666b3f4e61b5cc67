//! The server as people and other languages see it.

use std::time::Duration;

use antiphon_kernel::codec::{Message, decode, encode};
use antiphon_kernel::config::FederationMode;
use antiphon_kernel::cursor::{Cursor, Seq};
use antiphon_kernel::ids::Epoch;
use antiphon_kernel::protocol::{FetchReply, Refusal};
use reqwest::header::{CONTENT_TYPE, WWW_AUTHENTICATE};
use reqwest::{Client, Response, StatusCode};
use serde_json::Value;

use crate::harness::{FRAME, KEY, Node, node, question, soon};

pub(crate) fn client() -> Client {
    Client::builder().tls_backend_preconfigured(no_tls()).no_proxy().build().unwrap()
}

fn no_tls() -> rustls::ClientConfig {
    rustls::ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth()
}

async fn get(node: &Node, path: &str) -> Response {
    client().get(node.url(path)).bearer_auth(KEY).send().await.unwrap()
}

async fn post(node: &Node, body: impl Into<reqwest::Body>) -> Response {
    client().post(node.url("/v1/fetch")).bearer_auth(KEY).header(CONTENT_TYPE, FRAME).body(body).send().await.unwrap()
}

fn header(response: &Response, name: &str) -> String {
    response.headers()[name].to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_cloudevents_page_by_page() {
    let node = node().await;
    node.append(5).await;
    let first = get(&node, "/v1/events?limit=1").await;
    let cursor = header(&first, "antiphon-next");
    let events: Value = first.json().await.unwrap();
    assert_eq!(events[0]["antiphoncursor"], cursor, "each event has its own cursor");
    let response = get(&node, &format!("/v1/events?after={cursor}&limit=2")).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(header(&response, "content-type"), "application/cloudevents-batch+json");
    let at = |seq| node.log.reader().entry(Seq::new(seq)).unwrap().unwrap().cursor().unwrap().unwrap().to_string();
    assert_eq!((header(&response, "antiphon-next"), header(&response, "antiphon-head")), (at(3), at(5)));
    let events: Value = response.json().await.unwrap();
    let seqs: Vec<_> = events.as_array().unwrap().iter().map(|e| e["antiphonseq"].as_str().unwrap()).collect();
    assert_eq!(seqs, ["2", "3"]);
    assert_eq!(events[0]["specversion"], "1.0");
    assert_eq!(events[0]["data"]["n"], 1);
    let end = get(&node, &format!("/v1/events?after={}", at(5))).await;
    assert_eq!(header(&end, "antiphon-next"), at(5));
    assert_eq!(end.text().await.unwrap(), "[]");
    let all = get(&node, "/v1/events?after=").await;
    assert_eq!(all.json::<Vec<Value>>().await.unwrap().len(), 5, "who has no cursor yet begins at the beginning");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_of_another_history_is_gone_and_the_answer_says_where_to_read_on() {
    let node = node().await;
    node.append(3).await;
    let here = node.log.reader().head_cursor();
    let beyond = Cursor { seq: Seq::new(4), ..here };
    let elsewhere = Cursor { epoch: Epoch::new(77), ..here };
    for (cursor, why) in [(beyond, "beyond"), (elsewhere, "epoch")] {
        let response = get(&node, &format!("/v1/events?after={cursor}&wait=60")).await;
        assert_eq!(response.status(), StatusCode::GONE);
        let fault: Value = response.json().await.unwrap();
        assert_eq!(fault["code"], "cursor_unknown");
        assert!(fault["error"].as_str().unwrap().contains(why), "{fault}");
        let resume = fault["resume"].as_str().unwrap();
        let again = get(&node, &format!("/v1/events?after={resume}")).await;
        assert_eq!(again.json::<Vec<Value>>().await.unwrap().len(), 3, "nothing is missed");
    }
    let number = get(&node, "/v1/events?after=2").await;
    assert_eq!(number.status(), StatusCode::BAD_REQUEST);
    let fault: Value = number.json().await.unwrap();
    assert!(fault["error"].as_str().unwrap().contains("`antiphoncursor`"), "it says what to use: {fault}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_can_be_waited_for() {
    let node = node().await;
    let (response, ()) = soon(async { tokio::join!(get(&node, "/v1/events?wait=60"), node.append(1)) }).await;
    assert_eq!(response.json::<Vec<Value>>().await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_query_is_named() {
    let node = node().await;
    for (query, named) in [("after=x", "after"), ("limit=-1", "limit"), ("wait=soon", "wait"), ("since=4", "since")] {
        let response = get(&node, &format!("/v1/events?{query}")).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{query}");
        let fault: Value = response.json().await.unwrap();
        assert!(fault["error"].as_str().unwrap().contains(named), "{fault}");
        assert!(fault["hint"].as_str().unwrap().contains("after="), "{fault}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_key_there_is_health_and_nothing_else() {
    let node = node().await;
    let health = client().get(node.url("/healthz")).send().await.unwrap();
    assert_eq!((health.status(), health.text().await.unwrap().trim()), (StatusCode::OK, "ok"));
    for authorization in [None, Some(format!("Bearer {KEY}x")), Some(KEY.to_owned()), Some("Basic Og==".to_owned())] {
        for (path, posts) in [("/v1/identity", false), ("/v1/events", false), ("/v1/fetch", true)] {
            let url = node.url(path);
            let mut request = if posts { client().post(url) } else { client().get(url) };
            if let Some(value) = &authorization {
                request = request.header("authorization", value);
            }
            let response = request.send().await.unwrap();
            assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{path}");
            assert_eq!(response.headers()[WWW_AUTHENTICATE], "Bearer");
            let text = response.text().await.unwrap();
            let fault: Value = serde_json::from_str(&text).unwrap();
            assert!(fault["error"].is_string() && fault["hint"].is_string() && !text.contains(KEY), "{text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_says_that_it_does_not_serve() {
    let node = node().await;
    node.service.set_mode(FederationMode::Subscribe);
    let response = get(&node, "/v1/events").await;
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    assert!(response.json::<Value>().await.unwrap()["error"].as_str().unwrap().contains("subscribe"));
    let response = post(&node, encode(&Message::Fetch(question(Duration::ZERO)))).await;
    assert_eq!(response.status(), StatusCode::OK);
    let frame = response.bytes().await.unwrap();
    assert_eq!(decode(&frame), Ok(Message::Reply(FetchReply::refused(Refusal::NotServing))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_question_is_refused_in_a_frame() {
    let node = node().await;
    let reply = encode(&Message::Reply(FetchReply::refused(Refusal::Busy)));
    for body in [b"".to_vec(), b"hello".to_vec(), vec![0; 4096], reply.to_vec()] {
        let response = post(&node, body).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
        assert_eq!(header(&response, "content-type"), FRAME);
        let frame = response.bytes().await.unwrap();
        assert_eq!(decode(&frame), Ok(Message::Reply(FetchReply::refused(Refusal::Malformed))));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_that_is_too_large_is_not_kept() {
    let node = node().await;
    let over = 1024 * 1024 + 1;
    assert_eq!(post(&node, vec![0; over]).await.status(), StatusCode::PAYLOAD_TOO_LARGE);
    // Without a length in its head.
    let pieces = futures_util::stream::iter(
        (0..over).step_by(4096).map(move |at| Ok::<_, std::io::Error>(vec![0; 4096.min(over - at)])),
    );
    let response = post(&node, reqwest::Body::wrap_stream(pieces)).await;
    assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(get(&node, "/v1/identity").await.status(), StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_must_say_that_it_is_one() {
    let node = node().await;
    let body = encode(&Message::Fetch(node.question(Duration::ZERO)));
    let kinds = [None, Some("text/plain"), Some("application/x-www-form-urlencoded"), Some("application/octet-stream")];
    for path in ["/v1/fetch", "/v1/refresh"] {
        for kind in kinds {
            let mut request = client().post(node.url(path)).bearer_auth(KEY).body(body.clone());
            if let Some(kind) = kind {
                request = request.header(CONTENT_TYPE, kind);
            }
            let response = request.send().await.unwrap();
            assert_eq!(response.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE, "{path} {kind:?}");
            assert!(response.json::<Value>().await.unwrap()["error"].as_str().unwrap().contains(FRAME));
        }
    }
    let kind = format!("{}; charset=binary", FRAME.to_uppercase());
    let request = client().post(node.url("/v1/fetch")).bearer_auth(KEY).header(CONTENT_TYPE, kind).body(body);
    assert_eq!(request.send().await.unwrap().status(), StatusCode::OK);
}

/// What a page of another site can make a browser send, with and without the name of its own host.
const SITES: [[(&str, &str); 1]; 4] = [
    [("host", "evil.example")],
    [("origin", "http://evil.example")],
    [("origin", "null")],
    [("sec-fetch-site", "cross-site")],
];

async fn statuses(node: &Node, key: Option<&str>) -> Vec<StatusCode> {
    let mut seen = Vec::new();
    for site in SITES {
        for path in ["/healthz", "/v1/identity", "/v1/events", "/nowhere"] {
            let mut request = client().get(node.url(path)).header(site[0].0, site[0].1);
            if let Some(key) = key {
                request = request.bearer_auth(key);
            }
            seen.push(request.send().await.unwrap().status());
        }
    }
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_site_gets_nothing_from_a_plain_or_an_open_listener() {
    let node = node().await;
    assert!(statuses(&node, None).await.iter().all(|status| *status == StatusCode::FORBIDDEN), "plain, with a key");
    assert!(statuses(&node, Some("wrong")).await.iter().all(|status| *status == StatusCode::FORBIDDEN));
    // A page does not have the key: behind a reverse proxy a peer may well come by another name.
    let seen = statuses(&node, Some(KEY)).await;
    assert!(!seen.contains(&StatusCode::FORBIDDEN) && seen.contains(&StatusCode::OK), "{seen:?}");
    node.service.set_keys(&[]);
    for key in [None, Some(KEY)] {
        let seen = statuses(&node, key).await;
        assert!(seen.iter().all(|status| *status == StatusCode::FORBIDDEN), "open: {seen:?}");
    }
    let open = client().get(node.url("/v1/identity")).header("sec-fetch-site", "none").send().await.unwrap();
    assert_eq!(open.status(), StatusCode::OK);
    // A simple request needs no permission of a browser's, so its content type must not be one.
    let body = encode(&Message::Fetch(node.question(Duration::ZERO)));
    let simple = client().post(node.url("/v1/fetch")).header(CONTENT_TYPE, "text/plain").body(body);
    assert_eq!(simple.send().await.unwrap().status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
}
