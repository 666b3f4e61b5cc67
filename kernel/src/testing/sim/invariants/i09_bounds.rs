//! I9: queues are bounded, whatever peers do.

use crate::testing::sim::world::World;

/// A client has one question open at a node; a copy of it another.
const PER_CLIENT: usize = 1;
const INBOX: usize = 16;

/// A run has some ten thousand steps, the longest forty thousand. More means that somebody asks in a loop.
const STEPS: u64 = 400_000;

pub(in crate::testing::sim) fn steps(steps: u64) -> Result<(), String> {
    if steps > STEPS { Err(format!("I9: more than {STEPS} steps: somebody asks in a loop")) } else { Ok(()) }
}

pub(super) fn check(world: &World, node: usize) -> Result<(), String> {
    let Some(process) = &world.nodes[node].process else { return Ok(()) };
    if process.open.len() > PER_CLIENT * world.nodes.len() {
        return Err(format!("I9: node {node} has {} questions open", process.open.len()));
    }
    match process.pulls.values().find(|pull| pull.question.as_ref().is_some_and(|q| q.inbox.len() > INBOX)) {
        Some(_) => Err(format!("I9: node {node} buffers more than {INBOX} answers of a peer")),
        None => Ok(()),
    }
}
