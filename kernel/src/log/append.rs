//! Appending: what an application says becomes an event.

use super::core::Log;
use super::epoch::EpochEnd;
use super::refusing::admit;
use crate::clock::{ClockError, MAX_CLOCK_ENTRIES, VClock};
use crate::codec::{EncodedDraft, EventView, StoredChain, encode_record};
use crate::cursor::{Cursor, Seq};
use crate::event::{Draft, InvalidDraft, MAX_EVENT_BYTES};
use crate::ids::{Dot, EventId, GeneratorError, IdGenerator, Origin};
use crate::mutant::{self, Mutant};
use crate::store::StoreError;
use crate::time::Timestamp;

/// What an appended event got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Its place in this log.
    pub seq: Seq,
    /// Its id.
    pub id: EventId,
    /// Its dot.
    pub dot: Dot,
}

impl Appended {
    /// The cursor at the event: a reader that has it continues with the next one.
    #[must_use]
    pub const fn cursor(&self) -> Cursor {
        Cursor { epoch: self.dot.origin().epoch(), seq: self.seq, last_event: self.id }
    }
}

/// Why nothing was appended. Of several drafts handed in together, none was.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// A draft that cannot become an event.
    #[error("draft {index}: {source}")]
    Draft {
        /// Which of those handed in, from 0.
        index: usize,
        /// What is wrong with it.
        source: InvalidDraft,
    },
    /// The context names what is not held here, so nobody could have seen it here.
    #[error("the context names {origin}:{counter}, which is not held here")]
    ContextAhead {
        /// The origin.
        origin: Origin,
        /// The counter.
        counter: u64,
    },
    /// The event's clock would be larger than the protocol allows.
    #[error("the event's clock would exceed its bound: {0}")]
    Clock(#[from] ClockError),
    /// No id could be made.
    #[error(transparent)]
    Id(#[from] GeneratorError),
    /// The log is closed.
    #[error("the log is closed")]
    Closed,
    /// The store failed before anything was written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store failed while it wrote: the events are wholly there or not at all, and it is not known which.
    #[error("{0}; {InDoubt}")]
    InDoubt(StoreError),
}

/// It is not known whether what was appended is in the log. These words are the same wherever that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the event may be in the log all the same: look with `antiphon log` before you append it again")]
pub struct InDoubt;

impl Log {
    /// Turns drafts into events of this cortex, in order, and stages them. Their causal clock is what `context` says the
    /// application saw, on top of this origin's own history.
    ///
    /// # Errors
    /// [`AppendError`]; then none of them is staged.
    pub fn append(&mut self, drafts: &[Draft], context: &VClock, now: Timestamp) -> Result<Vec<Appended>, AppendError> {
        self.usable()?;
        let next = self.next_epoch();
        let origin = next.map_or(self.identity.origin(), |epoch| Origin::new(self.identity.cortex_id, epoch));
        if let Some((origin, counter)) = context.iter().find(|&(o, c)| self.chains.get(&o).map_or(0, |t| t.counter) < c)
        {
            return Err(AppendError::ContextAhead { origin, counter });
        }
        admit(self.chains.contains_key(&origin), self.chains.len(), self.ids.last(), now)?;
        let mut chain = self.chains.get(&origin).cloned().unwrap_or_default();
        let mut arrived = context.clone();
        if mutant::is(Mutant::DepsFromIngest) {
            for (&origin, chain) in &self.chains {
                arrived.raise(origin, chain.counter)?;
            }
        }
        let context = if mutant::is(Mutant::DepsFromIngest) { &arrived } else { context };
        let mut ids = self.ids.clone();
        let mut deps = self.delta(&mut chain, &context.without(origin))?;
        let mut events = Vec::with_capacity(drafts.len());
        for (index, draft) in drafts.iter().enumerate() {
            let fault = |source| AppendError::Draft { index, source };
            draft.check().map_err(fault)?;
            let id = self.next_id(&mut ids, now)?;
            chain.counter += 1;
            let dot =
                Dot::new(origin, chain.counter).ok_or(ClockError::CounterOutOfRange { counter: chain.counter })?;
            let record = encode_record(draft, &EncodedDraft { id, dot, deps: &deps, time: now });
            let limit = self.options.max_append_bytes.min(MAX_EVENT_BYTES);
            if record.len() > limit {
                return Err(fault(InvalidDraft::TooLarge { bytes: record.len(), limit }));
            }
            // An event that could be acknowledged and not read again would end replay and serving here, and with each peer.
            EventView::decode(&record).map_err(|invalid| fault(invalid.into()))?;
            chain.digest = chain.digest.chain(&record);
            chain.last_id = id;
            events.push((id, dot, chain.digest, record));
            // Only the first of them learned something; the next ones follow from it.
            deps = VClock::new();
        }
        self.ids = ids;
        if let Some(next) = next.filter(|_| !events.is_empty()) {
            self.stage_epoch(next, EpochEnd::Copied, now)?;
        }
        let appended = events.into_iter().map(|(id, dot, digest, record)| {
            self.stage_event(id, dot, digest, &record, now);
            Appended { seq: self.head.seq, id, dot }
        });
        let appended: Vec<_> = appended.collect();
        if !appended.is_empty() {
            self.set_chain(origin, chain);
        }
        Ok(appended)
    }

    /// Merges what was seen into the chain's full clock and returns what that changed: the first event's causal delta.
    fn delta(&self, chain: &mut StoredChain, seen: &VClock) -> Result<VClock, ClockError> {
        let before = chain.clock.clone();
        chain.clock.merge_capped(seen, MAX_CLOCK_ENTRIES - 1)?;
        Ok(chain.clock.since(&before))
    }

    fn next_id(&mut self, ids: &mut IdGenerator, now: Timestamp) -> Result<EventId, GeneratorError> {
        ids.next(now.ulid_ms(), (self.options.entropy)())
    }
}
