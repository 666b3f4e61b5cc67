//! Questions and answers as bytes.

use std::time::Duration;

use bytes::Bytes;

use super::{Room, WireError, broken, broken_by};
use crate::clock::{MAX_CLOCK_ENTRIES, VClock};
use crate::codec::encoding::{choices, fields};
use crate::codec::{Capped, Entries, Entry, entries_from, entries_of};
use crate::cursor::{Cursor, Seq};
use crate::digest::{DIGEST_ALGORITHM, Digest};
use crate::identity::{ClockHash, Signature};
use crate::ids::{CortexId, Epoch, EventId, LogId, MAX_COUNTER, Origin};
use crate::protocol::{
    ChainHead, Delivery, EventBatch, FetchReply, FetchRequest, Heads, Known, MAX_BATCH_EVENTS, MAX_EXCLUDED, OwnHead,
    Refusal, RequestId, Scope,
};
use crate::rule::Rule;
use crate::time::Timestamp;

pub(super) type WireCursor = (u64, u64, [u8; 16]);
/// A digest of the algorithm that the message names.
pub(super) type WireDigest = [u8; 32];
/// A log id, or none.
pub(super) type WireLog = Option<[u8; 16]>;
pub(super) type WireHead = (Entry, WireDigest);
pub(super) type WireHeads = Capped<WireHead, MAX_CLOCK_ENTRIES>;

choices! {
    pub(super) enum WireKnown {
        0 => Full { heads: WireHeads },
        1 => Unchanged { fold: WireDigest },
    }
}

fields! {
    pub(super) struct WireFetch {
        process: u64,
        number: u64,
        from: [u8; 16],
        epoch: u64,
        to: [u8; 16],
        log: WireLog,
        protocol: u16,
        digest_algorithm: u8,
        after: Option<WireCursor>,
        known: WireKnown,
        direct: Capped<[u8; 16], MAX_CLOCK_ENTRIES>,
        max_events: u32,
        max_bytes: u64,
        wait_ms: u64,
        delivery: u8,
        scope: WireScope,
        withhold: WireHeads,
        exclude: Capped<[u8; 16], MAX_EXCLUDED>,
        filter: Option<[u8; 32]>,
        safe: Option<Entries>,
    }
}

choices! {
    pub(super) enum WireScope {
        0 => All,
        1 => Cortex { cortex: [u8; 16] },
        2 => Origin { origin: [u8; 24] },
    }
}

fields! {
    pub(super) struct WireBatch<'a> {
        process: u64,
        number: u64,
        part: u64,
        from: [u8; 16],
        log: WireLog,
        digest_algorithm: u8,
        prev: WireCursor,
        last: WireCursor,
        last_time: i64,
        head: WireCursor,
        head_time: i64,
        heads: WireHeads,
        /// (distance to the previous sequence number, record)
        events: Capped<(u64, &'a [u8]), { MAX_BATCH_EVENTS as usize }>,
        inceptions: Capped<([u8; 24], &'a [u8]), MAX_CLOCK_ENTRIES>,
        seals: Capped<[u8; 64], { MAX_BATCH_EVENTS as usize }>,
        clocks: Capped<ClockHash, { MAX_BATCH_EVENTS as usize }>,
        own: Option<WireOwnHead>,
    }
}

fields! {
    pub(super) struct WireOwnHead {
        origin: [u8; 24],
        counter: u64,
        digest: WireDigest,
        id: [u8; 16],
        clock: ClockHash,
        seal: [u8; 64],
    }
}

fields! {
    pub(super) struct WireRefused {
        refusal: WireRefusal,
        own: Option<WireOwnHead>,
    }
}

choices! {
    pub(super) enum WireRefusal {
        0 => CursorUnknown,
        1 => CursorTooOld { floor: u64 },
        2 => Fork { origin: [u8; 24], counter: u64, digest: WireDigest },
        3 => NotServing,
        4 => WrongCortex { actual: [u8; 16] },
        5 => Protocol { min: u16, max: u16 },
        6 => KnownMissing,
        7 => Busy,
        8 => Malformed,
        9 => Internal,
        10 => Key,
        11 => OtherLog { actual: [u8; 16] },
        12 => Newer,
        13 => Filter,
        14 => Proof,
        15 => OtherAsker,
        16 => NotAllowed,
        17 => OverQuota { after_ms: u64 },
    }
}

pub(super) fn wire_cursor(cursor: &Cursor) -> WireCursor {
    (cursor.epoch.get(), cursor.seq.get(), cursor.last_event.to_bytes())
}

pub(super) fn cursor_from((epoch, seq, last_event): WireCursor) -> Result<Cursor, WireError> {
    if seq > MAX_COUNTER {
        return Err(broken(Rule::SeqOutOfRange));
    }
    Ok(Cursor { epoch: Epoch::new(epoch), seq: Seq::new(seq), last_event: EventId::from_bytes(last_event) })
}

pub(super) fn wire_log(log: Option<LogId>) -> WireLog {
    log.map(LogId::to_bytes)
}

pub(super) fn log_from(wire: WireLog) -> Option<LogId> {
    wire.map(LogId::from_bytes)
}

fn wire_own(own: &OwnHead) -> WireOwnHead {
    WireOwnHead {
        origin: own.origin.to_bytes(),
        counter: own.counter,
        digest: own.digest.to_bytes(),
        id: own.id.to_bytes(),
        clock: own.clock,
        seal: own.seal.to_bytes(),
    }
}

fn own_from(wire: Option<WireOwnHead>) -> Result<Option<Box<OwnHead>>, WireError> {
    let Some(wire) = wire else { return Ok(None) };
    if !(1..=MAX_COUNTER).contains(&wire.counter) {
        return Err(broken(Rule::CounterOutOfRange));
    }
    Ok(Some(Box::new(OwnHead {
        origin: Origin::from_bytes(wire.origin),
        counter: wire.counter,
        digest: Digest::from_bytes(wire.digest),
        id: EventId::from_bytes(wire.id),
        clock: wire.clock,
        seal: Signature::from_bytes(wire.seal),
    })))
}

fn clock_from(wire: Entries) -> Result<VClock, WireError> {
    VClock::from_sorted(&entries_from(wire)).map_err(|e| broken_by(Rule::SafeClock, e))
}

pub(super) fn wire_heads(heads: &Heads) -> WireHeads {
    Capped(heads.iter().map(|(origin, head)| ((origin.to_bytes(), head.counter), head.digest.to_bytes())).collect())
}

pub(super) fn heads_from(wire: WireHeads) -> Result<Heads, WireError> {
    if wire.0.iter().any(|head| head.0.1 == 0) {
        return Err(broken(Rule::CounterOutOfRange));
    }
    told_heads_from(wire)
}

/// Those of an answer: a counter of 0 says that nothing of the origin is held.
pub(super) fn told_heads_from(wire: WireHeads) -> Result<Heads, WireError> {
    if !wire.0.is_sorted_by(|a, b| a.0.0 < b.0.0) {
        return Err(broken(Rule::HeadsUnordered));
    }
    // Nothing has no digest.
    if wire.0.iter().any(|head| head.0.1 > MAX_COUNTER || head.0.1 == 0 && head.1 != Digest::ZERO.to_bytes()) {
        return Err(broken(Rule::CounterOutOfRange));
    }
    let head = |((origin, counter), digest): WireHead| {
        (Origin::from_bytes(origin), ChainHead { counter, digest: Digest::from_bytes(digest) })
    };
    Ok(Heads::new(wire.0.into_iter().map(head).collect()))
}

pub(super) fn check_algorithm(algorithm: u8) -> Result<(), WireError> {
    if algorithm != DIGEST_ALGORITHM {
        return Err(broken_by(Rule::UnknownAlgorithm, algorithm));
    }
    Ok(())
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn wire_fetch(request: &FetchRequest) -> WireFetch {
    WireFetch {
        process: request.request.process,
        number: request.request.number,
        from: request.from.to_bytes(),
        epoch: request.epoch.get(),
        to: request.to.to_bytes(),
        log: wire_log(request.log),
        protocol: request.protocol,
        digest_algorithm: DIGEST_ALGORITHM,
        after: request.after.as_ref().map(wire_cursor),
        known: match &request.known {
            Known::Full(heads) => WireKnown::Full { heads: wire_heads(heads) },
            Known::Unchanged(fold) => WireKnown::Unchanged { fold: fold.to_bytes() },
        },
        direct: Capped(request.direct.iter().map(|id| id.to_bytes()).collect()),
        max_events: request.max_events,
        max_bytes: request.max_bytes,
        wait_ms: millis(request.wait),
        delivery: match request.delivery {
            Delivery::Once => 0,
            Delivery::CatchUp => 1,
            Delivery::Live => 2,
        },
        scope: match request.scope {
            Scope::All => WireScope::All,
            Scope::Cortex(cortex) => WireScope::Cortex { cortex: cortex.to_bytes() },
            Scope::Origin(origin) => WireScope::Origin { origin: origin.to_bytes() },
        },
        withhold: wire_heads(&request.withhold),
        exclude: Capped(request.exclude.iter().map(|id| id.to_bytes()).collect()),
        filter: request.filter,
        safe: request.safe.as_ref().map(entries_of),
    }
}

pub(super) fn fetch_from(wire: WireFetch, room: Room) -> Result<FetchRequest, WireError> {
    check_algorithm(wire.digest_algorithm)?;
    Ok(FetchRequest {
        request: RequestId { process: wire.process, number: wire.number },
        from: CortexId::from_bytes(wire.from),
        epoch: Epoch::new(wire.epoch),
        to: CortexId::from_bytes(wire.to),
        log: log_from(wire.log),
        protocol: wire.protocol,
        after: wire.after.map(cursor_from).transpose()?,
        known: match wire.known {
            WireKnown::Full { heads } => Known::Full(heads_from(heads)?),
            WireKnown::Unchanged { fold } => Known::Unchanged(Digest::from_bytes(fold)),
        },
        direct: wire.direct.0.into_iter().map(CortexId::from_bytes).collect(),
        max_events: wire.max_events,
        max_bytes: wire.max_bytes,
        wait: Duration::from_millis(wire.wait_ms),
        delivery: match wire.delivery {
            0 => Delivery::Once,
            1 => Delivery::CatchUp,
            2 => Delivery::Live,
            other => return Err(broken_by(Rule::UnknownDelivery, other)),
        },
        scope: match wire.scope {
            WireScope::All => Scope::All,
            WireScope::Cortex { cortex } => Scope::Cortex(CortexId::from_bytes(cortex)),
            WireScope::Origin { origin } => Scope::Origin(Origin::from_bytes(origin)),
        },
        withhold: heads_from(wire.withhold)?,
        exclude: wire.exclude.0.into_iter().map(CortexId::from_bytes).collect(),
        filter: wire.filter,
        safe: wire.safe.map(clock_from).transpose()?,
        room,
    })
}

pub(super) fn wire_batch(batch: &EventBatch) -> WireBatch<'_> {
    let mut before = batch.prev.seq.get();
    let events = batch.events.iter().map(|(seq, bytes)| {
        let step = seq.get().saturating_sub(before);
        before = seq.get();
        (step, &bytes[..])
    });
    WireBatch {
        process: batch.request.process,
        number: batch.request.number,
        part: batch.part,
        from: batch.from.to_bytes(),
        log: wire_log(batch.log),
        digest_algorithm: DIGEST_ALGORITHM,
        prev: wire_cursor(&batch.prev),
        last: wire_cursor(&batch.last),
        last_time: batch.last_time.as_micros(),
        head: wire_cursor(&batch.head),
        head_time: batch.head_time.as_micros(),
        heads: wire_heads(&batch.heads),
        events: Capped(events.collect()),
        inceptions: Capped(batch.inceptions.iter().map(|(origin, bytes)| (origin.to_bytes(), &bytes[..])).collect()),
        seals: Capped(batch.seals.iter().map(|seal| seal.to_bytes()).collect()),
        clocks: Capped(batch.clocks.clone()),
        own: batch.own.as_deref().map(wire_own),
    }
}

pub(super) fn batch_from(wire: WireBatch<'_>, room: Room, body: &Bytes) -> Result<EventBatch, WireError> {
    check_algorithm(wire.digest_algorithm)?;
    let prev = cursor_from(wire.prev)?;
    let mut at = prev.seq.get();
    let mut events = Vec::with_capacity(wire.events.0.len());
    for (step, bytes) in wire.events.0 {
        at = at
            .checked_add(step)
            .filter(|&next| step > 0 && next <= MAX_COUNTER)
            .ok_or_else(|| broken(Rule::SeqsDoNotIncrease))?;
        events.push((Seq::new(at), body.slice_ref(bytes)));
    }
    if !wire.inceptions.0.is_sorted_by(|a, b| a.0 < b.0) {
        return Err(broken(Rule::InceptionsUnordered));
    }
    let inception = |(origin, bytes)| (Origin::from_bytes(origin), body.slice_ref(bytes));
    Ok(EventBatch {
        request: RequestId { process: wire.process, number: wire.number },
        part: wire.part,
        from: CortexId::from_bytes(wire.from),
        log: log_from(wire.log),
        prev,
        last: cursor_from(wire.last)?,
        last_time: Timestamp::from_micros(wire.last_time),
        head: cursor_from(wire.head)?,
        head_time: Timestamp::from_micros(wire.head_time),
        events,
        heads: told_heads_from(wire.heads)?,
        inceptions: wire.inceptions.0.into_iter().map(inception).collect(),
        seals: wire.seals.0.into_iter().map(Signature::from_bytes).collect(),
        clocks: wire.clocks.0,
        own: own_from(wire.own)?,
        room,
    })
}

pub(super) fn wire_refused(refusal: &Refusal, own: Option<&OwnHead>) -> WireRefused {
    WireRefused { refusal: wire_refusal(refusal), own: own.map(wire_own) }
}

pub(super) fn refused_from(wire: WireRefused) -> Result<FetchReply, WireError> {
    Ok(FetchReply::Refused { refusal: refusal_from(wire.refusal)?, own: own_from(wire.own)? })
}

fn wire_refusal(refusal: &Refusal) -> WireRefusal {
    match refusal {
        Refusal::CursorUnknown => WireRefusal::CursorUnknown,
        Refusal::CursorTooOld { floor } => WireRefusal::CursorTooOld { floor: floor.get() },
        Refusal::Fork { origin, counter, digest } => {
            WireRefusal::Fork { origin: origin.to_bytes(), counter: *counter, digest: digest.to_bytes() }
        }
        Refusal::NotServing => WireRefusal::NotServing,
        Refusal::WrongCortex { actual } => WireRefusal::WrongCortex { actual: actual.to_bytes() },
        Refusal::Protocol { min, max } => WireRefusal::Protocol { min: *min, max: *max },
        Refusal::KnownMissing => WireRefusal::KnownMissing,
        Refusal::Busy => WireRefusal::Busy,
        Refusal::Malformed => WireRefusal::Malformed,
        Refusal::Internal => WireRefusal::Internal,
        Refusal::Key => WireRefusal::Key,
        Refusal::OtherLog { actual } => WireRefusal::OtherLog { actual: actual.to_bytes() },
        Refusal::Newer => WireRefusal::Newer,
        Refusal::Filter => WireRefusal::Filter,
        Refusal::Proof => WireRefusal::Proof,
        Refusal::OtherAsker => WireRefusal::OtherAsker,
        Refusal::NotAllowed => WireRefusal::NotAllowed,
        Refusal::OverQuota { after } => WireRefusal::OverQuota { after_ms: millis(*after) },
    }
}

fn refusal_from(wire: WireRefusal) -> Result<Refusal, WireError> {
    Ok(match wire {
        WireRefusal::CursorUnknown => Refusal::CursorUnknown,
        WireRefusal::CursorTooOld { floor } if floor <= MAX_COUNTER => Refusal::CursorTooOld { floor: Seq::new(floor) },
        WireRefusal::CursorTooOld { .. } => return Err(broken(Rule::SeqOutOfRange)),
        WireRefusal::Fork { counter, .. } if !(1..=MAX_COUNTER).contains(&counter) => {
            return Err(broken(Rule::CounterOutOfRange));
        }
        WireRefusal::Fork { origin, counter, digest } => {
            Refusal::Fork { origin: Origin::from_bytes(origin), counter, digest: Digest::from_bytes(digest) }
        }
        WireRefusal::NotServing => Refusal::NotServing,
        WireRefusal::WrongCortex { actual } => Refusal::WrongCortex { actual: CortexId::from_bytes(actual) },
        WireRefusal::Protocol { min, max } => Refusal::Protocol { min, max },
        WireRefusal::KnownMissing => Refusal::KnownMissing,
        WireRefusal::Busy => Refusal::Busy,
        WireRefusal::Malformed => Refusal::Malformed,
        WireRefusal::Internal => Refusal::Internal,
        WireRefusal::Key => Refusal::Key,
        WireRefusal::OtherLog { actual } => Refusal::OtherLog { actual: LogId::from_bytes(actual) },
        WireRefusal::Newer => Refusal::Newer,
        WireRefusal::Filter => Refusal::Filter,
        WireRefusal::Proof => Refusal::Proof,
        WireRefusal::OtherAsker => Refusal::OtherAsker,
        WireRefusal::NotAllowed => Refusal::NotAllowed,
        WireRefusal::OverQuota { after_ms } => Refusal::OverQuota { after: Duration::from_millis(after_ms) },
    })
}
