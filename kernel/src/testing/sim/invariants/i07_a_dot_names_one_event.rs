//! I7: what a cortex made durable under one dot is one event, whatever crashed, was restored or was copied; only a copy
//! that cannot know that it is one is excused.

use crate::testing::sim::node::cortex_id;
use crate::testing::sim::world::World;

pub(super) fn check(world: &mut World, node: usize) -> Result<(), String> {
    let cortex = cortex_id(world.nodes[node].cortex);
    let Some(process) = &world.nodes[node].process else { return Ok(()) };
    let own = process.seen.clone();
    for content in own {
        if world.truth.contents[content as usize].dot.origin().cortex() == cortex {
            world.truth.durable(content)?;
        }
    }
    Ok(())
}
