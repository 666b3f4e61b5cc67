//! I14: an event is in the log of a node only if it was written with the keys of its cortex, at every step, of what is new. And a fork is
//! known only if the other version was, too.

use crate::log::ForkFinding;
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

/// A node believes that a peer holds another history, which it showed.
pub(in crate::testing::sim) fn both_were_written(
    world: &World,
    node: usize,
    finding: &ForkFinding,
) -> Result<(), String> {
    let is_made_up = |record| match world.truth.content(record) {
        Some(content) => {
            let content = &world.truth.contents[content as usize];
            content.forged && !world.truth.byzantine_keys.contains(&content.dot.origin().cortex())
        }
        None => true,
    };
    match finding.records.iter().any(|record| is_made_up(record)) {
        true => Err(format!("I14: node {node} believes a fork of {} that was made up", finding.origin)),
        false => Ok(()),
    }
}
