//! I11: a cortex that is known to hold an event of this one did durably hold it: that event, and not another one of the same
//! dot. Asked whenever something is noted. What a Byzantine peer says of itself is its own affair.

use crate::ids::CortexId;
use crate::protocol::Heads;
use crate::testing::sim::node::cortex_id;
use crate::testing::sim::world::World;

/// A node advertises heads that I6 found to be durable there. The step that advertises them may also put an older store in place, and
/// nothing looks at the log in between.
pub(super) fn advertised(world: &mut World, node: usize, heads: &Heads) {
    let cortex = cortex_id(world.nodes[node].cortex);
    heads.iter().for_each(|(origin, head)| world.truth.holds(cortex, origin, head));
}

pub(super) fn check(world: &World, node: usize, holder: CortexId, noted: &Heads) -> Result<(), String> {
    if world.truth.liar == Some(holder) || world.byzantine.is(node) {
        return Ok(());
    }
    let Some(process) = &world.nodes[node].process else { return Ok(()) };
    let view = process.log.reader();
    for (origin, head) in noted.iter() {
        let ours = view.chain_digest(origin, head.counter).map_err(|error| format!("I11: node {node}: {error}"))?;
        let held = |digest| world.truth.held.contains(&(holder, origin, head.counter, digest));
        if !ours.is_some_and(held) {
            let counter = head.counter;
            return Err(format!("I11: node {node} notes that {holder} holds {origin}:{counter}, which it never did"));
        }
    }
    Ok(())
}
