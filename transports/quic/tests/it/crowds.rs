//! Clients that are many.

use std::time::Duration;

use antiphon_kernel::protocol::Delivery;
use antiphon_quic::{ALPN, Limits};
use tokio::task::JoinSet;

use crate::harness::{KEY, Node, PATIENCE, node_with, question, soon};
use crate::raw;

async fn holds(limits: Limits, room: usize) {
    let node = node_with(limits).await;
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
    holds(Limits { per_address: 3, ..Limits::default() }, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_bounded_in_all() {
    holds(Limits { connections: 4, ..Limits::default() }, 4).await;
}

/// Handshakes by the hundred, none of which is ever finished with a hello: a peer beside them gets its answers.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_handshakes_keeps_nobody_out() {
    let limits = Limits { per_address: 50, retry_above: 8, header: Duration::from_millis(500), ..Limits::default() };
    let node = node_with(limits).await;
    node.log
        .append(vec![antiphon_kernel::event::Draft::new("t", "x")], antiphon_kernel::log::Context::default())
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
