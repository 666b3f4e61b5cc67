//! Who holds what we wrote: a comparison, not a claim.

use std::sync::Arc;

use antiphon_kernel::clock::VClock;
use antiphon_kernel::digest::Digest;
use antiphon_kernel::ids::CortexId;
use antiphon_kernel::log::LogReader;
use antiphon_kernel::protocol::{ChainHead, Heads};
use antiphon_kernel::store::{Durability, Store};
use antiphon_kernel::testing::MemoryStore;
use antiphon_kernel::time::Timestamp;

use crate::support::{Node, cortex_id};

#[test]
fn a_receipt_needs_a_pin_an_event_that_is_held_here_and_its_digest() {
    let mut node = Node::new(0, 2, Arc::new(MemoryStore::new()) as Arc<dyn Store>);
    let at = Timestamp::from_micros(0);
    let events: Vec<_> = (0..3).map(|_| node.append("s", &VClock::new(), at, Durability::Sync)).collect();
    let view = node.log.reader();
    let (origin, tip) = view.heads().iter().next().unwrap();
    let second = view.chain_digest(origin, 2).unwrap().unwrap();
    let says = |view: &LogReader, who: CortexId, counter, digest| {
        let heads = Heads::new(vec![(origin, ChainHead { counter, digest })]);
        view.acknowledge(who, &heads).unwrap().len()
    };
    let stranger = CortexId::from_bytes([0xaa; 16]);
    assert_eq!(says(&view, stranger, 3, tip.digest), 0, "no peer here knows it");
    assert_eq!(says(&view, cortex_id(0), 3, tip.digest), 0, "our own id");
    assert_eq!(says(&view, cortex_id(1), 3, Digest::of(b"another")), 0, "another history");
    assert_eq!(says(&view, cortex_id(1), 4, tip.digest), 0, "more than there is");
    assert!(events.iter().all(|event| view.receipts().holders(event.dot).is_empty()));
    assert_eq!(says(&view, cortex_id(1), 2, second), 1);
    let held: Vec<_> = events.iter().map(|event| view.receipts().holders(event.dot).len()).collect();
    assert_eq!(held, [1, 1, 0]);
    assert_eq!(says(&view, cortex_id(1), 2, second), 0, "no news");
    assert_eq!(says(&view, cortex_id(1), 3, tip.digest), 1);
}
