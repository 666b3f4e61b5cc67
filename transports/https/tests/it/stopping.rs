//! Stopping in order.

use std::time::{Duration, Instant};

use antiphon_kernel::codec::{Message, encode};
use antiphon_kernel::health::ErrorCategory;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{FRAME, KEY, Node, PATIENCE, fails, link_to, node, node_with, soon};

/// A poll that the server has parked.
async fn parked(node: &Node) -> TcpStream {
    let body = encode(&Message::Fetch(node.question(Duration::from_secs(60))));
    let head = format!(
        "POST /v1/fetch HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\ncontent-type: {FRAME}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut stream = TcpStream::connect(node.addr()).await.unwrap();
    stream.write_all(&[head.as_bytes(), &body].concat()).await.unwrap();
    // The server has surely seen it once it answered others that came later.
    let link = link_to(node.addr());
    for _ in 0..20 {
        link.identify(PATIENCE).await.unwrap();
    }
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parked_poll_is_answered_and_the_server_is_gone() {
    let node = node().await;
    let addr = node.addr();
    let mut poll = parked(&node).await;
    let begun = Instant::now();
    soon(node.server.shutdown()).await;
    assert!(begun.elapsed() < Duration::from_secs(4), "it waited for the poll");
    let mut answer = Vec::new();
    soon(poll.read_to_end(&mut answer)).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200 OK"), "{}", String::from_utf8_lossy(&answer));
    fails(link_to(addr).identify(PATIENCE).await, ErrorCategory::ConnectionRefused);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_never_ends_is_not_waited_for() {
    let limits = antiphon_https::Limits { shutdown: Duration::from_millis(200), ..Default::default() };
    let node = node_with(None, limits).await;
    let mut stream = TcpStream::connect(node.addr()).await.unwrap();
    stream.write_all(b"POST /v1/fetch HTTP/1.1\r\nhost: x\r\ncontent-le").await.unwrap();
    link_to(node.addr()).identify(PATIENCE).await.unwrap();
    let begun = Instant::now();
    soon(node.server.shutdown()).await;
    assert!(begun.elapsed() < Duration::from_secs(4));
    assert_eq!(soon(stream.read(&mut [0; 16])).await.unwrap_or(0), 0);
}
