use std::time::Duration;

use super::*;
use crate::clock::VClock;
use crate::cursor::{Cursor, Seq};
use crate::digest::Digest;
use crate::identity::Signature;
use crate::ids::{CortexId, Epoch, EventId, LogId, Origin};
use crate::protocol::OwnHead;
use crate::protocol::{ChainHead, Delivery, EventBatch, Heads, Known, Refusal, RequestId, Scope};
use crate::time::Timestamp;

fn origin(n: u8) -> Origin {
    Origin::new(CortexId::from_bytes([n; 16]), Epoch::new(u64::from(n)))
}

fn cursor(seq: u64) -> Cursor {
    Cursor { epoch: Epoch::new(3), seq: Seq::new(seq), last_event: EventId::from_parts(seq, 1) }
}

fn heads() -> Heads {
    Heads::new(vec![
        (origin(1), ChainHead { counter: 4, digest: Digest::of(b"1") }),
        (origin(2), ChainHead { counter: 9, digest: Digest::of(b"2") }),
    ])
}

fn request() -> FetchRequest {
    FetchRequest {
        request: RequestId { process: 77, number: 2 },
        from: CortexId::from_bytes([1; 16]),
        epoch: Epoch::new(3),
        to: CortexId::from_bytes([2; 16]),
        log: Some(LogId::from_bytes([5; 16])),
        protocol: 2,
        after: Some(cursor(5)),
        known: Known::Full(heads()),
        direct: vec![CortexId::from_bytes([3; 16])],
        max_events: 10,
        max_bytes: 1000,
        wait: Duration::from_millis(1500),
        delivery: Delivery::Live,
        scope: Scope::All,
        withhold: crate::protocol::Heads::default(),
        exclude: vec![CortexId::from_bytes([6; 16])],
        filter: Some([7; 32]),
        safe: VClock::from_sorted(&[(origin(1), 4)]).ok(),
        room: Room::default().with(2, b"two"),
    }
}

fn batch() -> EventBatch {
    EventBatch {
        request: RequestId { process: 77, number: 2 },
        part: 0,
        log: Some(LogId::from_bytes([5; 16])),
        room: Room::default().with(2, b"two"),
        from: CortexId::from_bytes([2; 16]),
        prev: cursor(5),
        last: cursor(9),
        last_time: Timestamp::from_micros(-1),
        head: cursor(12),
        head_time: Timestamp::from_micros(9),
        events: vec![(Seq::new(6), Bytes::from_static(b"six")), (Seq::new(9), Bytes::from_static(b"nine"))],
        heads: heads(),
        inceptions: vec![(origin(1), Bytes::from_static(b"inception"))],
        seals: vec![Signature::from_bytes([8; 64])],
        clocks: vec![[9; 32]],
        own: Some(Box::new(own_head())),
    }
}

fn own_head() -> OwnHead {
    OwnHead {
        origin: origin(1),
        counter: 7,
        digest: Digest::of(b"head"),
        id: EventId::from_bytes([6; 16]),
        clock: [9; 32],
        seal: Signature::from_bytes([8; 64]),
    }
}

fn messages() -> Vec<Message> {
    let refusals = [
        Refusal::CursorUnknown,
        Refusal::CursorTooOld { floor: Seq::new(4) },
        Refusal::Fork { origin: origin(1), counter: 2, digest: Digest::of(b"f") },
        Refusal::NotServing,
        Refusal::WrongCortex { actual: CortexId::from_bytes([9; 16]) },
        Refusal::Protocol { min: 2, max: 3 },
        Refusal::KnownMissing,
        Refusal::Busy,
        Refusal::Malformed,
        Refusal::Internal,
        Refusal::Key,
        Refusal::OtherLog { actual: LogId::from_bytes([5; 16]) },
        Refusal::Newer,
        Refusal::Filter,
        Refusal::Proof,
        Refusal::OtherAsker,
        Refusal::NotAllowed,
        Refusal::OverQuota { after: Duration::from_millis(1_500) },
    ];
    let mut unchanged = request();
    unchanged.known = Known::Unchanged(heads().fold());
    unchanged.after = None;
    let mut all =
        vec![Message::Fetch(request()), Message::Fetch(unchanged), Message::Reply(FetchReply::Batch(batch()))];
    all.extend(refusals.map(|r| Message::Reply(FetchReply::refused(r))));
    let own = Some(Box::new(own_head()));
    all.push(Message::Reply(FetchReply::Refused { refusal: Refusal::CursorUnknown, own }));
    all.extend(greetings());
    all
}

fn greetings() -> Vec<Message> {
    let from = CortexId::from_bytes([4; 16]);
    let request = RequestId { process: 77, number: 2 };
    let identity = Identity {
        cortex_id: from,
        name: "délta".into(),
        protocol_min: 2,
        protocol_max: 2,
        version: "0.1.0".into(),
        log: Some(LogId::from_bytes([5; 16])),
        epoch: Epoch::new(3),
        floor: Seq::new(4),
        room: Room::default().with(4, b""),
        head: cursor(12),
        head_time: Timestamp::from_micros(5),
        time: Timestamp::from_micros(6),
        digest: Digest::of(b"all"),
        statement: vec![7; 131],
    };
    let hello = |key| Hello {
        protocol_min: 2,
        protocol_max: 2,
        connect: [1; 32],
        nonce: [2; 32],
        signature: Signature::from_bytes([8; 64]),
        key,
        from,
        log: None,
        room: Room::default(),
        name: String::new(),
        version: "0.1.0".into(),
        statement: Vec::new(),
    };
    vec![
        Message::Refresh(Refresh {
            request,
            from,
            known: heads(),
            direct: vec![from],
            room: Room::default().with(0, b""),
        }),
        Message::Heartbeat(Heartbeat {
            from,
            head: cursor(12),
            floor: Seq::new(3),
            head_time: Timestamp::from_micros(5),
            room: Room::default().with(300, b"x"),
        }),
        Message::Connect(Connect { protocol_min: 2, protocol_max: 3, nonce: [1; 32], room: Room::default() }),
        Message::Proof(Proof {
            protocol_min: 2,
            protocol_max: 3,
            from,
            nonce: [2; 32],
            statement: vec![7; 131],
            signature: Signature::from_bytes([8; 64]),
            room: Room::default().with(2, b"two"),
        }),
        Message::Hello(hello(None)),
        Message::Hello(hello(Some([3; 32]))),
        Message::Identify,
        Message::Identity(identity),
    ]
}

#[test]
fn a_name_of_any_length_can_be_sent() {
    let Message::Identity(mut identity) = greetings().pop().unwrap() else { panic!() };
    identity.name = "é".repeat(400);
    let Message::Identity(read) = decode(&encode(&Message::Identity(identity))).unwrap() else { panic!() };
    assert_eq!(read.name, "é".repeat(256));
}

#[test]
fn every_message_reads_back() {
    for message in messages() {
        assert_eq!(decode(&encode(&message)).unwrap(), message);
    }
}

/// The name of a message in the golden file.
fn name(message: &Message) -> String {
    match message {
        Message::Fetch(request) => match request.known {
            Known::Full(_) => "fetch request, all fields".to_owned(),
            Known::Unchanged(_) => "fetch request, known unchanged, without a cursor".to_owned(),
        },
        Message::Reply(FetchReply::Batch(_)) => "batch".to_owned(),
        Message::Reply(FetchReply::Refused { refusal, own: None }) => format!("refusal: {refusal}"),
        Message::Reply(FetchReply::Refused { refusal, .. }) => format!("refusal with the asker's own head: {refusal}"),
        Message::Refresh(_) => "refresh".to_owned(),
        Message::Heartbeat(_) => "heartbeat".to_owned(),
        Message::Connect(_) => "connect".to_owned(),
        Message::Proof(_) => "proof".to_owned(),
        Message::Hello(hello) if hello.key.is_none() => "hello in open mode".to_owned(),
        Message::Hello(_) => "hello with a key".to_owned(),
        Message::Identify => "identify".to_owned(),
        Message::Identity(_) => "identity".to_owned(),
    }
}

#[test]
fn the_bytes_of_each_message_stay() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/messages.txt");
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let made: String = messages().iter().map(|one| format!("{}\n  {}\n", name(one), hex(&encode(one)))).collect();
    if std::env::var_os("ANTIPHON_WRITE_DOCS").is_some() {
        std::fs::write(&path, made).unwrap();
    } else {
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(
            kept, made,
            "the protocol changed. If that is meant, with its version: run this test with ANTIPHON_WRITE_DOCS=1"
        );
    }
}

#[test]
fn every_truncation_is_an_error() {
    for message in messages() {
        let frame = encode(&message);
        for end in 0..frame.len() {
            assert!(decode(&frame.slice(..end)).is_err(), "{message:?} cut at {end}");
        }
    }
}

#[test]
fn every_flipped_bit_is_an_error() {
    for message in messages() {
        let frame = encode(&message);
        for bit in 0..frame.len() * 8 {
            let mut damaged = frame.to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(decode(&damaged.into()), Ok(message.clone()), "bit {bit}");
        }
    }
}

#[test]
fn a_length_beyond_the_limit_is_refused_from_the_header_alone() {
    let mut header = encode(&messages()[0]).to_vec();
    header.truncate(FRAME_HEADER_BYTES);
    header[4..8].copy_from_slice(&u32::MAX.to_be_bytes());
    assert!(matches!(FrameHeader::parse(&header), Err(WireError::TooLarge { .. })));
    header[2] = 9;
    assert_eq!(FrameHeader::parse(&header), Err(WireError::UnknownVersion { version: 9 }));
    header[0] = b'x';
    assert_eq!(FrameHeader::parse(&header), Err(WireError::NotAFrame));
}

#[test]
fn a_batch_whose_places_do_not_increase_is_malformed() {
    let mut bad = batch();
    bad.events[1].0 = Seq::new(6);
    let error = decode(&encode(&Message::Reply(FetchReply::Batch(bad)))).unwrap_err();
    assert!(error.to_string().contains("do not increase"), "{error}");
}

#[test]
fn a_frame_with_a_claim_beyond_its_size_does_not_allocate_it() {
    // A batch whose list of events claims 2^60 entries: refused by the decoder's bound, before any memory is spent.
    let mut empty = batch();
    (empty.events, empty.room) = (vec![], Room::default());
    let frame = encode(&Message::Reply(FetchReply::Batch(empty)));
    let mut body = frame[FRAME_HEADER_BYTES..].to_vec();
    // The number of events, and that of the entries in the room.
    body.truncate(body.len() - 2);
    body.push(253);
    body.extend_from_slice(&(1_u64 << 60).to_le_bytes());
    assert!(matches!(decode(&frame_of(KIND_BATCH, &body)), Err(WireError::Malformed { .. })));
}

#[test]
fn a_frame_of_another_version_is_refused_by_the_versions() {
    for version in [1, 3] {
        let mut frame = encode(&Message::Identify).to_vec();
        frame[2] = version;
        let error = decode(&frame.into()).unwrap_err();
        assert_eq!(error, WireError::UnknownVersion { version });
        assert!(error.to_string().contains(&format!("frame version {version} wrote")), "{error}");
        assert!(error.to_string().contains("this build speaks version 2"), "{error}");
        assert_eq!(error.is_newer(), version > 2);
    }
}

/// A room is at the end of each kind of message, also of those whose values have none.
#[test]
fn each_message_ends_in_a_room() {
    for message in messages() {
        let frame = encode(&message);
        let room = match &message {
            Message::Fetch(request) => request.room.clone(),
            Message::Reply(FetchReply::Batch(batch)) => batch.room.clone(),
            Message::Refresh(refresh) => refresh.room.clone(),
            Message::Heartbeat(heartbeat) => heartbeat.room.clone(),
            Message::Connect(connect) => connect.room.clone(),
            Message::Proof(proof) => proof.room.clone(),
            Message::Hello(hello) => hello.room.clone(),
            Message::Identity(identity) => identity.room.clone(),
            Message::Reply(FetchReply::Refused { .. }) | Message::Identify => Room::default(),
        };
        let mut end = Vec::new();
        room.encode(&mut end);
        let before = frame[FRAME_HEADER_BYTES..].strip_suffix(&end[..]).expect("the room is last");
        let with = |room: &[u8]| decode(&frame_of(frame[3], &[before, room].concat()));
        assert!(with(&[1, 6, 1, 9]).is_ok(), "an even number is ignored: {message:?}");
        let error = with(&[1, 7, 1, 9]).unwrap_err();
        assert_eq!(error, WireError::Malformed { rule: Rule::RoomUnknown, detail: String::new() });
        assert!(error.is_newer() && error.to_string().contains("it needs a newer version"), "{error}");
        assert_eq!(Refusal::from(&error), Refusal::Newer);
    }
}

/// The worked exchange of `docs/protocol.md`: alpha (all 01) asks bravo (all 02) for everything, holding nothing.
#[test]
fn the_protocol_document_shows_real_bytes() {
    let request = FetchRequest {
        request: RequestId { process: 7, number: 1 },
        after: None,
        known: Known::Full(Heads::default()),
        direct: vec![],
        max_events: 100,
        max_bytes: 65536,
        wait: Duration::ZERO,
        delivery: Delivery::Once,
        log: None,
        exclude: vec![],
        filter: None,
        safe: None,
        epoch: Epoch::new(0),
        room: Room::default(),
        ..request()
    };
    let frame = encode(&Message::Fetch(request));
    let hex: String = frame.iter().map(|b| format!("{b:02x}")).collect();
    let document = include_str!("../../../../docs/protocol.md");
    assert!(document.contains(&hex), "docs/protocol.md must show this frame:\n{hex}");
}

#[test]
fn only_an_answer_may_say_that_nothing_is_held() {
    let nothing = |digest| Heads::new(vec![(origin(1), ChainHead { counter: 0, digest })]);
    let answer = |digest| EventBatch { heads: nothing(digest), ..batch() };
    let told = Message::Reply(FetchReply::Batch(answer(Digest::ZERO)));
    assert_eq!(decode(&encode(&told)), Ok(told));
    let odd = Message::Reply(FetchReply::Batch(answer(Digest::of(b"something"))));
    assert!(matches!(decode(&encode(&odd)), Err(WireError::Malformed { .. })));
    let held = Message::Fetch(FetchRequest { known: Known::Full(nothing(Digest::ZERO)), ..request() });
    assert!(matches!(decode(&encode(&held)), Err(WireError::Malformed { .. })));
}
