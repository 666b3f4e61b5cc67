//! How a server ends.

use std::time::{Duration, Instant};

use antiphon_kernel::protocol::{Delivery, FetchReply, FetchRequest, Refusal};
use antiphon_kernel::testing::until;

use crate::harness::{PATIENCE, node, question, soon};

#[tokio::test(flavor = "multi_thread")]
async fn a_graceful_stop_answers_who_waits_and_frees_the_port() {
    let node = node().await;
    let (link, addr) = (node.link(), node.addr());
    let parked = FetchRequest { wait: Duration::from_secs(60), ..question(Delivery::Once) };
    let service = node.service.clone();
    let stop = async {
        soon(async {
            while service.open_questions() == 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        let began = Instant::now();
        node.server.shutdown().await;
        assert!(began.elapsed() < Duration::from_secs(5), "nobody had to be cut");
    };
    let (reply, ()) = soon(async { tokio::join!(link.fetch(&parked, PATIENCE), stop) }).await;
    assert_eq!(reply.unwrap(), FetchReply::refused(Refusal::Busy));
    until("the port is free", || std::net::UdpSocket::bind(addr).is_ok()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_server_tells_its_clients() {
    let node = node().await;
    let link = node.link();
    let mut tail = link.tail(&question(Delivery::Live), PATIENCE).await.unwrap().unwrap();
    drop(node.server);
    let ended = async { while let Ok(Some(_)) = tail.next(PATIENCE).await {} };
    soon(ended).await;
}
