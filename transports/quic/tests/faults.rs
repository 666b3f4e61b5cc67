//! A whole cortex that pulls another over a path that keeps breaking (blackholes in one direction and the other, heavy loss, duplicates, reordering, new source ports).
//! Everything arrives, once, in order.
#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
#[path = "it/certificates.rs"]
mod certificates;

use std::sync::Arc;
use std::time::{Duration, Instant};

use antiphon_fault_proxy::{Faults, Path, UdpProxy};
use antiphon_kernel::config::{Config, Interval, PeerConfig};
use antiphon_kernel::cortex::Cortex;
use antiphon_kernel::cursor::Seq;
use antiphon_kernel::event::Draft;
use antiphon_kernel::ids::PeerName;
use antiphon_kernel::log::{CausalContext, LogReader};
use antiphon_kernel::testing::MemoryStore;
use antiphon_kernel::testing::transport_suite::key;
use antiphon_quic::{Limits, QuicOptions, QuicServer, QuicServerOptions, QuicTransport};
use certificates::Authority;

const EVENTS: u64 = 4000;
const PATIENCE: Duration = Duration::from_secs(60);

async fn cortex(name: &str, peers: Vec<PeerConfig>) -> Cortex {
    let interval = Some(Interval::new(Duration::from_secs(1)).unwrap());
    let config = Config { interval, peers, shared_key: key(), ..Config::default() };
    let builder =
        Cortex::builder(Arc::new(MemoryStore::new())).log(antiphon_kernel::testing::LOG).name(name).config(config);
    builder.transport(QuicTransport::new(QuicOptions { shared_key: key() })).start().await.unwrap()
}

fn records(view: &LogReader) -> Vec<bytes::Bytes> {
    let entries = view.durable_entries(Seq::ZERO, usize::MAX, usize::MAX).unwrap();
    entries.into_iter().map(|entry| entry.record).collect()
}

/// What happens to the path, again and again, until everything arrived.
fn strike(proxy: &UdpProxy, round: u64) {
    let hole = Path { blackhole: true, ..Path::default() };
    let bad = Path { loss: 0.2, duplicate: 0.1, reorder: 0.2, latency: Duration::from_millis(2), ..Path::default() };
    match round % 5 {
        0 => proxy.set(Faults { to_client: hole, ..Faults::default() }),
        1 => proxy.set(Faults { to_server: hole, ..Faults::default() }),
        2 => proxy.set(Faults::symmetric(bad)),
        3 => proxy.rebind(),
        _ => proxy.set(Faults::default()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_arrives_once_however_often_the_path_breaks() {
    let authority = Authority::new();
    let server_cortex = cortex("server", vec![]).await;
    let service = server_cortex.service();
    let (server, proxy) = {
        let (addr, tls) = ("127.0.0.1:0".parse().unwrap(), authority.issue("127.0.0.1"));
        let options =
            QuicServerOptions { addr, tls: Some(tls), shared_key: key(), allow_open: false, limits: Limits::default() };
        let server = QuicServer::start(options, service.clone()).await.unwrap();
        let proxy = UdpProxy::start(server.local_addr(), Faults::default(), 1).await.unwrap();
        (server, proxy)
    };
    let name = PeerName::new("server").unwrap();
    let endpoint = format!("quic://{}", proxy.addr());
    let peer = PeerConfig { ca: Some(authority.ca()), ..PeerConfig::new(name.clone(), endpoint) };
    let puller = cortex("puller", vec![peer]).await;
    let began = Instant::now();
    let appends = async {
        for n in 0..EVENTS / 10 {
            let drafts =
                (0..10).map(|m| Draft::new("t", vec![7; 200 + usize::try_from(n + m).unwrap() % 300])).collect();
            server_cortex.log().append(drafts, CausalContext::default()).await.unwrap();
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let strikes = async {
        let mut round = 0;
        // A strike each tenth of a second while events are written; then the path stays good.
        while server_cortex.reader().head().seq.get() < EVENTS {
            strike(&proxy, round);
            // Trying again is the syncer's own affair; its back-off would only make the test long.
            puller.syncer().wake(&name).await.unwrap();
            tokio::time::sleep(Duration::from_millis(100)).await;
            round += 1;
        }
        proxy.set(Faults::default());
        round
    };
    let ((), rounds) = tokio::join!(appends, strikes);
    assert!(rounds >= 6, "only {rounds} strikes");
    while puller.reader().head().seq.get() < EVENTS {
        assert!(began.elapsed() < PATIENCE, "{:?}", puller.syncer().peers());
        puller.syncer().wake(&name).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(records(puller.reader()) == records(server_cortex.reader()), "the same events in the same order");
    assert_eq!(puller.reader().heads(), server_cortex.reader().heads());
    puller.stop().await;
    server.shutdown().await;
    server_cortex.stop().await;
}
