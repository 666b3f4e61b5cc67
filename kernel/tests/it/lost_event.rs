//! The reference served `WHERE id > cursor ORDER BY id`: an event with an older ULID that reached a log after its peers'
//! cursors had passed that ULID was never delivered. Here the cursor is the sender's append position, so it arrives,
//! whether it was relayed from a third cortex or comes from a clock that was stepped back. The store double at the end
//! serves by ULID, as the reference did, and loses it: the test can fail.

use std::ops::ControlFlow;
use std::sync::Arc;

use antiphon_kernel::clock::VClock;
use antiphon_kernel::codec::EventRef;
use antiphon_kernel::cursor::Seq;
use antiphon_kernel::ids::EventId;
use antiphon_kernel::protocol::FetchReply;
use antiphon_kernel::store::{Durability, Family, KeyRange, KeyValue, Store, StoreError, Visitor};
use antiphon_kernel::testing::MemoryStore;
use antiphon_kernel::time::Timestamp;

use crate::forward::forward;
use crate::support::{Node, cortex_id, record_in, two};

fn second(n: i64) -> Timestamp {
    Timestamp::from_micros(n * 1_000_000)
}

/// Alpha writes, late in time; charlie wrote before, unseen; bravo has read all of alpha when alpha learns of charlie's.
fn relay(alpha_store: Arc<dyn Store>) -> Vec<Node> {
    let stores: [Arc<dyn Store>; 3] = [alpha_store, Arc::new(MemoryStore::new()), Arc::new(MemoryStore::new())];
    let mut nodes: Vec<_> = stores.into_iter().enumerate().map(|(n, store)| Node::new(n, 3, store)).collect();
    let old = nodes[2].append("late", &VClock::new(), second(1000), Durability::Sync);
    let new = nodes[0].append("early", &VClock::new(), second(9000), Durability::Sync);
    assert!(old.id < new.id, "the late event has the older ULID");
    let (bravo, alpha) = two(&mut nodes, 1, 0);
    bravo.poll(alpha, 100);
    let (alpha, charlie) = two(&mut nodes, 0, 2);
    let (asked, reply) = alpha.ask(charlie, 100, false);
    alpha.take(2, &asked, &reply, Durability::Sync).unwrap();
    nodes
}

fn bravo_holds_charlies_event(nodes: &[Node]) -> bool {
    let clock = nodes[1].log.reader().clock();
    clock.iter().any(|(origin, counter)| origin.cortex() == cortex_id(2) && counter == 1)
}

#[test]
fn a_relayed_event_with_an_older_ulid_arrives() {
    let mut nodes = relay(Arc::new(MemoryStore::new()));
    assert!(!bravo_holds_charlies_event(&nodes));
    let (bravo, alpha) = two(&mut nodes, 1, 0);
    assert_eq!(bravo.poll(alpha, 100), (1, 1));
    assert!(bravo_holds_charlies_event(&nodes));
    assert_eq!(nodes[0].digest(), nodes[1].digest());
}

#[test]
fn an_event_from_a_clock_stepped_back_arrives_and_its_id_still_increases() {
    let mut nodes: Vec<_> = (0..2).map(|n| Node::new(n, 2, Arc::new(MemoryStore::new()))).collect();
    let before = nodes[0].append("a", &VClock::new(), second(9000), Durability::Sync);
    let (bravo, alpha) = two(&mut nodes, 1, 0);
    bravo.poll(alpha, 100);
    nodes[0].restart();
    let after = nodes[0].append("b", &VClock::new(), second(10), Durability::Sync);
    assert!(after.id > before.id, "across a restart and a step of the clock");
    let (bravo, alpha) = two(&mut nodes, 1, 0);
    assert_eq!(bravo.poll(alpha, 100), (1, 1));
    assert_eq!(nodes[0].digest(), nodes[1].digest());
}

/// Serves the log as the reference did: after the entry before `from`, what has a greater ULID, in order of ULID.
struct ByUlid(MemoryStore);

impl ByUlid {
    fn id(value: &[u8]) -> EventId {
        EventRef::decode_dot(&value[record_in(value)..]).unwrap().0
    }
}

impl Store for ByUlid {
    forward!(0: get scan last commit sync ensure_families reopen check keys create_keys);

    fn scan_floor(&self, family: Family<'_>, range: KeyRange<'_>, visit: &mut Visitor<'_>) -> Result<(), StoreError> {
        if family != Family::Log {
            return self.0.scan_floor(family, range, visit);
        }
        let mut entries: Vec<KeyValue> = Vec::new();
        self.0.scan(family, KeyRange::prefix(&[]), &mut |key, value| {
            entries.push((key.to_vec(), value.to_vec()));
            ControlFlow::Continue(())
        })?;
        let from = u64::from_be_bytes(range.from.try_into().unwrap());
        let cursor =
            entries.iter().find(|(key, _)| key[..] == (from - 1).to_be_bytes()).map(|(_, value)| Self::id(value));
        entries.retain(|(_, value)| cursor.is_none_or(|cursor| Self::id(value) > cursor));
        entries.sort_by_key(|(_, value)| Self::id(value));
        for (place, (_, value)) in (from..).zip(entries) {
            if visit(&place.to_be_bytes(), &value).is_break() {
                break;
            }
        }
        Ok(())
    }
}

#[test]
fn negative_control_a_store_that_serves_by_ulid_loses_it() {
    let mut nodes = relay(Arc::new(ByUlid(MemoryStore::new())));
    assert_eq!(nodes[0].log.reader().head().seq, Seq::new(2));
    for _ in 0..3 {
        let (bravo, alpha) = two(&mut nodes, 1, 0);
        let view = alpha.log.reader();
        let answered = view.durable_entries(Seq::new(1), 100, 1 << 20);
        assert!(answered.is_err(), "the hole is noticed as damage, never passed over: {answered:?}");
        // The request itself fails on the server, so nothing reaches bravo.
        let asked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| bravo.ask(alpha, 100, false)));
        assert!(!matches!(asked, Ok((_, FetchReply::Batch(_)))));
    }
    assert!(!bravo_holds_charlies_event(&nodes), "served by ULID the event is lost");
}
