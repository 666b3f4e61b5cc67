//! Answering a peer's fetch from the durable log: pure reads, no waiting.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;

use super::LogHead;
use super::view::{LogView, record_at, stored_dot};
use super::withheld::{MAX_WITHHELD, Trail, Withheld};
use super::withhold_from;
use crate::budget::Share;
use crate::clock::MAX_CLOCK_ENTRIES;
use crate::codec::EventView;
use crate::cursor::{Cursor, Seq};
use crate::digest::Digest;
use crate::ids::{CortexId, Epoch, EventId, Origin};
use crate::mutant::{self, Mutant};
use crate::protocol::{
    ChainHead, DIRECT_GRACE, Delivery, EventBatch, FetchReply, FetchRequest, Heads, Known, MAX_BATCH_BYTES,
    MAX_BATCH_EVENTS, MAX_RUN_BYTES, PROTOCOL_MAX, PROTOCOL_MIN, Refresh, Refusal, RequestId, Scope,
};
use crate::store::StoreError;
use crate::time::Timestamp;

/// The most entries that are looked at without giving way to others, sent or skipped.
pub(super) const MAX_SCAN: u64 = 65_536;
/// The most bytes of entries that are looked at without giving way to others.
pub(super) const MAX_SCAN_BYTES: u64 = 64 << 20;

/// What answering cost beyond the events that were sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Work {
    /// Entries that were looked at and not sent.
    pub entries: u64,
    /// Bytes of their records.
    pub bytes: u64,
}

impl Work {
    pub(super) const fn add(&mut self, more: Self) {
        self.entries += more.entries;
        self.bytes += more.bytes;
    }
}

/// The bytes that a frame has beyond its records: chain heads of a full clock, and the places of the events.
const FRAME_EXTRA: u64 = 128 * 1024;

/// A question that is open: what the asker holds by now, and how far it was answered.
#[derive(Debug)]
pub struct Asking {
    request: RequestId,
    from: CortexId,
    to: CortexId,
    epoch: Epoch,
    max_events: usize,
    max_bytes: u64,
    scope: Scope,
    known: BTreeMap<Origin, ChainHead>,
    direct: Vec<CortexId>,
    /// What its asker said itself that it durably holds of this cortex's own events.
    said: BTreeMap<Origin, ChainHead>,
    /// Where the histories are known to differ.
    withhold: BTreeMap<Origin, ChainHead>,
    /// How far each origin's two histories were compared.
    checked: BTreeMap<Origin, Checked>,
    /// What the asker was shown of our version of what is withheld: it may be another than the one it knows of, or gone.
    shown: BTreeMap<Origin, ChainHead>,
    /// Heads that the asker is to compare, until they are sent.
    tell: BTreeMap<Origin, ChainHead>,
    /// How many answers were sent.
    parts: u64,
    /// The asker's cursor once it has applied what it was sent.
    prev: Cursor,
    /// How far the log was looked at; beyond `prev` where the asker knew what stood there.
    at: (Cursor, Timestamp),
    /// What follows from `withhold` as it was asked; one that is over meanwhile is asked for anew.
    trail: Option<Trail>,
    /// The asker's cursor, until it is known where the answer begins.
    opening: Option<Option<Cursor>>,
    /// The memory that the next batch may take: half of it for the records, half for the frame that carries them.
    room: Option<Share>,
    /// What it cost since that was asked last.
    work: Work,
    /// Whether every fork that the question names is known here with its asker. Any other is a mere claim.
    proven: bool,
    /// Set once the asker is gone: what is being read for it ends.
    gone: Arc<AtomicBool>,
}

/// Digests at one counter were compared, here or by the asker. It is due again whenever either head moves so that more can
/// be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Checked {
    /// Here, at the asker's counter: all that it holds.
    Here(u64),
    /// By the asker, at ours: all that we hold.
    There(u64),
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
        for (origin, head) in refresh.known.iter().filter(|(origin, _)| origin.cortex() == self.to) {
            let said = self.said.entry(origin).or_insert(head);
            *said = if said.counter < head.counter { head } else { *said };
        }
        if self.known.len() > MAX_CLOCK_ENTRIES {
            return Err(Refusal::Malformed);
        }
        Ok(())
    }

    /// The bytes of memory for a batch with so many bytes of records, and for the frame that carries it.
    #[must_use]
    pub const fn room_for(records: u64) -> u64 {
        records.saturating_mul(2).saturating_add(FRAME_EXTRA)
    }

    /// Bounds the memory of the next batch.
    pub fn set_room(&mut self, room: Share) {
        self.room = Some(room);
    }

    /// What is left of the memory of the batch that was found: for the frame that carries it.
    pub fn take_room(&mut self) -> Option<Share> {
        self.room.take()
    }

    /// The most bytes of records that the next batch has room for.
    fn room(&self) -> u64 {
        self.room.as_ref().map_or(u64::MAX, |room| room.bytes().saturating_sub(FRAME_EXTRA) / 2)
    }

    /// The most bytes of events that its asker wants in a batch.
    #[must_use]
    pub const fn max_bytes(&self) -> u64 {
        self.max_bytes
    }

    /// What it cost since this was asked last, and whether that was for a fork that is a mere claim.
    pub fn take_work(&mut self) -> (Work, bool) {
        (std::mem::take(&mut self.work), self.is_claim())
    }

    /// Whether it names a fork that is not known here with its asker.
    #[must_use]
    pub const fn is_claim(&self) -> bool {
        !self.proven
    }

    /// Reading ends once this is set: the asker is gone.
    pub fn end_with(&mut self, gone: Arc<AtomicBool>) {
        self.gone = gone;
    }

    /// The batch goes out: the next one begins where it ends.
    pub fn sent(&mut self, batch: &EventBatch) {
        self.prev = batch.last;
        self.parts += 1;
        self.tell.clear();
    }

    /// What its asker said that it durably holds of this cortex's own events: claims, until [`LogView::acknowledge`] compared
    /// them.
    #[must_use]
    pub fn said(&self) -> (CortexId, Heads) {
        (self.from, Heads::new(self.said.iter().map(|(&origin, &head)| (origin, head)).collect()))
    }

    fn differs(&self, origin: Origin, counter: u64) -> bool {
        self.withhold.get(&origin).is_some_and(|ours| ours.counter <= counter)
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
    /// The size of the next event in bytes, where the batch is empty because there is no room for that one.
    pub lacks: Option<u64>,
}

/// One moment for a whole answer: entries up to this head never change any more, unless the epoch does.
struct Moment {
    own: CortexId,
    epoch: Epoch,
    head: LogHead,
    chains: Heads,
}

impl LogView {
    /// Answers a request at once with one batch, holding nothing back. Speaks of durable entries only.
    ///
    /// # Errors
    /// [`StoreError`]: damage is an error, never a shorter answer.
    pub fn answer(&self, request: &FetchRequest) -> Result<FetchReply, StoreError> {
        let found = match self.ask(request)? {
            Ok(mut asking) => self.next_batch(&mut asking, None)?,
            Err(refusal) => Err(refusal),
        };
        Ok(match found {
            Ok(found) => FetchReply::Batch(found.batch),
            Err(refusal) => FetchReply::Refused(refusal),
        })
    }

    /// Opens a question: who asks whom, whether the cursor is one of ours, and whether both hold one history.
    ///
    /// # Errors
    /// [`StoreError`]; a refusal is an answer.
    pub fn ask(&self, request: &FetchRequest) -> Result<Result<Asking, Refusal>, StoreError> {
        self.settled(|| self.try_ask(request))
    }

    fn try_ask(&self, request: &FetchRequest) -> Result<Asking, Failure> {
        let moment = self.moment();
        if request.to != moment.own {
            return Err(Refusal::WrongCortex { actual: moment.own }.into());
        }
        if !(PROTOCOL_MIN..=PROTOCOL_MAX).contains(&request.protocol) {
            return Err(Refusal::Protocol { min: PROTOCOL_MIN, max: PROTOCOL_MAX }.into());
        }
        let Known::Full(known) = &request.known else { return Err(Refusal::KnownMissing.into()) };
        if request.withhold.len() > MAX_WITHHELD {
            return Err(Refusal::Malformed.into());
        }
        let run = if request.delivery == Delivery::Once { MAX_BATCH_BYTES } else { MAX_RUN_BYTES };
        let begin = Cursor::start(moment.epoch);
        let mut asking = Asking {
            request: request.request,
            from: request.from,
            to: request.to,
            epoch: moment.epoch,
            max_events: request.max_events.clamp(1, MAX_BATCH_EVENTS) as usize,
            max_bytes: request.max_bytes.min(run),
            scope: request.scope,
            known: known.iter().collect(),
            direct: request.direct.clone(),
            said: known.iter().filter(|(origin, _)| origin.cortex() == moment.own).collect(),
            withhold: request.withhold.iter().collect(),
            checked: BTreeMap::new(),
            shown: BTreeMap::new(),
            tell: BTreeMap::new(),
            parts: 0,
            prev: begin,
            at: (begin, Timestamp::from_micros(0)),
            trail: None,
            opening: Some(request.after),
            room: None,
            work: Work::default(),
            proven: true,
            gone: Arc::default(),
        };
        self.check(&mut asking, &moment.chains)?;
        let differ: BTreeMap<_, _> = asking.withhold.iter().map(|(&origin, head)| (origin, head.counter)).collect();
        if !differ.is_empty() {
            let known = withhold_from(&**self.store(), asking.from)?;
            asking.proven = differ.keys().all(|&origin| known.get(origin).is_some());
            asking.trail = Some(self.trail(differ, asking.proven)?);
        }
        Ok(asking)
    }

    /// Finds out where the answers to a question begin, or does a part of that: true once it is known. The first batch needs
    /// it; whoever serves others meanwhile calls this until it is done, and gives way in between.
    ///
    /// # Errors
    /// As [`LogView::next_batch`].
    pub fn prepare(&self, asking: &mut Asking) -> Result<Result<bool, Refusal>, StoreError> {
        self.settled(|| self.try_prepare(asking))
    }

    fn try_prepare(&self, asking: &mut Asking) -> Result<bool, Failure> {
        let Some(after) = asking.opening else { return Ok(true) };
        let moment = self.moment();
        if asking.epoch != moment.epoch {
            return Err(Refusal::CursorUnknown.into());
        }
        if let Some(trail) = &mut asking.trail {
            let (there, work) = self.follow_trail(trail, moment.head.seq, asking.proven, &asking.gone)?;
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
        let durable = self.durable();
        let mut head = durable.head;
        if mutant::is(Mutant::ServeNotDurable) {
            head.seq = self.visible();
        }
        Moment {
            own: durable.identity.cortex_id,
            epoch: durable.identity.epoch,
            head,
            chains: Heads::new(durable.chains.iter().map(|(&o, &h)| (o, h)).collect()),
        }
    }

    /// The next batch of an open question: what is durable by now. With `now`, events that come to the asker by a shorter
    /// road are held back for their grace. The batch begins where the last one that was [`Asking::sent`] ends.
    ///
    /// # Errors
    /// [`StoreError`]: damage is an error, never a shorter answer. A refusal ends the question.
    pub fn next_batch(
        &self,
        asking: &mut Asking,
        now: Option<Timestamp>,
    ) -> Result<Result<Found, Refusal>, StoreError> {
        self.settled(|| self.try_next_batch(asking, now))
    }

    /// Places mean the same events from the first read to the last; what was asked before they changed is refused by its epoch.
    fn settled<T>(&self, read: impl FnOnce() -> Result<T, Failure>) -> Result<Result<T, Refusal>, StoreError> {
        self.in_place(|| refused(read()))
    }

    fn try_next_batch(&self, asking: &mut Asking, now: Option<Timestamp>) -> Result<Found, Failure> {
        let Moment { own, epoch, head, chains } = self.moment();
        if asking.epoch != epoch {
            // Its places may mean other events now.
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
        let until = head.seq.min(Seq::new(from.get() + MAX_SCAN));
        if let Some(trail) = &mut asking.trail {
            while !asking.gone.load(Ordering::Relaxed) {
                let (there, work) = self.follow_trail(trail, until, asking.proven, &asking.gone)?;
                asking.work.add(work);
                if there {
                    break;
                }
            }
        }
        let mut run = Run::new(asking, own, now);
        self.scan(from, until, &mut |seq, joined, record| run.visit(seq, joined, record))?;
        let Run { mut records, places, sent, last, unreadable, held, withheld, lacks, passed, .. } = run;
        asking.work.add(passed);
        if let (Some(trail), Some(withheld)) = (&mut asking.trail, withheld) {
            trail.withheld = withheld;
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
                // The frame has the chain heads as well.
                room.shrink_to(bytes + FRAME_EXTRA);
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
        Ok(Found {
            batch: EventBatch {
                request: asking.request,
                part: asking.parts,
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
            lacks,
        })
    }

    /// Compares the two histories wherever that is due: at the asker's counter where we hold as much, and else the asker
    /// is told our head, to compare it there.
    fn check(&self, asking: &mut Asking, chains: &Heads) -> Result<(), Failure> {
        self.check_withheld(asking, chains)?;
        // Of all that is known, whatever is asked for: an event of one origin may depend on any other.
        for (&origin, theirs) in &asking.known {
            let Some(ours) = chains.get(origin) else { continue };
            if mutant::is(Mutant::HeadNeverCompared) {
                continue;
            }
            let due = if ours.counter >= theirs.counter {
                Checked::Here(theirs.counter)
            } else {
                Checked::There(ours.counter)
            };
            if asking.checked.get(&origin) == Some(&due) {
                continue;
            }
            if due == Checked::There(ours.counter) {
                // Where histories that differed are one again, this says so as well, and that nothing differs later on.
                if !asking.differs(origin, ours.counter) {
                    asking.tell.insert(origin, ours);
                }
            } else if !asking.differs(origin, theirs.counter) {
                let digest = self.digest_at(origin, theirs.counter, ours)?;
                if digest != theirs.digest {
                    return Err(Refusal::Fork { origin, counter: theirs.counter, digest }.into());
                }
            }
            asking.checked.insert(origin, due);
        }
        Ok(())
    }

    /// Where the asker found a difference once, the histories may be one again: then it is told so, by its own digest. Where
    /// our version went, it is told how far we hold the origin by now.
    fn check_withheld(&self, asking: &mut Asking, chains: &Heads) -> Result<(), StoreError> {
        let mut healed = Vec::new();
        for (&origin, theirs) in &asking.withhold {
            let held = match chains.get(origin) {
                None => ChainHead { counter: 0, digest: Digest::ZERO },
                Some(tip) if tip.counter < theirs.counter => tip,
                Some(tip) => {
                    let digest = self.digest_at(origin, theirs.counter, tip)?;
                    ChainHead { counter: theirs.counter, digest }
                }
            };
            if held == *theirs {
                healed.push(origin);
            } else if asking.shown.insert(origin, held) != Some(held) {
                asking.tell.insert(origin, held);
            }
        }
        for origin in healed {
            if let Some(head) = asking.withhold.remove(&origin) {
                asking.checked.remove(&origin);
                asking.tell.insert(origin, head);
            }
        }
        Ok(())
    }

    fn digest_at(&self, origin: Origin, counter: u64, tip: ChainHead) -> Result<Digest, StoreError> {
        if tip.counter == counter {
            return Ok(tip.digest);
        }
        let dot = stored_dot(&**self.store(), origin, counter)?;
        Ok(dot.ok_or_else(|| missing(origin, counter))?.digest)
    }

    /// The place before which the asker lacks nothing that it may have: one before the first event that it does not know.
    fn start(&self, asking: &Asking, moment: &Moment) -> Result<Seq, Failure> {
        let withheld = asking.trail.as_ref().map(|trail| &trail.withheld);
        let mut start = moment.head.seq;
        for (origin, tip) in moment.chains.iter().filter(|(origin, _)| asking.scope.covers(*origin)) {
            let next = asking.counter(origin) + 1;
            if next <= tip.counter && !withheld.is_some_and(|withheld| withheld.reaches(origin, next)) {
                let dot = stored_dot(&**self.store(), origin, next)?.ok_or_else(|| missing(origin, next))?;
                start = start.min(dot.seq.prev());
            }
        }
        Ok(start)
    }

    /// Where the answer begins: at the asker's cursor if that is one of ours and nothing is missing before it.
    fn begin(&self, after: Option<&Cursor>, start: Seq, epoch: Epoch) -> Result<Cursor, Failure> {
        let Some(after) = after else { return Ok(self.cursor_at(start, epoch)?.0) };
        if mutant::is(Mutant::ForgetEpoch) {
            return Ok(self.cursor_at(after.seq.min(self.durable().head.seq), epoch)?.0);
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
        let entry = self
            .entry_there(seq)?
            .ok_or_else(|| StoreError::corrupt(format!("family `log`: place {seq} is missing")))?;
        let (last_event, _) = EventView::decode_dot(&entry.record).map_err(|fault| record_at(seq, &fault))?;
        Ok((Cursor { epoch, seq, last_event }, entry.joined))
    }

    /// The chain heads that the asker is to compare: of what is sent, as of the last event sent, and what it must be told.
    /// What is sent counts as known from now on, and as compared: it is ours.
    fn heads_for(&self, sent: &[(Origin, u64)], asking: &mut Asking) -> Result<Heads, StoreError> {
        let mut heads = Vec::with_capacity(sent.len() + asking.tell.len());
        for &(origin, counter) in sent {
            let dot = stored_dot(&**self.store(), origin, counter)?.ok_or_else(|| missing(origin, counter))?;
            let head = ChainHead { counter, digest: dot.digest };
            asking.known.insert(origin, head);
            asking.checked.insert(origin, Checked::Here(counter));
            asking.tell.remove(&origin);
            heads.push((origin, head));
        }
        heads.extend(asking.tell.iter().map(|(&origin, &head)| (origin, head)));
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

/// What the chain says is there, and the index does not know.
pub(super) fn missing(origin: Origin, counter: u64) -> StoreError {
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
    /// What must not cross. Each record is looked at again as it goes out, which costs nothing where nothing differs.
    withheld: Option<Withheld>,
    /// The records of the batch, one behind the other.
    records: Vec<u8>,
    /// The place of each, and where it ends.
    places: Vec<(Seq, usize)>,
    /// The last counter sent of each origin, sorted.
    sent: Vec<(Origin, u64)>,
    /// The last entry visited, sent or skipped.
    last: Option<Place>,
    unreadable: Option<StoreError>,
    held: Option<Duration>,
    /// The size of the first event, where there is no room for it.
    lacks: Option<u64>,
    /// What was passed over.
    passed: Work,
}

#[derive(Clone, Copy)]
struct Place {
    seq: Seq,
    id: EventId,
    time: Timestamp,
}

impl<'a> Run<'a> {
    fn new(asking: &'a Asking, own: CortexId, now: Option<Timestamp>) -> Self {
        Self {
            asking,
            own,
            now,
            withheld: asking.trail.as_ref().map(|trail| trail.withheld.clone()),
            records: Vec::new(),
            places: Vec::new(),
            sent: Vec::new(),
            last: None,
            unreadable: None,
            held: None,
            lacks: None,
            passed: Work::default(),
        }
    }

    fn visit(&mut self, seq: Seq, joined: Timestamp, record: &[u8]) -> ControlFlow<()> {
        if self.passed.bytes > MAX_SCAN_BYTES || self.asking.gone.load(Ordering::Relaxed) {
            return ControlFlow::Break(());
        }
        let (id, dot) = match EventView::decode_dot(record) {
            Ok(of) => of,
            Err(fault) => {
                self.unreadable = Some(record_at(seq, &fault));
                return ControlFlow::Break(());
            }
        };
        let late = mutant::is(Mutant::ServeById) && id < self.asking.prev.last_event;
        let differs = match self.withheld.as_mut().map(|withheld| (withheld, EventView::decode(record))) {
            None => false,
            Some((withheld, Ok(event))) => withheld.follow(&event),
            Some((_, Err(fault))) => {
                self.unreadable = Some(record_at(seq, &fault));
                return ControlFlow::Break(());
            }
        };
        let wanted = !late && self.asking.scope.covers(dot.origin()) && !differs;
        if wanted && dot.counter() > self.asking.counter(dot.origin()) {
            self.held = self.asking.held(dot.origin(), self.own, joined, self.now);
            let bytes = (self.records.len() + record.len()) as u64;
            // One event larger than the limit travels alone.
            let most = self.asking.max_bytes.min(self.asking.room());
            let full = self.places.len() >= self.asking.max_events || bytes > most && !self.places.is_empty();
            if full || self.held.is_some() {
                return ControlFlow::Break(());
            }
            if bytes > self.asking.room() {
                self.lacks = Some(bytes);
                return ControlFlow::Break(());
            }
            self.records.extend_from_slice(record);
            self.places.push((seq, self.records.len()));
            match self.sent.binary_search_by_key(&dot.origin(), |s| s.0) {
                Ok(at) => self.sent[at].1 = dot.counter(),
                Err(at) => self.sent.insert(at, (dot.origin(), dot.counter())),
            }
        } else {
            self.passed.add(Work { entries: 1, bytes: record.len() as u64 });
        }
        self.last = Some(Place { seq, id, time: joined });
        ControlFlow::Continue(())
    }
}
