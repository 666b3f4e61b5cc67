//! What shares a connection: nobody waits behind somebody else's bulk.

use std::time::{Duration, Instant};

use antiphon_fault_proxy::{Faults, Path, UdpProxy};
use antiphon_kernel::event::Draft;
use antiphon_kernel::log::CausalContext;
use antiphon_kernel::protocol::{Delivery, FetchReply, FetchRequest, Pushed, RequestId};
use antiphon_kernel::transport::Link;

use crate::harness::{Node, PATIENCE, batch, key, link, node, question, soon, transport};

async fn bulk(node: &Node, megabytes: usize) {
    for _ in 0..megabytes {
        let drafts = (0..5).map(|_| Draft::new("bulk", vec![7; 200 * 1024])).collect();
        node.log.append(drafts, CausalContext::default()).await.unwrap();
    }
}

fn live(number: u64) -> FetchRequest {
    FetchRequest { request: RequestId { process: 1, number }, ..question(Delivery::Live) }
}

/// One run stands still because nobody reads it; another on the same connection brings everything.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_slows_only_itself() {
    let node = node().await;
    bulk(&node, 40).await;
    let link = node.link();
    let _unread = link.tail(&live(1), PATIENCE).await.unwrap().unwrap();
    let mut read = link.tail(&live(2), PATIENCE).await.unwrap().unwrap();
    let mut at = 0;
    while at < 200 {
        at = batch(&mut read).await.last.seq.get();
    }
}

/// On a narrow road that is full of bulk, heartbeats and questions get through.
#[tokio::test(flavor = "multi_thread")]
async fn control_does_not_wait_behind_bulk() {
    let node = node().await;
    bulk(&node, 30).await;
    let narrow = Path { bytes_per_second: Some(1_500_000), latency: Duration::from_millis(5), ..Path::default() };
    let proxy = UdpProxy::start(node.addr(), Faults { to_client: narrow, ..Faults::default() }, 1).await.unwrap();
    let link: Box<dyn Link> = link(&transport(key()), proxy.addr(), &node.authority.ca());
    let mut tail = link.tail(&live(1), PATIENCE).await.unwrap().unwrap();
    batch(&mut tail).await;
    // 30 MB take 20 seconds; news of the log must not.
    let began = Instant::now();
    let beats = async {
        let (mut beats, mut at) = (0, 0);
        while beats < 3 {
            match tail.next(PATIENCE).await.unwrap() {
                Some(Pushed::Heartbeat(_)) => {
                    beats += 1;
                    // The log moves again, so the next one is due within a second.
                    node.append(1).await;
                    link.identify(PATIENCE).await.unwrap();
                }
                Some(Pushed::Reply(FetchReply::Batch(batch))) => at = batch.last.seq.get(),
                other => panic!("{other:?}"),
            }
        }
        at
    };
    node.append(1).await;
    let at = soon(beats).await;
    assert!(at < 150, "the bulk was through already: nothing was shown");
    assert!(began.elapsed() < Duration::from_secs(12), "{:?}", began.elapsed());
}
