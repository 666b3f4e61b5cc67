//! Forks that a peer names in its questions: what that costs whoever is asked, and what it may not be told.

use std::sync::Arc;

use antiphon_kernel::clock::VClock;
use antiphon_kernel::cursor::Seq;
use antiphon_kernel::digest::Digest;
use antiphon_kernel::event::Draft;
use antiphon_kernel::log::{ResolveError, forks};
use antiphon_kernel::protocol::{ChainHead, FetchRequest, Heads, Known};
use antiphon_kernel::store::{Durability, Family, KeyRange, Store, StoreErrorKind};
use antiphon_kernel::testing::MemoryStore;
use antiphon_kernel::time::Timestamp;

use crate::support::Node;

fn memory() -> (Arc<MemoryStore>, Arc<dyn Store>) {
    let store = Arc::new(MemoryStore::new());
    (Arc::clone(&store), store)
}

#[test]
fn a_question_that_names_a_fork_far_back_is_answered_in_steps() {
    let mut server = Node::new(0, 2, memory().1);
    let draft = || Draft::new("t", "{}".to_owned());
    // The history that differs begins with a group.
    server.append("first", &VClock::new(), Timestamp::from_micros(0), Durability::Sync);
    for _ in 0..140 {
        let drafts: Vec<_> = (0..1000).map(|_| draft()).collect();
        server.log.append(&drafts, &VClock::new(), Timestamp::from_micros(0)).unwrap();
        server.log.commit(Durability::Sync).unwrap();
    }
    let mut client = Node::new(1, 2, memory().1);
    let (_, request) = client.question(&server, 100, true);
    let named = ChainHead { counter: 2, digest: Digest::of(b"another history") };
    let origin = server.log.reader().local().origin();
    let request =
        FetchRequest { withhold: Heads::new(vec![(origin, named)]), known: Known::Full(Heads::default()), ..request };
    let view = server.log.reader();
    let mut asking = view.ask(&request).unwrap().unwrap();
    let mut steps = 1;
    while !view.prepare(&mut asking).unwrap().unwrap() {
        steps += 1;
    }
    assert_eq!(steps, 3, "65,536 entries at once");
    let batch = view.next_batch(&mut asking, None).unwrap().unwrap().batch;
    assert_eq!(batch.events.len(), 1, "what stands before the difference");
    // Asked again, it is known.
    let mut asking = view.ask(&request).unwrap().unwrap();
    assert!(view.prepare(&mut asking).unwrap().unwrap());
}

/// The simulator's seed 4057: a record that read otherwise for a while, past the store's checks, kept its event from being
/// known to depend on a fork, also once the disk was well again.
#[test]
fn what_depends_on_a_fork_leaves_the_log_with_it_or_nothing_does() {
    let (store, shared) = memory();
    let mut nodes = [Node::new(0, 2, memory().1), Node::new(1, 2, shared)];
    let image = Arc::new(MemoryStore::new());
    nodes[0] = Node::new(0, 2, Arc::clone(&image) as Arc<dyn Store>);
    let twin = Arc::new(image.durable_copy());
    let at = Timestamp::from_micros(0);
    let [owner, bravo] = &mut nodes;
    owner.append("first", &VClock::new(), at, Durability::Sync);
    bravo.pull(owner).unwrap();
    let seen = bravo.log.reader().clock();
    bravo.append("after the first", &seen, at, Durability::Sync);
    let mut other = Node::over(0, twin as Arc<dyn Store>);
    other.append("second", &VClock::new(), at, Durability::Sync);
    bravo.pull(&other).unwrap();
    let keep = forks(&*bravo.store).unwrap().remove(0).theirs;

    let mut entries = Vec::new();
    let all = KeyRange::prefix(&[]);
    store
        .scan(Family::Log, all, &mut |key, value| {
            entries.push((key.to_vec(), value.to_vec()));
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
    let (key, good) = entries.pop().unwrap();
    let mut bad = good.clone();
    *bad.last_mut().unwrap() ^= 1;
    store.tamper(Family::Log, &key, Some(&bad));
    let process = bravo.log.reader().process();
    let refused = bravo.log.resolve_fork(keep, at);
    assert_eq!(bravo.log.reader().process(), process, "no place came to mean anything else");
    assert!(
        matches!(&refused, Err(ResolveError::Store(error)) if error.kind() == StoreErrorKind::Corrupt),
        "{refused:?}"
    );
    store.tamper(Family::Log, &key, Some(&good));
    bravo.log.recover().unwrap();
    assert_eq!(bravo.log.reader().entries(Seq::ZERO, 10, 1 << 20).unwrap().len(), 2, "nothing left");
    assert_eq!(bravo.log.resolve_fork(keep, at).unwrap().set_aside, 2);
}
