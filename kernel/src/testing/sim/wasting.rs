//! A peer that wastes its askers' time, in some runs: well-formed answers without an end that lead nowhere.

use super::entropy::Entropy;
use super::node::cortex_id;
use super::world::World;
use crate::codec::EventRef;
use crate::codec::Room;
use crate::cursor::{Cursor, Seq};
use crate::digest::Digest;
use crate::log::SentQuery;
use crate::protocol::{ChainHead, EventBatch, FetchReply, Heads, Refusal, Scope};
use crate::testing::LOG;

/// How.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waste {
    /// Each cursor is unknown, and what is asked without one is answered well.
    UnknownCursors,
    /// The first event of its log comes again and again, each time with a cursor that moves.
    KnownEvents,
    /// Each question that lists a fork is refused for that fork.
    ListedForks,
}

impl Waste {
    pub(super) fn drawn(entropy: &mut Entropy) -> Option<Self> {
        match entropy.below(6) {
            0 => Some(Self::UnknownCursors),
            1 => Some(Self::KnownEvents),
            2 => Some(Self::ListedForks),
            _ => None,
        }
    }
}

impl World {
    /// What it says instead of `reply`, if it wastes this one.
    pub(super) fn waste(&mut self, node: usize, asked: &SentQuery, reply: &FetchReply) -> Option<FetchReply> {
        let waste = self.byzantine.waste?;
        if waste == Waste::ListedForks {
            let (origin, head) = asked.withhold.iter().next()?;
            self.byzantine.lies += 1;
            let digest = Digest::of(b"a lie");
            return Some(FetchReply::refused(Refusal::Fork { origin, counter: head.counter, digest }));
        }
        let after = asked.after.filter(|_| asked.scope == Scope::All)?;
        let (prev, part) = match reply {
            FetchReply::Batch(batch) if batch.events.is_empty() => (batch.prev, batch.part),
            FetchReply::Refused { refusal: Refusal::CursorUnknown, .. } => (after, 0),
            _ => return None,
        };
        self.byzantine.lies += 1;
        if waste == Waste::UnknownCursors {
            return Some(FetchReply::refused(Refusal::CursorUnknown));
        }
        let (from, now) = (cortex_id(self.nodes[node].cortex), self.clock(node).wall);
        let view = self.process(node)?.log.reader();
        let entry = view.entries(Seq::ZERO, 1, 1 << 20).ok()?.into_iter().next()?;
        let (id, dot) = EventRef::decode_dot(&entry.record).ok()?;
        let digest = view.chain_digest(dot.origin(), dot.counter()).ok()??;
        let (origin, counter) = (dot.origin(), dot.counter());
        let inceptions = vec![(origin, view.inception(origin).ok()??)];
        let seals = view.seals(&[(origin, counter)]).unwrap_or_default();
        let last = Cursor { epoch: prev.epoch, seq: prev.seq.next(), last_event: id };
        Some(FetchReply::Batch(EventBatch {
            request: asked.request,
            part,
            log: Some(LOG),
            room: Room::default(),
            from,
            prev,
            last,
            last_time: now,
            head: last,
            head_time: now,
            events: vec![(last.seq, entry.record)],
            heads: Heads::new(vec![(origin, ChainHead { counter, digest })]),
            inceptions,
            seals,
            clocks: Vec::new(),
            own: None,
        }))
    }
}
