//! I4: the clock is what is held, digests are those of the records, and an event claims what its writer saw, not more. At
//! every step: each origin's counter and digest as they are told are those recomputed from the durable records. Now and
//! then: every record, digest and index of the store.

use crate::clock::VClock;
use crate::codec::EventRef;
use crate::log::verify;
use crate::testing::sim::world::World;

pub(super) fn check(world: &mut World, node: usize) -> Result<(), String> {
    let Some(process) = world.process(node) else { return Ok(()) };
    let view = process.log.reader();
    let Some(new) = process.seen.endure(view.head().seq) else {
        return Err(format!("I4: node {node}'s durable log went back to {}", view.head().seq));
    };
    let heads = view.heads();
    if !heads.iter().eq(process.seen.durable_tips.iter().map(|(&origin, &head)| (origin, head))) {
        let held = &process.seen.durable_tips;
        return Err(format!("I4: node {node} tells {heads:?}, and holds {held:?}"));
    }
    let chains: Vec<_> = new.clone().map(|place| process.seen.chain(place)).collect();
    let cortex = view.local().cortex_id;
    chains.into_iter().for_each(|(origin, head)| world.truth.holds(cortex, origin, head));
    super::i07_a_dot_names_one_event::check(world, node, new)
}

/// The whole store.
pub(super) fn whole(world: &World, node: usize) -> Result<(), String> {
    let Some(process) = &world.nodes[node].process else { return Ok(()) };
    let view = process.log.reader();
    let report = verify(&view).map_err(|e| format!("I4: node {node}: {e}"))?;
    if !report.is_clean() {
        return Err(format!("I4: node {node}: {:?}", report.faults));
    }
    let counted = process.seen.durable_tips.iter().map(|(&origin, head)| (origin, head.counter));
    let clock = view.clock();
    if !clock.iter().eq(counted) {
        return Err(format!("I4: node {node}'s clock {clock} is not what it holds"));
    }
    Ok(())
}

/// What an event that was just written claims.
pub(in crate::testing::sim) fn claims(event: &EventRef<'_>, seen: &VClock, node: usize) -> Result<(), String> {
    match event.deps.iter().find(|&(origin, counter)| seen.get(origin) < counter) {
        Some((origin, counter)) => {
            Err(format!("I4: node {node} wrote {} as if it had seen {origin}:{counter}", event.dot))
        }
        None => Ok(()),
    }
}
