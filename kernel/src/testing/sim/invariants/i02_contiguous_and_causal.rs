//! I2: each origin's events are there without a hole or a repetition, and each behind everything that its writer had seen.
//! By content: a dot that names two contents must not let an effect in without its own cause.

use std::collections::{BTreeMap, BTreeSet};

use crate::cursor::Seq;
use crate::testing::sim::world::World;

pub(super) fn check(world: &mut World, node: usize) -> Result<(), String> {
    let Some(process) = &world.nodes[node].process else { return Ok(()) };
    let view = process.log.view();
    let from = Seq::new(process.seen.len() as u64);
    if view.visible() <= from {
        return Ok(());
    }
    let entries = view.entries(from, usize::MAX, usize::MAX).map_err(|e| format!("I2: node {node}: {e}"))?;
    let mut held: BTreeSet<u32> = process.seen.iter().copied().collect();
    let mut seen = process.seen.clone();
    let mut counters = BTreeMap::new();
    for &content in &seen {
        if let Some(content) = world.truth.contents.get(content as usize) {
            counters.insert(content.dot.origin(), content.dot.counter());
        }
    }
    for entry in entries {
        let event = entry.view().map_err(|e| format!("I2: node {node}: place {}: {e}", entry.seq))?;
        let dot = event.dot;
        let Some(content) = world.truth.content(&entry.record) else {
            return Err(format!("I2: node {node} holds {dot} at {}, which nobody wrote", entry.seq));
        };
        let counter = counters.entry(dot.origin()).or_insert(0);
        if dot.counter() != *counter + 1 {
            return Err(format!("I2: node {node} holds {dot} at {} after {}", entry.seq, *counter));
        }
        *counter += 1;
        let past = &world.truth.contents[content as usize].past;
        if let Some(&missing) = past.iter().find(|content| !held.contains(content)) {
            let cause = world.truth.contents[missing as usize].dot;
            return Err(format!("I2: node {node} holds {dot} without its cause {cause} (content {missing})"));
        }
        held.insert(content);
        seen.push(content);
    }
    if let Some(process) = world.process(node) {
        process.seen = seen;
    }
    Ok(())
}
