//! I7: what a cortex made durable under one dot is one event, whatever crashed, was restored or was copied; only a copy
//! that cannot know that it is one is excused. At every step, of what became durable.

use std::ops::Range;

use crate::testing::sim::node::cortex_id;
use crate::testing::sim::world::World;

pub(super) fn check(world: &mut World, node: usize, places: Range<usize>) -> Result<(), String> {
    let cortex = cortex_id(world.nodes[node].cortex);
    let Some(process) = &world.nodes[node].process else { return Ok(()) };
    for &content in &process.seen.contents()[places] {
        let written = &world.truth.contents[content as usize];
        // What a liar made up in its name is not what it wrote.
        if written.dot.origin().cortex() == cortex && !written.forged {
            world.truth.durable(content)?;
        }
    }
    Ok(())
}
