//! In a full mesh each event crosses to each cortex about once.

use std::sync::Arc;

use antiphon_kernel::clock::VClock;
use antiphon_kernel::store::Durability;
use antiphon_kernel::testing::MemoryStore;
use antiphon_kernel::time::Timestamp;

use crate::support::{Node, two};

#[test]
fn five_cortexes_that_poll_in_turn_send_each_event_about_once() {
    const N: usize = 5;
    const ROUNDS: usize = 40;
    let mut nodes: Vec<_> = (0..N).map(|n| Node::new(n, N, Arc::new(MemoryStore::new()))).collect();
    let (mut sent, mut stored) = (0, 0);
    for round in 0..ROUNDS {
        for node in &mut nodes {
            node.append("s", &VClock::new(), Timestamp::from_micros(round as i64 * 1000), Durability::Sync);
        }
        for (one, other) in (0..N).flat_map(|a| (0..N).map(move |b| (a, b))).filter(|(a, b)| a != b) {
            let (client, server) = two(&mut nodes, one, other);
            let (now_sent, now_stored) = client.poll(server, 4096);
            sent += now_sent;
            stored += now_stored;
        }
    }
    let needed = ROUNDS * N * (N - 1);
    assert_eq!(stored, needed, "each event is ingested once by each");
    let ratio = sent as f64 / needed as f64;
    assert!(ratio <= 1.1, "{ratio} transfers of each event to each cortex");
    assert!(nodes.iter().all(|node| node.digest() == nodes[0].digest()));
}
