//! I1: what was acknowledged is there, whatever crashed since. At every step: what was acknowledged since the last one is
//! in the log, the log is no shorter than it was, and what one of its sequence numbers holds is what was there before, another
//! sequence number each time. Now and then: all of it.

use std::collections::BTreeMap;

use crate::cursor::Seq;
use crate::log::{Fork, LogEntry};
use crate::testing::sim::node::Node;
use crate::testing::sim::world::World;

pub(super) fn check(world: &mut World, node: usize) -> Result<(), String> {
    let steps = world.steps;
    let Node { process: Some(process), safe, index, .. } = &mut world.nodes[node] else { return Ok(()) };
    let new = safe.get(process.seen.safe..).unwrap_or_default();
    if let Some(&lost) = new.iter().find(|content| !process.seen.holds(**content)) {
        let dot = world.truth.contents[lost as usize].dot;
        return Err(format!("I1: node {index} acknowledged {dot} (content {lost}) and lost it"));
    }
    process.seen.safe = safe.len();
    let view = process.log.reader();
    let count = process.seen.len() as u64;
    if view.visible().get() != count {
        return Err(format!("I1: node {index} had {count} events and has {}", view.visible()));
    }
    if count == 0 {
        return Ok(());
    }
    let at = Seq::new(1 + steps % count);
    let expected = process.seen.until(at).last().copied();
    let entry = view.entry(at).map_err(|e| format!("I1: node {index}: {e}"))?;
    let found = entry.and_then(|entry| world.truth.content(&entry.record));
    if found != expected {
        return Err(format!("I1: node {index} held content {expected:?} at place {at}, and holds {found:?}"));
    }
    Ok(())
}

/// The first counter of the group in which the histories part: a group leaves whole.
fn group_start(before: &[LogEntry], fork: &Fork) -> Result<u64, String> {
    let mut start = 1;
    for entry in before {
        let record = entry.read().map_err(|e| format!("I1: {e}"))?;
        let is_before = record.dot.origin() == fork.origin && record.dot.counter() < fork.from;
        if is_before && record.ends_group {
            start = record.dot.counter() + 1;
        }
    }
    Ok(start)
}

/// A fork was resolved, and this was the log before: what left it is the losing version and what says to have seen it, by
/// whichever way, and all of that.
pub(super) fn set_aside(world: &mut World, node: usize, before: &[LogEntry], fork: &Fork) -> Result<(), String> {
    let Some(process) = world.nodes[node].process.as_ref() else { return Ok(()) };
    // Of each origin, the first counter that leaves. Causes stand before effects, so one look is enough.
    let mut first = BTreeMap::from([(fork.origin, group_start(before, fork)?)]);
    for entry in before {
        let event = entry.read().map_err(|e| format!("I1: node {node}: {e}"))?;
        let (origin, counter) = (event.dot.origin(), event.dot.counter());
        let reached = |origin, counter| first.get(&origin).is_some_and(|&from| from <= counter);
        let leaves = reached(origin, counter) || event.deps.iter().any(|(origin, counter)| reached(origin, counter));
        if leaves {
            first.entry(origin).or_insert(counter);
        }
        let held = world.truth.content(&entry.record).is_some_and(|content| process.seen.holds(content));
        if held == leaves {
            let (origin, from, did) = (fork.origin, fork.from, if held { "kept" } else { "set aside" });
            return Err(format!("I1: node {node} {did} {} when it gave up {origin} from {from} on", event.dot));
        }
    }
    Ok(())
}

/// Everything, read anew.
pub(super) fn whole(world: &mut World, node: usize) -> Result<(), String> {
    let Some(process) = world.process(node) else { return Ok(()) };
    process.seen.safe = 0;
    let view = process.log.reader();
    let entries = view.entries(Seq::ZERO, usize::MAX, usize::MAX).map_err(|e| format!("I1: node {node}: {e}"))?;
    let held: Option<Vec<u32>> = entries.iter().map(|entry| world.truth.content(&entry.record)).collect();
    let Some(process) = world.process(node) else { return Ok(()) };
    if held.as_deref() != Some(process.seen.contents()) {
        return Err(format!("I1: node {node}: the log is not what it was"));
    }
    check(world, node)
}
