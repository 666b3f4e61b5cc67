//! A peer that lies: holes, other orders, forged cursors and heads, claims without proof, old answers told again.

use super::chance::Chance;
use crate::cursor::Seq;
use crate::digest::Digest;
use crate::ids::{CortexId, Epoch, Origin};
use crate::protocol::{ChainHead, EventBatch, FetchReply, Heads, Refusal};

/// Which node lies, if any, and what it said before.
#[derive(Default)]
pub(super) struct Byzantine {
    node: Option<usize>,
    said: Vec<FetchReply>,
    pub(super) lies: u64,
}

impl Byzantine {
    /// In every third run the last node lies.
    pub(super) fn new(nodes: usize, chance: &mut Chance) -> Self {
        let node = (nodes > 2 && chance.one_in(3)).then_some(nodes - 1);
        Self { node, ..Self::default() }
    }

    pub(super) fn is(&self, node: usize) -> bool {
        self.node == Some(node)
    }

    pub(super) fn is_cortex(&self, cortex: CortexId) -> bool {
        self.node.is_some_and(|node| super::node::cortex_id(node) == cortex)
    }

    /// It repents.
    pub(super) fn stop(&mut self) {
        self.node = None;
    }

    pub(super) fn twist(&mut self, reply: FetchReply, chance: &mut Chance) -> Vec<FetchReply> {
        let old = chance.index(self.said.len() + 1);
        let repeated = self.said.get(old).cloned();
        if self.said.len() < 20 {
            self.said.push(reply.clone());
        }
        if !chance.one_in(3) {
            return vec![reply];
        }
        self.lies += 1;
        let FetchReply::Batch(batch) = reply else { return vec![reply] };
        match (chance.below(4), repeated) {
            (0, Some(repeated)) => vec![repeated, FetchReply::Batch(batch)],
            (1, _) => {
                let (origin, counter) = batch
                    .heads
                    .iter()
                    .next()
                    .map_or((Origin::new(batch.from, Epoch::new(1)), 1), |(origin, head)| (origin, head.counter));
                vec![FetchReply::Refused(Refusal::Fork { origin, counter, digest: Digest::of(b"a lie") })]
            }
            _ => vec![FetchReply::Batch(lie(batch, chance))],
        }
    }
}

fn lie(mut batch: EventBatch, chance: &mut Chance) -> EventBatch {
    match chance.below(9) {
        0 if !batch.events.is_empty() => {
            batch.events.remove(chance.index(batch.events.len()));
        }
        1 if batch.events.len() > 1 => {
            let (_, first) = batch.events[0].clone();
            batch.events[0].1 = std::mem::replace(&mut batch.events[1].1, first);
        }
        2 => batch.last.epoch = Epoch::new(chance.next()),
        3 => {
            for cursor in [&mut batch.prev, &mut batch.last, &mut batch.head] {
                cursor.epoch = Epoch::new(4711);
            }
        }
        4 => {
            let inflated = batch.heads.iter().map(|(origin, head)| {
                (origin, ChainHead { counter: head.counter + 1_000_000, digest: Digest::of(b"inflated") })
            });
            batch.heads = Heads::new(inflated.collect());
        }
        5 => batch.heads = Heads::default(),
        6 => {
            batch.last.seq = Seq::new(batch.last.seq.get() + 7);
            batch.head.seq = Seq::new(batch.head.seq.get() + 9);
        }
        7 => {
            if let Some((_, record)) = batch.events.first_mut() {
                let mut bytes = record.to_vec();
                let at = chance.index(bytes.len());
                bytes[at] ^= 1 << chance.below(8);
                *record = bytes.into();
            }
        }
        _ => batch.from = CortexId::from_bytes([0xee; 16]),
    }
    batch
}
