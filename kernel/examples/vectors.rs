//! Makes `docs/vectors/`: bytes of each format with what they mean, for a peer in another language to be tested with.
//!
//! `cargo run -p antiphon-kernel --example vectors` writes the files again; a test holds them to the code.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use antiphon_kernel::clock::VClock;
use antiphon_kernel::codec::{Absence, EventRef, Message, RecordRef, Room, decode, encode};
use antiphon_kernel::digest::Digest;
use antiphon_kernel::event::{EventBytes, ExtensionRef};
use antiphon_kernel::identity::{EndOfEpoch, KeyStatement, Keys, SecretKey};
use antiphon_kernel::ids::Epoch;
use antiphon_kernel::internals::codec::{EncodedDraft, encode_record, frame_of};
use antiphon_kernel::proof::Channel;
use antiphon_kernel::protocol::{
    ChainHead, Delivery, EventBatch, FetchReply, FetchRequest, Heads, Heartbeat, Hello, Identity, Known, OwnHead,
    Refresh, Refusal, RequestId, Scope,
};
use antiphon_kernel::testing::{Author, HandshakeOf, Written};
use antiphon_kernel::{CortexId, Cursor, Dot, Draft, EventId, LogId, Origin, Seq, SharedKey, Timestamp};
use serde_json::{Value, json};

const LOG: LogId = LogId::from_bytes([0x0a; 16]);

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn origin(n: u8) -> Origin {
    Origin::new(CortexId::from_bytes([n; 16]), Epoch::new(u64::from(n) << 56 | 5))
}

const MS: u64 = 1_764_000_000_000;
const AT: Timestamp = Timestamp::from_micros(1_764_000_000_000_000);

fn id(random: u128) -> EventId {
    EventId::from_parts(MS, random)
}

/// A record, and its fields.
fn record(name: &str, draft: &Draft, id: EventId, counter: u64, deps: &[(Origin, u64)]) -> (EventBytes, Value) {
    let dot = Dot::new(origin(1), counter).unwrap();
    let clock = VClock::from_sorted(deps).unwrap();
    let bytes = encode_record(draft, &EncodedDraft { id, dot, deps: &clock, time: AT });
    let view = EventRef::decode(&bytes).unwrap();
    let deps: Vec<_> =
        deps.iter().map(|(origin, counter)| json!({ "origin": hex(&origin.to_bytes()), "counter": counter })).collect();
    let extensions: Vec<_> = view
        .extensions
        .iter()
        .map(|(name, value)| match value {
            ExtensionRef::Text(text) => json!([name, text]),
            ExtensionRef::Integer(integer) => json!([name, integer]),
            ExtensionRef::Boolean(boolean) => json!([name, boolean]),
        })
        .collect();
    let fields = json!({
        "name": name,
        "id": hex(&id.to_bytes()),
        "id_text": id.to_string(),
        "origin": hex(&origin(1).to_bytes()),
        "counter": counter,
        "deps": deps,
        "time_micros": view.time.as_micros(),
        "type": view.event_type,
        "subject": view.subject,
        "datacontenttype": view.datacontenttype,
        "tags": view.tags,
        "extensions": extensions,
        "data": hex(view.data),
        "record": hex(&bytes),
    });
    (bytes, fields)
}

fn full() -> Draft {
    let mut draft = Draft::new("order.placed", r#"{"total":12.50,"note":"é"}"#)
        .subject("orders/4711")
        .json()
        .tag("customer:7")
        .tag("eu")
        .time(Timestamp::from_micros(AT.as_micros() - 1_234_567));
    draft.extensions.insert("traceparent".to_owned(), "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into());
    draft.extensions.insert("tenant".to_owned(), "".into());
    draft.extensions.insert("priority".to_owned(), (-70_000).into());
    draft.extensions.insert("final".to_owned(), true.into());
    draft
}

fn records() -> Value {
    let small = Draft::new("t", "").time(AT);
    let large = Draft::new("t", vec![7; 300]).time(Timestamp::from_micros(AT.as_micros() + 70_000));
    let deps = [(origin(2), 1), (origin(3), 250), (origin(4), 251), (origin(5), 65_536), (origin(6), u64::MAX >> 1)];
    let valid = [
        record("smallest", &small, id(0), 1, &[]).1,
        record("all fields", &full(), id(7), 70_000, &deps[..2]).1,
        record("integers of each length", &large, id(u128::MAX), u64::MAX >> 1, &deps).1,
    ];
    let (good, _) = record("", &small, id(0), 1, &[]);
    let changed = |at: usize, byte: u8| [&good[..at], &[byte], &good[at + 1..]].concat();
    let own = record_bytes_with_own_dep();
    let refused: Vec<_> = [
        ("version 1", changed(0, 1)),
        ("a flag that is not known", changed(2, 3)),
        ("a counter of 0", changed(43, 0)),
        ("a part that is absent for a reason that is not known", changed(47, 3)),
        ("a byte that follows", [&good[..], &[0]].concat()),
        ("an end that is missing", good[..good.len() - 1].to_vec()),
        ("a dependency on its own origin", own),
    ]
    .into_iter()
    .map(|(why, bytes)| {
        assert!(EventRef::decode(&bytes).is_err(), "{why}");
        json!({ "why": why, "record": hex(&bytes) })
    })
    .collect();
    json!({
        "about": "Event records, docs/format.md. Byte strings are hex. `absent` are the record of all fields without a part, with the same \
                  chain digest.",
        "valid": valid,
        "absent": absent(&deps[..2]),
        "refused": refused,
    })
}

/// A record without its attributes, or without its body, or both.
fn absent(deps: &[(Origin, u64)]) -> Vec<Value> {
    let (whole, _) = record("", &full(), id(7), 70_000, deps);
    let whole = RecordRef::decode(&whole).unwrap();
    let digest = whole.digest_after(Digest::ZERO);
    let erased = Some(Absence::Erased { by: Dot::new(origin(2), 300).unwrap() });
    [
        ("nothing", None, None),
        ("the attributes are missing", Some(Absence::Missing), None),
        ("the body was erased", None, erased),
        ("both were erased", erased, erased),
    ]
    .into_iter()
    .map(|(name, attributes, body)| {
        let less = whole.without(attributes, body);
        assert_eq!(Digest::ZERO.chain(&less).unwrap(), digest);
        json!({ "absent": name, "record": hex(&less), "digest_after_zero": digest.to_string() })
    })
    .collect()
}

fn record_bytes_with_own_dep() -> Vec<u8> {
    let clock = VClock::from_sorted(&[(origin(1), 1)]).unwrap();
    let dot = Dot::new(origin(1), 2).unwrap();
    encode_record(&Draft::new("t", ""), &EncodedDraft { id: id(0), dot, deps: &clock, time: AT }).to_vec()
}

/// The author of the chain: the cortex of the first key statement, in epoch 5.
fn author() -> Author {
    let keys = Keys::new(SecretKey::from_bytes(&[2; 32]), issued()[0].1.clone()).unwrap();
    Author::with_keys(Arc::new(keys), Epoch::new(5), LOG)
}

/// Three events of one origin, each a group of its own.
fn chained() -> Vec<Written> {
    let mut author = author();
    let drafts = [Draft::new("first", "1"), full(), Draft::new("third", vec![3; 600])];
    let made = drafts.iter().zip(1_u8..).map(|(draft, n)| {
        let deps = [(origin(2), 9)];
        let deps = VClock::from_sorted(if n == 2 { &deps[..] } else { &[] }).unwrap();
        author.write(id(n.into()), draft, &deps, AT)
    });
    made.collect()
}

fn chain() -> Value {
    let event = |one: &Written| {
        json!({
            "record": hex(&one.record), "digest": one.head.digest.to_string(), "seal": hex(&one.seal.to_bytes()),
        })
    };
    let events: Vec<_> = chained().iter().map(event).collect();
    let author = author();
    let heads = heads();
    let listed: Vec<_> = heads
        .iter()
        .map(|(origin, head)| {
            json!({ "origin": hex(&origin.to_bytes()), "counter": head.counter, "digest": head.digest.to_string() })
        })
        .collect();
    json!({
        "about": "digest(n) = SHA-256(\"antiphon/2\", digest(n-1), routing part, SHA-256(attributes), SHA-256(body)), and digest(0) = \
                  SHA-256(\"antiphon inception 2\", inception). A seal is the working key's signature on \"antiphon seal 2\", origin (24 \
                  bytes), counter (8, big-endian), digest (32), id (16), SHA-256(full clock without the origin's own entry: each origin, \
                  24, and its counter, 8). The root key and the working key are those of the first statement in statement.json. A log's \
                  digest is SHA-256 over all of its chain heads in order of origin: origin, counter (8, big-endian), digest.",
        "origin": hex(&author.origin().to_bytes()),
        "inception": hex(&chained()[0].inception),
        "digest_before_the_first": author.start().digest.to_string(),
        "working_key": hex(&author.start().key.to_bytes()),
        "events": events,
        "heads": listed,
        "digest_of_the_log": heads.fold().to_string(),
        "digest_of_an_empty_log": Heads::default().fold().to_string(),
    })
}

fn cursor(seq: u64) -> Cursor {
    Cursor { epoch: Epoch::new(0xecb3_099c_4849_a269), seq: Seq::new(seq), last_event: id(u128::from(seq)) }
}

fn heads() -> Heads {
    let chain = chained();
    Heads::new(vec![
        (author().origin(), chain.last().unwrap().head),
        (origin(2), ChainHead { counter: 300, digest: Digest::of(b"2") }),
    ])
}

fn batch_of_chain() -> EventBatch {
    let places = [6, 7, 300];
    EventBatch {
        request: RequestId { process: 7, number: 1 },
        part: 0,
        log: Some(LOG),
        room: Room::default(),
        from: CortexId::from_bytes([2; 16]),
        prev: cursor(5),
        last: cursor(301),
        last_time: AT,
        head: cursor(70_000),
        head_time: Timestamp::from_micros(AT.as_micros() + 1),
        events: places.into_iter().map(Seq::new).zip(chained().into_iter().map(|one| one.record)).collect(),
        heads: heads(),
        inceptions: vec![(author().origin(), chained()[0].inception.clone())],
        seals: chained().iter().map(|one| one.seal).collect(),
        clocks: vec![],
        own: None,
    }
}

fn batch() -> Value {
    let batch = batch_of_chain();
    let events: Vec<_> =
        batch.events.iter().map(|(seq, bytes)| json!({ "seq": seq.get(), "record": hex(bytes) })).collect();
    let shown = |cursor: Cursor| {
        json!({
            "epoch": cursor.epoch.to_string(), "seq": cursor.seq.get(), "event": hex(&cursor.last_event.to_bytes()),
        })
    };
    json!({
        "about": "A batch whose events, inception and seals are those of chain.json: after the answer the asker's cursor is `last`.",
        "process": batch.request.process,
        "number": batch.request.number,
        "part": batch.part,
        "from": hex(&batch.from.to_bytes()),
        "log": hex(&LOG.to_bytes()),
        "prev": shown(batch.prev),
        "last": shown(batch.last),
        "last_time_micros": batch.last_time.as_micros(),
        "head": shown(batch.head),
        "head_time_micros": batch.head_time.as_micros(),
        "events": events,
        "frame": hex(&encode(&Message::Reply(FetchReply::Batch(batch)))),
    })
}

/// One frame of each kind, and of each refusal.
fn messages() -> Vec<(&'static str, Message)> {
    let request = FetchRequest {
        request: RequestId { process: 7, number: 1 },
        from: CortexId::from_bytes([1; 16]),
        epoch: cursor(5).epoch,
        to: CortexId::from_bytes([2; 16]),
        log: Some(LOG),
        protocol: 2,
        after: Some(cursor(5)),
        known: Known::Full(heads()),
        direct: vec![CortexId::from_bytes([3; 16])],
        max_events: 100,
        max_bytes: 65_536,
        wait: Duration::from_secs(30),
        delivery: Delivery::Live,
        scope: Scope::Origin(origin(1)),
        withhold: Heads::new(vec![(origin(2), ChainHead { counter: 4, digest: Digest::of(b"4") })]),
        exclude: vec![CortexId::from_bytes([5; 16]), CortexId::from_bytes([6; 16])],
        filter: Some([8; 32]),
        safe: Some(VClock::from_sorted(&[(origin(1), 3), (origin(2), 300)]).unwrap()),
        room: Room::default().with(2, b"ignored").with(300, b""),
    };
    let plain = FetchRequest {
        after: None,
        known: Known::Full(Heads::default()),
        direct: vec![],
        wait: Duration::ZERO,
        delivery: Delivery::Once,
        scope: Scope::All,
        withhold: Heads::default(),
        log: None,
        exclude: vec![],
        filter: None,
        safe: None,
        room: Room::default(),
        ..request.clone()
    };
    let unchanged = FetchRequest {
        known: Known::Unchanged(heads().fold()),
        delivery: Delivery::CatchUp,
        scope: Scope::Cortex(CortexId::from_bytes([4; 16])),
        ..plain.clone()
    };
    let refresh = Refresh {
        request: request.request,
        from: request.from,
        known: heads(),
        direct: vec![CortexId::from_bytes([3; 16])],
        room: Room::default(),
    };
    let (connect, proof, with_key) = handshake().messages();
    let hello = Hello { key: None, log: Some(LOG), ..with_key.clone() };
    let identity = Identity {
        cortex_id: issued()[1].1.cortex(),
        name: "bravo".to_owned(),
        protocol_min: 2,
        protocol_max: 2,
        version: "0.1.0".to_owned(),
        log: Some(LOG),
        epoch: cursor(5).epoch,
        floor: Seq::new(3),
        room: Room::default(),
        head: cursor(5),
        head_time: AT,
        time: Timestamp::from_micros(AT.as_micros() + 250),
        digest: heads().fold(),
        statement: issued()[1].1.to_bytes(),
    };
    let refused = |refusal| Message::Reply(FetchReply::refused(refusal));
    let own = OwnHead {
        origin: author().origin(),
        counter: 3,
        digest: chained()[2].head.digest,
        id: EventId::from_bytes([6; 16]),
        clock: [9; 32],
        seal: chained()[2].seal,
    };
    let own_refused = Message::Reply(FetchReply::Refused { refusal: Refusal::CursorUnknown, own: Some(Box::new(own)) });
    vec![
        ("fetch request, holding nothing", Message::Fetch(plain)),
        ("fetch request, all fields", Message::Fetch(request)),
        ("fetch request, known unchanged, of one cortex, until caught up", Message::Fetch(unchanged)),
        ("batch, as in batch.json", Message::Reply(FetchReply::Batch(batch_of_chain()))),
        ("refusal: cursor unknown", refused(Refusal::CursorUnknown)),
        ("refusal: cursor unknown, with the asker's own head", own_refused),
        ("refusal: cursor too old, floor 300", refused(Refusal::CursorTooOld { floor: Seq::new(300) })),
        ("refusal: fork", refused(Refusal::Fork { origin: origin(1), counter: 2, digest: chained()[1].head.digest })),
        ("refusal: not serving", refused(Refusal::NotServing)),
        ("refusal: wrong cortex", refused(Refusal::WrongCortex { actual: CortexId::from_bytes([9; 16]) })),
        ("refusal: protocol, 2 to 3 spoken", refused(Refusal::Protocol { min: 2, max: 3 })),
        ("refusal: known missing", refused(Refusal::KnownMissing)),
        ("refusal: busy", refused(Refusal::Busy)),
        ("refusal: malformed", refused(Refusal::Malformed)),
        ("refusal: internal", refused(Refusal::Internal)),
        ("refusal: key", refused(Refusal::Key)),
        ("refusal: other log", refused(Refusal::OtherLog { actual: LOG })),
        ("refusal: newer", refused(Refusal::Newer)),
        ("refusal: filter", refused(Refusal::Filter)),
        ("refresh", Message::Refresh(refresh)),
        (
            "heartbeat",
            Message::Heartbeat(Heartbeat {
                from: CortexId::from_bytes([2; 16]),
                head: cursor(5),
                floor: Seq::new(3),
                head_time: AT,
                room: Room::default(),
            }),
        ),
        ("refusal: proof", refused(Refusal::Proof)),
        ("refusal: other asker", refused(Refusal::OtherAsker)),
        ("refusal: not allowed", refused(Refusal::NotAllowed)),
        ("refusal: over quota for 1.5 s", refused(Refusal::OverQuota { after: Duration::from_millis(1_500) })),
        ("connect", Message::Connect(connect)),
        ("proof, as in proof.json", Message::Proof(proof)),
        ("hello in open mode", Message::Hello(hello)),
        ("hello with a key, as in proof.json", Message::Hello(with_key)),
        ("identify", Message::Identify),
        ("identity", Message::Identity(identity)),
    ]
}

fn frames() -> Value {
    let valid: Vec<_> = messages()
        .into_iter()
        .map(|(name, message)| {
            let frame = encode(&message);
            assert_eq!(decode(&frame), Ok(message), "{name}");
            json!({ "name": name, "kind": frame[3], "frame": hex(&frame) })
        })
        .collect();
    let good = encode(&messages().remove(0).1);
    let changed = |at: usize, byte: u8| [&good[..at], &[byte], &good[at + 1..]].concat();
    let refused: Vec<_> = [
        ("another magic", changed(0, b'B')),
        ("an older frame version", changed(2, 1)),
        ("a newer frame version", changed(2, 3)),
        ("an identify whose room has an odd number, which must be known", frame_of(7, &[1, 3, 0]).to_vec()),
        ("an identify whose room is not in order", frame_of(7, &[2, 4, 0, 2, 0]).to_vec()),
        ("an identify whose room has 65 entries", frame_of(7, &[&[65][..], &[2, 0].repeat(65)].concat()).to_vec()),
        ("a kind that nothing defines, with its right checksum", changed(3, 200)),
        ("a damaged body", changed(good.len() - 1, 1)),
        ("an end that is missing", good[..good.len() - 1].to_vec()),
        ("a body of 20 MiB", [&good[..4], &(20_u32 << 20).to_be_bytes(), &good[8..]].concat()),
    ]
    .into_iter()
    .map(|(why, bytes)| {
        let error = decode(&bytes.clone().into()).unwrap_err();
        json!({ "why": why, "category": error.kind().category(), "frame": hex(&bytes) })
    })
    .collect();
    json!({ "about": "Frames, docs/protocol.md: 24 bytes of header, then the body.", "valid": valid, "refused": refused })
}

/// Two cortexes with keys of 32 equal bytes.
fn keys() -> &'static [Keys; 2] {
    static KEYS: LazyLock<[Keys; 2]> = LazyLock::new(|| [4, 5].map(|n| Keys::from_seed([n; 32])));
    &KEYS
}

/// What the proofs are bound to.
const HOST: &str = "alpha.example:7443";

fn handshake() -> HandshakeOf<'static> {
    let [asker, server] = keys();
    let key = SharedKey::new("0123456789abcdef0123456789abcdef").unwrap();
    HandshakeOf { asker, server, connect: [0x11; 32], nonce: [0x22; 32], channel: Channel::Host(HOST), key }
}

fn proofs() -> Value {
    let of = handshake();
    let (_, proof, hello) = of.messages();
    json!({
        "about": "A handshake: what each side signs, and the proof of the shared key. See docs/protocol.md, Handshake.",
        "host": HOST,
        "connect": hex(&of.connect),
        "nonce": hex(&of.nonce),
        "shared_key": of.key.expose(),
        "asker": { "cortex": hex(&hello.from.to_bytes()), "statement": hex(&hello.statement) },
        "server": { "cortex": hex(&proof.from.to_bytes()), "statement": hex(&proof.statement) },
        "server_signature": hex(&proof.signature.to_bytes()),
        "asker_signature": hex(&hello.signature.to_bytes()),
        "key_proof": hello.key.map(|proof| hex(&proof)),
    })
}

/// A first statement, and a later one with ends of epochs.
fn issued() -> [(&'static str, KeyStatement); 2] {
    let (root, working) = (SecretKey::from_bytes(&[1; 32]), |n: u8| SecretKey::from_bytes(&[n; 32]).public());
    let end = |epoch, counter, n| EndOfEpoch { epoch: Epoch::new(epoch), counter, digest: [n; 32] };
    let ends = vec![end(5, 0, 0), end(u64::MAX, 70_000, 9)];
    [
        ("first", KeyStatement::issue(&root, 1, working(2), Vec::new()).unwrap()),
        ("later, with ends", KeyStatement::issue(&root, 300, working(3), ends).unwrap()),
    ]
}

fn statements() -> Value {
    let valid = issued().map(|(name, statement)| {
        let ends = statement
            .ends()
            .iter()
            .map(|end| json!({ "epoch": end.epoch.to_string(), "counter": end.counter, "digest": hex(&end.digest) }));
        json!({
            "name": name,
            "root": hex(&statement.root().to_bytes()),
            "cortex": hex(&statement.cortex().to_bytes()),
            "cortex_text": statement.cortex().to_string(),
            "number": statement.number(),
            "working": hex(&statement.working().to_bytes()),
            "ends": ends.collect::<Vec<_>>(),
            "statement": hex(&statement.to_bytes()),
        })
    });
    let [(_, first), (_, later)] = issued();
    let (good, with_ends) = (first.to_bytes(), later.to_bytes());
    let changed = |at: usize, byte: u8| [&good[..at], &[byte], &good[at + 1..]].concat();
    let refused: Vec<_> = [
        ("a newer version", changed(0, 2)),
        (
            "another root key, so another cortex",
            [&[1][..], &SecretKey::from_bytes(&[9; 32]).public().to_bytes(), &good[33..]].concat(),
        ),
        ("another number", changed(33, 2)),
        ("the number in a longer form", [&good[..33], &[251, 1, 0], &good[34..]].concat()),
        ("a signature of another statement", [&good[..67], &with_ends[with_ends.len() - 64..]].concat()),
        ("a byte that follows", [&good[..], &[0]].concat()),
        ("an end that is missing", good[..good.len() - 1].to_vec()),
    ]
    .into_iter()
    .map(|(why, bytes)| {
        assert!(KeyStatement::from_bytes(&bytes).is_err(), "{why}");
        json!({ "why": why, "statement": hex(&bytes) })
    })
    .collect();
    let about = "Key statements, docs/format.md. The root key's private key is 32 bytes of 01.";
    json!({ "about": about, "valid": valid, "refused": refused })
}

/// Each file by its name, as it must be.
pub fn files() -> Vec<(&'static str, String)> {
    let files = [
        ("record.json", records()),
        ("chain.json", chain()),
        ("batch.json", batch()),
        ("frame.json", frames()),
        ("statement.json", statements()),
        ("proof.json", proofs()),
    ];
    files.map(|(name, value)| (name, serde_json::to_string_pretty(&value).unwrap() + "\n")).into()
}

/// Where they are.
pub fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/vectors")
}

#[allow(dead_code)]
fn main() {
    for (name, text) in files() {
        std::fs::write(folder().join(name), text).unwrap();
    }
}
