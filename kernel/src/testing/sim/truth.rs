//! What really happened, as no cortex can know it: which contents were written, by whom, after what, and to whom it was
//! said that they are safe.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::rc::Rc;

use crate::codec::RecordRef;
use crate::digest::Digest;
use crate::ids::{CortexId, Dot, Origin};
use crate::protocol::ChainHead;

/// A set of contents.
pub(super) type Past = Rc<BTreeSet<u32>>;

/// One thing that was written, once.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) dot: Dot,
    /// Everything that its writer had seen: what must be there before it, wherever it is.
    pub(super) past: Past,
    /// Whether a liar made it up, in its own name or in another's.
    pub(super) forged: bool,
}

#[derive(Debug, Default)]
pub(super) struct Truth {
    pub(super) contents: Vec<Content>,
    by_record: BTreeMap<Digest, u32>,
    dots: BTreeMap<Dot, u32>,
    /// Cortexes of which a copy ran that could not know it was one: for them alone a dot may name two contents.
    pub(super) excused: BTreeSet<CortexId>,
    /// Whose events a liar may tell in two ways, also by passing over that its own log went back.
    pub(super) liar: Option<CortexId>,
    /// The cortexes of which the Byzantine peer has the keys.
    pub(super) byzantine_keys: BTreeSet<CortexId>,
    /// Which cortexes durably held which chains up to where, at any time.
    pub(super) held: HashSet<(CortexId, Origin, u64, Digest)>,
    /// What a liar brought to which node.
    brought: BTreeSet<(usize, u32)>,
    /// What a liar put upon another cause than its own.
    spliced: BTreeSet<u32>,
}

impl Truth {
    /// A content was written. What a crash takes before it was durable was never served, and its dot is free again.
    pub(super) fn write(&mut self, record: &[u8], dot: Dot, past: Past) -> u32 {
        self.add(record, Content { dot, past, forged: false })
    }

    /// A liar makes a record up, or the same one again.
    pub(super) fn forge(&mut self, record: &[u8], dot: Dot, past: Past) -> u32 {
        self.content(record).unwrap_or_else(|| self.add(record, Content { dot, past, forged: true }))
    }

    fn add(&mut self, record: &[u8], content: Content) -> u32 {
        let id = u32::try_from(self.contents.len()).unwrap_or(u32::MAX);
        self.by_record.insert(identity(record), id);
        self.contents.push(content);
        id
    }

    /// I7: a content is durable where it was written. `Err` names the other content of the same dot that was, too, where
    /// that is not excused.
    pub(super) fn durable(&mut self, content: u32) -> Result<(), String> {
        let dot = self.contents[content as usize].dot;
        let other = *self.dots.entry(dot).or_insert(content);
        if other != content && !self.excused.contains(&dot.origin().cortex()) {
            return Err(format!("I7: {dot} names two events: contents {other} and {content}"));
        }
        Ok(())
    }

    /// A cortex durably holds a chain up to here.
    pub(super) fn holds(&mut self, cortex: CortexId, origin: Origin, head: ChainHead) {
        self.held.insert((cortex, origin, head.counter, head.digest));
    }

    /// A liar sends this to a node.
    pub(super) fn bring(&mut self, node: usize, record: &[u8]) {
        self.brought.extend(self.content(record).map(|content| (node, content)));
    }

    /// Whether an event may stand at a node without a cause of its own: where the node holds another version of that, a
    /// liar made up one of the two, and it was the liar who brought the event, here or to whoever passed it on. A causal
    /// delta names counters, so nobody can tell before the two versions meet. Honest nodes never do this to one another.
    pub(super) fn excuses(&mut self, node: usize, content: u32, missing: u32, held: &[u32]) -> bool {
        let cause = &self.contents[missing as usize];
        let other = held.iter().map(|one| &self.contents[*one as usize]).find(|one| one.dot == cause.dot);
        let liars_own = Some(cause.dot.origin().cortex()) == self.liar;
        let told_apart = other.is_some_and(|other| liars_own || other.forged || cause.forged);
        let made_up = self.contents[content as usize].forged;
        let liars = made_up || self.spliced.contains(&content) || self.brought.contains(&(node, content));
        if told_apart && liars {
            self.spliced.insert(content);
        }
        told_apart && liars
    }

    /// Which content a record is; `None` for what nobody wrote.
    pub(super) fn content(&self, record: &[u8]) -> Option<u32> {
        self.by_record.get(&identity(record)).copied()
    }
}

/// What a record is, whichever of its parts are there.
fn identity(record: &[u8]) -> Digest {
    RecordRef::decode(record).map_or_else(|_| Digest::of(record), |record| record.digest_after(Digest::ZERO))
}
