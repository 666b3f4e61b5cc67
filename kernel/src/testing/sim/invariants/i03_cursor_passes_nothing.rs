//! I3: a cursor never passes an event that is not held, and replay never one that was not replayed or parked.

use std::collections::BTreeSet;

use crate::log::{read_cursor, withhold_from};
use crate::testing::sim::node::{cortex_id, peer_name};
use crate::testing::sim::world::World;

pub(super) fn check(world: &World, node: usize) -> Result<(), String> {
    let Some(process) = &world.nodes[node].process else { return Ok(()) };
    if process.replay.position() > process.log.view().visible() {
        return Err(format!("I3: node {node} replayed up to {}", process.replay.position()));
    }
    let held: BTreeSet<_> = process.seen.iter().collect();
    for cortex in 0..world.address.len() {
        let store = &*world.nodes[node].store;
        let Some(cursor) = read_cursor(store, &peer_name(cortex)).map_err(|e| e.to_string())? else { continue };
        // What forked is passed over on purpose, and a liar's places mean nothing.
        let forked = !withhold_from(store, cortex_id(cortex)).map_err(|e| e.to_string())?.is_empty();
        if forked || world.byzantine.is_cortex(cortex_id(cortex)) {
            continue;
        }
        // Where a copy answers as well, it cannot be told whose places these are; the server's own check protects there.
        let alone = world.nodes.iter().filter(|other| other.cortex == cortex).count() == 1;
        for other in world.nodes.iter().filter(|other| alone && other.cortex == cortex) {
            let Some(peer) = &other.process else { continue };
            let local = peer.log.view().local();
            let here = other.issued.contains(&(node, cursor))
                && cursor.epoch == local.epoch
                && peer
                    .log
                    .view()
                    .entry(cursor.seq)
                    .ok()
                    .flatten()
                    .is_some_and(|e| e.view().is_ok_and(|event| event.id == cursor.last_event));
            if !here {
                continue;
            }
            let passed = peer.contents_until(cursor.seq).iter().find(|content| !held.contains(content));
            if let Some(&lost) = passed {
                let dot = world.truth.contents[lost as usize].dot;
                return Err(format!("I3: node {node}'s cursor at {cursor} of cortex {cortex} passed {dot}"));
            }
        }
    }
    Ok(())
}
