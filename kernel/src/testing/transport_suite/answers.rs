//! One question, one answer.

use std::time::Duration;

use super::room::{Room, SOON, after, check_head, fetch, own, question};
use super::{Case, TransportHarness, case};
use crate::config::PeerConfig;
use crate::cursor::Cursor;
use crate::health::ErrorCategory;
use crate::ids::{Epoch, LogId};
use crate::limits::{Limits, PeerLimits};
use crate::protocol::{FetchReply, FetchRequest, Identity, MAX_BATCH_EVENTS, Pushed, Refusal};
use crate::testing::LOG;

pub(super) const CASES: &[Case] = &[
    case!(an_identity_is_asked_for_each_time),
    case!(an_empty_log_is_an_answer),
    case!(events_come_in_order_without_a_hole),
    case!(limits_are_honoured),
    case!(a_big_event_arrives_whole),
    case!(a_refusal_is_an_answer),
    case!(a_refusal_over_quota_says_when_to_ask_again),
    case!(answers_belong_to_their_questions),
    case!(a_parked_question_delays_no_other),
    case!(a_link_is_made_without_connecting),
];

async fn an_identity_is_asked_for_each_time(harness: &dyn TransportHarness) {
    let room = Room::new(harness).await;
    let link = room.link();
    for _ in 0..3 {
        let identity = link.identify(SOON).await.expect("an identity").into_identity();
        // Its clock runs on.
        let now = Identity { time: identity.time, ..room.service.identity() };
        assert_eq!(identity, now, "it must be what the server says now");
        room.append(1).await;
    }
    room.stop().await;
}

async fn an_empty_log_is_an_answer(harness: &dyn TransportHarness) {
    let room = Room::new(harness).await;
    let batch = fetch(&room, &*room.link(), &question()).await;
    assert!(batch.events.is_empty() && batch.last == batch.head && batch.prev == batch.last);
    room.stop().await;
}

async fn events_come_in_order_without_a_hole(harness: &dyn TransportHarness) {
    let room = Room::new(harness).await;
    room.append(100).await;
    let link = room.link();
    let mut batch = fetch(&room, &*link, &FetchRequest { max_events: 30, ..question() }).await;
    check_head(&room, &batch);
    while batch.last != batch.head {
        let at = batch.last;
        batch = fetch(&room, &*link, &FetchRequest { max_events: 30, ..after(&batch) }).await;
        assert_eq!(batch.prev, at, "each answer begins at the cursor that was asked with");
        check_head(&room, &batch);
    }
    room.append(10).await;
    batch = fetch(&room, &*link, &FetchRequest { max_events: 4, ..after(&batch) }).await;
    assert_eq!((batch.last.seq.get(), batch.events.len()), (104, 4));
    check_head(&room, &batch);
    room.stop().await;
}

async fn limits_are_honoured(harness: &dyn TransportHarness) {
    let room = Room::new(harness).await;
    room.append(20).await;
    room.append_bytes(5000).await;
    let link = room.link();
    for max_events in [1, 7] {
        let batch = fetch(&room, &*link, &FetchRequest { max_events, ..question() }).await;
        assert_eq!(batch.events.len(), max_events as usize);
    }
    let few = fetch(&room, &*link, &FetchRequest { max_bytes: 400, ..question() }).await;
    assert!((1..20).contains(&few.events.len()), "as many as fit into 400 bytes, not {}", few.events.len());
    let all = fetch(&room, &*link, &FetchRequest { max_events: 20, ..question() }).await;
    // One event larger than the limit travels alone, or it would never arrive.
    let large = fetch(&room, &*link, &FetchRequest { max_bytes: 100, ..after(&all) }).await;
    assert_eq!(large.events.len(), 1);
    // More than anybody may ask for is as much as anybody may get.
    let greedy = FetchRequest { max_events: u32::MAX, max_bytes: u64::MAX, ..question() };
    let batch = fetch(&room, &*link, &greedy).await;
    assert!(batch.events.len() <= MAX_BATCH_EVENTS as usize);
    room.stop().await;
}

async fn a_big_event_arrives_whole(harness: &dyn TransportHarness) {
    let room = Room::new(harness).await;
    room.append_bytes(15 << 20).await;
    let batch = fetch(&room, &*room.link(), &question()).await;
    assert_eq!(batch.events.len(), 1);
    room.stop().await;
}

async fn a_refusal_is_an_answer(harness: &dyn TransportHarness) {
    let room = Room::new(harness).await;
    let link = room.link();
    let stranger = FetchRequest { log: Some(LogId::from_bytes([9; 16])), ..question() };
    let nowhere = FetchRequest { after: Some(Cursor::start(Epoch::new(4711))), ..question() };
    for (request, refusal) in [(stranger, Refusal::OtherLog { actual: LOG }), (nowhere, Refusal::CursorUnknown)] {
        let reply = link.fetch(&request, SOON).await;
        assert_eq!(reply, Ok(FetchReply::refused(refusal)));
    }
    room.stop().await;
}

async fn a_refusal_over_quota_says_when_to_ask_again(harness: &dyn TransportHarness) {
    let room = Room::new(harness).await;
    room.append(20).await;
    let default = Limits { bytes_out_per_second: Some(1), ..Limits::default() };
    room.service.set_limits(&PeerLimits { default, peers: Vec::new() });
    let link = room.link();
    // It is paid for after it came, byte by byte.
    let paid = fetch(&room, &*link, &FetchRequest { max_events: 1, ..question() }).await;
    assert_eq!(paid.events.len(), 1);
    let check = |reply| match reply {
        FetchReply::Refused { refusal: Refusal::OverQuota { after }, .. } => {
            assert!(after > Duration::from_secs(20), "so long it is until that is paid: {after:?}");
        }
        other => panic!("the quota is used up: {other:?}"),
    };
    check(link.fetch(&after(&paid), SOON).await.expect("a refusal is an answer"));
    if let Some(mut tail) = link.tail(&after(&paid), SOON).await.expect("a run") {
        loop {
            match tail.next(SOON).await.expect("a refusal is an answer") {
                Some(Pushed::Reply(reply)) => break check(reply),
                Some(Pushed::Heartbeat(_)) => {}
                None => panic!("a run does not end without an answer"),
            }
        }
    }
    room.service.set_limits(&PeerLimits::default());
    let rest = fetch(&room, &*link, &after(&paid)).await;
    assert_eq!(rest.events.len(), 19);
    room.stop().await;
}

async fn answers_belong_to_their_questions(harness: &dyn TransportHarness) {
    let room = Room::new(harness).await;
    room.append(12).await;
    let link = room.link();
    let asked = (1..=12).map(|max_events| {
        let (room, link) = (&room, &link);
        async move {
            let batch = fetch(room, &**link, &FetchRequest { max_events, ..question() }).await;
            assert_eq!(batch.events.len(), max_events as usize);
        }
    });
    futures_util::future::join_all(asked).await;
    room.stop().await;
}

async fn a_parked_question_delays_no_other(harness: &dyn TransportHarness) {
    let room = Room::new(harness).await;
    let link = room.link();
    let request = FetchRequest { wait: SOON, ..question() };
    let parked = fetch(&room, &*link, &request);
    let others = async {
        for _ in 0..5 {
            link.identify(Duration::from_secs(5)).await.expect("an identity, past a question that is parked");
        }
        room.append(1).await;
    };
    let (batch, ()) = tokio::join!(parked, others);
    assert_eq!(batch.events.len(), 1, "what was appended ends the wait");
    room.stop().await;
}

async fn a_link_is_made_without_connecting(harness: &dyn TransportHarness) {
    let room = Room::new(harness).await;
    let (transport, peer) = (room.transport.clone(), room.peer());
    assert!(transport.schemes().iter().any(|scheme| peer.endpoint.starts_with(&format!("{scheme}://"))));
    room.stop().await;
    assert!(transport.link(&peer, &own()).is_ok(), "a peer that is down is no reason not to start");
    for endpoint in ["", "nonsense", "carrier-pigeon://loft"] {
        let wrong = PeerConfig { endpoint: endpoint.to_owned(), ..peer.clone() };
        let Err(error) = transport.link(&wrong, &own()) else { panic!("`{endpoint}` can never work") };
        assert_eq!(error.category(), ErrorCategory::Configuration, "{error}");
    }
}
