//! A replayer's own state: ranges of it, its conflict keys, and reads of it from outside.

use std::borrow::Cow;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use antiphon_kernel::clock::VClock;
use antiphon_kernel::cortex::Cortex;
use antiphon_kernel::cursor::Seq;
use antiphon_kernel::event::{Draft, Event};
use antiphon_kernel::internals::replay::{ReplayCore, ReplayStep};
use antiphon_kernel::replay::{
    EventReplayer, MAX_CONFLICT_KEY_BYTES, NotReplayed, Projection, ReadAt, ReadStateError, RebuildStatus, ReplayError,
    ReplayOptions, conflict_at, conflicts, read_current,
};
use antiphon_kernel::store::{Durability, KeyRange, StoreErrorKind};
use antiphon_kernel::testing::{CommitFault, MemoryStore};
use antiphon_kernel::time::Timestamp;

use crate::support::{Node, two, until};

/// A replayer of two families that does what its function says.
struct Does<F>(F);

type Done = Result<(), ReplayError>;

impl<F: FnMut(&Event, &mut Projection<'_>) -> Done + Send + 'static> EventReplayer for Does<F> {
    fn name(&self) -> &'static str {
        "does"
    }

    fn families(&self) -> Vec<String> {
        vec!["left".to_owned(), "right".to_owned()]
    }

    fn replay_event(&mut self, event: &Event, projection: &mut Projection<'_>) -> Done {
        (self.0)(event, projection)
    }
}

fn core(node: &Node, does: impl FnMut(&Event, &mut Projection<'_>) -> Done + Send + 'static) -> ReplayCore {
    ReplayCore::open(node.log.reader(), Box::new(Does(does))).unwrap()
}

fn append(node: &mut Node, subject: &str) {
    node.append(subject, &VClock::new(), Timestamp::from_micros(1), Durability::Sync);
}

fn listed(projection: &mut Projection<'_>, range: KeyRange<'_>, limit: usize) -> String {
    let mut found = Vec::new();
    let visit = |key: &[u8], value: &[u8]| {
        found.push(format!("{}={}", String::from_utf8_lossy(key), String::from_utf8_lossy(value)));
        if found.len() == limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    projection.scan("left", range, visit).unwrap();
    found.join(" ")
}

/// Of three layers: what is stored, what earlier events of the batch wrote, what this event wrote.
#[test]
fn a_range_of_a_projection_has_every_write_so_far() {
    let store = Arc::new(MemoryStore::new());
    let mut node = Node::new(0, 1, store.clone());
    append(&mut node, "stored");
    let mut replayer = core(&node, |event, projection| {
        match event.subject.as_deref() {
            Some("stored") => {
                for key in ["a/0", "a/2", "a/4", "b/0"] {
                    projection.put("left", key.as_bytes(), b"old")?;
                }
                projection.put("right", b"a/9", b"other family")?;
            }
            Some("kept") => {
                projection.put("left", b"a/1", b"kept")?;
                projection.put("left", b"a/4", b"kept")?;
                projection.delete("left", b"a/0")?;
            }
            _ => {
                projection.put("left", b"a/1", b"new")?;
                projection.put("left", b"a/5", b"new")?;
                projection.delete("left", b"a/2")?;
                let all = usize::MAX;
                assert_eq!(listed(projection, KeyRange::prefix(b"a/"), all), "a/1=new a/4=kept a/5=new");
                assert_eq!(listed(projection, KeyRange::prefix(b"a/"), 1), "a/1=new");
                assert_eq!(listed(projection, KeyRange::prefix(b"a/"), 2), "a/1=new a/4=kept");
                assert_eq!(listed(projection, KeyRange { from: b"a/2", prefix: b"a/" }, all), "a/4=kept a/5=new");
                assert_eq!(listed(projection, KeyRange::from(b"a/5"), all), "a/5=new b/0=old");
                assert_eq!(listed(projection, KeyRange::prefix(b"c"), all), "");
                let undeclared = projection.scan("others", KeyRange::prefix(b""), |_, _| ControlFlow::Break(()));
                assert_eq!(undeclared.unwrap_err().kind(), StoreErrorKind::Misuse);
                assert_eq!(projection.delete_prefix("left", b"a/")?, 3);
                assert_eq!(listed(projection, KeyRange::prefix(b""), all), "b/0=old");
                assert_eq!(projection.delete_prefix("left", b"a/")?, 0);
                projection.put("left", b"a/7", b"after")?;
            }
        }
        Ok(())
    });
    assert!(matches!(replayer.step().unwrap(), ReplayStep::Replayed(1)));
    append(&mut node, "kept");
    append(&mut node, "this");
    let step = replayer.step().unwrap();
    assert!(matches!(step, ReplayStep::Replayed(2)), "{step:?}");
    let mut left = Vec::new();
    let mut visit = |key: &[u8], _: &[u8]| {
        left.push(String::from_utf8_lossy(key).into_owned());
        ControlFlow::Continue(())
    };
    read_current(&*store, "does", |state| state.scan("left", KeyRange::prefix(b""), &mut visit)).unwrap();
    assert_eq!(left, ["a/7", "b/0"]);
}

/// Its conflicts are by the part of the subject before the slash.
struct Folders(&'static str);

impl EventReplayer for Folders {
    fn name(&self) -> &'static str {
        "folders"
    }

    fn families(&self) -> Vec<String> {
        vec!["folders".to_owned()]
    }

    fn options(&self) -> ReplayOptions {
        ReplayOptions { causality: true, ..ReplayOptions::default() }
    }

    fn conflict_key<'e>(&self, event: &'e Event) -> Option<Cow<'e, str>> {
        let subject = event.subject.as_deref()?;
        match self.0 {
            "long" => Some("x".repeat(MAX_CONFLICT_KEY_BYTES + 1).into()),
            "panic" => panic!("no key"),
            _ if subject == "none" => None,
            _ => Some(subject.split('/').next().unwrap_or(subject).into()),
        }
    }

    fn replay_event(&mut self, event: &Event, projection: &mut Projection<'_>) -> Done {
        let subject = event.subject.as_deref().unwrap_or_default();
        assert_eq!(projection.relation().is_some(), subject != "none");
        Ok(())
    }
}

#[test]
fn conflicts_go_by_the_key_that_the_replayer_gives() {
    let mut nodes: Vec<_> = (0..2).map(|n| Node::new(n, 2, Arc::new(MemoryStore::new()))).collect();
    append(&mut nodes[0], "one/a");
    append(&mut nodes[1], "one/b");
    append(&mut nodes[1], "two/a");
    append(&mut nodes[0], "none");
    append(&mut nodes[1], "none");
    let (client, server) = two(&mut nodes, 0, 1);
    client.poll(server, 4096);
    let view = nodes[0].log.reader();
    let mut replayer = ReplayCore::open(view, Box::new(Folders("first"))).unwrap();
    assert!(matches!(replayer.step().unwrap(), ReplayStep::Replayed(5)));
    let found = conflicts(&*nodes[0].store, "folders").unwrap();
    assert_eq!(
        found.iter().map(|found| (found.subject.as_str(), found.events.len())).collect::<Vec<_>>(),
        [("one", 2)]
    );
    assert_eq!(conflict_at(&*nodes[0].store, "folders", "one").unwrap().as_ref(), found.first());
    assert_eq!(replayer.conflicts(), 1);
}

/// A key that cannot be kept, and none at all for a panic, fail the event as the replayer's other errors do.
#[test]
fn a_conflict_key_that_cannot_be_used_fails_the_event() {
    for (key, said) in [("long", "its conflict key has 1025 bytes; at most 1024 are allowed"), ("panic", "no key")] {
        let mut node = Node::new(0, 1, Arc::new(MemoryStore::new()));
        append(&mut node, "one/a");
        let mut replayer = ReplayCore::open(node.log.reader(), Box::new(Folders(key))).unwrap();
        let step = replayer.step().unwrap();
        let ReplayStep::Failed { replayed: 0, error, .. } = step else { panic!("{step:?}") };
        assert!(error.to_string().contains(said), "{error}");
    }
}

/// A cortex whose replayer counts events in both of its families, and how many events it began.
async fn counting(store: &Arc<MemoryStore>) -> (Cortex, Arc<AtomicU64>) {
    let begun = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&begun);
    let replayer = Does(move |event: &Event, projection: &mut Projection<'_>| {
        for family in ["left", "right"] {
            projection.put(family, b"count", &event.seq.get().to_be_bytes())?;
        }
        count.fetch_max(event.seq.get(), Ordering::Relaxed);
        Ok(())
    });
    (Cortex::builder(Arc::clone(store)).causal_replayer(replayer).start().await.unwrap(), begun)
}

fn number(value: Option<Vec<u8>>) -> u64 {
    value.map_or(0, |value| u64::from_be_bytes(value.try_into().unwrap()))
}

/// A commit that is ready while a read lasts waits for it: the second value is of the same commit as the first.
#[tokio::test(flavor = "multi_thread")]
async fn a_read_sees_one_position() {
    let (cortex, begun) = counting(&Arc::new(MemoryStore::new())).await;
    let first = cortex.append(Draft::new("t", "1")).await.unwrap();
    cortex.wait_replayed(&first).await.unwrap();
    let (log, handle) = (cortex.log().clone(), cortex.replayers()[0].clone());
    let runtime = tokio::runtime::Handle::current();
    let replayer = handle.clone();
    let read = handle.read(move |state| {
        let left = number(state.get("left", b"count")?);
        let draft = vec![Draft::new("t", "2")];
        runtime.block_on(log.append(draft, Default::default())).unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        while begun.load(Ordering::Relaxed) < 2 {
            assert!(Instant::now() < deadline, "the second event was never replayed");
            std::thread::yield_now();
        }
        // Its commit is next. It has this long to appear, and must not.
        let patience = Instant::now() + Duration::from_millis(100);
        while replayer.status().position < 2 && Instant::now() < patience {
            std::thread::yield_now();
        }
        Ok((left, number(state.get("right", b"count")?), state.position()))
    });
    let ReadAt { position, clock, value } = read.await.unwrap();
    assert_eq!((position, value), (Seq::new(1), (1, 1, Seq::new(1))));
    assert_eq!(clock.iter().map(|(_, counter)| counter).collect::<Vec<_>>(), [1]);
    until("the second event is replayed", || handle.status().position == 2).await;
    let later = handle.read(|state| Ok((number(state.get("left", b"count")?), number(state.get("right", b"count")?))));
    let later = later.await.unwrap();
    assert_eq!((later.position, later.value), (Seq::new(2), (2, 2)));
    let undeclared = handle.read(|state| state.get("others", b"count")).await;
    assert!(matches!(undeclared, Err(ReadStateError::Store(error)) if error.kind() == StoreErrorKind::Misuse));
    let keys = handle.read(|state| {
        let mut keys = Vec::new();
        state.scan("left", KeyRange::prefix(b"c"), |key, value| {
            keys.push((key.to_vec(), number(Some(value.to_vec()))));
            ControlFlow::Continue(())
        })?;
        Ok(keys)
    });
    assert_eq!(keys.await.unwrap().value, [(b"count".to_vec(), 2)]);
    cortex.stop().await;
}

/// A rebuild that does not get on shows how far it is, and leaves what it replaces readable.
#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_that_halts_leaves_the_state_readable() {
    let closed = Arc::new(AtomicBool::new(false));
    let gate = Arc::clone(&closed);
    let replayer = Does(move |event: &Event, projection: &mut Projection<'_>| {
        if gate.load(Ordering::Relaxed) {
            return Err("not now".into());
        }
        Ok(projection.put("left", b"count", &event.seq.get().to_be_bytes())?)
    });
    let store = Arc::new(MemoryStore::new());
    let cortex = Cortex::builder(Arc::clone(&store)).causal_replayer(replayer).start().await.unwrap();
    let first = cortex.append(Draft::new("t", "1")).await.unwrap();
    cortex.wait_replayed(&first).await.unwrap();
    let handle = &cortex.replayers()[0];
    handle.wait_rebuilt().await.unwrap();
    closed.store(true, Ordering::Relaxed);
    handle.rebuild().await.unwrap();
    assert!(matches!(handle.wait_rebuilt().await, Err(NotReplayed::Halted { .. })));
    let status = handle.status();
    assert_eq!((status.position, status.rebuild), (1, Some(RebuildStatus { position: 0, until: 1, version: 1 })));
    let count = || handle.read(|state| Ok((number(state.get("left", b"count")?), state.version())));
    let read = count().await.unwrap();
    assert_eq!((read.position, read.value), (Seq::new(1), (1, 1)));
    cortex.wait_replayed(&first).await.unwrap();
    // What comes meanwhile is replayed into the new build alone.
    let second = cortex.append(Draft::new("t", "2")).await.unwrap();
    assert!(matches!(cortex.wait_replayed(&second).await, Err(NotReplayed::Halted { .. })));
    assert_eq!(count().await.unwrap().value, (1, 1));
    closed.store(false, Ordering::Relaxed);
    handle.retry(None).await.unwrap();
    until("it is rebuilt", || handle.status().rebuild.is_none() && handle.status().position == 2).await;
    handle.wait_rebuilt().await.unwrap();
    cortex.wait_replayed(&second).await.unwrap();
    assert_eq!(count().await.unwrap().value, (2, 1));
    cortex.stop().await;
}

/// A disk that fails in the middle of a rebuild.
#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_continues_after_the_store_was_opened_again() {
    let store = Arc::new(MemoryStore::new());
    let (cortex, _) = counting(&store).await;
    let first = cortex.append(Draft::new("t", "1")).await.unwrap();
    cortex.wait_replayed(&first).await.unwrap();
    let handle = &cortex.replayers()[0];
    // After the start of the rebuild, no write succeeds before the store is opened again.
    store.fail_commit_after(1, CommitFault::AtReopen);
    handle.rebuild().await.unwrap();
    let read = handle.read(|state| Ok(number(state.get("left", b"count")?))).await.unwrap();
    assert_eq!((read.position, read.value), (Seq::new(1), 1));
    while cortex.append(Draft::new("t", "2")).await.is_err() {
        tokio::task::yield_now().await;
    }
    // An append that failed may be in the log all the same.
    let head = cortex.reader().head().seq;
    let caught_up = || handle.status().rebuild.is_none() && handle.status().position == head.get();
    until("all events are replayed", caught_up).await;
    let read = handle.read(|state| Ok(number(state.get("left", b"count")?))).await.unwrap();
    assert_eq!((read.position, read.value), (head, head.get()));
    assert!(head >= Seq::new(2));
    cortex.stop().await;
}

/// The position is the stored one: what a failed commit left is found when the store is opened again, and read as it is.
#[tokio::test(flavor = "multi_thread")]
async fn a_read_after_the_store_was_opened_again_is_of_what_is_stored() {
    for fault in CommitFault::ALL {
        let store = Arc::new(MemoryStore::new());
        let (cortex, begun) = counting(&store).await;
        let handle = &cortex.replayers()[0];
        // The append is written; the replayer's commit fails.
        store.fail_commit_after(1, fault);
        cortex.append(Draft::new("t", "1")).await.unwrap();
        until("the event is tried", || begun.load(Ordering::Relaxed) == 1).await;
        let pair =
            || handle.read(|state| Ok((number(state.get("left", b"count")?), number(state.get("right", b"count")?))));
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let read = pair().await.unwrap();
            let position = read.position.get();
            assert_eq!(read.value, (position, position), "{fault:?}");
            if position == 1 {
                break;
            }
            assert!(Instant::now() < deadline, "{fault:?}");
            tokio::task::yield_now().await;
        }
        cortex.stop().await;
    }
}
