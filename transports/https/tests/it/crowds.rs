//! Clients that dawdle, and clients that are many.

use std::net::SocketAddr;
use std::time::Duration;

use antiphon_https::Limits;
use antiphon_kernel::protocol::FetchReply;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::certificates::Authority;
use crate::harness::{KEY, PATIENCE, link_to, node_with, soon};

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
    let node = node_with(None, Limits { per_address: 60, ..short() }).await;
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
    let said = dribble(node.addr(), "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\nGET /").await;
    assert_eq!(said.matches("200 OK").count(), 1, "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dribbled_body_ends_the_request() {
    let node = node_with(None, short()).await;
    let begin =
        format!("POST /v1/fetch HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\ncontent-length: 9999\r\n\r\n");
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
        node.log.append(vec![big], antiphon_kernel::log::Context::default()).await.unwrap();
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

async fn ask(addr: SocketAddr) -> Option<TcpStream> {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let read = soon(stream.read(&mut [0; 1024])).await.unwrap_or(0);
    (read > 0).then_some(stream)
}

async fn holds(limits: Limits, room: usize) {
    let node = node_with(None, limits).await;
    let mut inside = Vec::new();
    for _ in 0..room {
        inside.push(ask(node.addr()).await.expect("there is room"));
    }
    for _ in 0..5 {
        assert!(ask(node.addr()).await.is_none(), "there is no room");
    }
    inside.pop();
    soon(async { while ask(node.addr()).await.is_none() {} }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_of_one_address_are_bounded() {
    holds(Limits { per_address: 3, ..Limits::default() }, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_bounded_in_all() {
    holds(Limits { connections: 4, ..Limits::default() }, 4).await;
}
