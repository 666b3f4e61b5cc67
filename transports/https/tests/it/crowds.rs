//! Clients that dawdle, and clients that are many.

use std::net::SocketAddr;
use std::time::Duration;

use antiphon_https::{Bounds, Limits, WebServer};
use antiphon_kernel::protocol::FetchReply;
use axum::body::Body;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::certificates::Authority;
use crate::harness::{FRAME, KEY, PATIENCE, link_to, node_with, soon};
use crate::routes::client;

fn short() -> Limits {
    let moment = Duration::from_millis(300);
    Limits { header: moment, idle: moment, write_stall: moment, ..Limits::default() }
}

/// Sends `begin`, then a byte at a time for as long as the server takes them; returns what it said.
async fn dribble(addr: SocketAddr, begin: &'static str) -> String {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let _ = stream.write_all(begin.as_bytes()).await;
    let (mut read, mut write) = stream.into_split();
    let mut said = Vec::new();
    // By hand: `read_to_end` gives nothing back when a reset follows what was said.
    let listening = async { while read.read_buf(&mut said).await.is_ok_and(|n| n > 0) {} };
    let dribbling = async {
        let mut tick = tokio::time::interval(Duration::from_millis(20));
        loop {
            tick.tick().await;
            if write.write_all(b"x").await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    soon(async {
        tokio::select! { () = listening => (), () = dribbling => () }
    })
    .await;
    String::from_utf8_lossy(&said).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn dribbling_heads_keep_nobody_out() {
    let unproven = Bounds { total: 100, per_address: 60 };
    let node = node_with(None, Limits { unproven, ..short() }).await;
    node.append(1).await;
    let mut crowd = JoinSet::new();
    for begin in ["", "GET /", "POST /v1/fetch HTTP/1.1\r\nx: "].into_iter().cycle().take(45) {
        crowd.spawn(dribble(node.addr(), begin));
    }
    for _ in 0..10 {
        let reply = link_to(node.addr()).fetch(&node.question(Duration::ZERO), PATIENCE).await;
        assert!(matches!(reply, Ok(FetchReply::Batch(_))), "{reply:?}");
    }
    // Every one of them is shown the door, however long it would have gone on.
    while let Some(said) = soon(crowd.join_next()).await {
        assert!(!said.unwrap().contains("200"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_head_must_come_in_time_as_well() {
    let node = node_with(None, short()).await;
    let said = dribble(node.addr(), "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\nGET /").await;
    assert_eq!(said.matches("200 OK").count(), 1, "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dribbled_body_ends_the_request() {
    let node = node_with(None, short()).await;
    let begin = format!(
        "POST /v1/fetch HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\ncontent-type: {FRAME}\r\ncontent-length: 9999\r\n\r\n"
    );
    let said = dribble(node.addr(), begin.leak()).await;
    assert!(said.starts_with("HTTP/1.1 408"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dribbled_handshake_ends() {
    let authority = Authority::new();
    let node = node_with(Some(authority.issue("127.0.0.1")), short()).await;
    assert!(!dribble(node.addr(), "\u{16}\u{3}\u{1}\u{2}").await.contains("200"));
    // One that says nothing at all.
    let mut silent = TcpStream::connect(node.addr()).await.unwrap();
    assert_eq!(soon(silent.read(&mut [0; 16])).await.unwrap_or(0), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_nobody_takes_is_dropped() {
    let node = node_with(None, short()).await;
    for _ in 0..8 {
        let big = antiphon_kernel::event::Draft::new("big", vec![7; 900 * 1024]);
        node.log.append(vec![big], antiphon_kernel::log::CausalContext::default()).await.unwrap();
    }
    let mut stream = TcpStream::connect(node.addr()).await.unwrap();
    let request = format!("GET /v1/events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    // Nothing is read until the server has given up, which a write that fails tells.
    soon(async {
        while stream.write_all(b"\r\n").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

/// A connection that asked once, and the status of the answer.
async fn ask(addr: SocketAddr, request: &str) -> (TcpStream, Option<u16>) {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let status = again(&mut stream, request).await;
    (stream, status)
}

async fn again(stream: &mut TcpStream, request: &str) -> Option<u16> {
    let _ = stream.write_all(request.as_bytes()).await;
    let mut answer = [0; 1024];
    let read = soon(stream.read(&mut answer)).await.unwrap_or(0);
    String::from_utf8_lossy(&answer[..read]).split(' ').nth(1)?.parse().ok()
}

const HEALTH: &str = "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";

fn with_key() -> String {
    format!("GET /v1/identity HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {KEY}\r\n\r\n")
}

/// Whether the server closed it.
async fn is_closed(stream: &mut TcpStream) -> bool {
    soon(stream.read(&mut [0; 16])).await.unwrap_or(0) == 0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_without_the_key_pushes_out_itself_alone() {
    let unproven = Bounds { total: 4, per_address: 4 };
    let node = node_with(None, Limits { unproven, ..Limits::default() }).await;
    let (mut peer, status) = ask(node.addr(), &with_key()).await;
    assert_eq!(status, Some(200));
    let mut crowd = Vec::new();
    for _ in 0..20 {
        let (stream, status) = ask(node.addr(), HEALTH).await;
        assert_eq!(status, Some(200), "the newest gets in");
        crowd.push(stream);
    }
    for pushed_out in &mut crowd[..16] {
        assert!(is_closed(pushed_out).await);
    }
    for inside in &mut crowd[16..] {
        assert_eq!(again(inside, HEALTH).await, Some(200));
    }
    assert_eq!(again(&mut peer, &with_key()).await, Some(200), "it keeps its connection");
    assert_eq!(ask(node.addr(), &with_key()).await.1, Some(200), "and gets another");
}

async fn holds(proven: Bounds, room: usize) {
    let node = node_with(None, Limits { proven, ..Limits::default() }).await;
    let mut inside = Vec::new();
    for _ in 0..room {
        let (stream, status) = ask(node.addr(), &with_key()).await;
        assert_eq!(status, Some(200), "there is room");
        inside.push(stream);
    }
    for _ in 0..5 {
        let (mut stream, status) = ask(node.addr(), &with_key()).await;
        assert_eq!(status, Some(503), "there is no room");
        assert!(is_closed(&mut stream).await);
    }
    assert_eq!(ask(node.addr(), HEALTH).await.1, Some(200), "the others have their own");
    inside.pop();
    soon(async { while ask(node.addr(), &with_key()).await.1 != Some(200) {} }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_with_the_key_are_bounded_for_an_address() {
    holds(Bounds { total: 100, per_address: 3 }, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_with_the_key_are_bounded_in_all() {
    holds(Bounds { total: 4, per_address: 100 }, 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_presented_the_key_may_idle_longer() {
    let node = node_with(None, Limits { unproven_idle: Duration::from_millis(200), ..Limits::default() }).await;
    let (mut peer, _) = ask(node.addr(), &with_key()).await;
    let (mut stranger, status) = ask(node.addr(), HEALTH).await;
    assert_eq!(status, Some(200));
    assert!(is_closed(&mut stranger).await);
    assert_eq!(again(&mut peer, &with_key()).await, Some(200));
}

/// A live page is no idle connection, however long it is open. Each piece comes later than an idle connection would be cut: a
/// loaded machine can only make that gap longer.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_comes_in_pieces_is_not_cut_for_being_idle() {
    const IDLE: Duration = Duration::from_millis(50);
    let limits = Limits { unproven_idle: IDLE, ..Limits::default() };
    let piece = |n: u8| async move {
        tokio::time::sleep(2 * IDLE).await;
        (n < 5).then_some((Ok::<_, std::convert::Infallible>("piece "), n + 1))
    };
    let pieces = move || async move { Body::from_stream(futures_util::stream::unfold(0, piece)) };
    let router = axum::Router::new().route("/", axum::routing::get(pieces));
    let server = WebServer::start("test", "127.0.0.1:0".parse().unwrap(), router, limits, || ()).await.unwrap();
    let url = format!("http://{}/", server.local_addr());
    let said = soon(client().get(url).send()).await.unwrap().text().await.unwrap();
    assert_eq!(said.matches("piece").count(), 5);
}
