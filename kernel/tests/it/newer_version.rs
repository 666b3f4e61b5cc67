//! What a newer version wrote is not damage: nothing calls it damaged, and a repair does not drop it.

use std::sync::Arc;

use antiphon_kernel::clock::VClock;
use antiphon_kernel::codec::{Absence, RecordRef};
use antiphon_kernel::cursor::Seq;
use antiphon_kernel::event::Event;
use antiphon_kernel::ids::Dot;
use antiphon_kernel::internals::log::{Log, LogOptions, salvage};
use antiphon_kernel::internals::replay::ReplayCore;
use antiphon_kernel::log::{OpenError, ReadError, verify};
use antiphon_kernel::protocol::FetchReply;
use antiphon_kernel::replay::{EventReplayer, Projection, ReplayError, parked};
use antiphon_kernel::store::{Durability, Family, Store, StoreError, StoreErrorKind};
use antiphon_kernel::testing::{MemoryStore, rewrite, seeded_keys};
use antiphon_kernel::time::Timestamp;

use crate::support::{Node, record_in, two};

const NOW: Timestamp = Timestamp::from_micros(5_000_000);

/// A node of three events, with its store.
fn node() -> (Node, Arc<MemoryStore>) {
    let store = Arc::new(MemoryStore::new());
    let mut node = Node::new(0, 2, Arc::clone(&store) as Arc<dyn Store>);
    for subject in ["a", "b", "c"] {
        node.append(subject, &VClock::new(), NOW, Durability::Sync);
    }
    (node, store)
}

/// Where the record is in the segment with this one entry.
fn record_at(store: &MemoryStore, seq: u64) -> usize {
    record_in(&store.get(Family::Log, &seq.to_be_bytes()).unwrap().unwrap())
}

/// Sets one byte of what is stored at a key.
fn set(store: &MemoryStore, family: Family<'_>, key: &[u8], at: usize, byte: u8) {
    let mut value = store.get(family, key).unwrap().unwrap();
    value[at] = byte;
    store.tamper(family, key, Some(&value));
}

#[track_caller]
fn is_newer(error: &StoreError) {
    assert_eq!(error.kind(), StoreErrorKind::NewerFormat, "{error}");
    let text = error.to_string();
    assert!(text.contains("written by a newer version of antiphon"), "{text}");
    assert!(!text.contains("damaged"), "{text}");
}

/// Replays everything as nothing.
struct Nothing;

impl EventReplayer for Nothing {
    fn name(&self) -> &str {
        "nothing"
    }

    fn families(&self) -> Vec<String> {
        Vec::new()
    }

    fn replay_event(&mut self, _: &Event, _: &mut Projection<'_>) -> Result<(), ReplayError> {
        Ok(())
    }
}

#[test]
fn a_segment_of_a_newer_version_is_not_called_damage() {
    let (mut node, store) = node();
    set(&store, Family::Log, &2_u64.to_be_bytes(), 0, 3);
    let view = node.log.reader();
    is_newer(&verify(&view).unwrap_err());
    // `antiphon log`, and `GET /v1/events`.
    let text = |entry: &antiphon_kernel::log::LogEntry| entry.to_cloud_event().map(|_| ());
    match view.page(None, 10, usize::MAX) {
        Ok(page) => is_newer(&page.entries.iter().try_for_each(text).unwrap_err()),
        Err(ReadError::Store(error)) => is_newer(&error),
        Err(error) => panic!("{error}"),
    }
    let mut replay = ReplayCore::open(view.clone(), Box::new(Nothing)).unwrap();
    is_newer(&replay.step().unwrap_err());
    assert_eq!(replay.position(), Seq::ZERO, "nothing of the step counts");
    // A repair would leave out what is whole.
    let refused = salvage(&*store, Arc::new(MemoryStore::new()), NOW).unwrap_err();
    let OpenError::Store(error) = refused else { panic!("{refused}") };
    is_newer(&error);
    // With the last event of that version, the log does not even open.
    set(&store, Family::Log, &3_u64.to_be_bytes(), 0, 3);
    let Err(OpenError::Store(error)) = Log::open(store, LogOptions::default()) else { panic!("it opened") };
    is_newer(&error);
    assert!(node.log.commit(Durability::Sync).is_ok());
}

#[test]
fn a_version_that_nothing_can_have_written_is_damage() {
    for version in [0, 200] {
        let (node, store) = node();
        set(&store, Family::Log, &2_u64.to_be_bytes(), record_at(&store, 2), version);
        assert!(!verify(&node.log.reader()).unwrap().is_clean());
        let error = node.log.reader().entry(Seq::new(2)).unwrap().unwrap().event().unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{error}");
    }
}

#[test]
fn an_index_of_a_newer_version_is_not_called_damage() {
    let (node, store) = node();
    let origin = node.log.reader().local().origin();
    set(&store, Family::Clocks, &origin.to_bytes(), 0, 3);
    is_newer(&verify(&node.log.reader()).unwrap_err());
    let Err(OpenError::Store(error)) = Log::open(Arc::clone(&store) as Arc<dyn Store>, LogOptions::default()) else {
        panic!("it opened")
    };
    is_newer(&error);
}

/// A node would pin its peers again, over pins that it could not read.
#[test]
fn pins_of_a_newer_version_keep_a_node_from_starting() {
    let (_, store) = node();
    let (key, _) = store.last(Family::Pins, &[]).unwrap().unwrap();
    set(&store, Family::Pins, &key, 0, 3);
    let opened = Log::open(Arc::clone(&store) as Arc<dyn Store>, LogOptions::default());
    let Err(OpenError::Store(error)) = opened else { panic!("it opened") };
    is_newer(&error);
    set(&store, Family::Pins, &key, 0, 200);
    assert!(Log::open(store, LogOptions::default()).is_ok(), "damage to them keeps no node from starting");
}

#[test]
fn the_state_of_a_replayer_of_a_newer_version_is_not_called_damage() {
    let (node, store) = node();
    let view = node.log.reader();
    let mut replay = ReplayCore::open(view.clone(), Box::new(Nothing)).unwrap();
    replay.step().unwrap();
    let mut keys = Vec::new();
    let all = antiphon_kernel::store::KeyRange::prefix(&[]);
    let visit = &mut |key: &[u8], _: &[u8]| {
        keys.push(key.to_vec());
        std::ops::ControlFlow::Continue(())
    };
    store.scan(Family::Replay, all, visit).unwrap();
    assert!(!keys.is_empty());
    for key in keys {
        let before = store.get(Family::Replay, &key).unwrap();
        set(&store, Family::Replay, &key, 0, 9);
        let read = replay.load().and_then(|()| parked(&*store, "nothing").map(|_| ()));
        is_newer(&read.unwrap_err());
        store.tamper(Family::Replay, &key, before.as_deref());
    }
}

/// A node that runs an older version stores what it cannot read, checks its digests, and passes it on as it is.
#[test]
fn events_of_a_newer_version_are_stored_served_and_parked() {
    let mut nodes: Vec<_> = (0..3).map(|n| Node::new(n, 3, Arc::new(MemoryStore::new()))).collect();
    nodes[1].append("a", &VClock::new(), NOW, Durability::Sync);
    let (alpha, bravo) = two(&mut nodes, 0, 1);
    let (asked, reply) = alpha.ask(bravo, 10, false);
    let FetchReply::Batch(mut batch) = reply else { panic!("{reply:?}") };
    rewrite(&mut batch, seeded_keys(2), |record| [&[3], &record[1..]].concat().into());
    alpha.take(1, &asked, &FetchReply::Batch(batch.clone()), Durability::Sync).unwrap();
    assert!(verify(&alpha.log.reader()).unwrap().is_clean());
    is_newer(&alpha.log.reader().entry(Seq::new(1)).unwrap().unwrap().event().unwrap_err());
    let mut replay = ReplayCore::open(alpha.log.reader(), Box::new(Nothing)).unwrap();
    replay.step().unwrap();
    assert_eq!((replay.position(), replay.parked()), (Seq::new(1), 1), "later events are not held up");
    let why = parked(&**alpha.log.reader().store(), "nothing").unwrap();
    assert!(why[0].error.contains("version 3"), "{why:?}");
    replay.retry(None).unwrap();
    assert_eq!(replay.parked(), 1);
    let (charlie, alpha) = two(&mut nodes, 2, 0);
    let (asked, reply) = charlie.ask(alpha, 10, false);
    let FetchReply::Batch(served) = &reply else { panic!("{reply:?}") };
    assert_eq!(served.events, batch.events);
    charlie.take(0, &asked, &reply, Durability::Sync).unwrap();
    assert_eq!(charlie.log.reader().heads(), alpha.log.reader().heads());
    // A version that nothing can have written yet is none of a newer node's.
    nodes[2] = Node::new(2, 3, Arc::new(MemoryStore::new()));
    let (charlie, bravo) = two(&mut nodes, 2, 1);
    let (asked, reply) = charlie.ask(bravo, 10, false);
    let FetchReply::Batch(mut batch) = reply else { panic!("{reply:?}") };
    for version in [0, 1, 200] {
        batch.events.iter_mut().for_each(|(_, record)| *record = [&[version], &record[1..]].concat().into());
        assert!(charlie.take(1, &asked, &FetchReply::Batch(batch.clone()), Durability::Sync).is_err());
    }
}

/// A relay may lack a part of an event. The hash is in its place, so all digests are what they are elsewhere.
#[test]
fn events_with_a_missing_part_are_stored_served_and_parked() {
    let mut nodes: Vec<_> = (0..3).map(|n| Node::new(n, 3, Arc::new(MemoryStore::new()))).collect();
    nodes[1].append("a", &VClock::new(), NOW, Durability::Sync);
    let by = Dot::new(nodes[1].log.reader().local().origin(), 1).unwrap();
    for (why, waits) in [(Absence::Missing, 1), (Absence::Erased { by }, 0)] {
        let (alpha, bravo) = two(&mut nodes, 0, 1);
        *alpha = Node::new(0, 3, Arc::new(MemoryStore::new()));
        let (asked, reply) = alpha.ask(bravo, 10, false);
        let FetchReply::Batch(mut batch) = reply else { panic!("{reply:?}") };
        rewrite(&mut batch, seeded_keys(2), |record| RecordRef::decode(record).unwrap().without(Some(why), Some(why)));
        alpha.take(1, &asked, &FetchReply::Batch(batch), Durability::Sync).unwrap();
        assert_eq!(alpha.log.reader().heads(), bravo.log.reader().heads(), "equal digests, with and without the parts");
        assert!(verify(&alpha.log.reader()).unwrap().is_clean());
        let mut replay = ReplayCore::open(alpha.log.reader(), Box::new(Nothing)).unwrap();
        replay.step().unwrap();
        assert_eq!((replay.position(), replay.parked()), (Seq::new(1), waits));
    }
}
