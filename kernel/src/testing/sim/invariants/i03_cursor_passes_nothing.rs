//! I3: a cursor never passes an event that is not held, and replay never one that was not replayed or parked. At every
//! step, for every cursor that moved; and where an answer is given, that it leaves nothing out that the asker lacks.

use std::collections::BTreeMap;

use crate::ids::Origin;
use crate::log::{read_cursor, withhold_from};
use crate::protocol::{EventBatch, Scope};
use crate::testing::sim::node::{cortex_id, peer_name};
use crate::testing::sim::world::World;

pub(super) fn check(world: &mut World, node: usize) -> Result<(), String> {
    let Some(process) = &world.nodes[node].process else { return Ok(()) };
    // What a reopening changed is read with the next step.
    if process.replay.is_current() && process.replay.position() > process.log.reader().visible() {
        return Err(format!("I3: node {node} replayed up to {}", process.replay.position()));
    }
    if world.byzantine.ever_was(node) {
        // It said that it holds what it does not, and was believed.
        return Ok(());
    }
    for cortex in 0..world.address.len() {
        check_cursor(world, node, cortex)?;
    }
    Ok(())
}

fn check_cursor(world: &mut World, node: usize, cortex: usize) -> Result<(), String> {
    let Some(process) = &world.nodes[node].process else { return Ok(()) };
    let store = &*world.nodes[node].store;
    let Some(cursor) = read_cursor(store, &peer_name(cortex)).map_err(|e| e.to_string())? else { return Ok(()) };
    // Where a copy answers as well, it is not known whose sequence numbers these are; the server's own check protects there.
    let mut servers = world.nodes.iter().filter(|other| other.cortex == cortex);
    let (Some(server), None) = (servers.next(), servers.next()) else { return Ok(()) };
    let Some(peer) = &server.process else { return Ok(()) };
    let reading = (server.index, server.run, peer.seen.reading);
    let before = process.seen.passed.get(&cortex).filter(|(_, read)| *read == reading).map(|(cursor, _)| *cursor);
    if before == Some(cursor) {
        return Ok(());
    }
    // What forked is passed over on purpose, and sequence numbers that a Byzantine node gave out mean nothing.
    let forked = !withhold_from(store, cortex_id(cortex)).map_err(|e| e.to_string())?.is_empty();
    if forked || world.byzantine.ever_was(cortex) {
        return Ok(());
    }
    let view = peer.log.reader();
    let is_there = |entry: crate::log::LogEntry| entry.id().is_ok_and(|id| id == cursor.last_event);
    let here = server.issued.contains(&(node, cursor))
        && cursor.epoch == view.local().epoch
        && view.entry(cursor.seq).ok().flatten().is_some_and(is_there);
    if !here {
        return Ok(());
    }
    let checked = before.map_or(0, |cursor| peer.seen.until(cursor.seq).len());
    let passed = peer.seen.until(cursor.seq).iter().skip(checked).find(|content| !process.seen.holds(**content));
    if let Some(&lost) = passed {
        let dot = world.truth.contents[lost as usize].dot;
        return Err(format!("I3: node {node}'s cursor at {cursor} of cortex {cortex} passed {dot}"));
    }
    if let Some(process) = world.process(node) {
        process.seen.passed.insert(cortex, (cursor, reading));
    }
    Ok(())
}

/// Every cursor, from the beginning.
pub(super) fn whole(world: &mut World, node: usize) -> Result<(), String> {
    if let Some(process) = world.process(node) {
        process.seen.passed.clear();
    }
    check(world, node)
}

/// An answer leaves out what the asker says that it holds, and nothing else: neither before it begins nor in between, nor
/// at its end before it is full. What it brings is what stands there, but where a disk lies.
pub(super) fn complete(
    world: &World,
    node: usize,
    batch: &EventBatch,
    (most_events, most_bytes): (u32, u64),
    scope: Scope,
    advertised: &BTreeMap<Origin, u64>,
) -> Result<(), String> {
    let Some(process) = &world.nodes[node].process else { return Ok(()) };
    let last = process.seen.until(batch.last.seq).len();
    let first = if batch.part == 0 { 0 } else { process.seen.until(batch.prev.seq).len() };
    let mut sent = batch.events.iter().peekable();
    for place in first..last {
        if let Some((_, record)) = sent.next_if(|(seq, _)| seq.get() == place as u64 + 1) {
            let expected = process.seen.contents()[place];
            if world.truth.content(record) != Some(expected) && !world.nodes[node].store.lies() {
                return Err(format!("I3: node {node} sends something else than what is_there at place {}", place + 1));
            }
            continue;
        }
        let (origin, chain) = process.seen.chain(place);
        if scope.covers(origin) && advertised.get(&origin).is_none_or(|&counter| counter < chain.counter) {
            let counter = chain.counter;
            return Err(format!("I3: node {node} leaves out {origin}:{counter}, which the asker lacks"));
        }
    }
    if let Some((seq, _)) = sent.next() {
        return Err(format!("I3: node {node} sends place {seq}, which is not there"));
    }
    if batch.last.seq == batch.head.seq {
        return Ok(());
    }
    let next = batch.last.seq.next();
    // A group goes out whole or waits for the next answer.
    let (mut events, mut bytes, mut place) = (batch.events.len() as u64, 0, next);
    bytes += batch.events.iter().map(|(_, record)| record.len() as u64).sum::<u64>();
    loop {
        let entry = process.log.reader().entry(place).map_err(|e| e.to_string())?;
        let entry = entry.ok_or("a place before the head is empty")?;
        (events, bytes, place) = (events + 1, bytes + entry.record.len() as u64, place.next());
        if entry.read().map_err(|e| e.to_string())?.ends_group {
            break;
        }
    }
    let full = events > u64::from(most_events) || bytes > most_bytes;
    if full { Ok(()) } else { Err(format!("I3: node {node} stops before place {next} and does not say why")) }
}
