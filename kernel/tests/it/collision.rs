//! Two records that a checksum cannot tell apart. While chains were made of XXH3, a relay could put one in the place of the other, and
//! every comparison called the two histories equal.

use std::sync::Arc;

use antiphon_kernel::clock::VClock;
use antiphon_kernel::event::Draft;
use antiphon_kernel::ids::EventId;
use antiphon_kernel::internals::codec::checksum;
use antiphon_kernel::internals::log::IngestError;
use antiphon_kernel::rule::Rule;
use antiphon_kernel::store::{Durability, Store};
use antiphon_kernel::testing::{Author, MemoryStore};
use antiphon_kernel::time::Timestamp;

use crate::origins::take;
use crate::support::Node;

const NOW: Timestamp = Timestamp::from_micros(5_000_000);

/// Two texts of bytes with one XXH3-128. In each stripe of 64 bytes, XXH3 multiplies the halves of `word ^ secret` and adds the word
/// itself. Where the low half is zero, only the sum of the words counts, so what is added to one can be taken from another.
fn colliding() -> [Vec<u8>; 2] {
    // The low halves of the first two words of XXH3's own secret: those of the first lane in the first two stripes.
    const SECRET: [u64; 2] = [0x396c_feb8, 0x2c81_017c];
    [(7, 9), (8, 8)].map(|(one, other)| {
        let mut bytes = vec![b'.'; 1024];
        for (stripe, high) in [one, other].into_iter().enumerate() {
            let word: u64 = high << 32 | SECRET[stripe];
            bytes[stripe * 64..stripe * 64 + 8].copy_from_slice(&word.to_le_bytes());
        }
        bytes
    })
}

#[test]
fn records_that_a_checksum_calls_equal_are_two_events() {
    let [one, other] = colliding();
    assert!(one != other && checksum(&one) == checksum(&other), "the attack works on the checksum");
    let id = EventId::from_parts(1, 1);
    let write = |data: &[u8]| Author::new(7, 1).write(id, &Draft::new("t", data.to_vec()), &VClock::new(), NOW);
    let (first, second) = (write(&one), write(&other));
    assert_ne!(first.head.digest, second.head.digest);
    assert_ne!(first.seal, second.seal);

    // A relay gives the other record, with the seal of the first.
    let mut node = Node::new(0, 2, Arc::new(MemoryStore::new()) as Arc<dyn Store>);
    let mut relayed = second.clone();
    relayed.seal = first.seal;
    let refused = take(&mut node, 1, vec![relayed]).unwrap_err();
    assert!(matches!(refused, IngestError::Protocol { rule: Rule::SealWrong, .. }), "{refused}");
    assert_eq!(take(&mut node, 2, vec![first]).unwrap(), 1);
    // The owner itself may seal both. Then that is a fork, and is found.
    let refused = take(&mut node, 3, vec![second]).unwrap_err();
    assert!(matches!(refused, IngestError::Fork { counter: 1, .. }), "{refused}");
    node.append("later", &VClock::new(), NOW, Durability::Sync);
    assert_eq!(node.log.reader().head().seq.get(), 2);
}
