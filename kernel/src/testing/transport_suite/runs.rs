//! Runs of answers, where a transport brings them, and the live tail.

use super::room::{Follower, Room, SOON, check_head, log, own, question, server_id, until};
use super::{Case, TransportHarness, case};
use crate::event::Draft;
use crate::ids::{CortexId, PeerName};
use crate::log::{CausalContext, LogHandle, SentQuery};
use crate::protocol::{Delivery, FetchReply, FetchRequest, Heads, Known, Pushed, Refresh, Scope};
use crate::state::State;

pub(super) const CASES: &[Case] = &[
    case!(a_run_brings_batch_after_batch),
    case!(what_becomes_durable_is_brought),
    case!(a_run_goes_on_from_the_cursor),
    case!(runs_do_not_mix),
    case!(a_run_that_is_dropped_frees_the_server),
    case!(what_is_held_meanwhile_is_not_sent),
];

async fn a_run_brings_batch_after_batch(harness: &dyn TransportHarness) {
    let room = Room::new(harness).await;
    room.append(100).await;
    if Follower::runs(&room).await {
        let mut follower = Follower::new(&room).limit(9);
        while follower.at < 100 {
            check_head(&room, &follower.next().await);
        }
    }
    room.stop().await;
}

async fn what_becomes_durable_is_brought(harness: &dyn TransportHarness) {
    let room = Room::new(harness).await;
    room.append(1).await;
    if Follower::runs(&room).await {
        let mut follower = Follower::new(&room);
        follower.next().await;
        for n in 2..=20 {
            room.append(1).await;
            while follower.at < n {
                follower.next().await;
            }
        }
    }
    room.stop().await;
}

async fn a_run_goes_on_from_the_cursor(harness: &dyn TransportHarness) {
    let room = Room::new(harness).await;
    room.append(50).await;
    if Follower::runs(&room).await {
        let mut follower = Follower::new(&room).limit(7);
        let mut events = 0;
        while follower.at < 50 {
            events += follower.next().await.events.len();
            follower.drop_tail();
        }
        assert_eq!(events, 50, "each event once");
    }
    room.stop().await;
}

/// Two runs and questions in between, on one link and another.
async fn runs_do_not_mix(harness: &dyn TransportHarness) {
    let room = Room::new(harness).await;
    room.append(60).await;
    if Follower::runs(&room).await {
        let (mut slow, mut fast) = (Follower::new(&room).limit(5), Follower::new(&room).limit(11));
        slow.next().await;
        while fast.at < 60 {
            fast.next().await;
            room.link().identify(SOON).await.expect("an identity, beside runs");
        }
        while slow.at < 60 {
            slow.next().await;
        }
    }
    room.stop().await;
}

async fn a_run_that_is_dropped_frees_the_server(harness: &dyn TransportHarness) {
    let room = Room::new(harness).await;
    room.append(1).await;
    let link = room.link();
    for _ in 0..40 {
        let request = FetchRequest { wait: SOON * 2, delivery: Delivery::Live, ..question() };
        let Some(mut tail) = link.tail(&request, SOON).await.expect("a run") else { break };
        tail.next(SOON).await.expect("what there is");
    }
    until("the server gives up what nobody waits for", || room.service.open_questions() == 0).await;
    link.identify(SOON).await.expect("the link still works");
    room.stop().await;
}

/// Takes another cortex's events into the server's log.
async fn relay(room: &Room, other: &LogHandle, name: &PeerName) {
    let request = FetchRequest {
        request: crate::protocol::RequestId { process: room.log.reader().process(), ..question().request },
        from: server_id(),
        to: other.reader().local().cortex_id,
        known: Known::Full(room.log.reader().heads()),
        ..question()
    };
    let reply = other.reader().answer(&request).expect("memory reads");
    let FetchReply::Batch(batch) = reply else { panic!("a batch was due") };
    let (max_events, max_bytes) = (request.max_events, request.max_bytes);
    let asked = SentQuery {
        request: request.request,
        to: request.to,
        after: None,
        max_events,
        max_bytes,
        scope: Scope::All,
        withhold: crate::protocol::Heads::default(),
        held: crate::protocol::Heads::default(),
        exclude: Vec::new(),
    };
    room.log.ingest(name.clone(), asked, batch).await.expect("another cortex's events");
}

async fn what_is_held_meanwhile_is_not_sent(harness: &dyn TransportHarness) {
    let room = Room::new(harness).await;
    if Follower::runs(&room).await {
        let other = log(CortexId::from_bytes([8; 16]));
        let other_id = other.reader().local().cortex_id;
        let name = PeerName::new("other").expect("a name");
        State::new(room.log.clone()).set_peer_cortex_id(&name, other_id).await.expect("a pin");
        let link = room.link();
        // The asker pulls the other cortex itself, so the server waits a moment before it sends its events ...
        let request = FetchRequest { direct: vec![other_id], wait: SOON * 2, delivery: Delivery::Live, ..question() };
        let meanwhile = async {
            until("the question is open", || room.service.open_questions() == 1).await;
            other.append(vec![Draft::new("t", "other's")], CausalContext::default()).await.expect("an append");
            relay(&room, &other, &name).await;
            // ... and is told within it that they have arrived.
            let known: Heads = other.reader().heads();
            let refresh = Refresh {
                request: request.request,
                from: own().cortex_id,
                known,
                direct: vec![other_id],
                room: crate::codec::Room::default(),
            };
            link.refresh(&refresh, SOON).await.expect("news are taken");
            room.append(1).await;
        };
        let (tail, ()) = tokio::join!(link.tail(&request, SOON), meanwhile);
        let mut tail = tail.expect("a run").expect("a run");
        let batch = loop {
            match tail.next(SOON).await.expect("what was appended") {
                Some(Pushed::Reply(FetchReply::Batch(batch))) if batch.last.seq.get() > 0 => break batch,
                Some(_) => {}
                None => panic!("the run ended without what was appended"),
            }
        };
        let places: Vec<_> = batch.events.iter().map(|event| event.0.get()).collect();
        assert_eq!((places, batch.last.seq.get()), (vec![2], 2), "the server's own event, past what is held");
        other.close().await;
    }
    room.stop().await;
}
