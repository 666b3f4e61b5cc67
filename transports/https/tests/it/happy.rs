//! What works.

use std::time::Duration;

use antiphon_https::Limits;
use antiphon_kernel::codec::Room;
use antiphon_kernel::log::LocalIdentity;
use antiphon_kernel::protocol::{FetchReply, FetchRequest, Identity, Protocols, Refusal};
use antiphon_kernel::transport::{Link, Transport};

use crate::certificates::Authority;
use crate::fakes::Fake;
use crate::harness::{PATIENCE, key, link_to, node, node_with, own, peer, soon, transport};

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_is_identified_and_read_over_tls() {
    let authority = Authority::new();
    let node = node_with(Some(authority.issue("127.0.0.1")), Limits::default()).await;
    node.append(3).await;
    let link = transport(key()).link(&peer(format!("https://{}", node.addr()), Some(&authority.ca())), &own()).unwrap();
    let said = link.identify(PATIENCE).await.unwrap().into_identity();
    assert_eq!(said, Identity { time: said.time, ..node.service.identity() });
    let reply = link.fetch(&node.question(Duration::ZERO), PATIENCE).await.unwrap();
    let FetchReply::Batch(batch) = reply else { panic!("{reply:?}") };
    assert_eq!((batch.events.len(), batch.last.seq.get()), (3, 3));
}

/// A node that speaks a made-up protocol 3 as well, and adds what may be ignored, is understood. What must be understood is refused.
#[tokio::test(flavor = "multi_thread")]
async fn a_newer_version_is_answered_in_the_protocol_of_both() {
    let node = node().await;
    node.append(1).await;
    let newer = LocalIdentity { protocols: Protocols::of(2, 3), ..own() };
    let link = transport(key()).link(&peer(format!("http://{}", node.addr()), None), &newer).unwrap();
    let common = link.identify(PATIENCE).await.unwrap().identity().protocols().common(newer.protocols);
    assert_eq!(common, Some(2));
    let asks = async |protocol, number| {
        let room = Room::default().with(number, b"made up");
        link.fetch(&FetchRequest { protocol, room, ..node.question(Duration::ZERO) }, PATIENCE).await.unwrap()
    };
    assert!(matches!(asks(2, 2).await, FetchReply::Batch(batch) if batch.events.len() == 1));
    assert_eq!(asks(2, 3).await, FetchReply::refused(Refusal::Newer));
    assert_eq!(asks(3, 2).await, FetchReply::refused(Refusal::Protocol { min: 2, max: 2 }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_puller_has_the_address_that_it_asks_from() {
    let node = node().await;
    link_to(node.addr()).fetch(&node.question(Duration::ZERO), PATIENCE).await.unwrap();
    let address = node.service.pullers().remove(0).address.unwrap();
    assert!(address.starts_with("127.0.0.1:") && !address.ends_with(":0"), "{address}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parked_poll_wakes_when_something_is_appended() {
    let node = node().await;
    let link = link_to(node.addr());
    let question = node.question(Duration::from_secs(60));
    let (reply, ()) = soon(async { tokio::join!(link.fetch(&question, PATIENCE), node.append(1)) }).await;
    let Ok(FetchReply::Batch(batch)) = reply else { panic!("{reply:?}") };
    assert_eq!(batch.events.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_answer_comes_when_the_wait_is_over() {
    let node = node().await;
    let reply = link_to(node.addr()).fetch(&node.question(Duration::from_millis(50)), PATIENCE).await;
    assert!(matches!(reply, Ok(FetchReply::Batch(batch)) if batch.events.is_empty()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_an_answer() {
    let node = node().await;
    node.service.set_mode(antiphon_kernel::config::FederationMode::Subscribe);
    let reply = link_to(node.addr()).fetch(&node.question(Duration::ZERO), PATIENCE).await.unwrap();
    assert_eq!(reply, FetchReply::refused(Refusal::NotServing));
}

async fn poll(link: &dyn Link, times: usize) {
    for _ in 0..times {
        link.identify(PATIENCE).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn polls_share_a_connection() {
    let node = node().await;
    let relay = Fake::relay(node.addr()).await;
    let link = link_to(relay.addr);
    for _ in 0..10 {
        poll(&*link, 1).await;
        link.fetch(&node.question(Duration::from_millis(20)), PATIENCE).await.unwrap();
        // The HTTP client puts a connection back a moment after its answer ended; whoever asks again within
        // microseconds may open another. That is allowed, but not a connection for each question.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(relay.accepted() <= 12, "{} connections for 20 questions", relay.accepted());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_outlives_the_time_a_head_may_take() {
    let limits = Limits { header: Duration::from_millis(200), ..Limits::default() };
    let node = node_with(None, limits).await;
    let relay = Fake::relay(node.addr()).await;
    let link = link_to(relay.addr);
    poll(&*link, 1).await;
    // Time itself is what is tested: a poll every few seconds must not cost a handshake each.
    tokio::time::sleep(Duration::from_millis(600)).await;
    poll(&*link, 1).await;
    assert_eq!(relay.accepted(), 1);
}
