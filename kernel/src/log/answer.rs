//! Answering a peer's fetch from the durable log: pure reads, no waiting.

use std::ops::ControlFlow;

use bytes::Bytes;

use super::view::{LogView, stored_dot};
use crate::codec::EventView;
use crate::cursor::{Cursor, Seq};
use crate::event::EventBytes;
use crate::ids::{EventId, Origin};
use crate::protocol::{
    ChainHead, EventBatch, FetchReply, FetchRequest, Heads, Known, MAX_BATCH_BYTES, MAX_BATCH_EVENTS, PROTOCOL_MAX,
    PROTOCOL_MIN, Refusal,
};
use crate::store::StoreError;
use crate::time::Timestamp;

/// The most entries that one request makes us look at, sent or skipped.
const MAX_SCAN: u64 = 65_536;

impl LogView {
    /// Answers a request at once. Speaks of durable entries only.
    ///
    /// # Errors
    /// [`StoreError`]: damage is an error, never a shorter answer.
    pub fn answer(&self, request: &FetchRequest) -> Result<FetchReply, StoreError> {
        match self.try_answer(request) {
            Ok(batch) => Ok(FetchReply::Batch(batch)),
            Err(Failure::Refused(refusal)) => Ok(FetchReply::Refused(refusal)),
            Err(Failure::Store(error)) => Err(error),
        }
    }

    fn try_answer(&self, request: &FetchRequest) -> Result<EventBatch, Failure> {
        let local = self.local();
        if request.to != local.cortex_id {
            return Err(Refusal::WrongCortex { actual: local.cortex_id }.into());
        }
        if !(PROTOCOL_MIN..=PROTOCOL_MAX).contains(&request.protocol) {
            return Err(Refusal::Protocol { min: PROTOCOL_MIN, max: PROTOCOL_MAX }.into());
        }
        let Known::Full(known) = &request.known else { return Err(Refusal::KnownMissing.into()) };
        // One moment for the whole answer: entries up to this head never change any more.
        let (head, chains) = {
            let durable = self.durable();
            (durable.head, Heads::new(durable.chains.iter().map(|(&o, &h)| (o, h)).collect()))
        };
        self.compare(known, &chains)?;
        let start = self.start(known, &chains, head.seq)?;
        let prev = self.begin(request.after.as_ref(), start, &local.epoch)?;
        let from = prev.seq.max(start);
        let mut run = Run::new(request, known);
        self.scan(from, head.seq.min(Seq::new(from.get() + MAX_SCAN)), &mut |seq, joined, record| {
            run.visit(seq, joined, record)
        })?;
        if let Some(seq) = run.damaged {
            return Err(StoreError::corrupt(format!("family `log`: the record at place {seq} does not decode")).into());
        }
        let (last, last_time) = match run.last {
            Some(place) => (Cursor { epoch: local.epoch, seq: place.seq, last_event: place.id }, place.time),
            None => self.cursor_at(from, &local.epoch)?,
        };
        Ok(EventBatch {
            request: request.request,
            from: local.cortex_id,
            prev,
            last,
            last_time,
            head: Cursor { epoch: local.epoch, seq: head.seq, last_event: head.last_event },
            head_time: head.time,
            heads: self.heads_for(&run.sent, known, &chains)?,
            events: run.events,
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
    /// of than we do. All others were compared here.
    fn heads_for(&self, sent: &[(Origin, u64)], known: &Heads, chains: &Heads) -> Result<Heads, Failure> {
        let mut heads = Vec::with_capacity(sent.len());
        for &(origin, counter) in sent {
            let dot = stored_dot(&**self.store(), origin, counter)?.ok_or_else(|| missing(origin, counter))?;
            heads.push((origin, ChainHead { counter, digest: dot.digest }));
        }
        heads.extend(chains.iter().filter(|(origin, tip)| known.counter(*origin) > tip.counter));
        Ok(Heads::new(heads))
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

/// The entries of one answer as they are gathered.
struct Run<'a> {
    known: &'a Heads,
    max_events: usize,
    max_bytes: u64,
    bytes: u64,
    events: Vec<(Seq, EventBytes)>,
    /// The last counter sent of each origin, sorted.
    sent: Vec<(Origin, u64)>,
    /// The last entry visited, sent or skipped.
    last: Option<Place>,
    damaged: Option<Seq>,
}

#[derive(Clone, Copy)]
struct Place {
    seq: Seq,
    id: EventId,
    time: Timestamp,
}

impl<'a> Run<'a> {
    fn new(request: &FetchRequest, known: &'a Heads) -> Self {
        Self {
            known,
            max_events: request.max_events.clamp(1, MAX_BATCH_EVENTS) as usize,
            max_bytes: request.max_bytes.min(MAX_BATCH_BYTES),
            bytes: 0,
            events: Vec::new(),
            sent: Vec::new(),
            last: None,
            damaged: None,
        }
    }

    fn visit(&mut self, seq: Seq, joined: Timestamp, record: &[u8]) -> ControlFlow<()> {
        let Ok((id, dot)) = EventView::decode_dot(record) else {
            self.damaged = Some(seq);
            return ControlFlow::Break(());
        };
        if dot.counter() > self.known.counter(dot.origin()) {
            let bytes = self.bytes + record.len() as u64;
            // One event larger than the limit travels alone.
            if self.events.len() >= self.max_events || bytes > self.max_bytes && !self.events.is_empty() {
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
