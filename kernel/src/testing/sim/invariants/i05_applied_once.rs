//! I5: each event up to the replay position is applied exactly once, or parked and not applied; none beyond it.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use crate::replay::parked;
use crate::store::{Family, KeyRange, Store};
use crate::testing::sim::replayer::FAMILY;
use crate::testing::sim::world::World;

pub(super) fn check(world: &World, node: usize) -> Result<(), String> {
    let Some(process) = &world.nodes[node].process else { return Ok(()) };
    let store = &*world.nodes[node].store;
    let mut applied: BTreeMap<u64, u8> = BTreeMap::new();
    store
        .scan(Family::User(FAMILY), KeyRange::prefix(&[]), &mut |key, value| {
            let seq = key.try_into().map_or(0, u64::from_be_bytes);
            applied.insert(seq, value.first().copied().unwrap_or(0));
            ControlFlow::Continue(())
        })
        .map_err(|e| e.to_string())?;
    let parked: Vec<_> = parked(store, "counting").map_err(|e| e.to_string())?.iter().map(|p| p.seq.get()).collect();
    let position = process.replay.position().get();
    for seq in 1..=position {
        let expected = u8::from(!parked.contains(&seq));
        let times = applied.remove(&seq).unwrap_or(0);
        if times != expected {
            return Err(format!("I5: node {node} applied place {seq} {times} times, position {position}"));
        }
    }
    match applied.first_key_value() {
        Some((seq, _)) => Err(format!("I5: node {node} applied place {seq} beyond its position {position}")),
        None => Ok(()),
    }
}

/// In the end everything is replayed.
pub(in crate::testing::sim) fn replayed(world: &World, node: usize) -> Result<(), String> {
    let Some(process) = &world.nodes[node].process else { return Ok(()) };
    let (position, head) = (process.replay.position(), process.log.view().visible());
    if position != head || process.replay.parked() > 0 {
        return Err(format!("I5: node {node} replayed {position} of {head}, {} parked", process.replay.parked()));
    }
    Ok(())
}
