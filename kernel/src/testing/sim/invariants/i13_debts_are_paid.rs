//! I13: once all is well, no part is missing at a node that one of those has which it pulls, unless the writer may not write there. What is missing
//! is parked, and nothing else is. A part comes to a node over others, so each of them must have it, or may not.

use crate::log::LogReader;
use crate::store::StoreError;
use crate::testing::sim::world::World;

/// Whether a log has this event with every part.
fn has(view: &LogReader, dot: crate::ids::Dot) -> Result<bool, StoreError> {
    let Some(there) = view.dot(dot)? else { return Ok(false) };
    Ok(view.entry(there.seq)?.is_some_and(|entry| entry.read().is_ok_and(|record| record.is_whole())))
}

pub(in crate::testing::sim) fn check(world: &World) -> Result<(), String> {
    let views: Vec<_> = world.nodes.iter().map(|node| node.process.as_ref().map(|one| one.log.reader())).collect();
    let failed = |error: StoreError| format!("I13: {error}");
    for (node, process) in world.nodes.iter().filter_map(|node| Some((node, node.process.as_ref()?))) {
        let debts = process.log.reader().debts(None, usize::MAX).map_err(failed)?;
        if process.log.reader().owed() != debts.len() as u64 || process.replay.parked() != debts.len() {
            let (index, owed, parked) = (node.index, process.log.reader().owed(), process.replay.parked());
            let stored = debts.len();
            return Err(format!(
                "I13: node {index} says that {owed} debts are left, has {stored}, and {parked} parked"
            ));
        }
        for dot in debts.into_iter().filter(|dot| node.refuses != Some(dot.origin().cortex())) {
            for other in process.pulls.keys().map(|&peer| world.address[peer]) {
                if views[other].as_ref().is_some_and(|view| has(view, dot).unwrap_or(false)) {
                    return Err(format!("I13: node {} lacks a part of {dot}, which node {other} has", node.index));
                }
            }
        }
    }
    Ok(())
}
