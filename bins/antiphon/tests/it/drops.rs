//! A cortex that is dropped stops, and its store can be opened again at once.

use antiphon::testing::MemoryNetwork;
use antiphon::{Cortex, Draft, Event, EventReplayer, Peer, Projection, ReplayError, RocksStore};

struct Counter;

impl EventReplayer for Counter {
    fn name(&self) -> &str {
        "counter"
    }

    fn families(&self) -> Vec<String> {
        vec!["counter".to_owned()]
    }

    fn replay_event(&mut self, event: &Event, counts: &mut Projection<'_>) -> Result<(), ReplayError> {
        Ok(counts.put("counter", event.id.to_string().as_bytes(), b"1")?)
    }
}

async fn start(dir: &std::path::Path) -> Cortex {
    let store = RocksStore::open(dir.join("alpha")).unwrap();
    let network = MemoryNetwork::new();
    let bravo = Peer::new("bravo", "memory://bravo");
    Cortex::builder(store).name("alpha").transport(network).peer(bravo).causal_replayer(Counter).start().await.unwrap()
}

async fn a_hundred_drops() {
    let dir = tempfile::tempdir().unwrap();
    for n in 1..=100 {
        let cortex = start(dir.path()).await;
        let event = cortex.append(Draft::new("t", "x")).await.unwrap();
        assert_eq!(event.seq.get(), n, "what was acknowledged before is there");
        if n % 2 == 0 {
            cortex.wait_replayed(&event).await.unwrap();
        }
        if n % 3 == 0 {
            cortex.stop().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_cortexes_one_after_another_open_one_directory() {
    a_hundred_drops().await;
}

#[tokio::test]
async fn the_same_on_a_runtime_of_one_thread() {
    a_hundred_drops().await;
}
