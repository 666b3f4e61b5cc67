//! What is kept of a peer's other versions: the newest one of each origin, and no more than a bound.

use std::ops::ControlFlow;
use std::sync::Arc;

use antiphon_kernel::clock::VClock;
use antiphon_kernel::event::Draft;
use antiphon_kernel::ids::EventId;
use antiphon_kernel::log::forks;
use antiphon_kernel::store::{Durability, Family, KeyRange, Store};
use antiphon_kernel::testing::{Author, MemoryStore, Written};
use antiphon_kernel::time::Timestamp;

use crate::origins;
use crate::support::{Node, cortex_id, peer_name};

/// One event of so many bytes: the first of an origin, another one for each `version`.
fn first_event(epoch: u64, version: u8, bytes: usize) -> Written {
    let (id, draft) = (EventId::from_parts(1, 1), Draft::new("t", vec![version; bytes]));
    Author::new(0xaa, epoch).write(id, &draft, &VClock::new(), Timestamp::from_micros(0))
}

fn bytes_of_evidence(store: &dyn Store) -> usize {
    let mut bytes = 0;
    let all = KeyRange::prefix(b"r");
    store
        .scan(Family::Evidence, all, &mut |_, value| {
            bytes += value.len();
            ControlFlow::Continue(())
        })
        .unwrap();
    bytes
}

/// A node that holds the first event of so many origins, all of them another version than the peer shows.
fn node(origins: u64, store: &Arc<MemoryStore>) -> Node {
    let mut node = Node::new(0, 2, Arc::clone(store) as Arc<dyn Store>);
    for epoch in 0..origins {
        assert_eq!(origins::take(&mut node, epoch, vec![first_event(epoch, 0, 10)]).unwrap(), 1);
    }
    node
}

fn show(node: &mut Node, shown: Written) {
    let finding = shown.as_fork(peer_name(1), cortex_id(1));
    node.log.note_fork(&finding, Timestamp::from_micros(0)).unwrap();
    node.log.commit(Durability::Sync).unwrap();
}

#[test]
fn another_version_of_the_same_origin_takes_the_place_of_the_earlier_one() {
    let store = Arc::new(MemoryStore::new());
    let mut node = node(1, &store);
    for version in 1..20 {
        show(&mut node, first_event(0, version, 10_000));
    }
    assert_eq!(forks(&*store).unwrap().len(), 1);
    let kept = bytes_of_evidence(&*store);
    assert!((10_000..12_000).contains(&kept), "{kept} bytes for one version");
    assert_eq!(node.log.reader().withheld_from(cortex_id(1)).histories, 1);
}

#[test]
fn the_evidence_of_one_holder_is_bounded_and_its_forks_are_known_all_the_same() {
    let store = Arc::new(MemoryStore::new());
    let mut node = node(8, &store);
    for epoch in 0..8 {
        show(&mut node, first_event(epoch, 1, 4 << 20));
    }
    assert_eq!(forks(&*store).unwrap().len(), 8);
    let kept = bytes_of_evidence(&*store) >> 20;
    assert!((8..=16).contains(&kept), "{kept} MiB");
    assert_eq!(node.log.reader().withheld_from(cortex_id(1)).events, 8, "one of each at least");
}
