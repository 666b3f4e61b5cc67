//! Who is believed: certificates, keys, addresses.

use std::time::Duration;

use antiphon_https::{HttpsOptions, HttpsServer, HttpsTransport, Limits, ServerError, ServerOptions};
use antiphon_kernel::codec::{Message, encode};
use antiphon_kernel::config::SharedKey;
use antiphon_kernel::error_code::ErrorCode;
use antiphon_kernel::event::Draft;
use antiphon_kernel::health::ErrorCategory;
use antiphon_kernel::log::CausalContext;
use antiphon_kernel::protocol::{Delivery, FetchRequest};
use antiphon_kernel::transport::Transport;
use reqwest::StatusCode;

use crate::certificates::Authority;
use crate::fakes::Fake;
use crate::harness::{
    FRAME, KEY, PATIENCE, fails, key, link_to, node, node_with, own, peer, question, service, soon, transport,
};
use crate::routes::client;

async fn tls_failure(served: antiphon_https::TlsFiles, trusted: Option<&std::path::Path>) {
    let node = node_with(Some(served), Limits::default()).await;
    let link = transport(key()).link(&peer(format!("https://{}", node.addr()), trusted), &own()).unwrap();
    fails(link.identify(PATIENCE).await, ErrorCategory::Tls);
    fails(link.fetch(&question(Duration::ZERO), PATIENCE).await, ErrorCategory::Tls);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_authority_vouches_for_nothing() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    tls_failure(theirs.issue("127.0.0.1"), Some(&ours.ca())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_authority_counts_only_where_it_is_configured() {
    tls_failure(Authority::new().issue("127.0.0.1"), None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_certificate_is_refused() {
    let authority = Authority::new();
    tls_failure(authority.issue_until("127.0.0.1", 2001), Some(&authority.ca())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_another_name_is_refused() {
    let authority = Authority::new();
    tls_failure(authority.issue("other.example"), Some(&authority.ca())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_tls_is_not_spoken_to() {
    let node = node().await;
    let link = transport(key()).link(&peer(format!("https://{}", node.addr()), None), &own()).unwrap();
    fails(link.identify(PATIENCE).await, ErrorCategory::Scheme);
}

/// The key goes in clear before anything is answered, so this is for one machine only; the answer says what is wrong.
#[tokio::test(flavor = "multi_thread")]
async fn plain_http_on_the_port_of_tls_is_told_so() {
    let authority = Authority::new();
    let node = node_with(Some(authority.issue("127.0.0.1")), Limits::default()).await;
    fails(link_to(node.addr()).identify(PATIENCE).await, ErrorCategory::Scheme);
    fails(link_to(node.addr()).fetch(&question(Duration::ZERO), PATIENCE).await, ErrorCategory::Scheme);
    let response = client().get(node.url("/v1/identity")).bearer_auth(KEY).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::UPGRADE_REQUIRED);
    let said = response.text().await.unwrap();
    assert!(said.contains("https://") && !said.contains(KEY), "{said}");
    // Those who speak TLS are served as before.
    let link = transport(key()).link(&peer(format!("https://{}", node.addr()), Some(&authority.ca())), &own()).unwrap();
    link.identify(PATIENCE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_or_missing_key_is_not_accepted() {
    let node = node().await;
    for wrong in [SharedKey::default(), SharedKey::new("canary-wrong-0123456789abcdef012345").unwrap()] {
        let link = transport(wrong).link(&peer(node.url(""), None), &own()).unwrap();
        fails(link.identify(PATIENCE).await, ErrorCategory::Auth);
        fails(link.fetch(&node.question(Duration::ZERO), PATIENCE).await, ErrorCategory::Auth);
    }
}

#[tokio::test]
async fn plain_http_stays_at_home() {
    for endpoint in ["http://10.0.0.1:80", "http://example.com", "http://0.0.0.0:80"] {
        let error =
            fails(transport(key()).link(&peer(endpoint, None), &own()).map(|_| ()), ErrorCategory::Configuration);
        assert!(error.detail().contains("https://"), "{error}");
    }
    let strict = HttpsTransport::new(HttpsOptions { shared_key: key(), allow_plaintext_loopback: false });
    fails(strict.link(&peer("http://127.0.0.1:1", None), &own()).map(|_| ()), ErrorCategory::Configuration);
}

#[tokio::test]
async fn an_unusable_ca_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let empty = dir.path().join("empty.pem");
    std::fs::write(&empty, "no certificate").unwrap();
    for ca in [dir.path().join("missing.pem"), empty] {
        let error = fails(
            transport(key()).link(&peer("https://x:1", Some(&ca)), &own()).map(|_| ()),
            ErrorCategory::Configuration,
        );
        assert!(error.detail().contains(".pem"), "{error}");
    }
}

#[tokio::test]
async fn a_server_refuses_to_be_open_to_the_world() {
    let authority = Authority::new();
    let files = authority.issue("127.0.0.1");
    let options = |tls, keyed| ServerOptions {
        addr: "0.0.0.0:0".parse().unwrap(),
        tls,
        names: Vec::new(),
        keyed,
        allow_open: false,
        limits: Limits::default(),
    };
    let plain = HttpsServer::start(options(None, true), service(key()).1).await.unwrap_err();
    assert_eq!(plain.code(), ErrorCode::ListenPlaintext, "{plain}");
    let open = HttpsServer::start(options(Some(files.clone()), false), service(SharedKey::default()).1).await;
    assert_eq!(open.unwrap_err().code(), ErrorCode::ListenOpen);
    let missing = antiphon_https::TlsFiles { cert: "no-such.pem".into(), ..files };
    let missing = HttpsServer::start(options(Some(missing), true), service(key()).1).await.unwrap_err();
    assert!(missing.to_string().contains("no-such.pem"), "{missing}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_address_says_so() {
    let node = node().await;
    let options = ServerOptions {
        addr: node.addr(),
        tls: None,
        names: Vec::new(),
        keyed: true,
        allow_open: false,
        limits: Limits::default(),
    };
    let error = HttpsServer::start(options, service(key()).1).await.unwrap_err();
    assert!(matches!(error, ServerError::Listen { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_is_taken_up_and_a_broken_one_is_not() {
    let (first, second) = (Authority::new(), Authority::new());
    let files = first.issue("127.0.0.1");
    let limits = Limits { certificate_check: Duration::from_millis(20), ..Limits::default() };
    let node = node_with(Some(files.clone()), limits).await;
    let endpoint = format!("https://{}", node.addr());
    let ask = |ca: std::path::PathBuf| {
        let link = transport(key()).link(&peer(endpoint.clone(), Some(&ca)), &own()).unwrap();
        async move { link.identify(PATIENCE).await.is_ok() }
    };
    assert!(ask(first.ca()).await && !ask(second.ca()).await);
    let replacement = second.issue("127.0.0.1");
    std::fs::copy(&replacement.key, &files.key).unwrap();
    std::fs::copy(&replacement.cert, &files.cert).unwrap();
    soon(async { while !ask(second.ca()).await {} }).await;
    std::fs::write(&files.cert, "broken").unwrap();
    for _ in 0..20 {
        assert!(ask(second.ca()).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_is_not_followed() {
    let sink = Fake::saying("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    for status in ["301 Moved Permanently", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"] {
        let to = format!("HTTP/1.1 {status}\r\nlocation: http://{}/\r\ncontent-length: 0\r\n\r\n", sink.addr);
        let fake = Fake::saying(to).await;
        fails(link_to(fake.addr).identify(PATIENCE).await, ErrorCategory::Redirect);
        fails(link_to(fake.addr).fetch(&question(Duration::ZERO), PATIENCE).await, ErrorCategory::Redirect);
    }
    assert_eq!(sink.accepted(), 0, "the key may have gone elsewhere");
}

/// Whoever was let in by a key is let out with it: a parked question at once, a run of answers where it stands.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_taken_out_ends_what_was_asked_with_it() {
    let node = node().await;
    let parked = client().get(node.url("/v1/events?wait=60")).bearer_auth(KEY).send();
    let parked = tokio::spawn(parked);
    // Large, so that a run of them is still on its way when nobody reads.
    for _ in 0..40 {
        let draft = Draft::new("note", vec![7; 500_000]);
        node.log.append(vec![draft], CausalContext::default()).await.unwrap();
    }
    let end = node.log.reader().head_cursor();
    let parked_too = client().get(node.url(&format!("/v1/events?after={end}&wait=60"))).bearer_auth(KEY).send();
    let parked_too = tokio::spawn(parked_too);
    assert_eq!(soon(parked).await.unwrap().unwrap().status(), StatusCode::OK, "events came");
    let run = FetchRequest { delivery: Delivery::CatchUp, max_bytes: 1_000_000, ..node.question(Duration::ZERO) };
    let asked = client().post(node.url("/v1/fetch")).bearer_auth(KEY).header("content-type", FRAME);
    let asked = asked.body(encode(&Message::Fetch(run)));
    let mut run = soon(asked.send()).await.unwrap();
    assert!(soon(run.chunk()).await.unwrap().is_some());
    soon(async {
        while node.service.open_questions() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    node.service.set_keys(&[SharedKey::new(&"n".repeat(32)).unwrap()]);
    assert_eq!(soon(parked_too).await.unwrap().unwrap().status(), StatusCode::UNAUTHORIZED);
    let mut read = 0;
    while let Ok(Some(chunk)) = soon(run.chunk()).await {
        read += chunk.len();
    }
    assert!(read < 19_000_000, "all of it came: {read}");
}
