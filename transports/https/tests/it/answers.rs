//! Peers that are not there, or are something else.

use std::time::{Duration, Instant};

use antiphon_kernel::health::ErrorCategory;
use antiphon_kernel::transport::Transport;
use tokio::net::TcpListener;

use crate::fakes::Fake;
use crate::harness::{FRAME, KEY, PATIENCE, fails, key, link_to, own, peer, question, transport};

#[tokio::test]
async fn a_port_where_nobody_listens_refuses() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    drop(listener);
    fails(link_to(addr).identify(PATIENCE).await, ErrorCategory::ConnectionRefused);
    let link = transport(key()).link(&peer(format!("https://{addr}"), None), &own()).unwrap();
    fails(link.fetch(&question(Duration::ZERO), PATIENCE).await, ErrorCategory::ConnectionRefused);
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_told_apart() {
    let link = transport(key()).link(&peer("https://no-such-host.invalid:7443", None), &own()).unwrap();
    fails(link.identify(PATIENCE).await, ErrorCategory::Dns);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hangs_costs_the_deadline_and_no_more() {
    let fake = Fake::start(|stream| async move {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    let begun = Instant::now();
    let deadline = Duration::from_millis(200);
    fails(link_to(fake.addr).identify(deadline).await, ErrorCategory::Timeout);
    fails(link_to(fake.addr).fetch(&question(Duration::ZERO), deadline).await, ErrorCategory::Timeout);
    let tls = transport(key()).link(&peer(format!("https://{}", fake.addr), None), &own()).unwrap();
    fails(tls.identify(deadline).await, ErrorCategory::Timeout);
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[tokio::test(flavor = "multi_thread")]
async fn statuses_are_told_apart() {
    for (status, category) in [
        ("401 Unauthorized", ErrorCategory::Auth),
        ("403 Forbidden", ErrorCategory::Auth),
        ("404 Not Found", ErrorCategory::Unexpected),
        ("405 Method Not Allowed", ErrorCategory::Unexpected),
        ("500 Internal Server Error", ErrorCategory::PeerFault),
        ("204 No Content", ErrorCategory::Unexpected),
        ("429 Too Many Requests", ErrorCategory::Busy),
        ("503 Service Unavailable", ErrorCategory::Busy),
    ] {
        let answer = format!("HTTP/1.1 {status}\r\nconnection: close\r\n\r\n");
        let fake = Fake::saying(answer.clone()).await;
        fails(link_to(fake.addr).identify(PATIENCE).await, category);
        let fake = Fake::answering(answer).await;
        fails(link_to(fake.addr).fetch(&question(Duration::ZERO), PATIENCE).await, category);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_program_is_recognised_as_such() {
    // It says the key back, in every place that might be quoted.
    for answer in [
        format!("HTTP/1.1 200 OK\r\ncontent-type: text/html\r\n\r\n<html>{KEY}</html>"),
        format!("HTTP/1.1 200 OK\r\ncontent-type: {KEY}\r\n\r\n"),
        format!("HTTP/1.1 200 {KEY}\r\n\r\n"),
        format!("SSH-2.0-{KEY}\r\n"),
    ] {
        let fake = Fake::saying(answer).await;
        fails(link_to(fake.addr).identify(PATIENCE).await, ErrorCategory::Unexpected);
        fails(link_to(fake.addr).fetch(&question(Duration::ZERO), PATIENCE).await, ErrorCategory::Unexpected);
    }
    let json = format!(r#"{{"cortex_id":"{KEY}"}}"#);
    let fake = Fake::saying(format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n{json}")).await;
    fails(link_to(fake.addr).identify(PATIENCE).await, ErrorCategory::Unexpected);
    let page = format!("HTTP/1.1 200 OK\r\ncontent-type: {FRAME}\r\n\r\n{KEY}{KEY}");
    for fake in [Fake::saying(page.clone()).await, Fake::answering(page).await] {
        fails(link_to(fake.addr).fetch(&question(Duration::ZERO), PATIENCE).await, ErrorCategory::Unexpected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_for_an_answer_breaks_the_protocol() {
    let frame = antiphon_kernel::codec::encode(&antiphon_kernel::codec::Message::Fetch(question(Duration::ZERO)));
    let fake = Fake::answering([crate::fakes::frame_head(None), frame.to_vec()].concat()).await;
    fails(link_to(fake.addr).fetch(&question(Duration::ZERO), PATIENCE).await, ErrorCategory::Protocol);
}

/// However long the whole answer may take.
#[tokio::test(start_paused = true)]
async fn silence_is_noticed_long_before_a_slow_answer_is_given_up() {
    let fake = Fake::start(|stream| async move {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    let (wait, begun) = (Duration::from_secs(30), tokio::time::Instant::now());
    let link = link_to(fake.addr);
    fails(link.fetch(&question(wait), Duration::from_secs(600)).await, ErrorCategory::Timeout);
    let Err(error) = link.tail(&question(wait), Duration::from_secs(600)).await else { panic!("it answered") };
    assert_eq!(error.category(), ErrorCategory::Timeout);
    assert!(begun.elapsed() >= 2 * wait && begun.elapsed() < Duration::from_secs(110), "{:?}", begun.elapsed());
}
