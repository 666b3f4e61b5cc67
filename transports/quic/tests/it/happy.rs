//! What ought to work.

use std::time::Duration;

use antiphon_kernel::config::FederationMode;
use antiphon_kernel::health::ErrorCategory;
use antiphon_kernel::ids::CortexId;
use antiphon_kernel::protocol::{
    Delivery, FetchReply, FetchRequest, HEARTBEAT_INTERVAL, Identity, Pushed, Refusal, RequestId,
};

use crate::harness::{PATIENCE, batch, fails, node, question, soon};

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_says_who_it_is_each_time_anew() {
    let node = node().await;
    let link = node.link();
    let first = link.identify(PATIENCE).await.unwrap().into_identity();
    assert_eq!(
        (first.cortex_id, first.name.as_str(), first.head.seq.get()),
        (node.service.identity().cortex_id, "bravo", 0)
    );
    node.append(3).await;
    let second = link.identify(PATIENCE).await.unwrap().into_identity();
    let now = Identity { time: second.time, ..node.service.identity() };
    assert_eq!((second.head.seq.get(), second), (3, now));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_brings_one_batch_and_a_refusal_is_an_answer() {
    let node = node().await;
    node.append(250).await;
    let link = node.link();
    let FetchReply::Batch(batch) = link.fetch(&question(Delivery::Live), PATIENCE).await.unwrap() else { panic!() };
    assert_eq!((batch.events.len(), batch.last.seq.get(), batch.head.seq.get()), (100, 100, 250));
    // Who answers is known, so a question for another cortex is not even sent.
    let other = FetchRequest { to: CortexId::from_bytes([9; 16]), ..question(Delivery::Once) };
    fails(link.fetch(&other, PATIENCE).await, ErrorCategory::Identity);
    node.service.set_mode(FederationMode::Subscribe);
    let reply = link.fetch(&question(Delivery::Once), PATIENCE).await.unwrap();
    assert_eq!(reply, FetchReply::refused(Refusal::NotServing));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_puller_has_the_address_that_it_asks_from() {
    let node = node().await;
    node.link().fetch(&question(Delivery::Once), PATIENCE).await.unwrap();
    let address = node.service.pullers().remove(0).address.unwrap();
    assert!(address.starts_with("127.0.0.1:") && !address.ends_with(":0"), "{address}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_tail_brings_what_there_is_and_what_comes() {
    let node = node().await;
    node.append(250).await;
    let link = node.link();
    let mut tail = link.tail(&question(Delivery::Live), PATIENCE).await.unwrap().unwrap();
    let mut at = 0;
    for want in [100, 200, 250] {
        let batch = batch(&mut tail).await;
        assert_eq!((batch.prev.seq.get(), batch.last.seq.get()), (at, want));
        at = want;
    }
    for n in 251..=260 {
        node.append(1).await;
        let batch = batch(&mut tail).await;
        assert_eq!((batch.prev.seq.get(), batch.last.seq.get(), batch.events.len()), (n - 1, n, 1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_to_end_ends_in_order() {
    let node = node().await;
    node.append(150).await;
    let mut tail = node.link().tail(&question(Delivery::CatchUp), PATIENCE).await.unwrap().unwrap();
    assert_eq!(batch(&mut tail).await.last.seq.get(), 100);
    assert_eq!(batch(&mut tail).await.last.seq.get(), 150);
    let ended = async {
        loop {
            match tail.next(PATIENCE).await.unwrap() {
                Some(Pushed::Heartbeat(_)) => {}
                other => return other,
            }
        }
    };
    assert_eq!(soon(ended).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn heartbeats_say_how_far_the_log_reaches() {
    let node = node().await;
    let link = node.link();
    let mut tail = link.tail(&question(Delivery::Live), PATIENCE).await.unwrap().unwrap();
    node.append(2).await;
    let told = async {
        loop {
            if let Some(Pushed::Heartbeat(heartbeat)) = tail.next(HEARTBEAT_INTERVAL * 2).await.unwrap()
                && heartbeat.head.seq.get() == 2
            {
                return heartbeat;
            }
        }
    };
    let heartbeat = soon(told).await;
    assert_eq!((heartbeat.from, heartbeat.head), (node.service.identity().cortex_id, node.service.identity().head));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parked_poll_delays_no_other_question() {
    let node = node().await;
    let link = node.link();
    let parked = FetchRequest { wait: Duration::from_secs(15), ..question(Delivery::Once) };
    let waits = link.fetch(&parked, PATIENCE);
    let others = async {
        for _ in 0..50 {
            link.identify(PATIENCE).await.unwrap();
        }
        node.append(1).await;
    };
    let (reply, ()) = soon(async { tokio::join!(waits, others) }).await;
    let FetchReply::Batch(batch) = reply.unwrap() else { panic!() };
    assert_eq!(batch.events.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_question_leaves_the_link_usable_and_frees_the_server() {
    let node = node().await;
    let link = node.link();
    // More than there are streams: each dropped one must be given back.
    for number in 0..40 {
        let request = RequestId { process: 1, number };
        let parked = FetchRequest { request, wait: Duration::from_secs(60), ..question(Delivery::Once) };
        let dropped = tokio::time::timeout(Duration::from_millis(5), link.fetch(&parked, PATIENCE)).await;
        assert!(dropped.is_err());
        let tail = link.tail(&question(Delivery::Live), PATIENCE).await.unwrap().unwrap();
        drop(tail);
    }
    node.append(1).await;
    let FetchReply::Batch(batch) = soon(link.fetch(&question(Delivery::Once), PATIENCE)).await.unwrap() else {
        panic!()
    };
    assert_eq!(batch.events.len(), 1);
}

/// And not only once it has ended.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_live_connection_sends_is_counted() {
    let node = node().await;
    node.append(250).await;
    let link = node.link();
    let mut tail = link.tail(&question(Delivery::Live), PATIENCE).await.unwrap().unwrap();
    let size: usize = batch(&mut tail).await.events.iter().map(|(_, record)| record.len()).sum();
    let sent = || node.server.sent_bytes().get();
    let before = sent();
    assert!(before >= size as u64, "{before} of {size}");
    for _ in 0..3 {
        batch(&mut tail).await;
        node.append(1).await;
    }
    assert!(sent() > before && sent() < 1_000_000, "once each: {}", sent());
}
