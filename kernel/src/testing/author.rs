//! Events as another cortex writes them, without a log of its own: for what tests give to a log as a peer's answer.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{LOG, seeded_keys};
use crate::clock::VClock;
use crate::codec::{EncodedDraft, Front, RecordRef, Room, StoredChain, encode_record};
use crate::cursor::{Cursor, Seq};
use crate::event::{Draft, EventBytes};
use crate::identity::{ChainStart, ClockHash, Inception, Signature, Signer};
use crate::ids::{CortexId, Dot, Epoch, EventId, LogId, Origin, PeerName};
use crate::log::{ForkFinding, LogReader};
use crate::protocol::{ChainHead, EventBatch, Heads, RequestId};
use crate::time::Timestamp;

/// Writes one origin.
#[derive(Clone)]
pub struct Author {
    keys: Arc<dyn Signer>,
    origin: Origin,
    inception: EventBytes,
    chain: StoredChain,
}

/// An event that an [`Author`] wrote, a group of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// What it is.
    pub dot: Dot,
    /// Its record.
    pub record: EventBytes,
    /// Its chain's digest there.
    pub head: ChainHead,
    /// The seal of its group.
    pub seal: Signature,
    /// The hash of its full clock, which the seal covers.
    pub clock: ClockHash,
    /// How its origin begins.
    pub inception: EventBytes,
}

impl Author {
    /// The author of an epoch of cortex `number`, whose keys are [`seeded_keys`], in the log [`LOG`].
    #[must_use]
    pub fn new(number: u8, epoch: u64) -> Self {
        Self::with_keys(seeded_keys(number), Epoch::new(epoch), LOG)
    }

    /// The author of an epoch of the cortex with these keys.
    #[must_use]
    pub fn with_keys(keys: Arc<dyn Signer>, epoch: Epoch, log: LogId) -> Self {
        let inception = Inception::new(log, epoch, keys.statement(), None, 0);
        let (origin, chain) = (inception.origin(), StoredChain::of(inception.start()));
        Self { keys, origin, inception: inception.to_bytes().into(), chain }
    }

    /// An author who continues an origin that a log holds, with these keys.
    ///
    /// # Panics
    /// If the log does not hold it, or cannot be read.
    #[must_use]
    pub fn after(log: &LogReader, origin: Origin, keys: Arc<dyn Signer>) -> Self {
        let inception = log.inception(origin).expect("the store can be read").expect("the origin is held");
        let mut author = Self { keys, origin, chain: StoredChain::of(ChainStart::verified(&inception)), inception };
        for entry in log.entries(Seq::ZERO, usize::MAX, usize::MAX).expect("the store can be read") {
            let record = entry.read().expect("it is a record");
            if record.dot.origin() == origin {
                author.step(&record);
            }
        }
        author
    }

    /// The same author, where its chain has come to this.
    #[cfg(test)]
    pub(crate) fn at(self, chain: StoredChain) -> Self {
        Self { chain, ..self }
    }

    /// Its chain as far as it wrote.
    #[cfg(test)]
    pub(crate) const fn chain(&self) -> &StoredChain {
        &self.chain
    }

    /// The origin that it writes.
    #[must_use]
    pub const fn origin(&self) -> Origin {
        self.origin
    }

    /// What its chain begins with.
    #[must_use]
    pub const fn start(&self) -> ChainStart {
        self.chain.start
    }

    /// Writes the next event.
    ///
    /// # Panics
    /// If the counter or the clock is beyond its bound.
    pub fn write(&mut self, id: EventId, draft: &Draft, deps: &VClock, time: Timestamp) -> Written {
        let dot = Dot::new(self.origin, self.chain.counter + 1).expect("the counter is in range");
        let record = encode_record(draft, &EncodedDraft { id, dot, deps, time });
        self.seal(record)
    }

    /// Seals a record as the next event.
    ///
    /// # Panics
    /// If it is no record, or its clock is beyond the bound.
    pub fn seal(&mut self, record: EventBytes) -> Written {
        let read = RecordRef::decode(&record).expect("it is a record");
        self.step(&read);
        let (dot, head) = (read.dot, ChainHead { counter: self.chain.counter, digest: self.chain.digest });
        let sealed = self.chain.sealed(self.origin);
        Written { dot, record, head, seal: self.seal_here(), clock: sealed.clock, inception: self.inception.clone() }
    }

    fn step(&mut self, record: &RecordRef<'_>) {
        let chain = &mut self.chain;
        chain.clock.merge(&record.deps).expect("the clock is within its bound");
        chain.advance(record, record.digest_after(chain.digest));
    }

    fn seal_here(&self) -> Signature {
        self.chain.sealed(self.origin).sign(&*self.keys).expect("the key is in memory")
    }
}

impl Written {
    /// What a peer shows to prove that it holds this event in place of another one.
    #[must_use]
    pub fn as_fork(&self, peer: PeerName, holder: CortexId) -> ForkFinding {
        ForkFinding {
            peer,
            holder,
            origin: self.dot.origin(),
            from: self.dot.counter(),
            inception: Some(self.inception.clone()),
            records: vec![self.record.clone()],
            seals: vec![(self.seal, self.clock)],
        }
    }
}

/// The answer that brings these events after a cursor into the sender's log.
///
/// # Panics
/// Never: sequence numbers are in range.
#[must_use]
pub fn answer_of(written: &[Written], request: RequestId, from: CortexId, prev: Cursor) -> EventBatch {
    let seq = Seq::new(prev.seq.get() + written.len() as u64);
    let id = |written: &Written| RecordRef::decode(&written.record).map_or(prev.last_event, |record| record.id);
    let last = Cursor { seq, last_event: written.last().map_or(prev.last_event, id), ..prev };
    let mut inceptions: Vec<_> = written
        .iter()
        .filter(|one| one.dot.counter() == 1)
        .map(|one| (one.dot.origin(), one.inception.clone()))
        .collect();
    inceptions.sort();
    // The last head of each origin.
    let heads: BTreeMap<_, _> = written.iter().map(|one| (one.dot.origin(), one.head)).collect();
    EventBatch {
        request,
        part: 0,
        from,
        log: Some(LOG),
        prev,
        last,
        last_time: Timestamp::from_micros(0),
        head: last,
        head_time: Timestamp::from_micros(0),
        events: (prev.seq.get() + 1..).map(Seq::new).zip(written.iter().map(|one| one.record.clone())).collect(),
        heads: Heads::new(heads.into_iter().collect()),
        inceptions,
        seals: written.iter().map(|one| one.seal).collect(),
        clocks: Vec::new(),
        own: None,
        room: Room::default(),
    }
}

/// Puts other records into an answer that brings one origin from its first event on, and chains and seals them with these keys.
///
/// # Panics
/// If the answer does not begin an origin, or has no valid record.
pub fn rewrite(batch: &mut EventBatch, keys: Arc<dyn Signer>, change: impl Fn(&EventBytes) -> EventBytes) {
    let (origin, inception) = batch.inceptions.first().expect("the answer begins an origin").clone();
    let mut author = Author { keys, origin, chain: StoredChain::of(ChainStart::verified(&inception)), inception };
    batch.seals.clear();
    for (_, record) in &mut batch.events {
        *record = change(record);
        let written = author.seal(record.clone());
        if RecordRef::decode(record).is_ok_and(|record| record.ends_group) {
            batch.seals.push(written.seal);
        }
        batch.heads = Heads::new(vec![(origin, written.head)]);
    }
}

/// Takes from an answer what is of other origins than these.
pub fn retain(batch: &mut EventBatch, keep: impl Fn(Origin) -> bool) {
    let mut seals = std::mem::take(&mut batch.seals).into_iter();
    let front = |record: &EventBytes| Front::decode(record).ok();
    batch.events.retain(|(_, record)| {
        let front = front(record);
        let kept = front.is_some_and(|front| keep(front.dot.origin()));
        let seal = front.filter(|front| front.ends_group).and_then(|_| seals.next());
        batch.seals.extend(seal.filter(|_| kept));
        kept
    });
    batch.inceptions.retain(|(origin, _)| keep(*origin));
    batch.heads = Heads::new(batch.heads.iter().filter(|(origin, _)| keep(*origin)).collect());
}
