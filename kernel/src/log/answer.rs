//! Answering a peer's fetch from the durable log: pure reads, no waiting.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Duration;

use bytes::Bytes;

use super::LogHead;
use super::view::{LogView, stored_dot};
use crate::clock::MAX_CLOCK_ENTRIES;
use crate::codec::EventView;
use crate::cursor::{Cursor, Seq};
use crate::event::EventBytes;
use crate::ids::{CortexId, Epoch, EventId, Origin};
use crate::protocol::{
    ChainHead, DIRECT_GRACE, Delivery, EventBatch, FetchReply, FetchRequest, Heads, Known, MAX_BATCH_BYTES,
    MAX_BATCH_EVENTS, MAX_RUN_BYTES, PROTOCOL_MAX, PROTOCOL_MIN, Refresh, Refusal, RequestId,
};
use crate::store::StoreError;
use crate::time::Timestamp;

/// The most entries that one batch makes us look at, sent or skipped.
const MAX_SCAN: u64 = 65_536;

/// A question that is open: what the asker holds by now, and how far it was answered.
#[derive(Debug)]
pub struct Asking {
    request: RequestId,
    from: CortexId,
    epoch: Epoch,
    max_events: usize,
    max_bytes: u64,
    known: BTreeMap<Origin, ChainHead>,
    direct: Vec<CortexId>,
    /// The asker's cursor once it has applied what it was sent.
    prev: Cursor,
    /// How far the log was looked at; beyond `prev` where the asker knew what stood there.
    at: (Cursor, Timestamp),
    /// Of origins that the asker holds more of: where our own chain ended when we last said so.
    told: BTreeMap<Origin, u64>,
}

impl Asking {
    /// What the asker durably holds changed, and whom it pulls itself. Counters never go back.
    ///
    /// # Errors
    /// [`Refusal::Malformed`] beyond the bound of a clock.
    pub fn refresh(&mut self, refresh: &Refresh) -> Result<(), Refusal> {
        for (origin, head) in refresh.known.iter() {
            if self.known.get(&origin).is_none_or(|held| held.counter < head.counter) {
                self.known.insert(origin, head);
            }
        }
        self.direct.clone_from(&refresh.direct);
        if self.known.len() > MAX_CLOCK_ENTRIES {
            return Err(Refusal::Malformed);
        }
        Ok(())
    }

    /// The batch goes out: the next one begins where it ends.
    pub const fn sent(&mut self, batch: &EventBatch) {
        self.prev = batch.last;
    }

    fn counter(&self, origin: Origin) -> u64 {
        self.known.get(&origin).map_or(0, |head| head.counter)
    }

    /// How much longer to hold an event back because it comes to the asker by a shorter road; `None` to send it.
    fn held(&self, origin: Origin, own: CortexId, joined: Timestamp, now: Option<Timestamp>) -> Option<Duration> {
        let author = origin.cortex();
        let shorter = author != own && (author == self.from || self.direct.contains(&author));
        let now = now.filter(|_| shorter)?;
        // A wall clock that was set back must not hold anything back for longer than the grace.
        if now < joined {
            None
        } else {
            DIRECT_GRACE.checked_sub(now.saturating_since(joined)).filter(|d| !d.is_zero())
        }
    }
}

/// The next batch of an open question.
#[derive(Debug)]
pub struct Found {
    /// It, perhaps without events.
    pub batch: EventBatch,
    /// How long what follows is held back, where that is why the batch ends.
    pub held: Option<Duration>,
}

impl LogView {
    /// Answers a request at once with one batch, holding nothing back. Speaks of durable entries only.
    ///
    /// # Errors
    /// [`StoreError`]: damage is an error, never a shorter answer.
    pub fn answer(&self, request: &FetchRequest) -> Result<FetchReply, StoreError> {
        match self.ask(request)? {
            Ok(mut asking) => Ok(FetchReply::Batch(self.next_batch(&mut asking, None)?.batch)),
            Err(refusal) => Ok(FetchReply::Refused(refusal)),
        }
    }

    /// Opens a question: who asks whom, whether the cursor is one of ours, and whether both hold one history.
    ///
    /// # Errors
    /// [`StoreError`]; a refusal is an answer.
    pub fn ask(&self, request: &FetchRequest) -> Result<Result<Asking, Refusal>, StoreError> {
        refused(self.try_ask(request))
    }

    fn try_ask(&self, request: &FetchRequest) -> Result<Asking, Failure> {
        let local = self.local();
        if request.to != local.cortex_id {
            return Err(Refusal::WrongCortex { actual: local.cortex_id }.into());
        }
        if !(PROTOCOL_MIN..=PROTOCOL_MAX).contains(&request.protocol) {
            return Err(Refusal::Protocol { min: PROTOCOL_MIN, max: PROTOCOL_MAX }.into());
        }
        let Known::Full(known) = &request.known else { return Err(Refusal::KnownMissing.into()) };
        let (head, chains) = self.moment();
        self.compare(known, &chains)?;
        let start = self.start(known, &chains, head.seq)?;
        let prev = self.begin(request.after.as_ref(), start, &local.epoch)?;
        let at = self.cursor_at(prev.seq.max(start), &local.epoch)?;
        let run = if request.delivery == Delivery::Once { MAX_BATCH_BYTES } else { MAX_RUN_BYTES };
        Ok(Asking {
            request: request.request,
            from: request.from,
            epoch: local.epoch,
            max_events: request.max_events.clamp(1, MAX_BATCH_EVENTS) as usize,
            max_bytes: request.max_bytes.min(run),
            known: known.iter().collect(),
            direct: request.direct.clone(),
            prev,
            at,
            told: BTreeMap::new(),
        })
    }

    /// One moment for a whole answer: entries up to this head never change any more.
    fn moment(&self) -> (LogHead, Heads) {
        let durable = self.durable();
        (durable.head, Heads::new(durable.chains.iter().map(|(&o, &h)| (o, h)).collect()))
    }

    /// Compares what the asker says it holds by now with our chains.
    ///
    /// # Errors
    /// [`StoreError`]; a refusal is an answer.
    pub fn compare_refreshed(&self, known: &Heads) -> Result<Result<(), Refusal>, StoreError> {
        refused(self.compare(known, &self.moment().1))
    }

    /// The next batch of an open question: what is durable by now. With `now`, events that come to the asker by a shorter
    /// road are held back for their grace. The batch begins where the last one that was [`Asking::sent`] ends.
    ///
    /// # Errors
    /// [`StoreError`]: damage is an error, never a shorter answer.
    pub fn next_batch(&self, asking: &mut Asking, now: Option<Timestamp>) -> Result<Found, StoreError> {
        let own = self.local().cortex_id;
        let (head, chains) = self.moment();
        let from = asking.at.0.seq;
        let mut run = Run::new(asking, own, now);
        self.scan(from, head.seq.min(Seq::new(from.get() + MAX_SCAN)), &mut |seq, joined, record| {
            run.visit(seq, joined, record)
        })?;
        let Run { events, sent, last, damaged, held, .. } = run;
        if let Some(seq) = damaged {
            return Err(StoreError::corrupt(format!("family `log`: the record at place {seq} does not decode")));
        }
        let epoch = asking.epoch;
        if let Some(place) = last {
            asking.at = (Cursor { epoch, seq: place.seq, last_event: place.id }, place.time);
        }
        let heads = self.heads_for(&sent, asking, &chains)?;
        Ok(Found {
            batch: EventBatch {
                request: asking.request,
                from: own,
                prev: asking.prev,
                last: asking.at.0,
                last_time: asking.at.1,
                head: Cursor { epoch, seq: head.seq, last_event: head.last_event },
                head_time: head.time,
                heads,
                events,
            },
            held,
        })
    }

    /// Compares the asker's chains with ours at the asker's counters, wherever we hold them.
    fn compare(&self, known: &Heads, chains: &Heads) -> Result<(), Failure> {
        for (origin, theirs) in known.iter() {
            let ours = match chains.get(origin) {
                Some(tip) if tip.counter == theirs.counter => Some(tip.digest),
                Some(tip) if tip.counter > theirs.counter => {
                    let dot = stored_dot(&**self.store(), origin, theirs.counter)?;
                    Some(dot.ok_or_else(|| missing(origin, theirs.counter))?.digest)
                }
                _ => None,
            };
            if let Some(digest) = ours.filter(|&digest| digest != theirs.digest) {
                return Err(Refusal::Fork { origin, counter: theirs.counter, digest }.into());
            }
        }
        Ok(())
    }

    /// The place before which the asker lacks nothing: one before the first event that it does not know.
    fn start(&self, known: &Heads, chains: &Heads, head: Seq) -> Result<Seq, Failure> {
        let mut start = head;
        for (origin, tip) in chains.iter() {
            let next = known.counter(origin) + 1;
            if next <= tip.counter {
                let dot = stored_dot(&**self.store(), origin, next)?.ok_or_else(|| missing(origin, next))?;
                start = start.min(dot.seq.prev());
            }
        }
        Ok(start)
    }

    /// Where the answer begins: at the asker's cursor if that is one of ours and nothing is missing before it.
    fn begin(&self, after: Option<&Cursor>, start: Seq, epoch: &crate::ids::Epoch) -> Result<Cursor, Failure> {
        let Some(after) = after else { return Ok(self.cursor_at(start, epoch)?.0) };
        if after.epoch != *epoch || after.seq > start || self.cursor_at(after.seq, epoch)?.0 != *after {
            return Err(Refusal::CursorUnknown.into());
        }
        Ok(*after)
    }

    fn cursor_at(&self, seq: Seq, epoch: &crate::ids::Epoch) -> Result<(Cursor, Timestamp), StoreError> {
        if seq == Seq::ZERO {
            return Ok((Cursor::start(*epoch), Timestamp::from_micros(0)));
        }
        let entry =
            self.entry(seq)?.ok_or_else(|| StoreError::corrupt(format!("family `log`: place {seq} is missing")))?;
        let (last_event, _) = EventView::decode_dot(&entry.record)
            .map_err(|e| StoreError::corrupt(format!("family `log`: the record at place {seq}: {e}")))?;
        Ok((Cursor { epoch: *epoch, seq, last_event }, entry.joined))
    }

    /// The chain heads that the asker can compare: of what is sent, as of the last event sent, and of what it holds more
    /// of than we do, whenever ours moved. All others were compared here. What is sent counts as known from now on.
    fn heads_for(&self, sent: &[(Origin, u64)], asking: &mut Asking, chains: &Heads) -> Result<Heads, StoreError> {
        let mut heads = Vec::with_capacity(sent.len());
        for &(origin, counter) in sent {
            let dot = stored_dot(&**self.store(), origin, counter)?.ok_or_else(|| missing(origin, counter))?;
            let head = ChainHead { counter, digest: dot.digest };
            asking.known.insert(origin, head);
            heads.push((origin, head));
        }
        for (origin, tip) in chains.iter() {
            let more = asking.counter(origin) > tip.counter;
            if more && asking.told.insert(origin, tip.counter) != Some(tip.counter) {
                heads.push((origin, tip));
            }
        }
        Ok(Heads::new(heads))
    }
}

fn refused<T>(result: Result<T, Failure>) -> Result<Result<T, Refusal>, StoreError> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(Failure::Refused(refusal)) => Ok(Err(refusal)),
        Err(Failure::Store(error)) => Err(error),
    }
}

fn missing(origin: Origin, counter: u64) -> StoreError {
    StoreError::corrupt(format!("family `dots`: {origin}:{counter} is missing"))
}

enum Failure {
    Refused(Refusal),
    Store(StoreError),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// The entries of one batch as they are gathered.
struct Run<'a> {
    asking: &'a Asking,
    own: CortexId,
    now: Option<Timestamp>,
    bytes: u64,
    events: Vec<(Seq, EventBytes)>,
    /// The last counter sent of each origin, sorted.
    sent: Vec<(Origin, u64)>,
    /// The last entry visited, sent or skipped.
    last: Option<Place>,
    damaged: Option<Seq>,
    held: Option<Duration>,
}

#[derive(Clone, Copy)]
struct Place {
    seq: Seq,
    id: EventId,
    time: Timestamp,
}

impl<'a> Run<'a> {
    const fn new(asking: &'a Asking, own: CortexId, now: Option<Timestamp>) -> Self {
        Self { asking, own, now, bytes: 0, events: Vec::new(), sent: Vec::new(), last: None, damaged: None, held: None }
    }

    fn visit(&mut self, seq: Seq, joined: Timestamp, record: &[u8]) -> ControlFlow<()> {
        let Ok((id, dot)) = EventView::decode_dot(record) else {
            self.damaged = Some(seq);
            return ControlFlow::Break(());
        };
        if dot.counter() > self.asking.counter(dot.origin()) {
            self.held = self.asking.held(dot.origin(), self.own, joined, self.now);
            let bytes = self.bytes + record.len() as u64;
            // One event larger than the limit travels alone.
            let full =
                self.events.len() >= self.asking.max_events || bytes > self.asking.max_bytes && !self.events.is_empty();
            if full || self.held.is_some() {
                return ControlFlow::Break(());
            }
            self.bytes = bytes;
            self.events.push((seq, Bytes::copy_from_slice(record)));
            match self.sent.binary_search_by_key(&dot.origin(), |s| s.0) {
                Ok(at) => self.sent[at].1 = dot.counter(),
                Err(at) => self.sent.insert(at, (dot.origin(), dot.counter())),
            }
        }
        self.last = Some(Place { seq, id, time: joined });
        ControlFlow::Continue(())
    }
}
