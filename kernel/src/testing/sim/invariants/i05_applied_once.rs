//! I5: in each build of a replayer, each event up to its position is applied exactly once, or parked and not applied; none
//! beyond it. Readers never go back while the log is the same, and a build that was given up leaves nothing. At every
//! step: what replay passed since the last one, what lies beyond, and one sequence number before, another each time. Now and then:
//! every sequence number.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use crate::replay::{BuildNumber, ReplayCore, parked_in};
use crate::store::{Family, KeyRange, Store};
use crate::testing::sim::replayer::{FAMILY, NAME};
use crate::testing::sim::world::World;

pub(super) fn check(world: &mut World, node: usize) -> Result<(), String> {
    let steps = world.steps;
    let Some(process) = world.nodes[node].process.as_ref().filter(|process| process.replay.is_current()) else {
        return Ok(());
    };
    let store = &*world.nodes[node].store;
    let (position, generation) = (process.replay.position().get(), process.replay.generation());
    if let Some((_, before)) = process.seen.read_at.filter(|(then, before)| *then == generation && *before > position) {
        return Err(format!("I5: node {node}: readers went back from {before} to {position}"));
    }
    // Replay that went back begins again.
    let checked = if process.seen.applied > position { 0 } else { process.seen.applied };
    for (build, position) in builds(&process.replay) {
        let checked = if Some(build) == process.replay.builds().current() { checked } else { position };
        let again = if position == 0 { 0 } else { 1 + steps % position };
        let parked = places_parked(store, build)?;
        for seq in (checked + 1..=position).chain([again]).filter(|seq| *seq > 0) {
            let value = store.get(Family::User(FAMILY), &build.key(&seq.to_be_bytes())).map_err(|e| e.to_string())?;
            let times = value.and_then(|value| value.first().copied()).unwrap_or(0);
            expect(node, seq, times, &parked, position)?;
        }
        let last = store.last(Family::User(FAMILY), &build.to_bytes()).map_err(|e| e.to_string())?;
        let last = last.and_then(|(key, _)| split(&key)).map_or(0, |(_, seq)| seq);
        if last > position {
            return Err(format!("I5: node {node} applied place {last} beyond its position {position}"));
        }
    }
    if let Some(process) = world.process(node) {
        process.seen.applied = position;
        process.seen.read_at = Some((generation, position));
    }
    Ok(())
}

/// The builds that are read or filled, and how far each is.
fn builds(replay: &ReplayCore) -> Vec<(BuildNumber, u64)> {
    let current = replay.builds().current().map(|build| (build, replay.position().get()));
    let filling = replay.filling().map(|filling| (filling.build, filling.position.get()));
    current.into_iter().chain(filling).collect()
}

/// The build and the sequence number in a key.
fn split(key: &[u8]) -> Option<(BuildNumber, u64)> {
    let (build, seq) = key.split_first_chunk::<8>()?;
    Some((BuildNumber::new(u64::from_be_bytes(*build)), u64::from_be_bytes(seq.try_into().ok()?)))
}

fn places_parked(store: &dyn Store, build: BuildNumber) -> Result<Vec<u64>, String> {
    Ok(parked_in(store, NAME, build).map_err(|e| e.to_string())?.iter().map(|p| p.seq.get()).collect())
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
    let mut applied: BTreeMap<(BuildNumber, u64), u8> = BTreeMap::new();
    store
        .scan(Family::User(FAMILY), KeyRange::prefix(&[]), &mut |key, value| {
            applied.insert(split(key).unwrap_or_default(), value.first().copied().unwrap_or(0));
            ControlFlow::Continue(())
        })
        .map_err(|e| e.to_string())?;
    for (build, position) in builds(&process.replay) {
        let parked = places_parked(store, build)?;
        for seq in 1..=position {
            expect(node, seq, applied.remove(&(build, seq)).unwrap_or(0), &parked, position)?;
        }
        if let Some(((_, seq), _)) = applied.range((build, 0)..=(build, u64::MAX)).next() {
            return Err(format!("I5: node {node} applied place {seq} beyond its position {position}"));
        }
    }
    let mut left: Vec<BuildNumber> = applied.into_keys().map(|(build, _)| build).collect();
    let own = [NAME.as_bytes(), &[0]].concat();
    store
        .scan(Family::Replay, KeyRange::prefix(&own), &mut |key, _| {
            let build = key[own.len()..].split_first_chunk::<8>();
            left.extend(build.map(|(build, _)| BuildNumber::new(u64::from_be_bytes(*build))));
            ControlFlow::Continue(())
        })
        .map_err(|e| e.to_string())?;
    let all = process.replay.builds();
    let known = [&all.current, &all.filling].into_iter().flatten().chain(&all.emptying);
    let known: Vec<BuildNumber> = known.map(|build| build.number).collect();
    match left.iter().find(|build| !known.contains(build)) {
        Some(build) => Err(format!("I5: node {node} keeps something of build {build}, which was given up")),
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
    let builds = process.replay.builds();
    if builds.filling.is_some() || !builds.emptying.is_empty() {
        return Err(format!("I5: node {node} did not complete a rebuild: {builds:?}"));
    }
    Ok(())
}
