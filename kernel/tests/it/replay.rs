//! Replay: exactly once inside the store, whatever fails in between.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::Poll;

use antiphon_kernel::clock::{Causality, VClock};
use antiphon_kernel::cortex::Cortex;
use antiphon_kernel::cursor::Seq;
use antiphon_kernel::event::{Draft, Event};
use antiphon_kernel::internals::replay::{ReplayCore, ReplayStep};
use antiphon_kernel::replay::{EventReplayer, NotReplayed, Projection, ReplayError, ReplayStatus, read_current};
use antiphon_kernel::store::{Durability, Store};
use antiphon_kernel::testing::{CommitFault, MemoryStore};
use antiphon_kernel::time::Timestamp;

use crate::support::{Node, two, until};

#[derive(Default, Clone)]
struct Switches {
    fail: Arc<AtomicBool>,
    panic: Arc<AtomicBool>,
    merged: Arc<AtomicU32>,
}

/// Counts events, and keeps the last clock it was given by subject.
struct Counter(Switches);

impl EventReplayer for Counter {
    fn name(&self) -> &'static str {
        "counter"
    }

    fn families(&self) -> Vec<String> {
        vec!["counts".to_owned()]
    }

    fn replay_event(&mut self, event: &Event, projection: &mut Projection<'_>) -> Result<(), ReplayError> {
        let key = event.subject.clone().unwrap_or_default();
        let before = projection.get("counts", key.as_bytes())?.map_or(0, |b| b[0]);
        projection.put("counts", key.as_bytes(), &[before + 1])?;
        if self.0.fail.load(Ordering::Relaxed) && key == "poison" {
            return Err("it cannot be replayed yet".into());
        }
        assert!(!(self.0.panic.load(Ordering::Relaxed) && key == "poison"), "as asked");
        assert!(projection.put("others", b"k", b"v").is_err(), "families that were not declared are out of reach");
        Ok(())
    }

    fn merge_clock(&mut self, _clock: &VClock) {
        self.0.merged.fetch_add(1, Ordering::Relaxed);
    }
}

fn count(store: &dyn Store, key: &str) -> u8 {
    read_current(store, "counter", |state| state.get("counts", key.as_bytes())).unwrap().map_or(0, |b| b[0])
}

fn now() -> Timestamp {
    Timestamp::from_micros(1)
}

#[test]
fn a_failing_event_stops_the_position_before_it_and_leaves_no_write() {
    let store = Arc::new(MemoryStore::new());
    let mut node = Node::new(0, 1, store.clone());
    for subject in ["a", "a", "poison", "a"] {
        node.append(subject, &VClock::new(), now(), Durability::Sync);
    }
    let switches = Switches::default();
    let mut core = ReplayCore::open(node.log.reader(), Box::new(Counter(switches.clone()))).unwrap();
    for switch in [&switches.fail, &switches.panic] {
        switch.store(true, Ordering::Relaxed);
        let step = core.step().unwrap();
        let ReplayStep::Failed { at, error, .. } = step else { panic!("{step:?}") };
        assert_eq!(Some(at), node.log.reader().entry(at.seq).unwrap().unwrap().cursor().unwrap());
        assert_eq!(at.seq.get(), 3);
        assert!(!error.to_string().is_empty());
        switch.store(false, Ordering::Relaxed);
        assert_eq!((count(&*store, "a"), count(&*store, "poison")), (2, 0));
        assert_eq!(core.position().get(), 2);
        assert_eq!(core.clock().iter().next().unwrap().1, 2, "the clock stands where the position stands");
    }
    assert!(matches!(core.step().unwrap(), ReplayStep::Replayed(2)));
    assert!(matches!(core.step().unwrap(), ReplayStep::CaughtUp));
    assert_eq!((count(&*store, "a"), count(&*store, "poison")), (3, 1));
    assert_eq!(switches.merged.load(Ordering::Relaxed), 2, "told after each commit");
}

#[test]
fn position_and_projection_crash_together() {
    for keep in 0..=2 {
        let store = Arc::new(MemoryStore::new());
        let mut node = Node::new(0, 1, store.clone());
        node.append("a", &VClock::new(), now(), Durability::Sync);
        let mut core = ReplayCore::open(node.log.reader(), Box::new(Counter(Switches::default()))).unwrap();
        core.step().unwrap();
        node.append("a", &VClock::new(), now(), Durability::Relaxed);
        core.step().unwrap();
        store.crash(keep);
        node.restart();
        let mut core = ReplayCore::open(node.log.reader(), Box::new(Counter(Switches::default()))).unwrap();
        while !matches!(core.step().unwrap(), ReplayStep::CaughtUp) {}
        assert_eq!(u64::from(count(&*store, "a")), node.log.reader().visible().get(), "exactly once, keep {keep}");
    }
}

#[test]
fn a_failed_commit_of_the_projection_is_replayed_again() {
    let store = Arc::new(MemoryStore::new());
    let mut node = Node::new(0, 1, store.clone());
    node.append("a", &VClock::new(), now(), Durability::Sync);
    let mut core = ReplayCore::open(node.log.reader(), Box::new(Counter(Switches::default()))).unwrap();
    for (n, fault) in CommitFault::ALL.into_iter().enumerate() {
        store.fail_commits([fault]);
        core.step().unwrap_err();
        // The truth for now: of a write-ahead log whose sync failed, the rest comes back when the store is opened again.
        core.load().unwrap();
        node.log.recover().unwrap();
        while !matches!(core.step().unwrap(), ReplayStep::CaughtUp) {}
        assert_eq!(count(&*store, "a"), 1 + u8::try_from(n).unwrap(), "{fault:?}");
        node.append("a", &VClock::new(), now(), Durability::Sync);
    }
}

/// Waits at its first try of an event until the test lets it continue.
struct Waiting(Counter, Option<Arc<std::sync::Barrier>>);

impl EventReplayer for Waiting {
    fn name(&self) -> &'static str {
        "counter"
    }

    fn families(&self) -> Vec<String> {
        self.0.families()
    }

    fn replay_event(&mut self, event: &Event, projection: &mut Projection<'_>) -> Result<(), ReplayError> {
        if let Some(barrier) = self.1.take() {
            barrier.wait();
            barrier.wait();
        }
        self.0.replay_event(event, projection)
    }
}

/// Only the replayer's commit meets the failure, and nothing else is written that would open the store again.
#[tokio::test(flavor = "multi_thread")]
async fn an_idle_node_opens_the_store_again_for_its_replayer() {
    let (store, barrier) = (Arc::new(MemoryStore::new()), Arc::new(std::sync::Barrier::new(2)));
    let builder = Cortex::builder(Arc::clone(&store) as Arc<dyn Store>).name("alpha");
    let replayer = Waiting(Counter(Switches::default()), Some(Arc::clone(&barrier)));
    let alpha = builder.replayer(replayer).start().await.unwrap();
    alpha.append(Draft::new("t", "1").subject("a")).await.unwrap();
    let (gate, broken) = (barrier, Arc::clone(&store));
    let breaking = tokio::task::spawn_blocking(move || {
        gate.wait();
        broken.fail_commits([CommitFault::AtReopen]);
        gate.wait();
    });
    breaking.await.unwrap();
    // The failure may show for a moment after the store was opened again.
    let is_well = |status: &ReplayStatus| (status.position, status.failures) == (1, 0) && status.last_error.is_none();
    until("the event is replayed, and nothing failed since", || is_well(&alpha.replayers()[0].status())).await;
    assert_eq!(count(&*store, "a"), 1);
    alpha.stop().await;
}

/// Replays freely, and waits at its second try of an event until the test lets it continue.
struct SecondTry(Counter, Arc<std::sync::Barrier>, u32);

impl EventReplayer for SecondTry {
    fn name(&self) -> &'static str {
        "counter"
    }

    fn families(&self) -> Vec<String> {
        self.0.families()
    }

    fn replay_event(&mut self, event: &Event, projection: &mut Projection<'_>) -> Result<(), ReplayError> {
        self.2 += 1;
        if self.2 == 2 {
            self.1.wait();
            self.1.wait();
        }
        self.0.replay_event(event, projection)
    }
}

/// The disk takes back what was replayed and not durable yet. Its writer must not read old state then.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_disk_took_back_does_not_count_as_replayed() {
    let (store, gate) = (Arc::new(MemoryStore::new()), Arc::new(std::sync::Barrier::new(2)));
    let builder = Cortex::builder(Arc::clone(&store) as Arc<dyn Store>).name("alpha");
    let replayer = SecondTry(Counter(Switches::default()), Arc::clone(&gate), 0);
    let alpha = builder.causal_replayer(replayer).start().await.unwrap();
    let event = alpha.append(Draft::new("t", "1").subject("a")).await.unwrap();
    alpha.wait_replayed(&event).await.unwrap();
    store.lose_at_reopen(0);
    store.fail_commits([CommitFault::Lost]);
    alpha.append(Draft::new("t", "2").subject("b")).await.unwrap_err();
    let reached = Arc::clone(&gate);
    tokio::task::spawn_blocking(move || reached.wait()).await.unwrap();
    {
        let mut wait = std::pin::pin!(alpha.wait_replayed(&event));
        let polled = std::future::poll_fn(|context| Poll::Ready(wait.as_mut().poll(context).is_pending())).await;
        assert!(polled, "it is replayed a second time at this moment");
        tokio::task::spawn_blocking(move || gate.wait()).await.unwrap();
        wait.await.unwrap();
    }
    assert_eq!(count(&*store, "a"), 1);
    alpha.stop().await;
}

/// Keeps the clocks it was given.
struct Clocks(Arc<std::sync::Mutex<Vec<VClock>>>);

impl EventReplayer for Clocks {
    fn name(&self) -> &'static str {
        "clocks"
    }

    fn families(&self) -> Vec<String> {
        vec![]
    }

    fn replay_event(&mut self, event: &Event, _: &mut Projection<'_>) -> Result<(), ReplayError> {
        self.0.lock().unwrap().push(event.vclock.clone());
        Ok(())
    }
}

#[test]
fn full_clocks_are_rebuilt_across_restarts_and_tell_concurrent_from_later() {
    let stores: Vec<_> = (0..2).map(|_| Arc::new(MemoryStore::new())).collect();
    let mut nodes: Vec<_> = stores.iter().enumerate().map(|(n, s)| Node::new(n, 2, s.clone())).collect();
    nodes[0].append("x", &VClock::new(), now(), Durability::Sync);
    nodes[1].append("x", &VClock::new(), now(), Durability::Sync);
    let (alpha, bravo) = two(&mut nodes, 0, 1);
    alpha.poll(bravo, 10);
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    ReplayCore::open(alpha.log.reader(), Box::new(Clocks(seen.clone()))).unwrap().step().unwrap();
    let held = alpha.log.reader().clock();
    alpha.append("x", &held, now(), Durability::Sync);
    alpha.append("x", &held, now(), Durability::Sync);
    ReplayCore::open(alpha.log.reader(), Box::new(Clocks(seen.clone()))).unwrap().step().unwrap();
    let clocks = seen.lock().unwrap().clone();
    assert_eq!(clocks.len(), 4, "each once, the second opening went on where the first stopped");
    assert_eq!(clocks[0].compare(&clocks[1]), Causality::Concurrent);
    assert_eq!(clocks[1].compare(&clocks[2]), Causality::Before);
    assert_eq!(clocks[2].compare(&clocks[3]), Causality::Before, "the delta was said once and holds on");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_waits_for_its_replay_and_claims_only_what_was_replayed() {
    let switches = Switches::default();
    let store = Arc::new(MemoryStore::new());
    let cortex =
        Cortex::builder(store.clone()).name("one").causal_replayer(Counter(switches.clone())).start().await.unwrap();
    let first = cortex.append(Draft::new("t", "x").subject("a")).await.unwrap();
    cortex.replayers()[0].wait_replayed(first.seq).await.unwrap();
    assert_eq!(count(&*store, "a"), 1);
    switches.fail.store(true, Ordering::Relaxed);
    let poison = cortex.append(Draft::new("t", "x").subject("poison")).await.unwrap();
    let failing = async {
        loop {
            if cortex.replayers()[0].status().failures > 1 {
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), failing).await.unwrap();
    let status = cortex.replayers()[0].status();
    assert!(status.position == 1 && status.last_error.unwrap().contains("cannot be replayed yet"));
    let halted = cortex.wait_replayed(&poison).await.unwrap_err();
    assert!(matches!(&halted, NotReplayed::Halted { error } if error.contains("cannot be replayed yet")), "{halted}");
    switches.fail.store(false, Ordering::Relaxed);
    cortex.replayer("counter").unwrap().retry(None).await.unwrap();
    until("the event is replayed", || count(&*store, "poison") == 1).await;
    cortex.wait_replayed(&poison).await.unwrap();
    cortex.stop().await;
    assert!(matches!(cortex.replayers()[0].wait_replayed(Seq::new(9)).await, Err(NotReplayed::Stopped)));
}
