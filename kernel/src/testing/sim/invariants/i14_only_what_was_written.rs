//! I14: an event is in the log of a node only if it was written with the keys of its cortex. At every step, of what is new.

use crate::testing::sim::world::World;

pub(super) fn check(world: &mut World, node: usize) -> Result<(), String> {
    let Some(process) = world.nodes[node].process.as_mut() else { return Ok(()) };
    let seen = &mut process.seen;
    let (new, all) = (seen.owned, seen.len());
    seen.owned = all;
    for (place, content) in (1..).zip(seen.contents()).skip(new) {
        let content = &world.truth.contents[*content as usize];
        if content.forged && !world.truth.byzantine_keys.contains(&content.dot.origin().cortex()) {
            return Err(format!("I14: node {node} holds {} at {place}, which was made up without a key", content.dot));
        }
    }
    Ok(())
}
