//! Who says that it is whom: what one side claims, the other believes only where it is proved.

use super::room::{Room, SOON, fetch, own, question, server_id};
use super::{Case, TransportHarness, case};
use crate::config::{PeerConfig, SharedKey};
use crate::ids::CortexId;
use crate::protocol::{Delivery, FetchReply, FetchRequest, Pushed, Refusal};
use crate::transport::TransportErrorKind;

pub(super) const CASES: &[Case] = &[
    case!(both_sides_prove_who_they_are),
    case!(a_question_in_anothers_name_is_refused),
    case!(another_cortex_than_the_configured_one_hears_nothing),
    case!(another_key_is_refused),
    case!(a_question_is_for_who_answers),
];

async fn both_sides_prove_who_they_are(harness: &dyn TransportHarness) {
    let room = Room::new(harness).await;
    let link = room.link();
    let identified = link.identify(SOON).await.expect("an identity");
    assert_eq!(identified.is_proven(), harness.proves(), "it must say what is proved");
    fetch(&room, &*link, &question()).await;
    let pullers = room.service.pullers();
    let puller = pullers.iter().find(|puller| puller.cortex == own().cortex_id).expect("it asked");
    assert_eq!(puller.is_proven, harness.proves(), "the server must know who asked");
    room.stop().await;
}

async fn a_question_in_anothers_name_is_refused(harness: &dyn TransportHarness) {
    if !harness.proves() {
        return;
    }
    let room = Room::new(harness).await;
    room.append(1).await;
    let (link, other) = (room.link(), CortexId::from_bytes([9; 16]));
    let named = |number| {
        let mut asked = FetchRequest { from: other, ..question() };
        asked.request.number = number;
        asked
    };
    let reply = link.fetch(&named(1), SOON).await.expect("a refusal is an answer");
    assert_eq!(reply, FetchReply::refused(Refusal::OtherAsker));
    let run = FetchRequest { delivery: Delivery::CatchUp, ..named(2) };
    if let Some(mut tail) = link.tail(&run, SOON).await.expect("a refusal is an answer") {
        let reply = loop {
            match tail.next(SOON).await.expect("a refusal is an answer") {
                Some(Pushed::Heartbeat(_)) => {}
                other => break other,
            }
        };
        assert_eq!(reply, Some(Pushed::Reply(FetchReply::refused(Refusal::OtherAsker))));
    }
    assert!(room.service.pullers().iter().all(|puller| puller.cortex != other), "its question must not be counted");
    // The link is as good as before.
    fetch(&room, &*link, &question()).await;
    room.stop().await;
}

async fn another_cortex_than_the_configured_one_hears_nothing(harness: &dyn TransportHarness) {
    if !harness.proves() {
        return;
    }
    let room = Room::new(harness).await;
    let peer = PeerConfig { cortex: Some(CortexId::from_bytes([9; 16])), ..room.peer() };
    let link = harness.transport().link(&peer, &own()).expect("a link is made without connecting");
    let error = link.identify(SOON).await.expect_err("it is another cortex");
    assert_eq!(error.kind(), TransportErrorKind::Identity, "{error}");
    assert!(room.service.pullers().is_empty());
    room.stop().await;
}

async fn another_key_is_refused(harness: &dyn TransportHarness) {
    if !harness.proves() {
        return;
    }
    let room = Room::new(harness).await;
    let link = room.link();
    link.identify(SOON).await.expect("an identity");
    // The server takes another key from now on: callers that the old one let in must leave.
    let other = SharedKey::new(&"k".repeat(40)).expect("a key");
    room.service.set_keys(&[other]);
    let refused = async || link.identify(SOON).await.err().map(|error| error.kind());
    let deadline = tokio::time::Instant::now() + SOON;
    loop {
        match refused().await {
            Some(TransportErrorKind::Auth) => break,
            // The connection breaks first.
            other => assert!(tokio::time::Instant::now() < deadline, "it must not be let in: {other:?}"),
        }
        tokio::task::yield_now().await;
    }
    room.stop().await;
}

async fn a_question_is_for_who_answers(harness: &dyn TransportHarness) {
    let room = Room::new(harness).await;
    let link = room.link();
    let other = FetchRequest { to: CortexId::from_bytes([9; 16]), ..question() };
    // The link knows who answers; where it cannot, the server does.
    match link.fetch(&other, SOON).await {
        Err(error) => assert_eq!(error.kind(), TransportErrorKind::Identity, "{error}"),
        reply => assert_eq!(reply, Ok(FetchReply::refused(Refusal::WrongCortex { actual: server_id() }))),
    }
    fetch(&room, &*link, &question()).await;
    room.stop().await;
}
