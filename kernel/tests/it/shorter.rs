//! A disk that gives up, while the process runs, what it had said to have: the log is read again, and is shorter.

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use antiphon_kernel::clock::VClock;
use antiphon_kernel::config::{Config, Interval};
use antiphon_kernel::cortex::Cortex;
use antiphon_kernel::event::{Draft, Event};
use antiphon_kernel::internals::log::{EpochEnd, Log, LogOptions, read_epoch_change};
use antiphon_kernel::internals::replay::ReplayCore;
use antiphon_kernel::replay::{EventReplayer, Projection, ReplayError};
use antiphon_kernel::state::Phase;
use antiphon_kernel::store::{Durability, Family, KeyRange, Store};
use antiphon_kernel::testing::{CommitFault, MemoryNetwork, MemoryStore};
use antiphon_kernel::time::Timestamp;

use crate::support::{Node, peer, start, until};

fn append(log: &mut Log, subject: &str) -> bool {
    let draft = Draft::new("t", subject.to_owned()).subject(subject);
    log.append(&[draft], &VClock::new(), Timestamp::from_micros(1)).is_ok() && log.commit(Durability::Sync).is_ok()
}

#[test]
fn the_new_epoch_is_not_forgotten_when_the_write_that_begins_it_fails() {
    let store = Arc::new(MemoryStore::new());
    let mut node = Node::new(0, 1, Arc::clone(&store) as Arc<dyn Store>);
    assert!(append(&mut node.log, "kept"));
    let image = store.durable_copy();
    assert!(append(&mut node.log, "gone"));
    let (old, noted) = (node.log.reader().local().origin(), store.noted());
    // Of the event, and of the epoch that follows from the loss.
    store.fail_commits([CommitFault::Lost, CommitFault::Lost]);
    store.reopen_as(&image);
    assert!(!append(&mut node.log, "refused"));
    assert!(node.log.recover().is_err());
    assert_eq!(store.noted(), noted, "the next start must notice as well, if there is one now");
    assert!(!append(&mut node.log, "refused"));
    node.log.recover().unwrap();
    assert_ne!(node.log.reader().local().origin(), old, "a peer may hold what is gone");
    assert_eq!(read_epoch_change(&*store).unwrap().map(|change| change.why), Some(EpochEnd::LostTail));
    assert!(append(&mut node.log, "new"));
    assert_eq!(node.log.reader().heads().get(old).map(|head| head.counter), Some(1));
}

/// Remembers what it was given, and lets the log be read again in the middle of its third event.
struct Interrupted {
    log: Arc<Mutex<Log>>,
    store: Arc<MemoryStore>,
    image: Arc<MemoryStore>,
    seen: Arc<Mutex<Vec<String>>>,
}

impl EventReplayer for Interrupted {
    fn name(&self) -> &'static str {
        "interrupted"
    }

    fn families(&self) -> Vec<String> {
        vec!["seen".to_owned()]
    }

    fn replay_event(&mut self, event: &Event, projection: &mut Projection<'_>) -> Result<(), ReplayError> {
        let subject = event.subject.clone().unwrap_or_default();
        projection.put("seen", subject.as_bytes(), b"")?;
        if subject == "gone 2" {
            self.store.reopen_as(&self.image);
            self.log.lock().unwrap().recover().unwrap();
        }
        self.seen.lock().unwrap().push(subject);
        Ok(())
    }
}

#[test]
fn a_replayer_in_the_middle_of_what_is_gone_does_not_stand_beyond_what_is_there() {
    let store = Arc::new(MemoryStore::new());
    let Node { mut log, .. } = Node::new(0, 1, Arc::clone(&store) as Arc<dyn Store>);
    assert!(append(&mut log, "kept"));
    let image = Arc::new(store.durable_copy());
    image.ensure_families(&["seen"]).unwrap();
    assert!(append(&mut log, "gone 1") && append(&mut log, "gone 2"));
    let (view, log) = (log.reader(), Arc::new(Mutex::new(log)));
    let replayer = Interrupted { log: Arc::clone(&log), store: Arc::clone(&store), image, seen: Arc::default() };
    let seen = Arc::clone(&replayer.seen);
    let mut core = ReplayCore::open(view, Box::new(replayer)).unwrap();
    core.step().unwrap();
    for subject in ["new 1", "new 2", "new 3"] {
        assert!(append(&mut log.lock().unwrap(), subject));
    }
    while core.position().get() < 4 {
        core.step().unwrap();
    }
    let held: Vec<_> = ["kept", "new 1", "new 2", "new 3"].map(str::to_owned).into();
    assert_eq!(seen.lock().unwrap().iter().rev().take(4).rev().cloned().collect::<Vec<_>>(), held);
    for (subject, there) in [("kept", true), ("gone 1", false), ("gone 2", false), ("new 3", true)] {
        let found = store.get(Family::User("seen"), subject.as_bytes()).unwrap();
        assert_eq!(found.is_some(), there, "{subject}");
    }
}

#[test]
fn a_replayer_that_stands_beyond_the_end_begins_again() {
    let store = Arc::new(MemoryStore::new());
    let Node { mut log, .. } = Node::new(0, 1, Arc::clone(&store) as Arc<dyn Store>);
    assert!(append(&mut log, "one"));
    let image = store.durable_copy();
    let replayer = |seen: &Arc<Mutex<Vec<String>>>| {
        let log = Arc::new(Mutex::new(Node::new(9, 1, Arc::new(MemoryStore::new()) as Arc<dyn Store>).log));
        let (store, image) = (Arc::clone(&store), Arc::new(MemoryStore::new()));
        Box::new(Interrupted { log, store, image, seen: Arc::clone(seen) })
    };
    assert!(append(&mut log, "two"));
    let seen = Arc::default();
    let mut core = ReplayCore::open(log.reader(), replayer(&seen)).unwrap();
    core.step().unwrap();
    // Where it stands outlived the event that it stands at.
    image.ensure_families(&["seen"]).unwrap();
    let all = KeyRange::prefix(&[]);
    store
        .scan(Family::Replay, all, &mut |key, value| {
            image.tamper(Family::Replay, key, Some(value));
            ControlFlow::Continue(())
        })
        .unwrap();
    let log = Log::open(Arc::new(image), LogOptions::default()).unwrap();
    let again = Arc::default();
    let mut core = ReplayCore::open(log.reader(), replayer(&again)).unwrap();
    core.step().unwrap();
    assert_eq!(*again.lock().unwrap(), ["one"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_are_asked_for_what_is_gone_although_they_have_nothing_new() {
    let network = MemoryNetwork::new();
    let interval = Some(Interval::new(Duration::from_secs(3600)).unwrap());
    let bravo = start(&network, "bravo", Config::default()).await;
    let store = Arc::new(MemoryStore::new());
    let builder =
        Cortex::builder(Arc::clone(&store) as Arc<dyn Store>).log(antiphon_kernel::testing::LOG).name("alpha");
    let builder = builder.config(Config { interval, peers: vec![peer("bravo")], ..Config::default() });
    let alpha = builder.transport(network.clone()).start().await.unwrap();
    bravo.append(Draft::new("t", "kept".to_owned())).await.unwrap();
    until("alpha has one", || alpha.reader().head().seq.get() == 1).await;
    let image = store.durable_copy();
    bravo.append(Draft::new("t", "gone here".to_owned())).await.unwrap();
    until("alpha has both, and is live", || {
        alpha.reader().head().seq.get() == 2 && alpha.syncer().peers()[0].phase == Phase::Live
    })
    .await;
    store.reopen_as(&image);
    store.fail_commits([CommitFault::Lost]);
    assert!(alpha.append(Draft::new("t", "refused".to_owned())).await.is_err());
    // It is read again by the next write, whatever that is; bravo learns of nothing that would make it speak.
    let _ = alpha.state().set("k", "v").await;
    until("what was gone came back", || alpha.reader().head().seq.get() == 2).await;
    assert_eq!(alpha.reader().heads().fold(), bravo.reader().heads().fold());
}
