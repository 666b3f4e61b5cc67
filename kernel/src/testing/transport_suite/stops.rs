//! Deadlines, cancellation, and servers that stop.

use std::sync::Arc;
use std::time::Duration;

use super::room::{Room, SOON, fetch, question, until};
use super::{Case, TransportHarness, case};
use crate::health::ErrorCategory;
use crate::protocol::{Delivery, FetchReply, FetchRequest, Pushed, Refusal};
use crate::testing::Tamper;

pub(super) const CASES: &[Case] = &[
    case!(a_server_that_hangs_is_given_up_by_the_deadline),
    case!(nobody_there_is_an_error_by_the_deadline),
    case!(a_late_answer_is_not_taken_for_another),
    case!(a_dropped_question_leaves_the_link_usable),
    case!(a_server_that_stops_leaves_nobody_waiting),
    case!(a_service_that_closes_says_so_to_each_asker_that_waits),
];

const SHORT: Duration = Duration::from_millis(300);
/// Far more than a deadline of [`SHORT`] may take, far less than a hang.
const BY_THEN: Duration = Duration::from_secs(5);

struct Silent;

impl Tamper for Silent {
    fn answer(&self, _: &FetchRequest, _: FetchReply) -> Option<Vec<FetchReply>> {
        None
    }
}

async fn a_server_that_hangs_is_given_up_by_the_deadline(harness: &dyn TransportHarness) {
    let room = Room::lying(harness, Arc::new(Silent)).await;
    let link = room.link();
    for _ in 0..3 {
        let reply = tokio::time::timeout(BY_THEN, link.fetch(&question(), SHORT)).await.expect("it ends by itself");
        assert_eq!(reply.expect_err("nobody answers").category(), ErrorCategory::Timeout);
        link.identify(SOON).await.expect("other questions are answered");
    }
    let run = async {
        let mut tail = link.tail(&FetchRequest { delivery: Delivery::Live, ..question() }, SHORT).await?;
        match &mut tail {
            // A heartbeat may come all the same.
            Some(tail) => loop {
                tail.next(SHORT).await?;
            },
            None => link.fetch(&question(), SHORT).await.map(|_| ()),
        }
    };
    let run = tokio::time::timeout(BY_THEN, run).await.expect("it ends by itself");
    assert_eq!(run.expect_err("nobody answers").category(), ErrorCategory::Timeout);
    until("the server gives up what nobody waits for", || room.service.open_questions() == 0).await;
    room.stop().await;
}

async fn nobody_there_is_an_error_by_the_deadline(harness: &dyn TransportHarness) {
    let room = Room::new(harness).await;
    let (link, idle) = (room.link(), room.link());
    link.identify(SOON).await.expect("an identity");
    room.stop().await;
    for link in [link, idle] {
        let asked = async {
            link.identify(SHORT).await.expect_err("nobody is there");
            link.fetch(&question(), SHORT).await.expect_err("nobody is there");
        };
        tokio::time::timeout(BY_THEN, asked).await.expect("it ends by itself");
    }
}

/// A question is given up by its deadline, and answered after it; whoever asks next gets the answer to the next question.
async fn a_late_answer_is_not_taken_for_another(harness: &dyn TransportHarness) {
    let room = Room::new(harness).await;
    let link = room.link();
    for n in 1..=3 {
        let parked = FetchRequest { after: None, wait: SOON, max_events: n, ..question() };
        let known = crate::protocol::Known::Full(room.log.reader().heads());
        let given_up = link.fetch(&FetchRequest { known, ..parked }, SHORT).await;
        assert_eq!(given_up.expect_err("nothing new, for longer than the deadline").category(), ErrorCategory::Timeout);
        room.append(1).await;
        let batch = fetch(&room, &*link, &FetchRequest { max_events: 100, ..question() }).await;
        assert_eq!(batch.events.len(), n as usize);
    }
    room.stop().await;
}

async fn a_dropped_question_leaves_the_link_usable(harness: &dyn TransportHarness) {
    let room = Room::new(harness).await;
    let link = room.link();
    for _ in 0..40 {
        let parked = FetchRequest { wait: SOON * 2, ..question() };
        let dropped = tokio::time::timeout(Duration::from_millis(3), link.fetch(&parked, SOON * 3)).await;
        assert!(dropped.is_err(), "nothing was there to answer with");
    }
    until("the server gives up what nobody waits for", || room.service.open_questions() == 0).await;
    room.append(1).await;
    assert_eq!(fetch(&room, &*link, &question()).await.events.len(), 1);
    room.stop().await;
}

async fn a_server_that_stops_leaves_nobody_waiting(harness: &dyn TransportHarness) {
    let room = Room::new(harness).await;
    let (one, two) = (room.link(), room.link());
    let service = room.service.clone();
    let parked = FetchRequest { wait: SOON * 3, ..question() };
    let polls = async { one.fetch(&parked, SOON * 4).await.map(|_| ()) };
    let run = async {
        let request = FetchRequest { wait: SOON * 3, delivery: Delivery::Live, ..question() };
        let Some(mut tail) = two.tail(&request, SOON * 4).await? else { return Ok(()) };
        while tail.next(SOON * 4).await?.is_some() {}
        Ok::<(), crate::transport::TransportError>(())
    };
    let stop = async {
        until("a question is open", || service.open_questions() > 0).await;
        room.stop().await;
    };
    // An answer or an error, either is news. A hang is not.
    let all = async { tokio::join!(polls, run, stop) };
    let _ = tokio::time::timeout(SOON, all).await.expect("whoever waits hears of it");
}

/// A stop in order is no failure. An empty answer would be followed by a connection that is refused, as after a crash.
async fn a_service_that_closes_says_so_to_each_asker_that_waits(harness: &dyn TransportHarness) {
    let room = Room::new(harness).await;
    let (one, two) = (room.link(), room.link());
    let parked = FetchRequest { wait: SOON * 3, ..question() };
    let poll = async { one.fetch(&parked, SOON * 4).await.expect("an answer") };
    let run = async {
        let request = FetchRequest { wait: SOON * 3, delivery: Delivery::Live, ..question() };
        let mut tail = two.tail(&request, SOON * 4).await.expect("a run")?;
        loop {
            match tail.next(SOON * 4).await.expect("an answer") {
                Some(Pushed::Reply(FetchReply::Refused { refusal, .. })) => return Some(refusal),
                Some(_) => {}
                None => panic!("the run ended as if it were caught up"),
            }
        }
    };
    let close = async {
        until("a question is open", || room.service.open_questions() > 0).await;
        room.service.close();
    };
    let all = async { tokio::join!(poll, run, close) };
    let (poll, run, ()) = tokio::time::timeout(SOON, all).await.expect("each asker gets its answer");
    assert_eq!(poll, FetchReply::refused(Refusal::Busy));
    assert!(run.is_none_or(|refusal| refusal == Refusal::Busy), "the run was refused otherwise");
    // One that asks from now on is not parked.
    let late = tokio::time::timeout(SOON, two.fetch(&parked, SOON * 4)).await.expect("it is answered");
    assert_eq!(late.expect("an answer"), FetchReply::refused(Refusal::Busy));
    room.stop().await;
}
