//! Clients that are many.

use std::collections::BTreeSet;
use std::time::Duration;

use antiphon_kernel::protocol::Delivery;
use antiphon_quic::{ALPN, Bounds, Limits};
use tokio::task::JoinSet;

use crate::harness::{KEY, Node, PATIENCE, node, node_with, question, soon};
use crate::raw;

async fn holds(proven: Bounds, room: usize) {
    let node = node_with(Limits { proven, ..Limits::default() }).await;
    let mut inside = Vec::new();
    for _ in 0..room {
        let link = node.link();
        link.identify(PATIENCE).await.unwrap();
        inside.push(link);
    }
    for _ in 0..3 {
        let error = node.link().identify(PATIENCE).await.unwrap_err();
        assert_eq!(error.category(), antiphon_kernel::health::ErrorCategory::Busy, "{error}");
        assert!(!error.to_string().contains(KEY));
    }
    inside.pop();
    soon(async { while node.link().identify(PATIENCE).await.is_err() {} }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_of_one_address_are_bounded() {
    holds(Bounds { total: 100, per_address: 3 }, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_bounded_in_all() {
    holds(Bounds { total: 4, per_address: 100 }, 4).await;
}

/// Handshakes by the hundred, none of which is ever finished with a hello: a peer beside them gets its answers.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_handshakes_keeps_nobody_out() {
    let limits = Limits { header: Duration::from_millis(500), ..Limits::default() };
    let node = node_with(limits).await;
    node.log
        .append(vec![antiphon_kernel::event::Draft::new("t", "x")], antiphon_kernel::log::CausalContext::default())
        .await
        .unwrap();
    let link = node.link();
    link.identify(PATIENCE).await.unwrap();
    let mut flood = JoinSet::new();
    for _ in 0..300 {
        let (endpoint, config, addr) = (raw::endpoint(), raw::config(&node, ALPN), node.addr());
        flood.spawn(async move {
            let connecting = endpoint.connect_with(config, addr, "127.0.0.1").unwrap();
            if let Ok(connection) = connecting.await {
                connection.closed().await;
            }
        });
    }
    for _ in 0..50 {
        link.fetch(&question(Delivery::Once), PATIENCE).await.unwrap();
    }
    soon(async { while flood.join_next().await.is_some() {} }).await;
    soon(async { while fresh(&node).await.is_err() {} }).await;
}

async fn fresh(node: &Node) -> Result<(), antiphon_kernel::transport::TransportError> {
    node.link().identify(PATIENCE).await.map(|_| ())
}

/// First packets with the address of a peer, from a host that never sees what is answered.
#[tokio::test(flavor = "multi_thread")]
async fn forged_first_packets_do_not_lock_out_whom_they_name() {
    let node = node().await;
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    for _ in 0..70 {
        socket.send_to(&raw::first_packet(&node), node.addr()).unwrap();
    }
    for _ in 0..3 {
        soon(node.link().identify(Duration::from_secs(2))).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_two_of_an_address_a_proof_of_it_is_asked_for() {
    let node = node().await;
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    for _ in 0..10 {
        socket.send_to(&raw::first_packet(&node), node.addr()).unwrap();
    }
    // By the connection that each answers (RFC 9000, 17.2): its first bits are readable, and its destination.
    let (mut retried, mut shaken) = (BTreeSet::new(), BTreeSet::new());
    let mut packet = [0; 8192];
    while retried.len() + shaken.len() < 10 {
        socket.recv(&mut packet).unwrap();
        // What follows a handshake has a short head, which does not say where its destination ends.
        if packet[0] & 0x80 == 0 {
            continue;
        }
        let to = packet[6..6 + usize::from(packet[5])].to_vec();
        match packet[0] & 0xf0 {
            0xf0 => retried.insert(to),
            _ => shaken.insert(to),
        };
    }
    assert_eq!((retried.len(), shaken.len()), (8, 2));
}
