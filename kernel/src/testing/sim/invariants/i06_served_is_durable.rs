//! I6: nothing is served, and no head named, that a crash could still take back.

use crate::protocol::FetchReply;
use crate::store::{Family, keys};
use crate::testing::sim::world::World;

pub(in crate::testing::sim) fn served(world: &World, node: usize, reply: &FetchReply) -> Result<(), String> {
    let FetchReply::Batch(batch) = reply else { return Ok(()) };
    let store = &world.nodes[node].store;
    let places = batch.events.iter().map(|(seq, _)| *seq).chain([batch.head.seq, batch.last.seq]);
    for seq in places.filter(|seq| seq.get() > 0) {
        if !store.is_durable(Family::Log, &keys::log(seq)) {
            return Err(format!("I6: node {node} speaks of place {seq}, which is not durable"));
        }
    }
    Ok(())
}
