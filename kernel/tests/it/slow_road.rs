//! A road on which one large event takes longer than a minute: time there is reckoned, not waited for.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use antiphon_kernel::config::{Config, Interval, PeerConfig};
use antiphon_kernel::cortex::Cortex;
use antiphon_kernel::event::Draft;
use antiphon_kernel::log::LocalIdentity;
use antiphon_kernel::proof::Identified;
use antiphon_kernel::protocol::{FetchReply, FetchRequest};
use antiphon_kernel::testing::{MemoryNetwork, MemoryStore};
use antiphon_kernel::transport::{Link, Transport, TransportError, TransportErrorKind};
use async_trait::async_trait;

use crate::support::{peer, start, until};

/// Bytes a second.
const RATE: u64 = 8_000;

/// A network whose answers take as long as their events do at [`RATE`], and fail at once where that is too long.
#[derive(Clone)]
struct SlowRoad {
    network: MemoryNetwork,
    /// Of each answer with events: how many bytes, and how long it was waited for.
    asked: Arc<Mutex<Vec<(u64, Duration)>>>,
}

struct SlowLink {
    link: Box<dyn Link>,
    road: SlowRoad,
}

impl Transport for SlowRoad {
    fn schemes(&self) -> &'static [&'static str] {
        self.network.schemes()
    }

    fn link(&self, peer: &PeerConfig, own: &LocalIdentity) -> Result<Box<dyn Link>, TransportError> {
        Ok(Box::new(SlowLink { link: self.network.link(peer, own)?, road: self.clone() }))
    }
}

#[async_trait]
impl Link for SlowLink {
    async fn identify(&self, deadline: Duration) -> Result<Identified, TransportError> {
        self.link.identify(deadline).await
    }

    async fn fetch(&self, request: &FetchRequest, deadline: Duration) -> Result<FetchReply, TransportError> {
        let reply = self.link.fetch(request, deadline).await?;
        let FetchReply::Batch(batch) = &reply else { return Ok(reply) };
        let bytes: u64 = batch.events.iter().map(|(_, record)| record.len() as u64).sum();
        if bytes > 0 {
            self.road.asked.lock().unwrap().push((bytes, deadline));
        }
        if Duration::from_millis(bytes * 1000 / RATE) > deadline {
            return Err(TransportError::new(TransportErrorKind::Timeout, "no whole answer in time"));
        }
        Ok(reply)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_its_road_cannot_bring_in_a_minute_is_waited_for_longer() {
    let network = MemoryNetwork::new().polling();
    let road = SlowRoad { network: network.clone(), asked: Arc::default() };
    let bravo = start(&network, "bravo", Config::default()).await;
    bravo.append(Draft::new("t", vec![7; 1_000_000])).await.unwrap();

    let interval = Some(Interval::new(Duration::from_millis(10)).unwrap());
    let config = Config { interval, peers: vec![peer("bravo")], ..Config::default() };
    let builder =
        Cortex::builder(Arc::new(MemoryStore::new())).log(antiphon_kernel::testing::LOG).name("alpha").config(config);
    let alpha = builder.transport(road.clone()).start().await.unwrap();
    let bravos = peer("bravo").name;
    // Nobody here waits for the pauses between failures.
    let waking = async {
        while alpha.reader().head().seq.get() == 0 {
            assert!(road.asked.lock().unwrap().len() < 20, "it is asked for again and again");
            alpha.syncer().wake(&bravos).await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waking).await.expect("the large event came");
    bravo.append(Draft::new("t", "small")).await.unwrap();
    until("the small one", || alpha.reader().head().seq.get() == 2).await;
    bravo.append(Draft::new("t", "small")).await.unwrap();
    until("and another", || alpha.reader().head().seq.get() == 3).await;

    let asked = road.asked.lock().unwrap().clone();
    let minutes = |deadline: Duration| deadline.as_secs() / 60;
    let large: Vec<_> = asked.iter().filter(|(bytes, _)| *bytes > 1_000_000).map(|(_, d)| minutes(*d)).collect();
    assert!(large.len() <= 6, "{large:?}");
    assert!(large.is_sorted() && large.first() == Some(&1) && large.last() == Some(&4), "{large:?}");
    assert_eq!(
        asked.last().map(|(_, deadline)| minutes(*deadline)),
        Some(1),
        "what comes quickly is due within a minute"
    );
    for cortex in [alpha, bravo] {
        cortex.stop().await;
    }
}
