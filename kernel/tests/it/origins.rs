//! Origins that somebody makes up.

use std::sync::Arc;

use antiphon_kernel::clock::VClock;
use antiphon_kernel::cursor::{Cursor, Seq};
use antiphon_kernel::event::{Draft, EventBytes};
use antiphon_kernel::ids::{CortexId, Epoch, EventId, Origin};
use antiphon_kernel::log::{Asked, EpochEnd, IngestError, LocalIdentity, Log, LogOptions};
use antiphon_kernel::protocol::{ChainHead, EventBatch, Heads, RequestId, Scope};
use antiphon_kernel::store::{Durability, Store};
use antiphon_kernel::testing::MemoryStore;
use antiphon_kernel::time::Timestamp;

use crate::support::{Node, cortex_id, peer_name};

/// The first event of an origin, as its own log would have it.
fn first_of(cortex_id: CortexId, epoch: u64) -> (Origin, ChainHead, EventBytes) {
    let store = Arc::new(MemoryStore::new());
    Log::create(&*store, &LocalIdentity { cortex_id, epoch: Epoch::new(epoch), name: String::new() }).unwrap();
    let mut log = Log::open(store, LogOptions::default()).unwrap();
    log.append(&[Draft::new("test", "{}".to_owned())], &VClock::new(), Timestamp::from_micros(0)).unwrap();
    log.commit(Durability::Sync).unwrap();
    let (origin, head) = log.view().heads().iter().next().unwrap();
    (origin, head, log.view().entries(Seq::ZERO, 1, 1 << 20).unwrap().remove(0).record)
}

fn take(node: &mut Node, number: u64, events: Vec<(Origin, ChainHead, EventBytes)>) -> Result<usize, IngestError> {
    let epoch = Epoch::new(7);
    let cursor = |seq| Cursor { epoch, seq: Seq::new(seq), last_event: EventId::from_bytes([7; 16]) };
    let request = RequestId { process: node.log.view().process(), number };
    let heads = Heads::new(events.iter().map(|&(origin, head, _)| (origin, head)).collect());
    let last = cursor(events.len() as u64);
    let batch = EventBatch {
        request,
        part: 0,
        from: cortex_id(1),
        prev: Cursor::start(epoch),
        last,
        last_time: Timestamp::from_micros(0),
        head: last,
        head_time: Timestamp::from_micros(0),
        events: (1..).map(Seq::new).zip(events.into_iter().map(|(_, _, record)| record)).collect(),
        heads,
    };
    let asked = Asked {
        request,
        to: cortex_id(1),
        after: None,
        max_events: 4096,
        max_bytes: 1 << 20,
        scope: Scope::All,
        withhold: Heads::default(),
        held: Heads::default(),
    };
    let taken = node.log.ingest(&peer_name(1), &asked, &batch, Timestamp::from_micros(0))?;
    node.log.commit(Durability::Sync).unwrap();
    Ok(taken.stored)
}

#[test]
fn origins_that_were_made_up_keep_neither_this_cortex_nor_its_peers_from_going_on() {
    let mut node = Node::new(0, 2, Arc::new(MemoryStore::new()) as Arc<dyn Store>);
    let stranger = |n: u64| first_of(CortexId::from_bytes([0xaa; 16]), n);
    assert_eq!(take(&mut node, 1, (0..960).map(stranger).collect()).unwrap(), 960);
    let refused = take(&mut node, 2, vec![stranger(960)]);
    assert!(matches!(refused, Err(IngestError::TooManyOrigins { .. })), "{refused:?}");
    // Its peer is pinned, and goes on under any epoch; but in its name, and in ours, origins can be made up as well.
    assert_eq!(take(&mut node, 3, (0..40).map(|n| first_of(cortex_id(1), n)).collect()).unwrap(), 40);
    assert_eq!(take(&mut node, 4, (0..8).map(|n| first_of(cortex_id(0), n)).collect()).unwrap(), 8);
    for made_up in [first_of(cortex_id(1), 40), first_of(cortex_id(0), 8)] {
        let refused = take(&mut node, 5, vec![made_up]);
        assert!(matches!(refused, Err(IngestError::TooManyOrigins { .. })), "{refused:?}");
    }
    // What is left is for what it writes itself, under so many new epochs.
    for _ in 0..16 {
        node.append("ours", &VClock::new(), Timestamp::from_micros(0), Durability::Sync);
        node.log.begin_epoch(EpochEnd::Restored, Timestamp::from_micros(0)).unwrap();
        node.log.commit(Durability::Sync).unwrap();
    }
    let full = node.log.append(&[Draft::new("t", "{}".to_owned())], &VClock::new(), Timestamp::from_micros(0));
    assert!(full.is_err(), "the bound of a clock stands for all");
}
