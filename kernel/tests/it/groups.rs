//! Groups: what is appended together comes together, whatever the limits of an answer say.

use std::sync::Arc;

use antiphon_kernel::clock::VClock;
use antiphon_kernel::cursor::Seq;
use antiphon_kernel::event::Draft;
use antiphon_kernel::internals::log::{Log, LogOptions};
use antiphon_kernel::log::{AppendError, Appended, verify};
use antiphon_kernel::protocol::{ChainHead, FetchReply, Heads, MAX_GROUP_EVENTS};
use antiphon_kernel::store::{Durability, Store};
use antiphon_kernel::testing::MemoryStore;
use antiphon_kernel::time::Timestamp;

use crate::support::{Node, two};

const NOW: Timestamp = Timestamp::from_micros(1_000_000);

fn nodes<const N: usize>() -> [Node; N] {
    std::array::from_fn(|n| Node::new(n, N, Arc::new(MemoryStore::new()) as Arc<dyn Store>))
}

fn drafts(count: usize) -> Vec<Draft> {
    (0..count).map(|n| Draft::new("t", format!("{n}"))).collect()
}

fn append(node: &mut Node, count: usize, context: &VClock) -> Vec<Appended> {
    node.log.append(&drafts(count), context, NOW).unwrap()
}

/// How many events each group of the log has, in its order.
fn groups(node: &Node) -> Vec<usize> {
    let mut groups = vec![0];
    for entry in node.log.reader().entries(Seq::ZERO, usize::MAX, usize::MAX).unwrap() {
        *groups.last_mut().unwrap() += 1;
        if entry.read().unwrap().ends_group {
            groups.push(0);
        }
    }
    assert_eq!(groups.pop(), Some(0), "the log ends with a group");
    groups
}

#[test]
fn appends_of_one_commit_that_have_seen_the_same_are_one_group() {
    let [mut alpha, mut bravo] = nodes();
    bravo.append("other", &VClock::new(), NOW, Durability::Sync);
    alpha.pull(&bravo).unwrap();
    let seen = alpha.log.reader().clock();
    let first = append(&mut alpha, 2, &VClock::new());
    let second = append(&mut alpha, 1, &VClock::new());
    // It has seen more, so it begins a group.
    let third = append(&mut alpha, 1, &seen);
    // It has seen less than its chain says by now.
    let fourth = append(&mut alpha, 3, &VClock::new());
    let refused = alpha.log.append(&[Draft::new("", "")], &VClock::new(), NOW).unwrap_err();
    assert!(matches!(refused, AppendError::Draft { index: 0, .. }));
    let fifth = append(&mut alpha, 1, &VClock::new());
    alpha.log.commit(Durability::Sync).unwrap();
    assert_eq!(groups(&alpha), [1, 3, 5]);
    let appended = [first, second, third, fourth, fifth].concat();
    for (one, number) in appended.iter().zip(1..) {
        assert_eq!((one.dot.counter(), one.seq), (number, Seq::new(number + 1)));
        assert_eq!(alpha.log.reader().entry(one.seq).unwrap().unwrap().id().unwrap(), one.id);
    }
    append(&mut alpha, 1, &VClock::new());
    alpha.log.commit(Durability::Sync).unwrap();
    assert_eq!(groups(&alpha), [1, 3, 5, 1], "a commit ends a group");
    assert!(verify(&alpha.log.reader()).unwrap().is_clean());
    bravo.pull(&alpha).unwrap();
    assert_eq!(alpha.digest(), bravo.digest());
}

#[test]
fn the_first_append_mints_the_log_and_its_group_stays_open() {
    let store = Arc::new(MemoryStore::new());
    Log::begin(&*store, "alpha", None).unwrap();
    let mut log = Log::open(store.clone(), LogOptions::default()).unwrap();
    for data in ["one", "two"] {
        log.append(&[Draft::new("t", data)], &VClock::new(), NOW).unwrap();
    }
    assert_eq!(log.reader().local().log, None, "nothing is committed");
    log.commit(Durability::Sync).unwrap();
    let minted = log.reader().local().log;
    assert!(minted.is_some());
    let entries = log.reader().entries(Seq::ZERO, usize::MAX, usize::MAX).unwrap();
    let ends: Vec<_> = entries.iter().map(|entry| entry.read().unwrap().ends_group).collect();
    assert_eq!(ends, [false, true]);
    drop(log);
    assert_eq!(Log::open(store, LogOptions::default()).unwrap().reader().local().log, minted);
}

#[test]
fn many_appends_are_several_groups_and_one_append_is_never_cut() {
    let [mut alpha] = nodes();
    for _ in 0..300 {
        append(&mut alpha, 1, &VClock::new());
    }
    append(&mut alpha, 1000, &VClock::new());
    let large = vec![Draft::new("t", vec![0; 200 * 1024])];
    alpha.log.append(&large, &VClock::new(), NOW).unwrap();
    alpha.log.append(&large, &VClock::new(), NOW).unwrap();
    alpha.log.commit(Durability::Sync).unwrap();
    assert_eq!(groups(&alpha), [256, 44, 1000, 1, 1]);
    let refused = alpha.log.append(&drafts(MAX_GROUP_EVENTS + 1), &VClock::new(), NOW).unwrap_err();
    assert!(matches!(refused, AppendError::TooManyEvents { events: 4097 }), "{refused}");
    let too_large = vec![Draft::new("t", vec![0; 600_000]); 2];
    let refused = alpha.log.append(&too_large, &VClock::new(), NOW).unwrap_err();
    assert!(matches!(refused, AppendError::TooManyBytes { limit: 0x10_0000 }), "{refused}");
    append(&mut alpha, MAX_GROUP_EVENTS, &VClock::new());
    alpha.log.commit(Durability::Sync).unwrap();
    assert_eq!(groups(&alpha), [256, 44, 1000, 1, 1, 4096]);
}

#[test]
fn an_answer_ends_between_groups_and_a_large_one_travels_alone() {
    let [mut alpha, mut bravo] = nodes();
    for count in [2, 1, 5, 2, 2] {
        append(&mut bravo, count, &VClock::new());
        bravo.log.commit(Durability::Sync).unwrap();
    }
    let mut sizes = Vec::new();
    loop {
        let (asked, reply) = alpha.ask(&bravo, 3, false);
        let FetchReply::Batch(batch) = &reply else { panic!("{reply:?}") };
        if batch.events.is_empty() {
            break;
        }
        sizes.push(batch.events.len());
        alpha.take(1, &asked, &reply, Durability::Sync).unwrap();
    }
    assert_eq!(sizes, [3, 5, 2, 2], "three events at most, and no part of a group");
    assert_eq!(alpha.digest(), bravo.digest());
}

/// Two histories may part within a group. The group crosses whole or not at all.
#[test]
fn a_fork_within_a_group_concerns_the_whole_group() {
    let store = Arc::new(MemoryStore::new());
    let mut nodes = [Node::new(0, 2, Arc::new(MemoryStore::new())), Node::new(1, 2, Arc::clone(&store) as _)];
    append(&mut nodes[1], 2, &VClock::new());
    nodes[1].log.commit(Durability::Sync).unwrap();
    // Both continue with the same ids, so the first two events of the next group are equal.
    let mut twin = Node::over(1, Arc::new(store.durable_copy()));
    nodes[1] = Node::over(1, Arc::new(store.durable_copy()));
    for (node, count) in [(&mut nodes[1], 3), (&mut twin, 4)] {
        let mut same = drafts(count);
        same.iter_mut().for_each(|draft| draft.data = "same".into());
        node.log.append(&same, &VClock::new(), NOW).unwrap();
        node.log.commit(Durability::Sync).unwrap();
    }
    let (alpha, bravo) = two(&mut nodes, 0, 1);
    alpha.pull(bravo).unwrap();
    alpha.pull(&twin).unwrap();
    let known = antiphon_kernel::log::forks(&*alpha.store).unwrap();
    assert_eq!(known.iter().map(|fork| fork.from).collect::<Vec<_>>(), [5]);
    assert_eq!(groups(alpha), [2, 3]);
    // Nothing of the group crosses, not even what both histories have of it.
    let mut fresh = Node::new(0, 2, Arc::new(MemoryStore::new()));
    let theirs = known[0].theirs;
    let (_, mut request) = fresh.question(alpha, 100, true);
    let head = ChainHead { counter: 5, digest: theirs };
    request.withhold = Heads::new(vec![(known[0].origin, head)]);
    let FetchReply::Batch(batch) = alpha.log.reader().answer(&request).unwrap() else { panic!("it answers") };
    assert_eq!(batch.events.len(), 2);
    // Keeping the other version sets the whole group aside, and takes the other one whole.
    let resolved = alpha.log.resolve_fork(theirs, NOW).unwrap();
    assert_eq!((resolved.from, resolved.set_aside), (5, 3));
    assert_eq!(groups(alpha), [2]);
    alpha.pull(&twin).unwrap();
    assert_eq!(groups(alpha), [2, 4]);
    assert_eq!(alpha.digest(), twin.digest());
}
