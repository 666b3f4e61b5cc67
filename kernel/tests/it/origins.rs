//! Origins that somebody makes up.

use std::sync::Arc;

use antiphon_kernel::clock::VClock;
use antiphon_kernel::cursor::{Cursor, Seq};
use antiphon_kernel::error_code::ErrorCode;
use antiphon_kernel::event::{Draft, MAX_ID_MS};
use antiphon_kernel::ids::{Epoch, EventId};
use antiphon_kernel::internals::log::{
    AppendsRefused, EpochEnd, IngestError, NewEpochError, SentQuery, claimed_epochs, read_epoch_change,
    read_epoch_peer, salvage,
};
use antiphon_kernel::log::{AppendError, verify};
use antiphon_kernel::protocol::{Heads, RequestId, Scope};
use antiphon_kernel::store::{Durability, Family, Store};
use antiphon_kernel::testing::{Author, MemoryStore, Written, answer_of, seeded_keys};
use antiphon_kernel::time::Timestamp;

use crate::support::{Node, cortex_id, peer_name};

/// The first event of an epoch of cortex `number`.
fn first_of(number: u8, epoch: u64) -> Written {
    next_of(&mut Author::new(number, epoch), EventId::from_parts(1, 1))
}

pub(crate) fn take(node: &mut Node, number: u64, events: Vec<Written>) -> Result<usize, IngestError> {
    take_of(node, 1, number, events)
}

/// The same, brought by another peer.
fn take_of(node: &mut Node, from: usize, number: u64, events: Vec<Written>) -> Result<usize, IngestError> {
    let request = RequestId { process: node.log.reader().process(), number };
    let batch = answer_of(&events, request, cortex_id(from), Cursor::start(Epoch::new(7)));
    let asked = SentQuery {
        request,
        to: cortex_id(from),
        after: None,
        max_events: 4096,
        max_bytes: 1 << 20,
        scope: Scope::All,
        withhold: Heads::default(),
        held: Heads::default(),
        exclude: Vec::new(),
    };
    let taken = node.log.ingest(&peer_name(from), &asked, &batch, Timestamp::from_micros(0))?;
    node.log.commit(Durability::Sync).unwrap();
    Ok(taken.stored)
}

#[test]
fn origins_that_were_made_up_keep_neither_this_cortex_nor_its_peers_from_going_on() {
    let mut node = Node::new(0, 2, Arc::new(MemoryStore::new()) as Arc<dyn Store>);
    let stranger = |n: u64| first_of(0xaa, n);
    assert_eq!(take(&mut node, 1, (0..960).map(stranger).collect()).unwrap(), 960);
    let refused = take(&mut node, 2, vec![stranger(960)]);
    assert!(matches!(refused, Err(IngestError::TooManyOrigins { .. })), "{refused:?}");
    // Its peer is pinned, and continues under any epoch; but in its name origins can be made up as well. Those under our own
    // id that we did not begin are strangers'.
    assert_eq!(take(&mut node, 3, (0..48).map(|n| first_of(2, n)).collect()).unwrap(), 48);
    for made_up in [first_of(2, 48), first_of(1, 8)] {
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
    let condition = node.log.reader().refuses_appends(Timestamp::from_micros(0));
    assert!(matches!(condition, Some(AppendsRefused::Origins)), "and it is no healthy node: {condition:?}");
}

/// The next event of a chain, under any id.
fn next_of(author: &mut Author, id: EventId) -> Written {
    author.write(id, &Draft::new("test", "made up"), &VClock::new(), Timestamp::from_micros(0))
}

/// A copy of a node: it has the keys, and continues the chain.
fn copy_of(node: &Node) -> Author {
    let reader = node.log.reader();
    Author::after(&reader, reader.local().origin(), seeded_keys(1))
}

#[test]
fn an_id_after_the_year_9999_is_invalid() {
    let mut node = Node::new(0, 2, Arc::new(MemoryStore::new()) as Arc<dyn Store>);
    let last = next_of(&mut Author::new(0xaa, 1), EventId::from_parts(MAX_ID_MS, 0));
    assert_eq!(take(&mut node, 1, vec![last]).unwrap(), 1);
    let beyond = next_of(&mut Author::new(0xaa, 2), EventId::from_parts(MAX_ID_MS + 1, 0));
    let refused = take(&mut node, 2, vec![beyond]).unwrap_err();
    let IngestError::Invalid { source, .. } = refused else { panic!("{refused}") };
    assert!(source.to_string().contains("9999-12-31"), "{source}");
}

#[test]
fn an_epoch_of_our_id_that_we_did_not_begin_is_remembered_with_its_bringer() {
    let store = Arc::new(MemoryStore::new());
    let mut node = Node::new(0, 2, Arc::clone(&store) as Arc<dyn Store>);
    node.append("ours", &VClock::new(), Timestamp::from_micros(0), Durability::Sync);
    let image = store.durable_copy();
    assert_eq!(take(&mut node, 1, vec![first_of(1, 9)]).unwrap(), 1);
    let claimed = claimed_epochs(&*node.store).unwrap();
    assert_eq!(claimed.iter().map(|c| (c.epoch, &c.peer)).collect::<Vec<_>>(), [(Epoch::new(9), &peer_name(1))]);
    assert_eq!(read_epoch_peer(&*node.store).unwrap(), None);
    // One that continues our own epoch ends it, and is remembered with that.
    let continued = next_of(&mut copy_of(&node), EventId::from_parts(MAX_ID_MS, 0));
    assert_eq!(take(&mut node, 2, vec![continued]).unwrap(), 1);
    assert_eq!(read_epoch_change(&*node.store).unwrap().unwrap().why, EpochEnd::RolledBack);
    assert_eq!(read_epoch_peer(&*node.store).unwrap(), Some(peer_name(1)));
    assert_eq!(claimed_epochs(&*node.store).unwrap().len(), 1, "the epoch that ended is ours");
    // A store from before epochs were remembered takes those that it knows for its own.
    image.tamper(Family::Meta, &[b"minted/", &100_u64.to_be_bytes()[..]].concat(), None);
    let mut old = Node::over(0, Arc::new(image) as Arc<dyn Store>);
    let continued = next_of(&mut copy_of(&old), EventId::from_parts(1 << 40, 0));
    assert_eq!(take(&mut old, 1, vec![continued]).unwrap(), 1);
    assert_eq!(claimed_epochs(&*old.store).unwrap(), []);
}

/// A peer that writes under our id may choose any id: what is repaired must go on from ids of our own.
#[test]
fn ids_go_on_from_those_of_our_own_epochs_alone_also_after_a_repair() {
    let store = Arc::new(MemoryStore::new());
    let mut node = Node::new(0, 2, Arc::clone(&store) as Arc<dyn Store>);
    let now = Timestamp::from_micros(5_000_000);
    node.append("ours", &VClock::new(), now, Durability::Sync);
    let far = EventId::from_parts(MAX_ID_MS, 0);
    assert_eq!(take(&mut node, 1, vec![next_of(&mut Author::new(1, 9), far)]).unwrap(), 1);
    let continued = next_of(&mut copy_of(&node), far);
    assert_eq!(take(&mut node, 2, vec![continued]).unwrap(), 1);
    let new = Arc::new(MemoryStore::new());
    let salvaged = salvage(&*store, Arc::clone(&new) as Arc<dyn Store>, now).unwrap();
    assert_eq!(salvaged.kept, 3);
    let mut repaired = Node::over(0, new);
    let written = repaired.append("after the repair", &VClock::new(), now, Durability::Sync);
    assert!(written.id.timestamp_ms() < 10_000, "{}", written.id);
    assert_eq!(claimed_epochs(&*repaired.store).unwrap().len(), 1);
}

/// The clock was far in the future once, and was set right.
#[test]
fn a_last_id_in_the_far_future_is_left_behind_by_a_new_epoch() {
    let mut node = Node::new(0, 1, Arc::new(MemoryStore::new()) as Arc<dyn Store>);
    let (future, now) = (Timestamp::from_micros(4_000_000_000_000_000), Timestamp::from_micros(5_000_000));
    node.append("in the future", &VClock::new(), future, Durability::Sync);
    let draft = [Draft::new("test", "x")];
    let refused = node.log.append(&draft, &VClock::new(), now).unwrap_err();
    assert!(matches!(refused, AppendError::Id(_)) && refused.code() == ErrorCode::AppendClockBehind, "{refused}");
    node.restart();
    let before = node.log.reader().local().epoch;
    assert!(matches!(node.log.new_epoch(future), Err(NewEpochError::NotNeeded)));
    assert_ne!(node.log.new_epoch(now).unwrap().epoch, before);
    assert_eq!(read_epoch_change(&*node.store).unwrap().unwrap().why, EpochEnd::ClockSetBack);
    for _ in 0..2 {
        let written = node.append("now", &VClock::new(), now, Durability::Sync);
        assert_eq!((written.id.timestamp_ms(), written.dot.origin().epoch()), (5_000, node.log.reader().local().epoch));
        node.restart();
    }
    assert!(matches!(node.log.new_epoch(now), Err(NewEpochError::NotNeeded)));
    assert!(verify(&node.log.reader()).unwrap().is_clean());
}

#[test]
fn a_peer_that_makes_origins_up_spends_what_is_reserved_for_it_and_not_what_is_for_another() {
    let store = Arc::new(MemoryStore::new());
    let mut node = Node::new(0, 3, Arc::clone(&store) as Arc<dyn Store>);
    let stranger = |n: u64| first_of(0xaa, n);
    assert_eq!(take(&mut node, 1, (0..960).map(stranger).collect()).unwrap(), 960);
    // In the name of the other peer, as many as one of two may bring.
    assert_eq!(take(&mut node, 2, (0..24).map(|n| first_of(3, n)).collect()).unwrap(), 24);
    let refused = take(&mut node, 3, vec![first_of(3, 24)]);
    assert!(matches!(refused, Err(IngestError::TooManyOrigins { .. })), "{refused:?}");
    node.restart();
    let refused = take(&mut node, 4, vec![first_of(2, 0)]);
    assert!(
        matches!(refused, Err(IngestError::TooManyOrigins { .. })),
        "its part is spent after a restart too: {refused:?}"
    );
    let own = (100..124).map(|n| first_of(3, n)).collect();
    assert_eq!(take_of(&mut node, 2, 5, own).unwrap(), 24, "the other peer brings its own new epochs");
    let origins = node.log.reader().origins();
    let brought = |n| origins.values().filter(|note| note.brought_by == Some(peer_name(n))).count();
    assert_eq!((brought(1), brought(2)), (984, 24), "who brought the made-up ones is known");
    let record = node.log.reader().entries(Seq::ZERO, 1, 1 << 20).unwrap().remove(0).record;
    let first = &origins[&stranger(0).dot.origin()];
    assert_eq!((first.bytes, first.events), (record.len() as u64, 1));
}
