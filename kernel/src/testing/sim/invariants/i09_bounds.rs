//! I9: what others can make a node remember, send or do is bounded by the code under test, whatever they say: the size of
//! an answer by what was asked for, a question by the protocol, the memory of an open one by the bound of a clock, what a
//! machine wants done after one input, and how often peers bring a process to take a new epoch. Queues that the simulator
//! itself keeps short are not spoken of here; what bounds those of the real service is tested there.

use crate::clock::MAX_CLOCK_ENTRIES;
use crate::codec::RecordRef;
use crate::log::{EpochEnd, OpenQuery, read_epoch_change};
use crate::protocol::{EventBatch, FetchRequest, Known, MAX_BATCH_BYTES, MAX_BATCH_EVENTS};
use crate::testing::sim::network::SECOND;
use crate::testing::sim::world::World;

/// A run has some ten thousand steps, the longest forty thousand. More means that somebody asks in a loop.
const STEPS: u64 = 400_000;
/// What a machine may want after one input: its health kept, a fork looked into, a question, a timer; and room for more.
const ACTIONS: usize = 8;
/// As many forks as one question may name.
const WITHHELD: usize = 64;

pub(in crate::testing::sim) fn steps(steps: u64) -> Result<(), String> {
    if steps > STEPS { Err(format!("I9: more than {STEPS} steps: somebody asks in a loop")) } else { Ok(()) }
}

pub(in crate::testing::sim) fn actions(node: usize, count: usize) -> Result<(), String> {
    if count > ACTIONS {
        Err(format!("I9: a machine of node {node} wants {count} things done at once"))
    } else {
        Ok(())
    }
}

/// So many questions a minute may bring no new event.
const IN_VAIN: u32 = 400;
const MINUTE: u64 = 60 * SECOND;

/// A question to a peer that brought no new event since `in_vain` was begun.
pub(in crate::testing::sim) fn asked(node: usize, now: u64, in_vain: &mut (u64, u32)) -> Result<(), String> {
    if now.saturating_sub(in_vain.0) >= MINUTE {
        *in_vain = (now, 0);
    }
    in_vain.1 += 1;
    if in_vain.1 > IN_VAIN {
        return Err(format!("I9: node {node} asks more than {IN_VAIN} questions in a minute that bring nothing"));
    }
    Ok(())
}

/// An answer, by what was asked for.
pub(super) fn served(node: usize, (events_asked, bytes_asked): (u32, u64), batch: &EventBatch) -> Result<(), String> {
    let events_asked = events_asked.min(MAX_BATCH_EVENTS) as usize;
    let bytes_asked = bytes_asked.min(MAX_BATCH_BYTES);
    let (events, heads) = (batch.events.len(), batch.heads.len());
    let bytes: u64 = batch.events.iter().map(|(_, record)| record.len() as u64).sum();
    let ends = |record| RecordRef::decode(record).is_ok_and(|record| record.ends_group);
    let is_one_group = !batch.events.iter().rev().skip(1).any(|(_, record)| ends(record));
    if (events > events_asked || bytes > bytes_asked) && !is_one_group {
        let asked = format!("{events_asked} of {bytes_asked}");
        return Err(format!("I9: node {node} answers with {events} events of {bytes} bytes, asked for {asked}"));
    }
    if heads > MAX_CLOCK_ENTRIES {
        return Err(format!("I9: node {node} tells {heads} heads"));
    }
    Ok(())
}

/// A question, by the protocol.
pub(super) fn question(node: usize, request: &FetchRequest) -> Result<(), String> {
    let known = if let Known::Full(known) = &request.known { known.len() } else { 0 };
    if known > MAX_CLOCK_ENTRIES || request.withhold.len() > WITHHELD {
        return Err(format!("I9: node {node} names {known} heads and {} forks", request.withhold.len()));
    }
    Ok(())
}

/// What a question that stays open makes us remember: of as many origins as a clock may have what the asker holds, and of a pinned
/// asker what it reported; of those
/// held here what was compared and what is to be told, and what is withheld.
pub(in crate::testing::sim) fn asking(node: usize, asking: &OpenQuery, held: usize) -> Result<(), String> {
    // It has no getters for what is nobody's business: what it holds is counted where it is written out.
    let remembered = format!("{asking:?}").matches("Origin(").count();
    if remembered > 2 * MAX_CLOCK_ENTRIES + 3 * held + 2 * WITHHELD {
        return Err(format!("I9: node {node} remembers {remembered} origins of one open question"));
    }
    Ok(())
}

/// Peers may bring a process to take one new epoch; another one only after an operator gave it one.
pub(super) fn check(world: &mut World, node: usize) -> Result<(), String> {
    let store = std::sync::Arc::clone(&world.nodes[node].store);
    let Some(process) = world.process(node) else { return Ok(()) };
    let epoch = process.log.reader().local().epoch;
    if std::mem::replace(&mut process.epoch, epoch) == epoch {
        return Ok(());
    }
    match read_epoch_change(&*store).map_err(|e| e.to_string())?.map(|change| change.why) {
        Some(EpochEnd::RolledBack | EpochEnd::Forked) => process.by_peers += 1,
        _ => process.by_peers = 0,
    }
    if process.by_peers > 1 {
        return Err(format!("I9: peers made a process of node {node} take a new epoch {} times", process.by_peers));
    }
    Ok(())
}
