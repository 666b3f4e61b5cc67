//! What a peer, or the log, may say: from bytes, and mostly what is plausible, or nothing would get far.

use antiphon_kernel::codec::Room;
use antiphon_kernel::cursor::{Cursor, Seq};
use antiphon_kernel::digest::Digest;
use antiphon_kernel::health::ErrorCategory;
use antiphon_kernel::ids::{CortexId, Epoch, EventId, LogId, Origin};
use antiphon_kernel::internals::log::Ingested;
use antiphon_kernel::internals::machine::{IngestOutcome, Inspected, Source};
use antiphon_kernel::protocol::{EventBatch, FetchReply, Heads, Heartbeat, Identity, Refusal, RequestId};
use antiphon_kernel::testing::{seeded_cortex, seeded_keys};
use antiphon_kernel::time::Timestamp;

use crate::choices::Choices;

/// 0 is "no-one", 1 is ourselves.
pub(super) fn cortex(n: u8) -> CortexId {
    seeded_cortex(n)
}

/// One of four, and mostly the one that is expected.
const CORTEXES: [u8; 8] = [2, 2, 2, 2, 2, 1, 3, 0];

fn some_cortex(choices: &mut Choices<'_>) -> CortexId {
    cortex(choices.pick(&CORTEXES))
}

pub(super) fn category(choices: &mut Choices<'_>) -> ErrorCategory {
    choices.pick(ErrorCategory::ALL)
}

fn time(choices: &mut Choices<'_>) -> Timestamp {
    Timestamp::from_micros(match choices.byte() {
        254 => i64::MIN,
        255 => i64::MAX,
        small => i64::from(small) * 1_000_000,
    })
}

pub(super) fn cursor(choices: &mut Choices<'_>) -> Cursor {
    let epoch = Epoch::new(choices.pick(&[1, 1, 1, 1, 1, 1, 1, 2]));
    let seq = choices.number();
    Cursor { epoch, seq: Seq::new(seq), last_event: EventId::from_parts(seq, 0) }
}

pub(super) fn identity(choices: &mut Choices<'_>) -> Result<Identity, ErrorCategory> {
    if choices.byte() % 8 == 7 {
        return Err(category(choices));
    }
    let head = cursor(choices);
    let (protocol_min, protocol_max) = choices.pick(&[(2, 2), (2, 2), (1, 9), (0, 1), (3, 9), (0, 0)]);
    let number = choices.pick(&CORTEXES);
    Ok(Identity {
        cortex_id: cortex(number),
        name: "bravo".to_owned(),
        protocol_min,
        protocol_max,
        version: choices.pick(&["0.1.0", "", "é"]).repeat(usize::from(choices.byte())),
        log: choices.pick(&[None, None, Some(LogId::from_bytes([5; 16])), Some(LogId::from_bytes([6; 16]))]),
        epoch: head.epoch,
        floor: Seq::ZERO,
        room: Room::default(),
        head,
        head_time: time(choices),
        time: Timestamp::from_micros(0),
        digest: Digest::ZERO,
        statement: seeded_keys(number).statement().to_bytes(),
    })
}

/// What may come to a question that is open: an answer or, instead, a heartbeat.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "most of them are replies")]
pub(super) enum Said {
    Reply(Source, Result<FetchReply, ErrorCategory>),
    Heartbeat(Heartbeat),
}

pub(super) fn said(choices: &mut Choices<'_>) -> Said {
    let source = choices.pick(&[Source::Asked, Source::Pushed]);
    match choices.byte() % 8 {
        4 => Said::Heartbeat(heartbeat(choices)),
        5 | 6 => Said::Reply(source, Ok(FetchReply::refused(refusal(choices)))),
        7 => Said::Reply(source, Err(category(choices))),
        _ => Said::Reply(source, Ok(FetchReply::Batch(batch(choices)))),
    }
}

pub(super) fn heartbeat(choices: &mut Choices<'_>) -> Heartbeat {
    Heartbeat {
        from: some_cortex(choices),
        head: cursor(choices),
        floor: Seq::ZERO,
        head_time: time(choices),
        room: Room::default(),
    }
}

fn batch(choices: &mut Choices<'_>) -> EventBatch {
    let last = cursor(choices);
    EventBatch {
        request: RequestId { process: 1, number: choices.number() },
        part: 0,
        log: None,
        room: Room::default(),
        from: some_cortex(choices),
        // Often nothing new: the cursor stays where it is.
        prev: if choices.byte().is_multiple_of(2) { last } else { cursor(choices) },
        last,
        last_time: time(choices),
        head: cursor(choices),
        head_time: time(choices),
        events: Vec::new(),
        heads: Heads::default(),
        inceptions: Vec::new(),
        seals: Vec::new(),
        clocks: Vec::new(),
        own: None,
    }
}

/// A batch that brings nothing from a peer that has nothing.
pub(super) fn nothing_new() -> EventBatch {
    batch(&mut Choices::new(&[]))
}

fn fork_origin() -> Origin {
    Origin::new(cortex(2), Epoch::new(1))
}

fn refusal(choices: &mut Choices<'_>) -> Refusal {
    let origin = fork_origin();
    match choices.byte() % 11 {
        0 => Refusal::CursorUnknown,
        1 => Refusal::CursorTooOld { floor: Seq::new(choices.number()) },
        2 => Refusal::Fork { origin, counter: choices.number(), digest: Digest::ZERO },
        3 => Refusal::NotServing,
        4 => Refusal::WrongCortex { actual: some_cortex(choices) },
        5 => Refusal::Protocol { min: 2, max: 3 },
        6 => Refusal::KnownMissing,
        7 => Refusal::Busy,
        8 => Refusal::Malformed,
        9 => Refusal::Internal,
        _ => Refusal::Key,
    }
}

pub(super) fn outcome(choices: &mut Choices<'_>) -> IngestOutcome {
    match choices.byte() % 16 {
        4 => IngestOutcome::Hole,
        5 => IngestOutcome::NotAsked,
        6 => IngestOutcome::Gap,
        7 => IngestOutcome::Failed(category(choices)),
        8 => IngestOutcome::Fork(fork_origin(), choices.number()),
        9 => {
            let IngestOutcome::Done(ingested) = done(choices) else { return IngestOutcome::Hole };
            IngestOutcome::Done(Ingested { healed: 1, ..ingested })
        }
        _ => done(choices),
    }
}

/// What came of looking into a fork.
pub(super) fn inspected(choices: &mut Choices<'_>) -> Result<Inspected, ErrorCategory> {
    match choices.byte() % 4 {
        3 => Err(category(choices)),
        2 => Ok(Inspected::Listed),
        _ => Ok(Inspected::News),
    }
}

pub(super) fn done(choices: &mut Choices<'_>) -> IngestOutcome {
    let (stored, known) = (usize::from(choices.byte() / 128), usize::from(choices.byte()));
    let most = [None, Some(Seq::new(choices.number()))][usize::from(choices.byte() % 2)];
    IngestOutcome::Done(Ingested { stored, known, cursor: cursor(choices), most, healed: 0 })
}
