//! Live: what is appended on one cortex reaches the others at once, and over one road.

use std::time::Duration;

use antiphon_kernel::config::{Config, Interval};
use antiphon_kernel::cortex::{Cortex, WaitFor};
use antiphon_kernel::cursor::Seq;
use antiphon_kernel::event::Draft;
use antiphon_kernel::ids::PeerName;
use antiphon_kernel::state::Phase;
use antiphon_kernel::testing::MemoryNetwork;
use futures_util::StreamExt as _;

use crate::support::{self, peer, until};

async fn start(network: &MemoryNetwork, own: &str, peers: &[String]) -> Cortex {
    let peers = peers.iter().filter(|name| *name != own).map(|name| peer(name)).collect();
    let interval = Some(Interval::new(Duration::from_secs(20)).unwrap());
    support::start(network, own, Config { interval, peers, ..Config::default() }).await
}

/// All cortexes of a full mesh, every one of them live with every other.
async fn mesh(network: &MemoryNetwork, count: usize) -> Vec<Cortex> {
    let names: Vec<_> = (0..count).map(|n| format!("node-{n}")).collect();
    let mut mesh = Vec::new();
    for name in &names {
        mesh.push(start(network, name, &names).await);
    }
    // The first ones met nobody yet, and would come back after a while by themselves.
    for cortex in &mesh {
        for peer in cortex.syncer().peers() {
            cortex.syncer().wake(&peer.name).await.unwrap();
        }
    }
    let live = |cortex: &Cortex| cortex.syncer().peers().iter().all(|peer| peer.phase == Phase::Live);
    until("everyone is live", || mesh.iter().all(live)).await;
    mesh
}

async fn round(mesh: &[Cortex], rounds: usize, before: u64) -> u64 {
    for round in 0..rounds {
        for cortex in mesh {
            cortex.append(Draft::new("t", format!("{round}"))).await.unwrap();
        }
    }
    let total = before + (rounds * mesh.len()) as u64;
    until("every event is everywhere", || mesh.iter().all(|cortex| cortex.reader().head().seq.get() == total)).await;
    mesh.iter().map(|cortex| cortex.service().served().events).sum()
}

async fn events_cross_about_once(mesh: &[Cortex], rounds: usize) {
    // Once around, so that everyone has told everyone whom it pulls.
    let before = round(mesh, 1, 0).await;
    let sent = round(mesh, rounds, mesh.len() as u64).await - before;
    let needed = rounds * mesh.len() * (mesh.len() - 1);
    let ratio = sent as f64 / needed as f64;
    assert!(ratio <= 1.1, "{ratio} transfers of each event to each cortex ({sent} for {needed})");
    let digest = |cortex: &Cortex| cortex.reader().heads().fold();
    assert!(mesh.iter().all(|cortex| digest(cortex) == digest(&mesh[0])));
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_live_mesh_of_eight_each_event_crosses_to_each_about_once() {
    let mesh = mesh(&MemoryNetwork::new(), 8).await;
    events_cross_about_once(&mesh, 25).await;
    for cortex in &mesh {
        cortex.stop().await;
    }
}

/// What a peer pulls itself is held back for a grace, not for ever: where its own road is cut, the relay delivers.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_whose_short_road_is_cut_comes_by_the_long_one() {
    let network = MemoryNetwork::new();
    let mesh = mesh(&network, 3).await;
    // Node 2 keeps its open tail to node 1, and node 0 is told to stop pulling node 2.
    let name = PeerName::new("node-2").unwrap();
    mesh[0].syncer().pause(&name).await.unwrap();
    mesh[2].append(Draft::new("t", "x")).await.unwrap();
    until("the relay delivers", || mesh[0].reader().head().seq.get() == 1).await;
    for cortex in &mesh {
        cortex.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_is_pushed_long_before_the_interval_is_over() {
    for network in [MemoryNetwork::new(), MemoryNetwork::new().polling()] {
        let mesh = mesh(&network, 2).await;
        for n in 1..=20 {
            mesh[0].append(Draft::new("t", "x")).await.unwrap();
            let mut durable = mesh[1].reader().watch_durable();
            let came = durable.wait_for(|head| head.get() == n);
            tokio::time::timeout(Duration::from_secs(5), came)
                .await
                .unwrap_or_else(|_| panic!("pushed, not polled: {n} {:?}", mesh[1].syncer().peers()))
                .unwrap();
        }
        for cortex in &mesh {
            cortex.stop().await;
        }
    }
}

/// Who holds what we wrote is known from what is said anyway; who is missing is named, and the event stays.
#[tokio::test(flavor = "multi_thread")]
async fn an_append_can_wait_for_its_copies() {
    for network in [MemoryNetwork::new(), MemoryNetwork::new().polling()] {
        let mesh = mesh(&network, 3).await;
        let (one, two) = (PeerName::new("node-1").unwrap(), PeerName::new("node-2").unwrap());
        let long = Duration::from_secs(20);
        for _ in 0..3 {
            let event = mesh[0].append(Draft::new("t", "x")).await.unwrap();
            let both = [one.clone(), two.clone()];
            assert_eq!(mesh[0].wait_replicated(&event, WaitFor::Peers(&both), long).await, Ok(2));
            assert_eq!(mesh[0].wait_replicated(&event, WaitFor::Count(2), long).await, Ok(2));
            assert!(
                mesh[1].reader().find(event.id).unwrap().is_some()
                    && mesh[2].reader().find(event.id).unwrap().is_some()
            );
        }
        mesh[2].stop().await;
        network.remove("node-2");
        let event = mesh[0].append(Draft::new("t", "y")).await.unwrap();
        let stranger = PeerName::new("stranger").unwrap();
        let all = [one, two.clone(), stranger.clone()];
        let waited = mesh[0].wait_replicated(&event, WaitFor::Peers(&all), Duration::from_millis(300)).await;
        let late = waited.unwrap_err();
        assert_eq!((late.missing, late.unknown), (vec![two], vec![stranger]));
        assert!(mesh[0].reader().find(event.id).unwrap().is_some());
        mesh[0].stop().await;
        mesh[1].stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_followed_and_catching_up_is_told() {
    let network = MemoryNetwork::new();
    let names = ["node-0".to_owned(), "node-1".to_owned()];
    let zero = start(&network, &names[0], &[]).await;
    for n in 0..700 {
        zero.append(Draft::new("t", format!("{n}"))).await.unwrap();
    }
    let one = start(&network, &names[1], &names[..1]).await;
    let mut events = one.syncer().subscribe();
    // Begun again, so that nothing was sent before the receiver existed.
    one.syncer().pause(&PeerName::new(&names[0]).unwrap()).await.unwrap();
    one.syncer().resume(&PeerName::new(&names[0]).unwrap()).await.unwrap();
    until("ten events are there", || one.reader().head().seq.get() >= 10).await;
    let tenth = one.reader().entry(Seq::new(10)).unwrap().unwrap().cursor().unwrap();
    let mut log = Box::pin(one.subscribe(tenth));
    let followed = async {
        for n in 11..=701 {
            let entry = log.next().await.unwrap().unwrap();
            assert_eq!(entry.seq.get(), n);
            if n == 700 {
                zero.append(Draft::new("t", "the last one")).await.unwrap();
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), followed).await.unwrap();
    let told = async {
        loop {
            let event = events.recv().await.unwrap();
            if event.phase == Phase::Live {
                return event.peer;
            }
        }
    };
    let peer = tokio::time::timeout(Duration::from_secs(20), told).await.unwrap();
    assert_eq!(peer.as_str(), "node-0");
    one.stop().await;
    zero.stop().await;
}
