//! I15: a node takes another epoch when a peer shows it events of its current origin beyond its head. So a server shows the end of that
//! origin in its refusals and in its first batch. The node believes its own seal and nothing else.

use crate::ids::{Epoch, Origin};
use crate::log::LogState as _;
use crate::protocol::{FetchReply, FetchRequest, Heads, Known, OwnHead, Refusal, Scope};
use crate::testing::sim::byzantine::made_up_digest;
use crate::testing::sim::world::World;

/// What an asker says of its own current origin: which that is, and how far it holds it.
#[derive(Debug, Clone, Copy)]
pub(in crate::testing::sim) struct Own {
    origin: Origin,
    known: u64,
}

impl Own {
    /// `None` where the question is about other origins alone.
    pub(in crate::testing::sim) fn of(request: &FetchRequest) -> Option<Self> {
        let origin = Origin::new(request.from, request.epoch);
        let asked = match request.scope {
            Scope::All => true,
            Scope::Cortex(cortex) => cortex == request.from,
            Scope::Origin(_) => false,
        };
        let Known::Full(known) = &request.known else { return None };
        asked.then(|| Self { origin, known: known.counter(origin) })
    }

    /// The asker holds more by now.
    pub(in crate::testing::sim) fn refresh(&mut self, known: &Heads) {
        self.known = self.known.max(known.counter(self.origin));
    }
}

/// A node answers a question for the first time, or refuses it.
pub(in crate::testing::sim) fn shows_lost(
    world: &World,
    node: usize,
    own: Option<Own>,
    reply: &FetchReply,
) -> Result<(), String> {
    let (Some(Own { origin, known }), Some(process)) = (own, &world.nodes[node].process) else { return Ok(()) };
    let held = process.log.reader().heads().counter(origin);
    let sent = match reply {
        FetchReply::Refused { refusal: Refusal::CursorUnknown | Refusal::Fork { .. }, .. } => 0,
        FetchReply::Refused { .. } => return Ok(()),
        FetchReply::Batch(batch) => batch.heads.counter(origin),
    };
    let shown = reply.own().filter(|own| own.origin == origin).map_or(0, |own| own.counter);
    if held > known.max(sent).max(shown) {
        return Err(format!(
            "I15: node {node} holds {origin}:{held}, and its owner, which holds {known}, was not shown that"
        ));
    }
    Ok(())
}

/// A node took note of such a head. Its epoch was this one before.
pub(in crate::testing::sim) fn noted_lost(
    world: &mut World,
    node: usize,
    head: &OwnHead,
    before: Epoch,
) -> Result<(), String> {
    let Some(process) = world.process(node) else { return Ok(()) };
    // The epoch of the next append, which may be on its way to the disk.
    let origin = process.log.identity().origin();
    // So does what follows on the head: whether that is another history is found when digests are compared.
    let held = process.log.chain(head.origin).map_or(0, |tip| tip.counter);
    // Peers bring a process to take one epoch, see I9.
    let may = process.by_peers == 0;
    let is = |dot: crate::ids::Dot| dot.origin() == head.origin && dot.counter() == head.counter;
    let was_written = head.digest != made_up_digest()
        && world.truth.contents.iter().any(|content| is(content.dot) && !content.forged);
    let of_it = format!("node {node} was shown {}:{} and holds {held} of it", head.origin, head.counter);
    if was_written && may && origin == head.origin && held < head.counter {
        return Err(format!("I15: {of_it}, and keeps that epoch"));
    }
    if !was_written && origin.epoch() != before {
        return Err(format!("I15: {of_it}, which was never written, and takes another epoch"));
    }
    Ok(())
}
