//! What is taken over from a damaged log.

use std::sync::Arc;

use antiphon_kernel::clock::VClock;
use antiphon_kernel::cursor::Seq;
use antiphon_kernel::ids::Dot;
use antiphon_kernel::internals::log::{EpochEnd, events_beside, read_cursor, read_epoch_change, salvage};
use antiphon_kernel::log::verify;
use antiphon_kernel::store::{Durability, Family, Store, StoreErrorKind};
use antiphon_kernel::testing::MemoryStore;
use antiphon_kernel::time::Timestamp;

use crate::support::{Node, peer_name, two};

const NOW: Timestamp = Timestamp::from_micros(5_000_000);

#[test]
fn what_stands_behind_a_hole_or_lacks_a_cause_waits_and_all_comes_back() {
    let stores: Vec<_> = (0..3).map(|_| Arc::new(MemoryStore::new())).collect();
    let each = stores.iter().enumerate();
    let mut nodes: Vec<_> = each.map(|(n, store)| Node::new(n, 3, Arc::clone(store) as Arc<dyn Store>)).collect();
    let append = |node: &mut Node, subject: &str, seen: &VClock| {
        node.append(subject, seen, NOW, Durability::Sync);
    };
    let pull = |nodes: &mut Vec<Node>, one, other| {
        let (client, server) = two(nodes, one, other);
        client.pull(server).unwrap();
    };
    let none = VClock::new();
    append(&mut nodes[0], "a1", &none);
    append(&mut nodes[1], "b1", &none);
    pull(&mut nodes, 0, 1);
    append(&mut nodes[0], "a2", &none);
    append(&mut nodes[0], "a3", &none);
    pull(&mut nodes, 1, 0);
    let all = nodes[1].log.reader().clock();
    append(&mut nodes[1], "b2, which has seen a3", &all);
    append(&mut nodes[2], "c1", &none);
    pull(&mut nodes, 1, 2);
    pull(&mut nodes, 0, 1);
    let origins: Vec<_> = nodes.iter().map(|node| node.log.reader().local().origin()).collect();
    assert_eq!(nodes[0].log.reader().head().seq.get(), 6);

    // The third sequence number of its log: a2.
    stores[0].tamper(Family::Log, &3_u64.to_be_bytes(), Some(b"not what was written"));
    let new = Arc::new(MemoryStore::new());
    let salvaged = salvage(&*stores[0], Arc::clone(&new) as Arc<dyn Store>, NOW).unwrap();
    assert_eq!((salvaged.kept, &salvaged.lost), (3, &vec![(origins[0], 2, 3), (origins[1], 2, 2)]));
    assert_eq!(salvaged.waiting, 2, "a3, and b2 which has seen it");
    assert_eq!(read_epoch_change(&*new).unwrap().unwrap().why, EpochEnd::Repaired);
    assert_eq!(read_cursor(&*new, &peer_name(1)).unwrap(), None, "peers are asked for what is missing");

    nodes[0] = Node::over(0, new);
    let view = nodes[0].log.reader();
    assert!(verify(&view).unwrap().is_clean());
    assert_ne!(view.local().origin(), origins[0], "peers may hold more of it");
    append(&mut nodes[0], "after the repair", &none);
    pull(&mut nodes, 0, 1);
    pull(&mut nodes, 1, 0);
    assert_eq!(nodes[0].log.reader().head().seq.get(), 7);
    assert_eq!(nodes[0].log.reader().heads().fold(), nodes[1].log.reader().heads().fold());
    assert!(verify(&nodes[0].log.reader()).unwrap().is_clean());
}

/// One event is damaged, many whole ones stand behind it, and of these the peer holds the first few only.
#[test]
fn what_nobody_else_holds_joins_again_once_the_hole_is_filled() {
    let stores: Vec<_> = (0..2).map(|_| Arc::new(MemoryStore::new())).collect();
    let each = stores.iter().enumerate();
    let mut nodes: Vec<_> = each.map(|(n, store)| Node::new(n, 2, Arc::clone(store) as Arc<dyn Store>)).collect();
    let append = |node: &mut Node, subject: &str| {
        node.append(subject, &VClock::new(), NOW, Durability::Sync);
    };
    for subject in ["a1", "a2", "a3"] {
        append(&mut nodes[0], subject);
    }
    let (bravo, alpha) = two(&mut nodes, 1, 0);
    bravo.pull(alpha).unwrap();
    for subject in ["a4", "a5"] {
        append(&mut nodes[0], subject);
    }
    let (heads, origin) = (nodes[0].log.reader().heads(), nodes[0].log.reader().local().origin());
    stores[0].tamper(Family::Log, &2_u64.to_be_bytes(), Some(b"not what was written"));
    let new = Arc::new(MemoryStore::new());
    let salvaged = salvage(&*stores[0], Arc::clone(&new) as Arc<dyn Store>, NOW).unwrap();
    assert_eq!((salvaged.kept, salvaged.waiting, &salvaged.lost), (1, 3, &vec![(origin, 2, 5)]));
    let beside = events_beside(&*new, 0, 10, usize::MAX).unwrap();
    assert_eq!(beside.len(), 3, "an operator can see them");

    nodes[0] = Node::over(0, Arc::clone(&new) as Arc<dyn Store>);
    append(&mut nodes[0], "after the repair");
    let (alpha, bravo) = two(&mut nodes, 0, 1);
    alpha.pull(bravo).unwrap();
    let view = nodes[0].log.reader();
    assert_eq!(view.heads().get(origin), heads.get(origin), "a4 and a5 are there again, on the very same chain");
    assert_eq!((view.head().seq.get(), events_beside(&*new, 0, 10, usize::MAX).unwrap().len()), (6, 0));
    assert!(verify(&view).unwrap().is_clean());
    nodes[0].restart();
    let (bravo, alpha) = two(&mut nodes, 1, 0);
    bravo.pull(alpha).unwrap();
    assert_eq!(nodes[0].log.reader().heads().fold(), nodes[1].log.reader().heads().fold());
}

/// A bit of one record in a segment is another one, past the store's own checks. Which group it is in shows in the digests that were
/// sealed. So the events of that group are lost, and come back; what follows on them waits, and all others stay.
#[test]
fn a_flipped_bit_is_reported_with_its_entry_and_costs_its_group() {
    let stores: Vec<_> = (0..3).map(|_| Arc::new(MemoryStore::new())).collect();
    let each = stores.iter().enumerate();
    let mut nodes: Vec<_> = each.map(|(n, store)| Node::new(n, 3, Arc::clone(store) as Arc<dyn Store>)).collect();
    for n in [0, 0, 0, 1, 1, 1] {
        nodes[n].append("before", &VClock::new(), NOW, Durability::Sync);
    }
    let (alpha, bravo) = two(&mut nodes, 0, 1);
    alpha.pull(bravo).unwrap();
    let (charlie, alpha) = two(&mut nodes, 2, 0);
    charlie.pull(alpha).unwrap();
    let mut segments = Vec::new();
    let every = antiphon_kernel::store::KeyRange::prefix(&[]);
    stores[2]
        .scan(Family::Log, every, &mut |key, value| {
            segments.push((key.to_vec(), value.to_vec()));
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(segments.len(), 1, "what came at once is one segment");
    nodes[2].append("after", &VClock::new(), NOW, Durability::Sync);

    let (key, mut value) = segments.remove(0);
    let record = nodes[2].log.reader().entry(Seq::new(2)).unwrap().unwrap().record;
    let begin = value.windows(record.len()).position(|window| window == &record[..]).unwrap();
    value[begin + record.len() - 1] ^= 1;
    stores[2].tamper(Family::Log, &key, Some(&value));
    let origins: Vec<_> = nodes.iter().map(|node| node.log.reader().local().origin()).collect();
    let faults = verify(&nodes[2].log.reader()).unwrap().faults;
    let expected = format!("entry 2: the group that ends with {}:2 is not the one that was sealed", origins[0]);
    assert_eq!(faults, [expected]);
    let dot = Dot::new(origins[0], 2).unwrap();
    let refused = nodes[2].log.reader().dot(dot).unwrap_err();
    assert_eq!(refused.kind(), StoreErrorKind::Corrupt, "it must not look like another history: {refused}");

    let new = Arc::new(MemoryStore::new());
    let salvaged = salvage(&*stores[2], Arc::clone(&new) as Arc<dyn Store>, NOW).unwrap();
    assert_eq!((salvaged.kept, salvaged.waiting, &salvaged.lost), (5, 1, &vec![(origins[0], 2, 3)]));
    assert!(salvaged.notes[0].contains("entries 1 to 6"), "{:?}", salvaged.notes);
    nodes[2] = Node::over(2, new);
    let (charlie, alpha) = two(&mut nodes, 2, 0);
    charlie.pull(alpha).unwrap();
    let view = nodes[2].log.reader();
    assert_eq!((view.head().seq.get(), verify(&view).unwrap().is_clean()), (7, true));
}

/// A record that does not decode is known to be the damaged one. A log has whole groups, so the rest of its group waits for it.
#[test]
fn a_record_that_does_not_decode_costs_its_group() {
    let store = Arc::new(MemoryStore::new());
    let mut node = Node::new(0, 1, Arc::clone(&store) as Arc<dyn Store>);
    node.append("a0", &VClock::new(), NOW, Durability::Sync);
    let drafts = ["a1", "a2", "a3", "a4"].map(|text| antiphon_kernel::event::Draft::new("t", text.to_owned()));
    node.log.append(&drafts, &VClock::new(), NOW).unwrap();
    node.log.commit(Durability::Sync).unwrap();
    let mut value = store.get(Family::Log, &2_u64.to_be_bytes()).unwrap().unwrap();
    let record = node.log.reader().entry(Seq::new(3)).unwrap().unwrap().record;
    let begin = value.windows(record.len()).position(|window| window == &record[..]).unwrap();
    value[begin] = 200;
    store.tamper(Family::Log, &2_u64.to_be_bytes(), Some(&value));
    let faults = verify(&node.log.reader()).unwrap().faults;
    assert!(faults[0].starts_with("entry 3: "), "{faults:?}");
    let salvaged = salvage(&*store, Arc::new(MemoryStore::new()), NOW).unwrap();
    assert_eq!((salvaged.kept, salvaged.waiting, salvaged.unmoved), (1, 3, 1), "{salvaged:?}");
}

/// A segment that does not decode is named by the entries that it had.
#[test]
fn a_segment_that_does_not_decode_is_reported_with_its_entries() {
    let store = Arc::new(MemoryStore::new());
    let mut node = Node::new(0, 1, Arc::clone(&store) as Arc<dyn Store>);
    for _ in 0..3 {
        let drafts = vec![antiphon_kernel::event::Draft::new("t", "data".to_owned()); 4];
        node.log.append(&drafts, &VClock::new(), NOW).unwrap();
        node.log.commit(Durability::Sync).unwrap();
    }
    let view = node.log.reader();
    for (first, entries) in [(5_u64, "entries 5 to 8"), (9, "the entries from 9 on")] {
        let good = store.get(Family::Log, &first.to_be_bytes()).unwrap().unwrap();
        store.tamper(Family::Log, &first.to_be_bytes(), Some(&good[..good.len() - 1]));
        let read = view.entries(Seq::ZERO, 100, usize::MAX).unwrap_err();
        assert!(read.to_string().contains(entries), "{read}");
        let faults = verify(&view).unwrap().faults;
        assert!(faults[0].contains(entries), "{faults:?}");
        store.tamper(Family::Log, &first.to_be_bytes(), Some(&good));
    }
    let good = store.get(Family::Log, &5_u64.to_be_bytes()).unwrap().unwrap();
    store.tamper(Family::Log, &5_u64.to_be_bytes(), Some(&good[..good.len() - 1]));
    let salvaged = salvage(&*store, Arc::new(MemoryStore::new()), NOW).unwrap();
    assert_eq!((salvaged.kept, salvaged.waiting, salvaged.unmoved), (4, 4, 4), "{salvaged:?}");
}
