//! What the invariants saw of one process's log, so that each step costs what is new in it and not the whole of it.

use std::collections::BTreeMap;

use crate::cursor::{Cursor, Seq};
use crate::ids::Origin;
use crate::log::Generation;
use crate::protocol::ChainHead;

/// The log by sequence number, and how far each check came. Whatever takes events out of the log calls [`Seen::forget`].
#[derive(Default)]
pub(super) struct Seen {
    /// Tells two readings of the log from each other.
    pub(super) reading: u64,
    contents: Vec<u32>,
    /// By content: whether it is there.
    held: Vec<bool>,
    /// By sequence number: the origin of the event there, and its chain as of it, recomputed from the records.
    chains: Vec<(Origin, ChainHead)>,
    /// The chains as of the last sequence number.
    pub(super) tips: BTreeMap<Origin, ChainHead>,
    /// So many sequence numbers were durable, and the chains as of the last of them.
    durable: usize,
    pub(super) durable_tips: BTreeMap<Origin, ChainHead>,
    /// So many of what was acknowledged were looked for.
    pub(super) safe: usize,
    /// The number of entries of which the writer was checked.
    pub(super) owned: usize,
    /// Up to here each event was applied as it must be.
    pub(super) applied: u64,
    /// Where readers of the replayer were, and of which reading of the store.
    pub(super) read_at: Option<(Generation, u64)>,
    /// For each peer, the cursor that was checked, and against which reading of whose log.
    pub(super) passed: BTreeMap<usize, (Cursor, (usize, u64, u64))>,
    /// How much had been written at the last thorough check.
    pub(super) checked: u64,
}

impl Seen {
    /// The log may be another now.
    pub(super) fn forget(&mut self) {
        *self = Self { reading: self.reading + 1, ..Self::default() };
    }

    /// The next sequence number holds this.
    pub(super) fn push(&mut self, content: u32, origin: Origin, chain: ChainHead) {
        let at = content as usize;
        if self.held.len() <= at {
            self.held.resize(at + 1, false);
        }
        self.held[at] = true;
        self.contents.push(content);
        self.chains.push((origin, chain));
        self.tips.insert(origin, chain);
    }

    pub(super) fn holds(&self, content: u32) -> bool {
        self.held.get(content as usize).copied().unwrap_or(false)
    }

    pub(super) fn len(&self) -> usize {
        self.contents.len()
    }

    pub(super) fn contents(&self) -> &[u32] {
        &self.contents
    }

    pub(super) fn chain(&self, place: usize) -> (Origin, ChainHead) {
        self.chains[place]
    }

    /// The contents up to a sequence number.
    pub(super) fn until(&self, seq: Seq) -> &[u32] {
        let end = usize::try_from(seq.get()).unwrap_or(usize::MAX).min(self.contents.len());
        &self.contents[..end]
    }

    /// More became durable: the sequence numbers that did, or `None` where fewer are than were.
    pub(super) fn endure(&mut self, seq: Seq) -> Option<std::ops::Range<usize>> {
        let end = usize::try_from(seq.get()).unwrap_or(usize::MAX).min(self.contents.len());
        let new = self.durable..end;
        if end < self.durable {
            return None;
        }
        self.durable_tips.extend(self.chains[new.clone()].iter().copied());
        self.durable = end;
        Some(new)
    }
}
