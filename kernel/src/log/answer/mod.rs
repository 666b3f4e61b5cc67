//! Answering a peer's fetch from the durable log: pure reads, no waiting.
//!
//! `asking` is a question that is open, `compare` compares both histories, `run` gathers the entries of one batch, and `own` has what is
//! said of the asker's own origin.

mod asking;
mod compare;
mod own;
mod run;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;

use super::LogHead;
use super::entry::missing;
use super::log_reader::LogReader;
use super::marks::{no_inception, read_ends, read_inception};
use super::segments::{dot_at, missing_entry, stored_seq};
use super::taint::MAX_WITHHELD;
use super::withhold_from;
use super::work::Work;
use crate::codec::Room;
use crate::cursor::{Cursor, Seq};
use crate::event::EventBytes;
use crate::ids::{CortexId, Epoch, LogId, Origin};
use crate::limits::Allowance;
use crate::mutant::{self, Mutant};
use crate::protocol::{
    Delivery, EventBatch, FetchReply, FetchRequest, Heads, Known, MAX_BATCH_BYTES, MAX_BATCH_EVENTS, MAX_EXCLUDED,
    MAX_RUN_BYTES, Protocols, Refusal, Scope,
};
use crate::store::StoreError;
use crate::time::Timestamp;
use asking::FRAME_EXTRA;
pub use asking::OpenQuery;
pub use own::AskerHead;
use run::Run;

/// The next batch of an open question.
#[derive(Debug)]
pub struct NextBatch {
    /// It, perhaps without events.
    pub batch: EventBatch,
    /// How long what follows is held back, where that is why the batch ends.
    pub held: Option<Duration>,
    /// The size of the next event in bytes, where the batch is empty because there is no room for that one.
    pub lacks: Option<u64>,
}

/// One moment for a whole answer: entries up to this head never change any more, unless the epoch does.
struct Moment {
    own: CortexId,
    log: Option<LogId>,
    protocols: Protocols,
    epoch: Epoch,
    head: LogHead,
    chains: Heads,
}

impl LogReader {
    /// Answers a request at once with one batch, holding nothing back. Speaks of durable entries only.
    ///
    /// # Errors
    /// [`StoreError`]: damage is an error, never a shorter answer.
    pub fn answer(&self, request: &FetchRequest) -> Result<FetchReply, StoreError> {
        let found = match self.ask(request)? {
            Ok(mut asking) => self.next_batch(&mut asking, None)?,
            Err(refusal) => Err(refusal),
        };
        match found {
            Ok(found) => Ok(FetchReply::Batch(found.batch)),
            Err(refusal) => self.refuse(AskerHead::of(request), refusal),
        }
    }

    /// Opens a question: who asks whom, whether the cursor is one of ours, and whether both hold one history.
    ///
    /// # Errors
    /// [`StoreError`]; a refusal is an answer.
    pub fn ask(&self, request: &FetchRequest) -> Result<Result<OpenQuery, Refusal>, StoreError> {
        self.settled(|| self.try_ask(request))
    }

    fn try_ask(&self, request: &FetchRequest) -> Result<OpenQuery, Failure> {
        let moment = self.moment();
        if request.to != moment.own {
            return Err(Refusal::WrongCortex { actual: moment.own }.into());
        }
        if let (Some(actual), Some(theirs)) = (moment.log, request.log)
            && actual != theirs
        {
            return Err(Refusal::OtherLog { actual }.into());
        }
        if !moment.protocols.has(request.protocol) {
            return Err(Refusal::Protocol { min: moment.protocols.min(), max: moment.protocols.max() }.into());
        }
        if request.filter.is_some() {
            return Err(Refusal::Filter.into());
        }
        let Known::Full(known) = &request.known else { return Err(Refusal::KnownMissing.into()) };
        if request.withhold.len() > MAX_WITHHELD || request.exclude.len() > MAX_EXCLUDED {
            return Err(Refusal::Malformed.into());
        }
        let run = if request.delivery == Delivery::Once { MAX_BATCH_BYTES } else { MAX_RUN_BYTES };
        let begin = Cursor::start(moment.epoch);
        // Questions of another scope do not name all that their asker holds.
        let reports = request.scope == Scope::All && self.pinned().contains_key(&request.from);
        let mut asking = OpenQuery {
            request: request.request,
            from: request.from,
            to: request.to,
            epoch: moment.epoch,
            max_events: request.max_events.clamp(1, MAX_BATCH_EVENTS) as usize,
            max_bytes: request.max_bytes.min(run),
            scope: request.scope,
            known: known.iter().collect(),
            asker_head: AskerHead::of(request),
            direct: request.direct.clone(),
            said: known.iter().filter(|(origin, _)| origin.cortex() == moment.own).collect(),
            reported: reports.then(|| known.iter().map(|(origin, head)| (origin, head.counter)).collect()),
            is_report_due: reports,
            withhold: request.withhold.iter().collect(),
            excluded: Arc::new(request.exclude.iter().copied().collect()),
            checked: BTreeMap::new(),
            shown: BTreeMap::new(),
            tell: BTreeMap::new(),
            parts: 0,
            prev: begin,
            at: (begin, Timestamp::from_micros(0)),
            taint_scan: None,
            opening: Some(request.after),
            room: None,
            work: Work::default(),
            read: Work::default(),
            allowance: Allowance::UNBOUNDED,
            proven: true,
            gone: Arc::default(),
        };
        self.check(&mut asking, &moment.chains)?;
        let differ: BTreeMap<_, _> = asking.withhold.iter().map(|(&origin, head)| (origin, head.counter)).collect();
        if !differ.is_empty() || !asking.excluded.is_empty() {
            let known = withhold_from(&**self.store(), asking.from)?;
            // What a peer excludes is its own affair; a stranger could exclude others each time.
            let believed = asking.excluded.is_empty() || self.pinned().contains_key(&asking.from);
            asking.proven = believed && differ.keys().all(|&origin| known.get(origin).is_some());
            asking.taint_scan = Some(self.taint_scan(differ, Arc::clone(&asking.excluded), asking.proven)?);
        }
        Ok(asking)
    }

    /// Finds out where the answers to a question begin, or does a part of that: true once it is known. The first batch needs
    /// it. A server calls this until it is done, and serves others in between.
    ///
    /// # Errors
    /// As [`LogReader::next_batch`].
    pub fn prepare(&self, asking: &mut OpenQuery) -> Result<Result<bool, Refusal>, StoreError> {
        self.settled(|| self.try_prepare(asking))
    }

    fn try_prepare(&self, asking: &mut OpenQuery) -> Result<bool, Failure> {
        let Some(after) = asking.opening else { return Ok(true) };
        let moment = self.moment();
        if asking.epoch != moment.epoch {
            return Err(Refusal::CursorUnknown.into());
        }
        if let Some(scan) = &mut asking.taint_scan {
            let (there, work) = self.scan_taint(scan, moment.head.seq, asking.proven, &asking.gone)?;
            asking.work.add(work);
            if !there {
                return Ok(false);
            }
        }
        let start = self.start(asking, &moment)?;
        asking.prev = self.begin(after.as_ref(), start, moment.epoch)?;
        asking.at = self.cursor_at(asking.prev.seq.max(start), moment.epoch)?;
        asking.opening = None;
        Ok(true)
    }

    fn moment(&self) -> Moment {
        let durable = self.shared.durable();
        let mut head = durable.head;
        if mutant::is(Mutant::ServeNotDurable) {
            head.seq = self.visible();
        }
        Moment {
            own: durable.identity.cortex_id,
            log: durable.identity.log,
            protocols: durable.identity.protocols,
            epoch: durable.identity.epoch,
            head,
            chains: Heads::new(durable.chains.iter().map(|(&o, &h)| (o, h)).collect()),
        }
    }

    /// The next batch of an open question: what is durable by now. With `now`, events that come to the asker by a shorter
    /// path are held back for their grace. The batch begins where the last one that was [`OpenQuery::sent`] ends.
    ///
    /// # Errors
    /// [`StoreError`]: damage is an error, never a shorter answer. A refusal ends the question.
    pub fn next_batch(
        &self,
        asking: &mut OpenQuery,
        now: Option<Timestamp>,
    ) -> Result<Result<NextBatch, Refusal>, StoreError> {
        self.settled(|| self.try_next_batch(asking, now))
    }

    /// Sequence numbers mean the same events from the first read to the last. A question from before they changed is refused by its
    /// epoch.
    fn settled<T>(&self, read: impl FnOnce() -> Result<T, Failure>) -> Result<Result<T, Refusal>, StoreError> {
        self.in_place(|| refused(read()))
    }

    fn try_next_batch(&self, asking: &mut OpenQuery, now: Option<Timestamp>) -> Result<NextBatch, Failure> {
        let Moment { own, log, epoch, head, chains, .. } = self.moment();
        if asking.epoch != epoch {
            // Its sequence numbers may mean other events now.
            return Err(Refusal::CursorUnknown.into());
        }
        if !mutant::is(Mutant::CheckKnownOnce) {
            self.check(asking, &chains)?;
        }
        while !self.try_prepare(asking)? {
            if asking.gone.load(Ordering::Relaxed) {
                return Err(Refusal::Busy.into());
            }
        }
        let from = asking.at.0.seq;
        let until = head.seq.min(Seq::new(from.get() + asking.scan().0));
        if let Some(scan) = &mut asking.taint_scan {
            while !asking.gone.load(Ordering::Relaxed) {
                let (there, work) = self.scan_taint(scan, until, asking.proven, &asking.gone)?;
                asking.work.add(work);
                if there {
                    break;
                }
            }
        }
        let mut run = Run::new(asking, own, now);
        self.scan(from, until, &mut |seq, joined, record| run.visit(seq, joined, record))?;
        // The part of a group that the scan reached waits for the rest.
        run.drop_group();
        let extra = run.extra_bytes();
        let Run { mut records, places, ends, begun, sent, last, unreadable, held, taint, lacks, passed, .. } = run;
        asking.work.add(passed);
        asking.read.add(Work { entries: places.len() as u64, bytes: records.len() as u64 });
        if let (Some(scan), Some(taint)) = (&mut asking.taint_scan, taint) {
            scan.taint = taint;
        }
        // One piece of memory for all: an allocation for each would cost as much as copying it.
        let records = match &mut asking.room {
            None => Bytes::from(records),
            Some(room) => {
                // What is counted is what is there.
                if records.capacity() > records.len() + records.len() / 4 {
                    records.shrink_to_fit();
                }
                let bytes = records.len() as u64;
                let share = room.split(bytes);
                // The frame has the chain heads as well. Seals and inceptions are in memory, and in the frame.
                room.shrink_to(bytes + 2 * extra + FRAME_EXTRA);
                share.hold(records)
            }
        };
        let mut begin = 0;
        let event = |(seq, end)| (seq, records.slice(std::mem::replace(&mut begin, end)..end));
        let events: Vec<_> = places.into_iter().map(event).collect();
        if let Some(fault) = unreadable {
            return Err(fault.into());
        }
        if let Some(place) = last {
            asking.at = (Cursor { epoch, seq: place.seq, last_event: place.id }, place.time);
        }
        let heads = self.heads_for(&sent, asking)?;
        let mut ends = read_ends(&**self.store(), &ends)?;
        if ends.len() > 1 && mutant::is(Mutant::SealDropped) {
            ends.remove(0);
        }
        let is_of_one = matches!(asking.scope, Scope::Origin(_));
        let inceptions = self.inceptions_of(begun)?;
        let own_head = self.own_head_for(asking)?;
        Ok(NextBatch {
            batch: EventBatch {
                request: asking.request,
                part: asking.parts,
                from: own,
                log,
                prev: asking.prev,
                last: asking.at.0,
                last_time: asking.at.1,
                head: Cursor { epoch, seq: head.seq, last_event: head.last_event },
                head_time: head.time,
                heads,
                events,
                inceptions,
                seals: ends.iter().map(|end| end.seal).collect(),
                clocks: ends.iter().filter(|_| is_of_one).map(|end| end.clock).collect(),
                own: own_head,
                room: Room::default(),
            },
            held,
            lacks,
        })
    }

    fn inceptions_of(&self, mut origins: Vec<Origin>) -> Result<Vec<(Origin, EventBytes)>, StoreError> {
        origins.sort_unstable();
        let one = |origin| {
            let inception = read_inception(&**self.store(), origin)?;
            Ok((origin, inception.ok_or_else(|| no_inception(origin))?))
        };
        origins.into_iter().map(one).collect()
    }

    /// The sequence number before which the asker lacks nothing that it may have: one before the first event that it does not know.
    fn start(&self, asking: &OpenQuery, moment: &Moment) -> Result<Seq, Failure> {
        let taint = asking.taint_scan.as_ref().map(|scan| &scan.taint);
        let mut start = moment.head.seq;
        for (origin, tip) in moment.chains.iter().filter(|(origin, _)| asking.scope.covers(*origin)) {
            let next = asking.counter(origin) + 1;
            if next <= tip.counter && !taint.is_some_and(|taint| taint.reaches(origin, next)) {
                let seq = stored_seq(&**self.store(), origin, next)?.ok_or_else(|| missing(origin, next))?;
                start = start.min(seq.prev());
            }
        }
        Ok(start)
    }

    /// Where the answer begins: at the asker's cursor if that is one of ours and nothing is missing before it.
    fn begin(&self, after: Option<&Cursor>, start: Seq, epoch: Epoch) -> Result<Cursor, Failure> {
        let Some(after) = after else { return Ok(self.cursor_at(start, epoch)?.0) };
        if mutant::is(Mutant::ForgetEpoch) {
            return Ok(self.cursor_at(after.seq.min(self.shared.durable().head.seq), epoch)?.0);
        }
        let start = if mutant::is(Mutant::CursorBeyondStart) { after.seq } else { start };
        if after.epoch != epoch || after.seq > start || self.cursor_at(after.seq, epoch)?.0 != *after {
            return Err(Refusal::CursorUnknown.into());
        }
        Ok(*after)
    }

    fn cursor_at(&self, seq: Seq, epoch: Epoch) -> Result<(Cursor, Timestamp), StoreError> {
        if seq == Seq::ZERO {
            return Ok((Cursor::start(epoch), Timestamp::from_micros(0)));
        }
        let entry = self.entry_there(seq)?.ok_or_else(|| missing_entry(seq))?;
        let (last_event, _) = dot_at(seq, &entry.record)?;
        Ok((Cursor { epoch, seq, last_event }, entry.joined))
    }
}

fn refused<T>(result: Result<T, Failure>) -> Result<Result<T, Refusal>, StoreError> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(Failure::Refused(refusal)) => Ok(Err(refusal)),
        Err(Failure::Store(error)) => Err(error),
    }
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
