//! I5: each event up to the replay position is applied exactly once, or parked and not applied; none beyond it. At every
//! step: what replay passed since the last one, what lies beyond, and one sequence number before, another each time. Now and then:
//! every sequence number.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use crate::replay::parked;
use crate::store::{Family, KeyRange, Store};
use crate::testing::sim::replayer::FAMILY;
use crate::testing::sim::world::World;

pub(super) fn check(world: &mut World, node: usize) -> Result<(), String> {
    let steps = world.steps;
    let Some(process) = world.nodes[node].process.as_ref().filter(|process| process.replay.is_current()) else {
        return Ok(());
    };
    let store = &*world.nodes[node].store;
    let position = process.replay.position().get();
    // Replay that went back begins again.
    let checked = if process.seen.applied > position { 0 } else { process.seen.applied };
    let again = if position == 0 { 0 } else { 1 + steps % position };
    let parked = if process.replay.parked() == 0 { Vec::new() } else { places_parked(store)? };
    for seq in (checked + 1..=position).chain([again]).filter(|seq| *seq > 0) {
        let value = store.get(Family::User(FAMILY), &seq.to_be_bytes()).map_err(|e| e.to_string())?;
        let times = value.and_then(|value| value.first().copied()).unwrap_or(0);
        expect(node, seq, times, &parked, position)?;
    }
    let last = store.last(Family::User(FAMILY), &[]).map_err(|e| e.to_string())?;
    let last = last.and_then(|(key, _)| key.as_slice().try_into().ok()).map_or(0, u64::from_be_bytes);
    if last > position {
        return Err(format!("I5: node {node} applied place {last} beyond its position {position}"));
    }
    if let Some(process) = world.process(node) {
        process.seen.applied = position;
    }
    Ok(())
}

fn places_parked(store: &dyn Store) -> Result<Vec<u64>, String> {
    Ok(parked(store, "counting").map_err(|e| e.to_string())?.iter().map(|p| p.seq.get()).collect())
}

fn expect(node: usize, seq: u64, times: u8, parked: &[u64], position: u64) -> Result<(), String> {
    if times == u8::from(!parked.contains(&seq)) {
        Ok(())
    } else {
        Err(format!("I5: node {node} applied place {seq} {times} times, position {position}"))
    }
}

/// Every sequence number.
pub(super) fn whole(world: &World, node: usize) -> Result<(), String> {
    let Some(process) = world.nodes[node].process.as_ref().filter(|process| process.replay.is_current()) else {
        return Ok(());
    };
    let store = &*world.nodes[node].store;
    let mut applied: BTreeMap<u64, u8> = BTreeMap::new();
    store
        .scan(Family::User(FAMILY), KeyRange::prefix(&[]), &mut |key, value| {
            let seq = key.try_into().map_or(0, u64::from_be_bytes);
            applied.insert(seq, value.first().copied().unwrap_or(0));
            ControlFlow::Continue(())
        })
        .map_err(|e| e.to_string())?;
    let parked = places_parked(store)?;
    let position = process.replay.position().get();
    for seq in 1..=position {
        expect(node, seq, applied.remove(&seq).unwrap_or(0), &parked, position)?;
    }
    match applied.first_key_value() {
        Some((seq, _)) => Err(format!("I5: node {node} applied place {seq} beyond its position {position}")),
        None => Ok(()),
    }
}

/// In the end everything is replayed.
pub(in crate::testing::sim) fn replayed(world: &World, node: usize) -> Result<(), String> {
    let Some(process) = &world.nodes[node].process else { return Ok(()) };
    let (position, head) = (process.replay.position(), process.log.reader().visible());
    let (parked, owed) = (process.replay.parked(), process.log.reader().owed());
    if position != head || parked as u64 > owed {
        return Err(format!(
            "I5: node {node} replayed {position} of {head}, {parked} parked, {owed} with a part missing"
        ));
    }
    Ok(())
}
