//! I4: the clock is what is held, digests are those of the records, and an event claims what its writer saw, not more.

use crate::clock::VClock;
use crate::codec::EventView;
use crate::log::verify;
use crate::testing::sim::world::World;

pub(super) fn check(world: &World, node: usize) -> Result<(), String> {
    let Some(process) = &world.nodes[node].process else { return Ok(()) };
    let view = process.log.view();
    let report = verify(&view).map_err(|e| format!("I4: node {node}: {e}"))?;
    if !report.is_clean() {
        return Err(format!("I4: node {node}: {:?}", report.faults));
    }
    let mut counted = std::collections::BTreeMap::new();
    for entry in view.durable_entries(crate::cursor::Seq::ZERO, usize::MAX, usize::MAX).map_err(|e| e.to_string())? {
        let dot = entry.view().map_err(|e| e.to_string())?.dot;
        counted.insert(dot.origin(), dot.counter());
    }
    let clock = view.clock();
    if !clock.iter().eq(counted) {
        return Err(format!("I4: node {node}'s clock {clock} is not what it holds"));
    }
    Ok(())
}

/// What an event that was just written claims.
pub(in crate::testing::sim) fn claims(event: &EventView<'_>, seen: &VClock, node: usize) -> Result<(), String> {
    match event.deps.iter().find(|&(origin, counter)| seen.get(origin) < counter) {
        Some((origin, counter)) => {
            Err(format!("I4: node {node} wrote {} as if it had seen {origin}:{counter}", event.dot))
        }
        None => Ok(()),
    }
}
