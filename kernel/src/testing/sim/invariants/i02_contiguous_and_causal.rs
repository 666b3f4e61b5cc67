//! I2: each origin's events are there without a hole or a repetition, and each behind everything that its writer had seen.
//! By content: a dot that names two contents must not let an effect in without its own cause. At every step, of what is
//! new.

use crate::cursor::Seq;
use crate::digest::Digest;
use crate::ids::Dot;
use crate::protocol::ChainHead;
use crate::testing::sim::world::World;

pub(super) fn check(world: &mut World, node: usize) -> Result<(), String> {
    let Some(process) = world.nodes[node].process.as_mut() else { return Ok(()) };
    let (view, seen) = (process.log.reader(), &mut process.seen);
    let from = Seq::new(seen.len() as u64);
    if view.visible() <= from {
        return Ok(());
    }
    let entries = view.entries(from, usize::MAX, usize::MAX).map_err(|e| format!("I2: node {node}: {e}"))?;
    let mut group = None;
    for entry in entries {
        let event = entry.read().map_err(|e| format!("I2: node {node}: place {}: {e}", entry.seq))?;
        let dot = event.dot;
        if group.is_some_and(|(last, _): (Dot, Seq)| !last.precedes(dot)) {
            return Err(format!("I2: node {node} holds {dot} at {} within a group of others", entry.seq));
        }
        group = (!event.ends_group).then_some((dot, entry.seq));
        let Some(content) = world.truth.content(&entry.record) else {
            return Err(format!("I2: node {node} holds {dot} at {}, which nobody wrote", entry.seq));
        };
        let before = match seen.tips.get(&dot.origin()) {
            Some(tip) => *tip,
            None => {
                let begun = view.chain_digest(dot.origin(), 0).map_err(|e| format!("I2: node {node}: {e}"))?;
                ChainHead { counter: 0, digest: begun.unwrap_or(Digest::ZERO) }
            }
        };
        if dot.counter() != before.counter + 1 {
            return Err(format!("I2: node {node} holds {dot} at {} after {}", entry.seq, before.counter));
        }
        let past = std::rc::Rc::clone(&world.truth.contents[content as usize].past);
        let mut missing = past.iter().filter(|content| !seen.holds(**content));
        if let Some(&missing) = missing.find(|one| !world.truth.excuses(node, content, **one, seen.contents())) {
            let cause = world.truth.contents[missing as usize].dot;
            return Err(format!("I2: node {node} holds {dot} without its cause {cause} (content {missing})"));
        }
        let chain =
            ChainHead { counter: dot.counter(), digest: before.digest.chain(&entry.record).unwrap_or_default() };
        seen.push(content, dot.origin(), chain);
    }
    match group {
        Some((last, seq)) => Err(format!("I2: node {node} ends at {seq} within the group of {last}")),
        None => Ok(()),
    }
}
