//! Each rule that an answer can break is named where an operator looks, with the event if it is about one.

use std::sync::Arc;
use std::time::Duration;

use antiphon_kernel::clock::VClock;
use antiphon_kernel::codec::{EventRef, FRAME_HEADER_BYTES, Message, Room, decode, encode};
use antiphon_kernel::config::{Config, FederationMode, SharedKey};
use antiphon_kernel::cursor::{Cursor, Seq};
use antiphon_kernel::digest::Digest;
use antiphon_kernel::event::{Draft, EventBytes};
use antiphon_kernel::health::{ErrorCategory, PeerHealth};
use antiphon_kernel::identity::Signature;
use antiphon_kernel::ids::{CortexId, EventId, MAX_COUNTER, Origin};
use antiphon_kernel::internals::codec::{EncodedDraft, encode_record, frame_of};
use antiphon_kernel::internals::log::{IngestError, Ingested, SentQuery, plan_ingest};
use antiphon_kernel::internals::machine::{
    Action, IdentityContext, IngestOutcome, Inspected, Inspection, MAX_INSPECTIONS, Now, PeerMachine, Source,
};
use antiphon_kernel::proof::Identified;
use antiphon_kernel::protocol::{
    ChainHead, EventBatch, FetchReply, FetchRequest, Heads, Heartbeat, Hello, Identity, Known, MAX_GROUP_BYTES,
    PROTOCOL_MAX, PROTOCOL_MIN, Protocols, Refusal,
};
use antiphon_kernel::rule::Rule;
use antiphon_kernel::service::Service;
use antiphon_kernel::store::{Durability, Store};
use antiphon_kernel::testing::{Author, MemoryNetwork, MemoryStore, Tamper, retain, seeded_keys};
use antiphon_kernel::time::Timestamp;

use crate::support::{Node, cortex_id, peer, start, until};

/// A reader, and a writer of three events of which the last has seen one of a third cortex, the reader's own question and the
/// writer's answer.
struct Exchange {
    reader: Node,
    asked: SentQuery,
    request: FetchRequest,
    batch: EventBatch,
    own: Origin,
    other: Origin,
}

impl Exchange {
    fn new() -> Self {
        let mut nodes: Vec<_> =
            (0..3).map(|n| Node::new(n, 3, Arc::new(MemoryStore::new()) as Arc<dyn Store>)).collect();
        let now = Timestamp::from_micros(1_000_000);
        nodes[2].append("other", &VClock::new(), now, Durability::Sync);
        let (mut reader, mut writer, other) = (nodes.remove(0), nodes.remove(0), nodes.remove(0));
        for n in 0..2 {
            writer.append(&format!("own-{n}"), &VClock::new(), now, Durability::Sync);
        }
        writer.pull(&other).unwrap();
        let other = other.log.reader().local().origin();
        let seen = VClock::from_sorted(&[(other, 1)]).unwrap();
        writer.append("own-2", &seen, now, Durability::Sync);
        let (asked, mut request) = reader.question(&writer, 100, true);
        let FetchReply::Batch(batch) = writer.log.reader().answer(&request).unwrap() else { panic!("it answers") };
        // Numbers of one byte, so that a test can say where each field is.
        request.max_bytes = 100;
        let own = writer.log.reader().local().origin();
        assert_eq!(batch.events.len(), 4);
        Self { reader, asked, request, batch, own, other }
    }

    fn refused(&self, change: impl FnOnce(&mut EventBatch, &mut SentQuery)) -> String {
        let (mut batch, mut asked) = (self.batch.clone(), self.asked.clone());
        change(&mut batch, &mut asked);
        plan_ingest(&batch, &asked, &self.reader.log).unwrap_err().to_string()
    }

    fn event(&self, counter: u64) -> String {
        format!("(event {}:{counter})", self.own)
    }
}

/// What becomes of a frame whose body was changed by a sender that knows how to make a checksum.
fn forged(message: &Message, change: impl FnOnce(&mut Vec<u8>)) -> String {
    let frame = encode(message);
    let mut body = frame[FRAME_HEADER_BYTES..].to_vec();
    change(&mut body);
    reframed(frame[3], &body)
}

fn reframed(kind: u8, body: &[u8]) -> String {
    decode(&frame_of(kind, body)).unwrap_err().to_string()
}

/// The kind of a frame that has no body but its room.
const IDENTIFY: u8 = 7;
const NOW: Now = Now { monotonic: Duration::ZERO, wall: Timestamp::from_micros(0) };

/// A machine that has asked its first question about everything.
fn asking() -> (PeerMachine, u64) {
    let context = IdentityContext {
        own: cortex_id(0),
        pin: Some(cortex_id(1)),
        statement: 1,
        expected: None,
        pinned_elsewhere: vec![],
        log: None,
        protocols: Protocols::SPOKEN,
        unproven: false,
    };
    let mut machine = PeerMachine::new(Duration::from_secs(30), context, PeerHealth::default());
    machine.resume();
    let Some(Action::Identify { number }) = machine.poll_action() else { panic!("it asks who the peer is") };
    let start = Cursor::start(antiphon_kernel::ids::Epoch::new(1));
    let identity = Identity {
        cortex_id: cortex_id(1),
        name: String::new(),
        protocol_min: PROTOCOL_MIN,
        protocol_max: PROTOCOL_MAX,
        version: String::new(),
        log: None,
        epoch: start.epoch,
        floor: Seq::ZERO,
        room: Room::default(),
        head: start,
        head_time: NOW.wall,
        time: NOW.wall,
        digest: Digest::ZERO,
        statement: seeded_keys(2).statement().to_bytes(),
    };
    machine.handle_identity(NOW, number, Ok(Identified::trusted(identity)), 0);
    let number = fetch(&mut machine);
    // Nothing of what we wrote ourselves.
    machine.handle_ingested(NOW, number, done(start), 0);
    let number = fetch(&mut machine);
    (machine, number)
}

fn done(cursor: Cursor) -> IngestOutcome {
    IngestOutcome::Done(Ingested { stored: 0, known: 0, cursor, most: None, healed: 0 })
}

fn fetch(machine: &mut PeerMachine) -> u64 {
    loop {
        match machine.poll_action() {
            Some(Action::Fetch { number, .. }) => return number,
            Some(_) => {}
            None => panic!("a question was due"),
        }
    }
}

fn refuse(machine: &mut PeerMachine, number: u64, refusal: &Refusal) {
    machine.handle_reply(NOW, number, Source::Asked, Ok(FetchReply::refused(refusal.clone())), 0);
}

fn broken(machine: &PeerMachine) -> String {
    assert!(machine.health().last_error.is_some());
    machine.breach().map(|rule| rule.to_string()).unwrap_or_default()
}

/// How an answer that breaks this rule is refused, and the event that must be named.
fn lie(rule: Rule, exchange: &Exchange) -> (String, Option<String>) {
    let question = || Message::Fetch(exchange.request.clone());
    let answer = |batch: &EventBatch| Message::Reply(FetchReply::Batch(batch.clone()));
    let fork = |counter| Refusal::Fork { origin: exchange.own, counter, digest: Digest::ZERO };
    let head = |counter| ChainHead { counter, digest: Digest::ZERO };
    let beyond = Cursor { seq: Seq::new(MAX_COUNTER + 1), ..exchange.batch.head };
    // Where delivery is in a question without cursor and lists.
    let delivery = |body: &[u8]| body.len() - 7;
    match rule {
        Rule::Undecodable => (forged(&question(), |body| body.truncate(20)), None),
        Rule::BytesAfterMessage => (forged(&question(), |body| body.push(0)), None),
        Rule::UnknownKind => (reframed(77, &[]), None),
        Rule::UnknownAlgorithm => (forged(&question(), |body| body[algorithm(&exchange.request)] = 9), None),
        Rule::UnknownDelivery => {
            let plain = FetchRequest { known: Known::Full(Heads::default()), ..exchange.request.clone() };
            let change = |body: &mut Vec<u8>| {
                let at = delivery(body);
                body[at] = 9;
            };
            (forged(&Message::Fetch(plain), change), None)
        }
        Rule::RoomTooLarge => (reframed(IDENTIFY, &[65]), None),
        Rule::RoomUnordered => (reframed(IDENTIFY, &[2, 4, 0, 2, 0]), None),
        Rule::RoomUnknown => (reframed(IDENTIFY, &[1, 3, 0]), None),
        Rule::SafeClock => {
            let change = |body: &mut Vec<u8>| {
                // In place of none and of an empty room: a clock of one entry, whose counter is 0.
                body.truncate(body.len() - 2);
                body.extend_from_slice(&[&[1, 1][..], &[7; 24], &[0, 0]].concat());
            };
            (forged(&question(), change), None)
        }
        Rule::TextNotUtf8 => {
            let hello = Hello {
                protocol_min: 2,
                protocol_max: 2,
                connect: [0; 32],
                nonce: [0; 32],
                signature: Signature::from_bytes([0; 64]),
                key: None,
                from: cortex_id(0),
                log: None,
                room: Room::default(),
                name: "n".to_owned(),
                version: "v".to_owned(),
                statement: Vec::new(),
            };
            // The version: before a statement of no bytes and an empty room.
            let change = |body: &mut Vec<u8>| {
                let at = body.len() - 3;
                body[at] = 0xff;
            };
            (forged(&Message::Hello(hello), change), None)
        }
        Rule::SeqOutOfRange => (forged(&answer(&EventBatch { head: beyond, ..exchange.batch.clone() }), |_| {}), None),
        Rule::CounterOutOfRange => {
            let known = Known::Full(Heads::new(vec![(exchange.own, head(0))]));
            (forged(&Message::Fetch(FetchRequest { known, ..exchange.request.clone() }), |_| {}), None)
        }
        Rule::HeadsUnordered => {
            let heads = Heads::new(vec![(exchange.own, head(1)), (exchange.other, head(1))]);
            let plain = FetchRequest { known: Known::Full(heads), ..exchange.request.clone() };
            let change = |body: &mut Vec<u8>| {
                // After the algorithm: no cursor, known in full, two of them, each of 24 + 1 + 32 bytes.
                let first = algorithm(&exchange.request) + 4;
                body[first..first + 114].rotate_left(57);
            };
            (forged(&Message::Fetch(plain), change), None)
        }
        Rule::SeqsDoNotIncrease => {
            let mut batch = exchange.batch.clone();
            batch.events[1].0 = batch.events[0].0;
            (forged(&answer(&batch), |_| {}), None)
        }
        Rule::LogMissing => (exchange.refused(|batch, _| batch.log = None), None),
        Rule::OtherSender => (exchange.refused(|batch, _| batch.from = cortex_id(8)), None),
        Rule::SeveralEpochs => {
            (exchange.refused(|batch, _| batch.head.epoch = antiphon_kernel::ids::Epoch::new(1)), None)
        }
        Rule::CursorsRunBackwards => (exchange.refused(|batch, _| batch.head.seq = Seq::new(1)), None),
        Rule::TwoEventsAtOneSeq => {
            let other = EventId::from_bytes([9; 16]);
            (exchange.refused(|batch, _| batch.prev = Cursor { last_event: other, ..batch.last }), None)
        }
        Rule::EventsOutsideRun => (exchange.refused(|batch, _| batch.last.seq = Seq::new(2)), None),
        Rule::TooManyEvents => (exchange.refused(|_, asked| asked.max_events = 1), None),
        Rule::TooManyBytes => (exchange.refused(|_, asked| asked.max_bytes = 10), None),
        Rule::EventsDoNotFollow => {
            let twice = |batch: &mut EventBatch| batch.events[2].1 = batch.events[1].1.clone();
            (exchange.refused(|batch, _| twice(batch)), Some(exchange.event(2)))
        }
        Rule::GroupCut => (exchange.refused(|batch, _| within_group(&mut batch.events[3].1)), Some(exchange.event(3))),
        Rule::GroupDeps => {
            // The last event names the third cortex's event as a cause.
            let move_up = |batch: &mut EventBatch| {
                retain(batch, |origin| origin == exchange.own);
                within_group(&mut batch.events[1].1);
            };
            (exchange.refused(|batch, _| move_up(batch)), Some(exchange.event(3)))
        }
        Rule::GroupTooLarge => {
            let large = |batch: &mut EventBatch, asked: &mut SentQuery| {
                asked.max_bytes = u64::MAX;
                for (_, record) in &mut batch.events[..2] {
                    let (id, dot) = EventRef::decode_dot(record).unwrap();
                    let draft = Draft::new("t", vec![0; MAX_GROUP_BYTES / 2]);
                    let assigned = EncodedDraft { id, dot, deps: &VClock::new(), time: NOW.wall };
                    *record = encode_record(&draft, &assigned);
                    within_group(record);
                }
            };
            (exchange.refused(large), Some(exchange.event(2)))
        }
        Rule::InceptionMissing => (exchange.refused(|batch, _| batch.inceptions.clear()), Some(exchange.event(1))),
        Rule::InceptionUnasked => {
            let more =
                Author::new(0xaa, 1).write(EventId::from_parts(1, 1), &Draft::new("t", ""), &VClock::new(), NOW.wall);
            let add = |batch: &mut EventBatch| batch.inceptions.push((more.dot.origin(), more.inception.clone()));
            (exchange.refused(|batch, _| add(batch)), None)
        }
        Rule::InceptionsUnordered => {
            let mut batch = exchange.batch.clone();
            batch.inceptions.reverse();
            (forged(&answer(&batch), |_| {}), None)
        }
        Rule::SealMissing => (exchange.refused(|batch, _| batch.seals.truncate(3)), Some(exchange.event(3))),
        Rule::SealWrong => {
            // Made by the same key, of other events.
            let swap = |batch: &mut EventBatch| batch.seals.swap(1, 2);
            (exchange.refused(|batch, _| swap(batch)), Some(exchange.event(2)))
        }
        Rule::SealsTooMany => {
            let again = |batch: &mut EventBatch| batch.seals.push(batch.seals[0]);
            (exchange.refused(|batch, _| again(batch)), None)
        }
        Rule::ClockHashes => (exchange.refused(|batch, _| batch.clocks.push([0; 32])), None),
        Rule::HeadMissing => {
            let only = |batch: &EventBatch| batch.heads.iter().filter(|(origin, _)| *origin != exchange.own).collect();
            (exchange.refused(|batch, _| batch.heads = Heads::new(only(batch))), Some(exchange.event(3)))
        }
        Rule::DependsOnFork => {
            let withheld = Heads::new(vec![(exchange.other, ChainHead { counter: 1, digest: Digest::of(b"ours") })]);
            // The event itself is another version there, and would be found to differ: only what depends on it is left.
            let refused = exchange.refused(|batch, asked| {
                asked.withhold = withheld;
                retain(batch, |origin| origin == exchange.own);
            });
            // Without its cause it is refused for that.
            assert!(refused.contains("which is not held"), "{refused}");
            let mut held = Exchange::new();
            held.take_other();
            let refused = held.refused(|batch, asked| {
                asked.withhold = Heads::new(vec![(held.other, ChainHead { counter: 1, digest: Digest::of(b"ours") })]);
                retain(batch, |origin| origin == held.own);
            });
            (refused, Some(held.event(3)))
        }
        Rule::Excluded => {
            let excluded = |_: &mut EventBatch, asked: &mut SentQuery| asked.exclude = vec![exchange.own.cortex()];
            (exchange.refused(excluded), Some(exchange.event(1)))
        }
        Rule::DependsOnExcluded => {
            let mut held = Exchange::new();
            held.take_other();
            let refused = held.refused(|batch, asked| {
                asked.exclude = vec![held.other.cortex()];
                retain(batch, |origin| origin == held.own);
            });
            (refused, Some(held.event(3)))
        }
        Rule::HoldsLessThanClaimed => {
            let mut inspection = Inspection::new(exchange.own, 100);
            let refused = inspection.answer(FetchReply::Batch(exchange.batch.clone())).unwrap_err();
            assert_eq!(refused.category, ErrorCategory::Protocol);
            (refused.detail, Some(exchange.own.to_string()))
        }
        Rule::OtherHeartbeat => {
            let (mut machine, number) = asking();
            let heartbeat = Heartbeat {
                from: cortex_id(5),
                head: exchange.batch.head,
                floor: Seq::ZERO,
                head_time: NOW.wall,
                room: Room::default(),
            };
            machine.handle_heartbeat(NOW, number, &heartbeat, 0);
            (broken(&machine), None)
        }
        Rule::CursorNotSent => {
            let (mut machine, mut number) = asking();
            while machine.health().last_error.is_none() {
                refuse(&mut machine, number, &Refusal::CursorUnknown);
                if machine.health().last_error.is_none() {
                    number = fetch(&mut machine);
                }
            }
            (broken(&machine), None)
        }
        Rule::ForkBeforeFirst => {
            let (mut machine, number) = asking();
            refuse(&mut machine, number, &fork(0));
            (broken(&machine), None)
        }
        Rule::TooManyForks => {
            let (mut machine, mut number) = asking();
            for _ in 0..=MAX_INSPECTIONS {
                refuse(&mut machine, number, &fork(1));
                if let Some(Action::Inspect { number: looked, .. }) = machine.poll_action() {
                    machine.handle_inspected(NOW, looked, Ok(Inspected::News), 0);
                    number = fetch(&mut machine);
                }
            }
            (broken(&machine), None)
        }
        Rule::ForkListed => {
            let (mut machine, mut number) = asking();
            for round in 0..2 {
                refuse(&mut machine, number, &fork(1));
                let Some(Action::Inspect { number: looked, .. }) = machine.poll_action() else {
                    panic!("it must look")
                };
                machine.handle_inspected(NOW, looked, Ok(Inspected::Listed), 0);
                if round == 0 {
                    number = fetch(&mut machine);
                }
            }
            (broken(&machine), None)
        }
        Rule::NoProgress => {
            let (mut machine, mut number) = asking();
            loop {
                refuse(&mut machine, number, &Refusal::CursorUnknown);
                if machine.health().last_error.is_some() {
                    break;
                }
                let quiet = EventBatch {
                    prev: exchange.batch.last,
                    events: vec![],
                    seals: vec![],
                    inceptions: vec![],
                    ..exchange.batch.clone()
                };
                number = fetch(&mut machine);
                machine.handle_reply(NOW, number, Source::Asked, Ok(FetchReply::Batch(quiet)), 0);
                machine.handle_ingested(NOW, number, done(exchange.batch.last), 0);
                number = fetch(&mut machine);
            }
            assert_eq!(machine.health().last_error, Some(ErrorCategory::NoProgress));
            (broken(&machine), None)
        }
        other => panic!("no answer here breaks the rule: {other}"),
    }
}

/// Takes the mark from a record that says that its group ends there.
fn within_group(record: &mut EventBytes) {
    let mut bytes = record.to_vec();
    bytes[2] = 0;
    *record = bytes.into();
}

/// Where the digest algorithm is in the body of a question.
fn algorithm(request: &FetchRequest) -> usize {
    let body = encode(&Message::Fetch(request.clone())).slice(FRAME_HEADER_BYTES..);
    let to = request.to.to_bytes();
    let at = body.windows(16).rposition(|bytes| bytes == to).unwrap();
    // After whom it is addressed to, no log, and the protocol.
    at + 16 + 1 + 1
}

impl Exchange {
    /// The reader gets the third cortex's event from that one itself.
    fn take_other(&mut self) {
        let mut batch = self.batch.clone();
        let asked = SentQuery { to: cortex_id(1), ..self.asked.clone() };
        retain(&mut batch, |origin| origin == self.other);
        self.reader.take(1, &asked, &FetchReply::Batch(batch), Durability::Sync).unwrap();
    }
}

#[test]
fn each_rule_is_named_with_its_event() {
    let exchange = Exchange::new();
    for &rule in Rule::ALL {
        let (refused, event) = lie(rule, &exchange);
        assert!(refused.contains(rule.as_str()), "{rule:?} is not named: {refused}");
        if let Some(event) = event {
            assert!(refused.contains(&event), "{rule:?} does not name {event}: {refused}");
        }
    }
}

#[test]
fn an_invalid_event_an_answer_to_another_question_and_an_older_record_are_told_apart() {
    let exchange = Exchange::new();
    let plan = |change: fn(&mut EventBatch)| {
        let mut batch = exchange.batch.clone();
        change(&mut batch);
        plan_ingest(&batch, &exchange.asked, &exchange.reader.log).unwrap_err()
    };
    let other = plan(|batch| batch.request.number += 7);
    assert!(matches!(other, IngestError::OtherQuestion { .. }), "{other}");
    assert_eq!(other.category(), ErrorCategory::Protocol, "our own store has no part in it");
    let older = plan(|batch| batch.events[0].1 = changed(&batch.events[0].1, 0, 1));
    assert_eq!(older.category(), ErrorCategory::Version, "{older}");
    // The time in the id of the second event is before that of the first then.
    let invalid = plan(|batch| batch.events[1].1 = changed(&batch.events[1].1, 7, 0));
    assert_eq!(invalid.category(), ErrorCategory::Protocol);
    let said = format!("{invalid}: {}", std::error::Error::source(&invalid).unwrap());
    assert!(said.contains("is not greater") && said.contains(&exchange.event(2)) && said.contains("seq 2"), "{said}");
}

fn changed(record: &EventBytes, at: usize, byte: u8) -> EventBytes {
    let mut bytes = record.to_vec();
    bytes[at] = byte;
    bytes.into()
}

/// Answers as another cortex than the one that was asked.
struct Impostor;

impl Tamper for Impostor {
    fn answer(&self, _request: &FetchRequest, reply: FetchReply) -> Option<Vec<FetchReply>> {
        let FetchReply::Batch(batch) = reply else { return Some(vec![reply]) };
        Some(vec![FetchReply::Batch(EventBatch { from: CortexId::from_bytes([9; 16]), ..batch })])
    }
}

#[tokio::test]
async fn what_broke_is_in_the_peers_state_and_goes_with_the_failure() {
    let network = MemoryNetwork::new();
    let alpha = start(&network, "alpha", Config::default()).await;
    let lying =
        Service::tampered(alpha.reader().clone(), SharedKey::default(), FederationMode::Sync, Arc::new(Impostor));
    network.serve("alpha", lying);
    let bravo = start(&network, "bravo", Config { peers: vec![peer("alpha")], ..Config::default() }).await;
    let state = || bravo.syncer().peers().remove(0);
    until("the lie is named", || state().detail.as_deref() == Some(Rule::OtherSender.as_str())).await;
    assert_eq!(state().health.last_error, Some(ErrorCategory::Protocol));
    let kept = || bravo.state().peer_state(&peer("alpha").name, "").unwrap().detail;
    until("it is kept for the next start", || kept().as_deref() == Some(Rule::OtherSender.as_str())).await;
    network.serve("alpha", alpha.service().clone());
    alpha.append(antiphon_kernel::event::Draft::new("test", "x")).await.unwrap();
    until("an event came", || bravo.reader().head().seq == Seq::new(1)).await;
    until("all is well", || state().detail.is_none() && state().health.last_error.is_none()).await;
    until("nothing is kept", || kept().is_none()).await;
    bravo.stop().await;
    alpha.stop().await;
}
