//! Answers within a memory budget: smaller under pressure, complete in the end, and never more than it allows.

use std::sync::Arc;
use std::time::Duration;

use antiphon_kernel::budget::{Account, Budget};
use antiphon_kernel::config::{FederationMode, SharedKey};
use antiphon_kernel::cortex::Cortex;
use antiphon_kernel::cursor::Seq;
use antiphon_kernel::event::Draft;
use antiphon_kernel::ids::CortexId;
use antiphon_kernel::protocol::{Delivery, FetchReply, FetchRequest, Refusal, RequestId};
use antiphon_kernel::service::Answers;
use antiphon_kernel::service::{PageError, Service};
use antiphon_kernel::testing::MemoryStore;

use crate::support::until;

const MIB: u64 = 1024 * 1024;

fn question(cortex: &Cortex, from: u8, number: u64) -> FetchRequest {
    let (from, to) = (CortexId::from_bytes([from; 16]), cortex.reader().local().cortex_id);
    let request = RequestId { process: 1, number };
    FetchRequest { request, delivery: Delivery::CatchUp, ..antiphon_kernel::testing::question(from, to) }
}

fn asks(service: &Service, question: FetchRequest) -> Answers {
    service.trusting(question.from).answers(question)
}

async fn cortex(events: usize, bytes: usize) -> Cortex {
    let cortex = Cortex::builder(Arc::new(MemoryStore::new())).max_append_bytes(16 << 20).start().await.unwrap();
    for _ in 0..events {
        cortex.append(Draft::new("big", vec![7; bytes])).await.unwrap();
    }
    cortex
}

#[tokio::test(flavor = "multi_thread")]
async fn many_slow_readers_stay_within_the_budget_and_each_gets_everything() {
    let cortex = cortex(64, 200 * 1024).await;
    let budget = Budget::new(8 * MIB);
    let service = Service::within(cortex.reader().clone(), SharedKey::default(), FederationMode::Sync, budget.clone());
    let mut runs: Vec<_> = (0..8).map(|n| (asks(&service, question(&cortex, n + 1, 1)), 0, false)).collect();
    let mut most = 0;
    while runs.iter().any(|(_, _, done)| !done) {
        // Each holds its frame while the next ones are answered.
        let mut held = Vec::new();
        for (answers, events, done) in runs.iter_mut().filter(|(_, _, done)| !done) {
            match answers.next().await {
                Some(FetchReply::Batch(batch)) => {
                    *events += batch.events.len();
                    held.push(answers.frame(FetchReply::Batch(batch)));
                }
                Some(FetchReply::Refused { refusal, .. }) => panic!("{refusal}"),
                None => *done = true,
            }
            most = most.max(budget.usage().used);
        }
    }
    assert!(runs.iter().all(|(_, events, _)| *events == 64), "all got all");
    assert!(most > MIB && most <= 8 * MIB, "{most} bytes");
    drop(runs);
    assert_eq!(budget.usage().used, 0);
    cortex.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_event_larger_than_the_least_share_comes_alone_and_one_for_which_there_is_no_room_is_refused() {
    let cortex = cortex(2, 3 * 1024 * 1024).await;
    let budget = Budget::new(8 * MIB);
    let service = Service::within(cortex.reader().clone(), SharedKey::default(), FederationMode::Sync, budget.clone());
    let mut answers = asks(&service, question(&cortex, 1, 1));
    for _ in 0..2 {
        let Some(FetchReply::Batch(batch)) = answers.next().await else { panic!("a batch") };
        assert_eq!(batch.events.len(), 1);
        let frame = answers.frame(FetchReply::Batch(batch));
        assert!(budget.usage().used as usize >= frame.len(), "a frame is charged for as long as it is there");
    }
    drop(answers);
    assert_eq!(budget.usage().used, 0);
    let all = budget.share(&Account::Pinned(CortexId::from_bytes([9; 16])), 7 * MIB, 7 * MIB, Duration::ZERO).await;
    let mut answers = asks(&service, question(&cortex, 1, 2));
    assert_eq!(answers.next().await, Some(FetchReply::refused(Refusal::Busy)));
    drop(all);
    let mut answers = asks(&service, question(&cortex, 1, 3));
    assert!(matches!(answers.next().await, Some(FetchReply::Batch(_))), "as soon as there is room");
    cortex.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_for_commands_stay_within_the_budget_and_wait_for_room() {
    const EVENT: usize = 1 << 20;
    let cortex = cortex(6, EVENT).await;
    let budget = Budget::new(4 * MIB + MIB / 2);
    let service =
        Service::within(cortex.reader().clone(), SharedKey::default(), FederationMode::Subscribe, budget.clone());
    let page = || async { service.command_page(None, 10, 16 * MIB).await.unwrap() };
    assert_eq!(page().await.events, 6, "whatever the mode");
    assert_eq!(service.command_page(None, 10, 2 * MIB).await.unwrap().events, 1, "base 64 is longer");
    // Four readers that stop within their first event.
    let mut held = Vec::new();
    for _ in 0..4 {
        let mut texts = page().await.into_texts();
        let text = texts.next().await.unwrap().unwrap();
        held.push((texts, text));
    }
    let used = budget.usage().used;
    assert!((4 * EVENT as u64..=budget.usage().limit).contains(&used), "{used} bytes");
    let (view, first) = (cortex.reader().clone(), cortex.reader().entry(Seq::new(1)).unwrap().unwrap().id().unwrap());
    let late = {
        let service = service.clone();
        tokio::spawn(async move {
            let read = move |bytes| Ok::<_, PageError>(view.find_within(first, bytes)?.unwrap());
            service.text(&Account::Commands, read, |entry| Ok(entry.to_cloud_event_alone().unwrap())).await
        })
    };
    until("the late one waits for the size of its event", || budget.usage().waiting == 1).await;
    assert_eq!(budget.usage().refused, 0);
    held.pop();
    let text = late.await.unwrap().unwrap();
    assert_eq!(text.length(), text.into_string().len());
    for (mut texts, text) in held {
        let mut count = 1;
        drop(text);
        while let Some(text) = texts.next().await.unwrap() {
            assert!(text.length() > EVENT && budget.usage().used <= budget.usage().limit);
            count += 1;
        }
        assert_eq!(count, 6, "each reader gets everything");
    }
    assert_eq!(budget.usage().used, 0);
    cortex.stop().await;
}
