//! I6: a node sends nothing that a crash could still take back: no event, no sequence number, no chain head; neither in an
//! answer or a refusal, nor in a question or what refreshes it, nor in what a cortex says of itself.

use crate::codec::{SegmentRef, decode_run};
use crate::cursor::Cursor;
use crate::ids::Origin;
use crate::protocol::{ChainHead, FetchReply, Heads, Refusal};
use crate::store::{Family, keys};
use crate::testing::sim::world::World;

pub(super) fn served(world: &World, node: usize, reply: &FetchReply) -> Result<(), String> {
    match reply {
        FetchReply::Batch(batch) => {
            for (seq, _) in &batch.events {
                place(world, node, *seq)?;
            }
            cursor(world, node, batch.head)?;
            cursor(world, node, batch.last)?;
            heads(world, node, &batch.heads)
        }
        FetchReply::Refused { refusal: Refusal::Fork { origin, counter, digest }, .. } => {
            head(world, node, *origin, ChainHead { counter: *counter, digest: *digest })
        }
        FetchReply::Refused { .. } => Ok(()),
    }
}

/// Chain heads that a node tells, each as of some event of its chain.
pub(super) fn heads(world: &World, node: usize, heads: &Heads) -> Result<(), String> {
    heads.iter().try_for_each(|(origin, advertised)| head(world, node, origin, advertised))
}

/// A cursor into its own log.
pub(super) fn cursor(world: &World, node: usize, cursor: Cursor) -> Result<(), String> {
    if cursor.seq.get() == 0 { Ok(()) } else { place(world, node, cursor.seq) }
}

fn place(world: &World, node: usize, seq: crate::cursor::Seq) -> Result<(), String> {
    let segment = world.nodes[node].store.durable_floor(Family::Log, &[], &keys::log(seq));
    let holds = segment.is_some_and(|(first, value)| {
        let count = SegmentRef::decode(&value).map_or(0, |segment| segment.len() as u64);
        keys::seq_of_log(&first).is_some_and(|first| seq.get() - first.get() < count)
    });
    if holds { Ok(()) } else { Err(format!("I6: node {node} speaks of place {seq}, which is not durable")) }
}

fn head(world: &World, node: usize, origin: Origin, advertised: ChainHead) -> Result<(), String> {
    let ChainHead { counter, digest } = advertised;
    if counter == 0 {
        let holds = world.nodes[node].store.is_durable(Family::Dots, &keys::dot(origin, 1));
        return if holds { Err(format!("I6: node {node} denies that it holds {origin}")) } else { Ok(()) };
    }
    let (prefix, key) = (keys::dots_of(origin), keys::dot(origin, counter));
    let run = world.nodes[node].store.durable_floor(Family::Dots, &prefix, &key);
    let holds = run.is_some_and(|(first, value)| {
        let count = decode_run(&value).map_or(0, |run| u64::from(run.count));
        keys::dot_of(&first).is_some_and(|(_, first)| counter - first < count)
    });
    if !holds {
        return Err(format!("I6: node {node} tells a head {origin}:{counter}, which is not durable"));
    }
    let Some(process) = &world.nodes[node].process else { return Ok(()) };
    match process.log.reader().chain_digest(origin, counter) {
        Ok(Some(held)) if held == digest => Ok(()),
        held => Err(format!("I6: node {node} tells {digest} of {origin}:{counter}, and holds {held:?}")),
    }
}
