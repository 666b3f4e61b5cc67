//! I1: what was acknowledged is there, whatever crashed since.

use std::collections::BTreeSet;

use crate::testing::sim::world::World;

pub(super) fn check(world: &World, node: usize) -> Result<(), String> {
    let node = &world.nodes[node];
    let Some(process) = &node.process else { return Ok(()) };
    let held: BTreeSet<_> = process.seen.iter().collect();
    match node.safe.iter().find(|content| !held.contains(content)) {
        Some(&lost) => {
            let dot = world.truth.contents[lost as usize].dot;
            Err(format!("I1: node {} acknowledged {dot} (content {lost}) and lost it", node.index))
        }
        None => Ok(()),
    }
}
