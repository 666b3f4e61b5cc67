//! The test kit keeps its promises: partitions, delays, lost answers, crashes and restarts.

use std::sync::Arc;
use std::time::Duration;

use antiphon_kernel::cortex::Cortex;
use antiphon_kernel::event::{Draft, Event};
use antiphon_kernel::health::ErrorCategory;
use antiphon_kernel::ids::CortexId;
use antiphon_kernel::log::AppendError;
use antiphon_kernel::protocol::{Delivery, FetchReply, FetchRequest, Pushed, RequestId};
use antiphon_kernel::replay::{EventReplayer, Projection, ReplayError, read_current};
use antiphon_kernel::state::Phase;
use antiphon_kernel::store::{Family, Store};
use antiphon_kernel::testing::{Federation, MemoryNetwork, MemoryStore, question, seeded_identity, until};
use antiphon_kernel::transport::{Link, Tail, Transport, TransportError};
use tokio::time::Instant;

use crate::support::{peer, start};

/// Far longer than anything here takes, and shorter than the kernel's deadlines.
const SOON: Duration = Duration::from_secs(10);
const LONG: Duration = Duration::from_secs(60);

/// Counts events.
struct Tally;

impl EventReplayer for Tally {
    fn name(&self) -> &'static str {
        "tally"
    }

    fn families(&self) -> Vec<String> {
        vec!["tally".to_owned()]
    }

    fn replay_event(&mut self, _: &Event, projection: &mut Projection<'_>) -> Result<(), ReplayError> {
        let count = projection.get("tally", b"count")?.map_or(0, |count| count[0]);
        Ok(projection.put("tally", b"count", &[count + 1])?)
    }
}

fn counted(store: &MemoryStore) -> u8 {
    read_current(store, "tally", |state| state.get("tally", b"count")).unwrap().map_or(0, |count| count[0])
}

fn draft() -> Draft {
    Draft::new("t", "x")
}

fn held(cortex: &Cortex) -> u64 {
    cortex.reader().head().seq.get()
}

/// What `asker` reaches bravo with, and a question for what comes after everything there.
async fn dial(network: &MemoryNetwork, asker: usize, name: &str, bravo: &Cortex) -> (Box<dyn Link>, FetchRequest) {
    let own = seeded_identity(asker as u8 + 1, name);
    let link = network.link(&peer("bravo"), &own).unwrap();
    let to: CortexId = bravo.reader().local().cortex_id;
    let live = FetchRequest { delivery: Delivery::Live, max_events: 1, wait: LONG, ..question(own.cortex_id, to) };
    (link, live)
}

fn category<T>(result: Result<T, TransportError>) -> ErrorCategory {
    result.err().expect("it fails").category()
}

async fn soon<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, work).await.expect("it takes no time")
}

/// The next answer of a run, without heartbeats.
async fn reply(run: &mut dyn Tail) -> Result<Option<FetchReply>, TransportError> {
    loop {
        match run.next(LONG).await? {
            Some(Pushed::Heartbeat(_)) => {}
            Some(Pushed::Reply(reply)) => return Ok(Some(reply)),
            None => return Ok(None),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_cuts_what_is_open_and_heals() {
    let network = MemoryNetwork::new();
    let bravo = start(&network, "bravo", Default::default()).await;
    let (link, live) = dial(&network, 1, "alpha", &bravo).await;
    let (third, _) = dial(&network, 2, "charlie", &bravo).await;
    for heals_at_once in [false, true] {
        let mut run = link.tail(&live, LONG).await.unwrap().unwrap();
        assert!(matches!(soon(reply(&mut *run)).await.unwrap(), Some(FetchReply::Batch(_))));
        let request = RequestId { process: 1, number: 2 };
        let parked = FetchRequest { request, wait: LONG, ..question(live.from, live.to) };
        let cut = async {
            until("one is a run and one is parked", || bravo.service().open_questions() == 2).await;
            network.partition(&["alpha"], &["bravo", "nowhere"]);
            if heals_at_once {
                network.heal();
            }
        };
        let (answer, next, ()) = soon(async { tokio::join!(link.fetch(&parked, LONG), reply(&mut *run), cut) }).await;
        assert_eq!((category(answer), category(next)), (ErrorCategory::Eof, ErrorCategory::Eof));
        // The run is still held here, and has ended there.
        until("bravo has forgotten both", || bravo.service().open_questions() == 0).await;
        if !heals_at_once {
            assert_eq!(category(link.identify(LONG).await), ErrorCategory::ConnectionRefused);
            assert_eq!(category(link.fetch(&parked, LONG).await), ErrorCategory::ConnectionRefused);
            assert_eq!(category(link.tail(&live, LONG).await), ErrorCategory::ConnectionRefused);
            third.identify(LONG).await.unwrap();
            network.heal();
        }
        link.identify(LONG).await.unwrap();
    }
    network.remove("bravo");
    assert_eq!(category(link.identify(LONG).await), ErrorCategory::ConnectionRefused);
    bravo.stop().await;
}

/// The question was answered: the answering end cannot know that its answer was lost.
#[tokio::test(flavor = "multi_thread")]
async fn the_next_answers_are_lost_one_by_one() {
    let network = MemoryNetwork::new();
    let bravo = start(&network, "bravo", Default::default()).await;
    bravo.append(draft()).await.unwrap();
    let (link, live) = dial(&network, 1, "alpha", &bravo).await;
    let once = question(live.from, live.to);
    network.drop_next("bravo", "alpha", 3);
    assert_eq!(category(link.identify(LONG).await), ErrorCategory::Eof);
    assert_eq!(category(link.fetch(&once, LONG).await), ErrorCategory::Eof);
    assert_eq!(bravo.service().served().events, 1);
    let mut run = link.tail(&live, LONG).await.unwrap().unwrap();
    assert_eq!(category(soon(reply(&mut *run)).await), ErrorCategory::Eof);
    assert!(matches!(soon(reply(&mut *run)).await, Ok(None)), "its run has ended");
    assert!(matches!(link.fetch(&once, LONG).await, Ok(FetchReply::Batch(batch)) if batch.events.len() == 1));
    bravo.stop().await;
}

/// Time that is paused advances to each arrival: a delay takes no real time, and exactly its own.
#[tokio::test(start_paused = true)]
async fn a_delay_of_paused_time_takes_no_real_time() {
    let network = MemoryNetwork::new();
    let bravo = start(&network, "bravo", Default::default()).await;
    for _ in 0..3 {
        bravo.append(draft()).await.unwrap();
    }
    let (link, live) = dial(&network, 1, "alpha", &bravo).await;
    let took = |since: Instant, seconds: u64| {
        let (took, expected) = (since.elapsed(), Duration::from_secs(seconds));
        assert!(took >= expected && took < expected + Duration::from_millis(20), "{took:?}, expected {expected:?}");
    };
    let real = std::time::Instant::now();
    network.delay("alpha", "bravo", Duration::from_secs(7));
    let began = Instant::now();
    link.identify(LONG).await.unwrap();
    took(began, 14);
    let began = Instant::now();
    link.fetch(&question(live.from, live.to), LONG).await.unwrap();
    took(began, 14);
    let began = Instant::now();
    assert_eq!(category(link.identify(Duration::from_secs(13)).await), ErrorCategory::Timeout);
    took(began, 13);
    // Of a run, messages are on their way at the same time.
    let began = Instant::now();
    let mut run = link.tail(&live, LONG).await.unwrap().unwrap();
    took(began, 7);
    for _ in 0..3 {
        let Ok(Some(FetchReply::Batch(batch))) = reply(&mut *run).await else { panic!("a batch") };
        assert_eq!(batch.events.len(), 1);
        took(began, 14);
    }
    network.delay("bravo", "alpha", Duration::ZERO);
    let began = Instant::now();
    link.identify(LONG).await.unwrap();
    took(began, 0);
    assert!(real.elapsed() < Duration::from_secs(14), "{:?}", real.elapsed());
    bravo.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_sides_of_a_federation_go_apart_and_meet_again() {
    let federation = Federation::of(3, || Tally).await.unwrap();
    let live = |n: usize| federation.cortex(n).syncer().peers().iter().all(|peer| peer.phase == Phase::Live);
    until("all are live", || (0..3).all(live)).await;
    federation.partition(&[0], &[1, 2]);
    // Both would be pushed at once over a run that is still open.
    federation.cortex(0).append(draft()).await.unwrap();
    federation.cortex(1).append(draft()).await.unwrap();
    until("the other side has one event", || held(federation.cortex(2)) == 1).await;
    until("no run is open to node-0", || federation.cortex(0).service().open_questions() == 0).await;
    assert_eq!([0, 1, 2].map(|n| held(federation.cortex(n))), [1, 1, 1]);
    federation.heal().await;
    federation.converged().await;
    assert_eq!([0, 1, 2].map(|n| held(federation.cortex(n))), [2, 2, 2]);
    assert_eq!([0, 1, 2].map(|n| counted(federation.store(n))), [2, 2, 2]);
    federation.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_loses_what_was_not_durable_and_a_restart_has_the_rest() {
    let mut federation = Federation::of(1, || Tally).await.unwrap();
    let event = federation.cortex(0).append(draft()).await.unwrap();
    federation.cortex(0).wait_replayed(&event).await.unwrap();
    let store = Arc::clone(federation.store(0));
    let (log, view) = (federation.cortex(0).log().clone(), federation.cortex(0).reader().clone());
    // The event is durable, and what was replayed of it is not yet.
    let key = [&1_u64.to_be_bytes()[..], b"count"].concat();
    assert_eq!((counted(&store), store.is_durable(Family::User("tally"), &key)), (1, false));
    federation.crash(0).await;
    assert_eq!((counted(&store), store.pending()), (0, 0));
    // What outlives the process changes nothing.
    let late = log.append(vec![draft()], Default::default()).await;
    assert!(matches!(late, Err(AppendError::Closed)), "{late:?}");
    assert!(view.store().get(Family::User("tally"), b"count").is_err());
    federation.crash(0).await;
    federation.restart(0).await.unwrap();
    federation.converged().await;
    assert_eq!((counted(&store), held(federation.cortex(0))), (1, 1));
    assert!(federation.cortex(0).reader().find(event.id).unwrap().is_some());
    federation.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_others_go_on_without_a_crashed_one_and_it_catches_up() {
    let mut federation = Federation::of(3, || Tally).await.unwrap();
    federation.cortex(0).append(draft()).await.unwrap();
    federation.converged().await;
    let before = federation.cortex(0).reader().local().cortex_id;
    federation.crash(0).await;
    federation.cortex(1).append(draft()).await.unwrap();
    federation.converged().await;
    let reaches = |n: usize| {
        let peers = federation.cortex(n).syncer().peers();
        peers.iter().any(|peer| peer.name.as_str() == "node-0" && peer.phase == Phase::Live)
    };
    until("the crash shows", || !reaches(1) && !reaches(2)).await;
    federation.restart(0).await.unwrap();
    // One that runs is stopped in order.
    federation.restart(1).await.unwrap();
    federation.converged().await;
    assert_eq!([0, 1, 2].map(|n| counted(federation.store(n))), [2, 2, 2]);
    assert_eq!(federation.cortex(0).reader().local().cortex_id, before);
    federation.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_whose_answer_was_lost_comes_with_the_next() {
    let federation = Federation::of(2, || Tally).await.unwrap();
    federation.network().drop_next("node-0", "node-1", 2);
    federation.cortex(0).append(draft()).await.unwrap();
    federation.converged().await;
    assert_eq!([0, 1].map(|n| counted(federation.store(n))), [1, 1]);
    federation.stop().await;
}

/// The whole kit under paused time, where deadlines and pauses of minutes pass at once.
#[tokio::test(start_paused = true)]
async fn a_federation_converges_under_paused_time() {
    let real = std::time::Instant::now();
    let mut federation = Federation::of(3, || Tally).await.unwrap();
    for (one, other) in [("node-0", "node-1"), ("node-0", "node-2"), ("node-1", "node-2")] {
        federation.network().delay(one, other, Duration::from_secs(3));
    }
    federation.partition(&[0], &[1, 2]);
    let began = Instant::now();
    federation.cortex(0).append(draft()).await.unwrap();
    federation.cortex(1).append(draft()).await.unwrap();
    until("the other side has its event", || held(federation.cortex(2)) == 1).await;
    federation.crash(1).await;
    federation.heal().await;
    federation.restart(1).await.unwrap();
    federation.converged().await;
    assert_eq!([0, 1, 2].map(|n| counted(federation.store(n))), [2, 2, 2]);
    assert!(began.elapsed() >= Duration::from_secs(6), "{:?}", began.elapsed());
    assert!(real.elapsed() < began.elapsed(), "{:?} of real time", real.elapsed());
    federation.stop().await;
}
