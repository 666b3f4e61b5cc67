//! Frames: what peers exchange. A header of 24 bytes, then a body in bincode. The checksum tells damage on the way from
//! a fork of histories, which must never be confused.

mod greeting;

use std::time::Duration;

use bytes::Bytes;

use super::{Capped, Entry, unbounded};
use crate::clock::MAX_CLOCK_ENTRIES;
use crate::cursor::{Cursor, Seq};
use crate::digest::{DIGEST_ALGORITHM, Digest};
use crate::health::ErrorCategory;
use crate::ids::{CortexId, Epoch, EventId, MAX_COUNTER, Origin};
use crate::protocol::{
    ChainHead, Delivery, EventBatch, FetchReply, FetchRequest, Heads, Heartbeat, Hello, Identity, Known,
    MAX_BATCH_EVENTS, Pushed, Refresh, Refusal, RequestId, Scope,
};
use crate::rule::Rule;
use crate::time::Timestamp;
use greeting::{
    heartbeat_from, hello_from, identity_from, refresh_from, wire_heartbeat, wire_hello, wire_identity, wire_refresh,
};

/// The largest frame: header and body.
pub const MAX_FRAME_BYTES: usize = 20 * 1024 * 1024;
/// `"AN"`, version, kind, body length (4, big-endian), XXH3-128 of the body (16).
pub const FRAME_HEADER_BYTES: usize = 24;

const MAGIC: [u8; 2] = *b"AN";
const VERSION: u8 = 1;
const KIND_FETCH: u8 = 1;
const KIND_BATCH: u8 = 2;
const KIND_REFUSAL: u8 = 3;
const KIND_REFRESH: u8 = 4;
const KIND_HEARTBEAT: u8 = 5;
const KIND_HELLO: u8 = 6;
const KIND_IDENTIFY: u8 = 7;
const KIND_IDENTITY: u8 = 8;

/// What one frame holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// A request for events.
    Fetch(FetchRequest),
    /// Its answer.
    Reply(FetchReply),
    /// News about a request that is open.
    Refresh(Refresh),
    /// How far a log reaches.
    Heartbeat(Heartbeat),
    /// The first words of a connection.
    Hello(Hello),
    /// "Who are you?"
    Identify,
    /// The answer to a hello, and to that question.
    Identity(Identity),
}

impl From<Pushed> for Message {
    fn from(pushed: Pushed) -> Self {
        match pushed {
            Pushed::Reply(reply) => Self::Reply(reply),
            Pushed::Heartbeat(heartbeat) => Self::Heartbeat(heartbeat),
        }
    }
}

/// Why bytes are not a frame. Nothing was applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// They do not begin as a frame does.
    #[error("these bytes are not an Antiphon frame")]
    NotAFrame,
    /// A frame version this build does not speak.
    #[error("frame version {version} is not known here")]
    UnknownVersion {
        /// The version byte.
        version: u8,
    },
    /// Its body would be larger than any frame may be.
    #[error("a frame of {bytes} bytes is over the limit of {MAX_FRAME_BYTES}")]
    TooLarge {
        /// The size it claims.
        bytes: usize,
    },
    /// It ends too early or too late.
    #[error("the frame has {actual} bytes where its header says {expected}")]
    Length {
        /// What the header says.
        expected: usize,
        /// What is there.
        actual: usize,
    },
    /// Its body is not what was sent.
    #[error("the frame was damaged on the way: its checksum differs")]
    Checksum,
    /// Its body does not decode, or breaks a rule of the protocol.
    #[error("{rule}{detail}")]
    Malformed {
        /// The rule.
        rule: Rule,
        /// What there is to add, after the rule.
        detail: String,
    },
}

impl WireError {
    /// Its kind in the peer's health, whatever transport it came over.
    #[must_use]
    pub const fn category(&self) -> ErrorCategory {
        match self {
            Self::NotAFrame => ErrorCategory::Unexpected,
            Self::UnknownVersion { .. } => ErrorCategory::Version,
            Self::TooLarge { .. } => ErrorCategory::TooLarge,
            Self::Length { .. } | Self::Checksum => ErrorCategory::Corrupt,
            Self::Malformed { rule, .. } if rule.is_newer() => ErrorCategory::Newer,
            Self::Malformed { .. } => ErrorCategory::Protocol,
        }
    }
}

fn broken(rule: Rule) -> WireError {
    WireError::Malformed { rule, detail: String::new() }
}

fn broken_by(rule: Rule, detail: impl std::fmt::Display) -> WireError {
    WireError::Malformed { rule, detail: format!(": {detail}") }
}

/// The first 24 bytes of a frame, checked: read these before you spend memory on the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    kind: u8,
    body: usize,
    checksum: Digest,
}

impl FrameHeader {
    /// Reads and checks a header.
    ///
    /// # Errors
    /// [`WireError`] unless it is a frame of a known version within [`MAX_FRAME_BYTES`].
    pub fn parse(bytes: &[u8]) -> Result<Self, WireError> {
        let (Some(head), Some(length), Some(checksum)) = (
            bytes.first_chunk::<4>(),
            bytes.get(4..8).and_then(|b| b.first_chunk::<4>()),
            bytes.get(8..24).and_then(|b| b.first_chunk::<16>()),
        ) else {
            return Err(WireError::NotAFrame);
        };
        if head[..2] != MAGIC {
            return Err(WireError::NotAFrame);
        }
        if head[2] != VERSION {
            return Err(WireError::UnknownVersion { version: head[2] });
        }
        let body = u32::from_be_bytes(*length) as usize;
        if body > MAX_FRAME_BYTES - FRAME_HEADER_BYTES {
            return Err(WireError::TooLarge { bytes: body.saturating_add(FRAME_HEADER_BYTES) });
        }
        Ok(Self { kind: head[3], body, checksum: Digest::from_bytes(*checksum) })
    }

    /// How many bytes follow the header.
    #[must_use]
    pub const fn body_len(&self) -> usize {
        self.body
    }
}

type WireCursor = (u64, u64, [u8; 16]);
type WireHead = (Entry, [u8; 16]);
type WireHeads = Capped<WireHead, MAX_CLOCK_ENTRIES>;

#[derive(bincode::Encode, bincode::Decode)]
enum WireKnown {
    Full(WireHeads),
    Unchanged([u8; 16]),
}

#[derive(bincode::Encode, bincode::Decode)]
struct WireFetch {
    process: u64,
    number: u64,
    from: [u8; 16],
    to: [u8; 16],
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
}

#[derive(bincode::Encode, bincode::Decode)]
enum WireScope {
    All,
    Cortex([u8; 16]),
    Origin([u8; 24]),
}

#[derive(bincode::Encode, bincode::BorrowDecode)]
struct WireBatch<'a> {
    process: u64,
    number: u64,
    part: u64,
    from: [u8; 16],
    digest_algorithm: u8,
    prev: WireCursor,
    last: WireCursor,
    last_time: i64,
    head: WireCursor,
    head_time: i64,
    heads: WireHeads,
    /// (distance to the place before, record)
    events: Capped<(u64, &'a [u8]), { MAX_BATCH_EVENTS as usize }>,
}

#[derive(bincode::Encode, bincode::Decode)]
enum WireRefusal {
    CursorUnknown,
    CursorTooOld { floor: u64 },
    Fork { origin: [u8; 24], counter: u64, digest: [u8; 16] },
    NotServing,
    WrongCortex { actual: [u8; 16] },
    Protocol { min: u16, max: u16 },
    KnownMissing,
    Busy,
    Malformed,
    Internal,
    Key,
}

/// One message as one frame.
#[must_use]
pub fn encode(message: &Message) -> Bytes {
    let (kind, size) = match message {
        Message::Fetch(_) => (KIND_FETCH, 1024),
        Message::Reply(FetchReply::Batch(batch)) => {
            let events: usize = batch.events.iter().map(|e| e.1.len() + 8).sum();
            (KIND_BATCH, events + batch.heads.len() * 64)
        }
        Message::Reply(FetchReply::Refused(_)) => (KIND_REFUSAL, 64),
        Message::Refresh(_) => (KIND_REFRESH, 512),
        Message::Heartbeat(_) => (KIND_HEARTBEAT, 64),
        Message::Hello(_) => (KIND_HELLO, 256),
        Message::Identify => (KIND_IDENTIFY, 0),
        Message::Identity(_) => (KIND_IDENTITY, 256),
    };
    let mut frame = Vec::with_capacity(FRAME_HEADER_BYTES + 256 + size);
    frame.extend_from_slice(&[MAGIC[0], MAGIC[1], VERSION, kind]);
    frame.resize(FRAME_HEADER_BYTES, 0);
    match message {
        Message::Fetch(request) => write(&wire_fetch(request), &mut frame),
        Message::Reply(FetchReply::Batch(batch)) => write(&wire_batch(batch), &mut frame),
        Message::Reply(FetchReply::Refused(refusal)) => write(&wire_refusal(refusal), &mut frame),
        Message::Refresh(refresh) => write(&wire_refresh(refresh), &mut frame),
        Message::Heartbeat(heartbeat) => write(&wire_heartbeat(heartbeat), &mut frame),
        Message::Hello(hello) => write(&wire_hello(hello), &mut frame),
        Message::Identify => {}
        Message::Identity(identity) => write(&wire_identity(identity), &mut frame),
    }
    let (head, body) = frame.split_at_mut(FRAME_HEADER_BYTES);
    // The service bounds what it puts in far below 4 GiB; a longer body would be refused by any reader's length check.
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    head[4..8].copy_from_slice(&length.to_be_bytes());
    head[8..24].copy_from_slice(&Digest::of(body).to_bytes());
    frame.into()
}

fn write(body: &impl bincode::Encode, frame: &mut Vec<u8>) {
    bincode::encode_into_std_write(body, frame, unbounded()).expect("writing plain fields into memory cannot fail");
}

/// The message in one whole frame. Events are slices of it, not copies.
///
/// # Errors
/// [`WireError`]. Allocates at most a small multiple of the frame's own size, itself at most [`MAX_FRAME_BYTES`].
pub fn decode(frame: &Bytes) -> Result<Message, WireError> {
    let header = FrameHeader::parse(frame)?;
    let body = frame.slice(FRAME_HEADER_BYTES..);
    if body.len() != header.body {
        return Err(WireError::Length { expected: header.body, actual: body.len() });
    }
    if Digest::of(&body) != header.checksum {
        return Err(WireError::Checksum);
    }
    match header.kind {
        KIND_FETCH => fetch_from(read(&body)?).map(Message::Fetch),
        KIND_BATCH => batch_from(&body).map(|batch| Message::Reply(FetchReply::Batch(batch))),
        KIND_REFUSAL => refusal_from(read(&body)?).map(|refusal| Message::Reply(FetchReply::Refused(refusal))),
        KIND_REFRESH => refresh_from(read(&body)?).map(Message::Refresh),
        KIND_HEARTBEAT => heartbeat_from(read(&body)?).map(Message::Heartbeat),
        KIND_HELLO => hello_from(read(&body)?).map(Message::Hello),
        KIND_IDENTIFY => whole(0, &body).map(|()| Message::Identify),
        KIND_IDENTITY => identity_from(read(&body)?).map(Message::Identity),
        kind => Err(broken_by(Rule::UnknownKind, kind)),
    }
}

fn read<T: bincode::Decode<()>>(body: &[u8]) -> Result<T, WireError> {
    let (value, read) = bincode::decode_from_slice(body, unbounded()).map_err(|e| broken_by(Rule::Undecodable, e))?;
    whole(read, body)?;
    Ok(value)
}

fn whole(read: usize, body: &[u8]) -> Result<(), WireError> {
    if read != body.len() {
        return Err(broken(Rule::BytesAfterMessage));
    }
    Ok(())
}

fn wire_cursor(cursor: &Cursor) -> WireCursor {
    (cursor.epoch.get(), cursor.seq.get(), cursor.last_event.to_bytes())
}

fn cursor_from((epoch, seq, last_event): WireCursor) -> Result<Cursor, WireError> {
    if seq > MAX_COUNTER {
        return Err(broken(Rule::SeqOutOfRange));
    }
    Ok(Cursor { epoch: Epoch::new(epoch), seq: Seq::new(seq), last_event: EventId::from_bytes(last_event) })
}

fn wire_heads(heads: &Heads) -> WireHeads {
    Capped(heads.iter().map(|(origin, head)| ((origin.to_bytes(), head.counter), head.digest.to_bytes())).collect())
}

fn heads_from(wire: WireHeads) -> Result<Heads, WireError> {
    if wire.0.iter().any(|head| head.0.1 == 0) {
        return Err(broken(Rule::CounterOutOfRange));
    }
    told_heads_from(wire)
}

/// Those of an answer: a counter of 0 says that nothing of the origin is held.
fn told_heads_from(wire: WireHeads) -> Result<Heads, WireError> {
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

fn check_algorithm(algorithm: u8) -> Result<(), WireError> {
    if algorithm != DIGEST_ALGORITHM {
        return Err(broken_by(Rule::UnknownAlgorithm, algorithm));
    }
    Ok(())
}

fn wire_fetch(request: &FetchRequest) -> WireFetch {
    WireFetch {
        process: request.request.process,
        number: request.request.number,
        from: request.from.to_bytes(),
        to: request.to.to_bytes(),
        protocol: request.protocol,
        digest_algorithm: DIGEST_ALGORITHM,
        after: request.after.as_ref().map(wire_cursor),
        known: match &request.known {
            Known::Full(heads) => WireKnown::Full(wire_heads(heads)),
            Known::Unchanged(hash) => WireKnown::Unchanged(hash.to_bytes()),
        },
        direct: Capped(request.direct.iter().map(|id| id.to_bytes()).collect()),
        max_events: request.max_events,
        max_bytes: request.max_bytes,
        wait_ms: u64::try_from(request.wait.as_millis()).unwrap_or(u64::MAX),
        delivery: match request.delivery {
            Delivery::Once => 0,
            Delivery::CatchUp => 1,
            Delivery::Live => 2,
        },
        scope: match request.scope {
            Scope::All => WireScope::All,
            Scope::Cortex(cortex) => WireScope::Cortex(cortex.to_bytes()),
            Scope::Origin(origin) => WireScope::Origin(origin.to_bytes()),
        },
        withhold: wire_heads(&request.withhold),
    }
}

fn fetch_from(wire: WireFetch) -> Result<FetchRequest, WireError> {
    check_algorithm(wire.digest_algorithm)?;
    Ok(FetchRequest {
        request: RequestId { process: wire.process, number: wire.number },
        from: CortexId::from_bytes(wire.from),
        to: CortexId::from_bytes(wire.to),
        protocol: wire.protocol,
        after: wire.after.map(cursor_from).transpose()?,
        known: match wire.known {
            WireKnown::Full(heads) => Known::Full(heads_from(heads)?),
            WireKnown::Unchanged(hash) => Known::Unchanged(Digest::from_bytes(hash)),
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
            WireScope::Cortex(cortex) => Scope::Cortex(CortexId::from_bytes(cortex)),
            WireScope::Origin(origin) => Scope::Origin(Origin::from_bytes(origin)),
        },
        withhold: heads_from(wire.withhold)?,
    })
}

fn wire_batch(batch: &EventBatch) -> WireBatch<'_> {
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
        digest_algorithm: DIGEST_ALGORITHM,
        prev: wire_cursor(&batch.prev),
        last: wire_cursor(&batch.last),
        last_time: batch.last_time.as_micros(),
        head: wire_cursor(&batch.head),
        head_time: batch.head_time.as_micros(),
        heads: wire_heads(&batch.heads),
        events: Capped(events.collect()),
    }
}

fn batch_from(body: &Bytes) -> Result<EventBatch, WireError> {
    let (wire, read): (WireBatch<'_>, usize) =
        bincode::borrow_decode_from_slice(body, unbounded()).map_err(|e| broken_by(Rule::Undecodable, e))?;
    whole(read, body)?;
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
    Ok(EventBatch {
        request: RequestId { process: wire.process, number: wire.number },
        part: wire.part,
        from: CortexId::from_bytes(wire.from),
        prev,
        last: cursor_from(wire.last)?,
        last_time: Timestamp::from_micros(wire.last_time),
        head: cursor_from(wire.head)?,
        head_time: Timestamp::from_micros(wire.head_time),
        events,
        heads: told_heads_from(wire.heads)?,
    })
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
    })
}

#[cfg(test)]
mod tests;
