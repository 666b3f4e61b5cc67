//! A thread of the log that ends by a fault is a failure that everybody sees, and that stays. A replayer has its thread for itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use antiphon_kernel::cortex::Cortex;
use antiphon_kernel::event::{Draft, Event};
use antiphon_kernel::replay::{EventReplayer, Projection, ReplayError};
use antiphon_kernel::store::{Batch, Durability, Store, StoreError};
use antiphon_kernel::testing::MemoryStore;

use crate::forward::forward;
use crate::support::until;

/// A store with a fault in its code.
#[derive(Default)]
struct Faulty {
    below: MemoryStore,
    commits: AtomicBool,
    syncs: AtomicBool,
}

impl Store for Faulty {
    forward!(below: get scan scan_floor last ensure_families reopen check keys create_keys);

    fn commit(&self, batch: &Batch, durability: Durability) -> Result<(), StoreError> {
        assert!(!self.commits.load(Ordering::Relaxed), "a fault");
        self.below.commit(batch, durability)
    }

    fn sync(&self) -> Result<(), StoreError> {
        assert!(!self.syncs.load(Ordering::Relaxed), "a fault");
        self.below.sync()
    }
}

async fn start(store: &Arc<Faulty>, durability: Durability) -> Cortex {
    Cortex::builder(Arc::clone(store) as Arc<dyn Store>).durability(durability).start().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_thread_that_ended_is_a_failure() {
    let store = Arc::new(Faulty::default());
    let cortex = start(&store, Durability::Sync).await;
    cortex.append(Draft::new("t", "before")).await.unwrap();
    assert_eq!(cortex.reader().failure(), None);
    store.commits.store(true, Ordering::Relaxed);
    cortex.append(Draft::new("t", "lost")).await.unwrap_err();
    until("it is seen", || cortex.reader().failure().is_some()).await;
    let failure = cortex.reader().failure().unwrap();
    assert!(failure.contains("the log thread ended by a fault"), "{failure}");
    cortex.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_thread_that_ended_is_a_failure_and_ends_acknowledgements() {
    let store = Arc::new(Faulty::default());
    let cortex = start(&store, Durability::Relaxed).await;
    cortex.append(Draft::new("t", "before")).await.unwrap();
    until("it is durable", || cortex.reader().head().seq.get() == 1).await;
    store.syncs.store(true, Ordering::Relaxed);
    // Acknowledged before the disk was asked, as relaxed appends are.
    let _ = cortex.append(Draft::new("t", "relaxed")).await;
    until("it is seen", || cortex.reader().failure().is_some()).await;
    let failure = cortex.reader().failure().unwrap();
    assert!(failure.contains("the sync thread ended by a fault"), "{failure}");
    // What is appended from now on would never become durable, whatever the disk says.
    store.syncs.store(false, Ordering::Relaxed);
    let refused = cortex.append(Draft::new("t", "after")).await.unwrap_err();
    assert!(refused.to_string().contains("ended by a fault"), "{refused}");
    assert!(cortex.reader().failure().is_some(), "and nothing hides it");
    cortex.stop().await;
}

/// Bridges to a service by a client that is asynchronous, with a runtime of its own.
struct Bridge {
    runtime: tokio::runtime::Runtime,
    outer: tokio::runtime::Handle,
}

impl EventReplayer for Bridge {
    fn name(&self) -> &str {
        "bridge"
    }

    fn families(&self) -> Vec<String> {
        vec!["bridge".to_owned()]
    }

    fn replay_event(&mut self, event: &Event, sent: &mut Projection<'_>) -> Result<(), ReplayError> {
        self.runtime.block_on(tokio::task::yield_now());
        self.outer.block_on(async { tokio::time::sleep(Duration::from_millis(1)).await });
        assert!(tokio::runtime::Handle::try_current().is_err(), "what is spawned here would never run");
        Ok(sent.put("bridge", &event.id.to_bytes(), b"sent")?)
    }
}

/// A replayer's thread is within no runtime while it replays, and when it ends.
#[tokio::test(flavor = "multi_thread")]
async fn a_replayer_may_block_on_a_runtime_of_its_own() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let bridge = Bridge { runtime, outer: tokio::runtime::Handle::current() };
    let cortex = Cortex::builder(MemoryStore::new()).replayer(bridge).start().await.unwrap();
    for n in 0..3 {
        let event = cortex.append(Draft::new("t", format!("{n}"))).await.unwrap();
        cortex.replayer("bridge").unwrap().wait_replayed(event.seq).await.unwrap();
    }
    cortex.stop().await;
}
