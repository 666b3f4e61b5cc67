//! Seeds of the corpora: inputs that a fuzzer would need long to guess. `cargo run -p antiphon-fuzz --example seeds`
//! writes them to `corpus/<target>/seed-*`; run it after a change of a format.

mod admission;
mod cloud;
mod configuration;
mod greetings;
mod machine;
mod store;

use std::time::Duration;

use antiphon_kernel::clock::VClock;
use antiphon_kernel::codec::{FRAME_HEADER_BYTES, Message, Room, encode};
use antiphon_kernel::config::SharedKey;
use antiphon_kernel::cursor::{Cursor, Seq};
use antiphon_kernel::digest::Digest;
use antiphon_kernel::event::Draft;
use antiphon_kernel::identity::Signature;
use antiphon_kernel::ids::{CortexId, Dot, Epoch, EventId, LogId, MAX_COUNTER, Origin};
use antiphon_kernel::internals::codec::{EncodedDraft, encode_record};
use antiphon_kernel::proof::Channel;
use antiphon_kernel::protocol::{
    ChainHead, Delivery, EventBatch, FetchReply, FetchRequest, Heads, Heartbeat, Hello, Identity, Known, MAX_WAIT,
    OwnHead, Refresh, Refusal, RequestId, Scope,
};
use antiphon_kernel::testing::{HandshakeOf, seeded_cortex, seeded_keys};
use antiphon_kernel::time::Timestamp;
use bytes::Bytes;

use crate::wire_decode::{Input, framed};

/// One input of a corpus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seed {
    /// The target it is for.
    pub target: &'static str,
    /// Its file's name.
    pub name: String,
    /// The input.
    pub bytes: Vec<u8>,
}

/// Every seed, always the same.
#[must_use]
pub fn seeds() -> Vec<Seed> {
    let all = [
        ("admission", admission::seeds()),
        ("cloud_events", cloud::seeds()),
        ("configuration", configuration::seeds()),
        ("peer_machine", machine::seeds()),
        ("store_model", store::seeds()),
        ("vclock_laws", clock_seeds()),
        ("wire_decode", wire_seeds()),
    ];
    let named = |target, (name, bytes)| Seed { target, name: format!("seed-{name}"), bytes };
    all.into_iter().flat_map(|(target, seeds)| seeds.into_iter().map(move |seed| named(target, seed))).collect()
}

fn with(selector: u8, bytes: &[u8]) -> Vec<u8> {
    [&[selector], bytes].concat()
}

fn wire_seeds() -> Vec<(String, Vec<u8>)> {
    let mut seeds = Vec::new();
    for (name, message) in messages() {
        let frame = encode(&message);
        seeds.push((format!("frame-{name}"), with(Input::FRAME, &frame)));
        seeds.push((format!("body-{name}"), body_of(&frame)));
    }
    for (name, message) in messages().into_iter().take(3) {
        let frame = encode(&message);
        seeds.push((format!("cut-frame-{name}"), with(Input::FRAME, &frame[..frame.len() - 1])));
        let body = body_of(&frame);
        seeds.push((format!("cut-body-{name}"), body[..body.len() / 2].to_vec()));
    }
    for (name, record) in records() {
        seeds.push((format!("cut-record-{name}"), with(Input::RECORD, &record[..record.len() / 2])));
        seeds.push((format!("record-{name}"), with(Input::RECORD, &record)));
    }
    seeds.extend(hostile_claims());
    seeds.extend(out_of_order());
    seeds
}

/// The input that holds a frame's kind and body.
fn body_of(frame: &[u8]) -> Vec<u8> {
    [&[Input::BODY, frame[3]], &frame[FRAME_HEADER_BYTES..]].concat()
}

fn origin(n: u8) -> Origin {
    Origin::new(CortexId::from_bytes([n; 16]), Epoch::new(u64::from(n)))
}

fn cursor(seq: u64) -> Cursor {
    Cursor { epoch: Epoch::new(3), seq: Seq::new(seq), last_event: EventId::from_parts(seq, 1) }
}

fn heads(count: u8) -> Heads {
    let head = |n| (origin(n), ChainHead { counter: u64::from(n), digest: Digest::of(&[n]) });
    Heads::new((1..=count).map(head).collect())
}

fn request(known: Known) -> FetchRequest {
    FetchRequest {
        request: RequestId { process: 77, number: 2 },
        from: CortexId::from_bytes([1; 16]),
        epoch: cursor(5).epoch,
        to: CortexId::from_bytes([2; 16]),
        log: Some(LogId::from_bytes([5; 16])),
        protocol: 2,
        after: Some(cursor(5)),
        known,
        direct: vec![CortexId::from_bytes([3; 16])],
        max_events: 4096,
        max_bytes: 1 << 20,
        wait: MAX_WAIT,
        delivery: Delivery::Live,
        scope: Scope::All,
        withhold: antiphon_kernel::protocol::Heads::default(),
        exclude: vec![CortexId::from_bytes([6; 16])],
        filter: Some([7; 32]),
        safe: VClock::from_sorted(&[(origin(1), 4), (origin(2), MAX_COUNTER)]).ok(),
        room: Room::default().with(2, b"two").with(300, b""),
    }
}

fn batch(events: Vec<(Seq, Bytes)>) -> EventBatch {
    let last = events.last().map_or(5, |event| event.0.get());
    EventBatch {
        request: RequestId { process: 77, number: 2 },
        part: 0,
        log: Some(LogId::from_bytes([5; 16])),
        room: Room::default(),
        from: CortexId::from_bytes([2; 16]),
        prev: cursor(5),
        last: cursor(last),
        last_time: Timestamp::from_micros(-1),
        head: cursor(last + 3),
        head_time: Timestamp::from_micros(1_700_000_000_000_000),
        inceptions: vec![(origin(1), Bytes::from_static(b"inception")), (origin(2), Bytes::new())],
        seals: events.iter().map(|_| Signature::from_bytes([8; 64])).collect(),
        clocks: events.iter().map(|_| [9; 32]).collect(),
        own: None,
        events,
        heads: heads(2),
    }
}

fn own_head() -> OwnHead {
    OwnHead {
        origin: origin(1),
        counter: MAX_COUNTER,
        digest: Digest::of(b"head"),
        id: EventId::from_bytes([6; 16]),
        clock: [9; 32],
        seal: Signature::from_bytes([8; 64]),
    }
}

/// One valid message of each kind, and of each refusal.
#[must_use]
pub fn messages() -> Vec<(&'static str, Message)> {
    let events = records().into_iter().zip([6, 9, 10]).map(|((_, record), seq)| (Seq::new(seq), record));
    let bare = FetchRequest {
        after: None,
        direct: Vec::new(),
        wait: Duration::ZERO,
        delivery: Delivery::Once,
        log: None,
        exclude: Vec::new(),
        filter: None,
        safe: None,
        room: Room::default(),
        ..request(Known::Unchanged(heads(2).fold()))
    };
    let mut messages = vec![
        ("fetch", Message::Fetch(request(Known::Full(heads(3))))),
        ("batch", Message::Reply(FetchReply::Batch(batch(events.collect())))),
        ("fetch-unchanged", Message::Fetch(bare)),
        ("batch-empty", Message::Reply(FetchReply::Batch(batch(Vec::new())))),
    ];
    let refusals = [
        ("cursor-unknown", Refusal::CursorUnknown),
        ("cursor-too-old", Refusal::CursorTooOld { floor: Seq::new(MAX_COUNTER) }),
        ("fork", Refusal::Fork { origin: origin(1), counter: 2, digest: Digest::of(b"fork") }),
        ("not-serving", Refusal::NotServing),
        ("wrong-cortex", Refusal::WrongCortex { actual: CortexId::from_bytes([9; 16]) }),
        ("protocol", Refusal::Protocol { min: 2, max: 300 }),
        ("known-missing", Refusal::KnownMissing),
        ("busy", Refusal::Busy),
        ("malformed", Refusal::Malformed),
        ("internal", Refusal::Internal),
        ("key", Refusal::Key),
        ("other-log", Refusal::OtherLog { actual: LogId::from_bytes([5; 16]) }),
        ("newer", Refusal::Newer),
        ("filter", Refusal::Filter),
    ];
    messages.extend(refusals.map(|(name, refusal)| (name, Message::Reply(FetchReply::refused(refusal)))));
    let own = Some(Box::new(own_head()));
    messages.push(("own-head", Message::Reply(FetchReply::Refused { refusal: Refusal::CursorUnknown, own })));
    messages.extend(greetings());
    messages
}

fn greetings() -> [(&'static str, Message); 8] {
    let from = seeded_cortex(2);
    let head_time = Timestamp::from_micros(1_700_000_000_000_000);
    let known = heads(2);
    let request = RequestId { process: 77, number: 2 };
    let key = SharedKey::new("0123456789abcdef0123456789abcdef").expect("it is long enough");
    let identity = Identity {
        cortex_id: from,
        name: "bravo".into(),
        protocol_min: 2,
        protocol_max: 2,
        version: "0.1.0".into(),
        log: Some(LogId::from_bytes([5; 16])),
        epoch: Epoch::new(3),
        floor: Seq::new(3),
        room: Room::default(),
        head: cursor(5),
        head_time,
        time: head_time,
        digest: known.fold(),
        statement: seeded_keys(2).statement().to_bytes(),
    };
    let (asker, server) = (seeded_keys(1), seeded_keys(2));
    let (connect, proof, hello) = HandshakeOf {
        asker: &*asker,
        server: &*server,
        connect: [1; 32],
        nonce: [2; 32],
        channel: Channel::Host("alpha.example"),
        key,
    }
    .messages();
    let open = Hello { key: None, room: Room::default().with(2, b"two"), ..hello.clone() };
    [
        ("refresh", Message::Refresh(Refresh { request, from, known, direct: vec![from], room: Room::default() })),
        (
            "heartbeat",
            Message::Heartbeat(Heartbeat {
                from,
                head: cursor(5),
                floor: Seq::new(3),
                head_time,
                room: Room::default(),
            }),
        ),
        ("connect", Message::Connect(connect)),
        ("proof", Message::Proof(proof)),
        ("hello", Message::Hello(hello)),
        ("hello-open", Message::Hello(open)),
        ("identify", Message::Identify),
        ("identity", Message::Identity(identity)),
    ]
}

fn records() -> Vec<(&'static str, Bytes)> {
    let plain = Draft::new("t", "");
    let mut full = Draft::new("note.written", r#"{"text":"hello"}"#).subject("notes/1").json();
    full.extensions.insert("traceparent".into(), "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into());
    full.extensions.insert("x1".into(), "".into());
    full.extensions.insert("x2".into(), (-300).into());
    full.extensions.insert("x3".into(), true.into());
    full.tags.extend(["a".to_owned(), "b".to_owned()]);
    // A time far from the id's, and data longer than one byte can tell the length of.
    let odd = Draft::new("t".repeat(128), vec![0xff; 300]).subject("é".repeat(128)).time(Timestamp::from_micros(-1));
    vec![
        ("plain", record(&plain, 1, &[])),
        ("full", record(&full, 2, &[(origin(2), 3), (origin(3), MAX_COUNTER)])),
        ("odd", record(&odd, MAX_COUNTER, &[])),
    ]
}

fn record(draft: &Draft, counter: u64, deps: &[(Origin, u64)]) -> Bytes {
    let deps = VClock::from_sorted(deps).expect("seeds are valid");
    let dot = Dot::new(origin(1), counter).expect("seeds are valid");
    let id = EventId::from_parts(1_700_000_000_000, u128::from(counter));
    encode_record(draft, &EncodedDraft { id, dot, deps: &deps, time: Timestamp::from_micros(1_700_000_000_000_000) })
}

/// Small inputs that claim to hold much: a decoder that believes a length before it sees the bytes spends memory on it.
fn hostile_claims() -> Vec<(String, Vec<u8>)> {
    // The encoding's forms of a length: one byte up to 250, or a marker and 2, 4 or 8 bytes, little-endian.
    let lengths: [(&str, Vec<u8>); 4] = [
        ("5000", [&[251], &5_000_u16.to_le_bytes()[..]].concat()),
        ("300k", [&[252], &300_000_u32.to_le_bytes()[..]].concat()),
        ("800k", [&[252], &800_000_u32.to_le_bytes()[..]].concat()),
        ("2pow60", [&[253], &(1_u64 << 60).to_le_bytes()[..]].concat()),
    ];
    let no_heads = EventBatch { heads: Heads::default(), ..batch(Vec::new()) };
    let frame_of = |m: &Message| body_of(&encode(m));
    let empty_batch = frame_of(&Message::Reply(FetchReply::Batch(no_heads)));
    let empty_known = FetchRequest { direct: Vec::new(), ..request(Known::Full(Heads::default())) };
    let numbers = FetchRequest {
        max_events: 0,
        max_bytes: 0,
        wait: Duration::ZERO,
        exclude: Vec::new(),
        filter: None,
        safe: None,
        room: Room::default(),
        ..empty_known
    };
    let empty_fetch = frame_of(&Message::Fetch(numbers));
    let plain = with(Input::RECORD, &record(&Draft::new("t", ""), 1, &[]));
    let mut claims = greetings::claims(&lengths);
    for (size, length) in lengths {
        // Each list here is empty, so its length is one zero byte; `from_end` tells which.
        for (list, whole, from_end) in [
            ("record-extensions", &plain, 1),
            ("record-tags", &plain, 2),
            ("record-body", &plain, 9),
            ("record-deps", &plain, 11),
            ("batch-room", &empty_batch, 1),
            ("batch-events", &empty_batch, 2),
            ("batch-heads", &empty_batch, 3),
            ("fetch-exclude", &empty_fetch, 4),
            ("fetch-withhold", &empty_fetch, 5),
            ("fetch-direct", &empty_fetch, 11),
            ("fetch-known", &empty_fetch, 12),
        ] {
            let place = whole.len() - from_end;
            debug_assert_eq!(whole[place], 0, "{list}");
            let claim = [&whole[..place], &length, &whole[place + 1..]].concat();
            claims.push((format!("claim-{list}-{size}"), claim));
        }
    }
    let mut long = encode(&Message::Reply(FetchReply::refused(Refusal::Busy))).to_vec();
    long[4..8].copy_from_slice(&u32::MAX.to_be_bytes());
    claims.push(("claim-frame-length".to_owned(), with(Input::FRAME, &long)));
    claims.push(("unknown-kind".to_owned(), with(Input::FRAME, &framed(99, b"?"))));
    claims
}

/// Lists whose order is wrong: a decoder must refuse them, not repair them.
fn out_of_order() -> Vec<(String, Vec<u8>)> {
    let [(_, first), (_, second), _] = &records()[..] else { unreachable!("there are three") };
    let twice = batch(vec![(Seq::new(6), first.clone()), (Seq::new(6), second.clone())]);
    let places = body_of(&encode(&Message::Reply(FetchReply::Batch(twice))));
    let mut heads = body_of(&encode(&Message::Reply(FetchReply::Batch(batch(Vec::new())))));
    // The body ends with two heads (origin, counter, digest), the length of an empty list, and an empty room.
    const HEAD: usize = 24 + 1 + 32;
    let end = heads.len() - 2;
    heads[end - 2 * HEAD..end].rotate_left(HEAD);
    vec![("order-batch-places".to_owned(), places), ("order-batch-heads".to_owned(), heads)]
}

/// `arbitrary` reads these bytes as numbers: patterns give small and equal, large, and mixed clocks.
fn clock_seeds() -> Vec<(String, Vec<u8>)> {
    let mut seeds = vec![
        ("zeros".to_owned(), vec![0; 64]),
        ("ones".to_owned(), vec![0xff; 256]),
        ("ascending".to_owned(), (0..=255).collect()),
        ("descending".to_owned(), (0..=255).rev().collect()),
    ];
    for step in [3, 7, 31, 101_u8] {
        let bytes = (0..200_u8).map(|n| n.wrapping_mul(step).wrapping_add(n / 7));
        seeds.push((format!("step-{step}"), bytes.collect()));
    }
    seeds
}
