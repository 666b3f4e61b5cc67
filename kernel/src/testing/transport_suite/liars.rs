//! Servers that lie: what the kernel makes of them, through this transport. Nothing of a lie is stored, and once the
//! server is honest again everything is there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::room::{Room, name, until};
use super::{Case, TransportHarness, case, key};
use crate::config::{Config, Interval};
use crate::cortex::Cortex;
use crate::cursor::Seq;
use crate::health::ErrorCategory;
use crate::ids::{CortexId, PeerName};
use crate::protocol::{EventBatch, FetchReply, FetchRequest, Identity};
use crate::testing::{MemoryStore, Tamper};
use crate::transport::TransportErrorKind;

pub(super) const CASES: &[Case] = &[
    case!(events_in_another_order_are_refused),
    case!(a_hole_is_refused),
    case!(a_batch_cut_short_is_refused),
    case!(more_than_was_asked_for_is_refused),
    case!(a_repeated_answer_changes_nothing),
    case!(a_lost_answer_is_asked_for_again),
    case!(an_answer_to_another_question_changes_nothing),
    case!(a_head_behind_what_was_given_is_refused),
    case!(a_head_far_ahead_does_not_hurry_anybody),
    case!(another_identity_is_refused),
];

type Lie = dyn Fn(&FetchRequest, EventBatch) -> Vec<EventBatch> + Send + Sync;

/// Lies about batches for as long as it is told to.
struct Liar {
    lying: AtomicBool,
    told: AtomicU64,
    lie: Box<Lie>,
    identity: Option<CortexId>,
}

impl Tamper for Liar {
    fn answer(&self, request: &FetchRequest, reply: FetchReply) -> Option<Vec<FetchReply>> {
        let FetchReply::Batch(batch) = reply else { return Some(vec![reply]) };
        self.told.fetch_add(1, Ordering::Relaxed);
        if !self.lying.load(Ordering::Relaxed) {
            return Some(vec![FetchReply::Batch(batch)]);
        }
        Some((self.lie)(request, batch).into_iter().map(FetchReply::Batch).collect())
    }

    fn identity(&self, mut identity: Identity) -> Identity {
        if let Some(other) = self.identity.filter(|_| self.lying.load(Ordering::Relaxed)) {
            identity.cortex_id = other;
        }
        identity
    }
}

fn liar(lie: impl Fn(&FetchRequest, EventBatch) -> Vec<EventBatch> + Send + Sync + 'static) -> Arc<Liar> {
    Arc::new(Liar { lying: AtomicBool::new(true), told: AtomicU64::new(0), lie: Box::new(lie), identity: None })
}

/// A cortex that pulls the room's server.
async fn puller(room: &Room) -> Cortex {
    let interval = Interval::new(std::time::Duration::from_secs(1)).ok();
    let config = Config { interval, peers: vec![room.peer()], shared_key: key(), ..Config::default() };
    let builder =
        Cortex::builder(Arc::new(MemoryStore::new())).log(crate::testing::LOG).name(name("puller")).config(config);
    builder.transport(room.transport.clone()).start().await.expect("a cortex over memory starts")
}

fn health(cortex: &Cortex) -> Option<ErrorCategory> {
    cortex.syncer().peers().first().and_then(|peer| peer.health.last_error)
}

/// Pulls from a liar until `caught`, then from the same server being honest.
async fn survive(harness: &dyn TransportHarness, liar: Arc<Liar>, caught: impl Fn(&Cortex, &Liar) -> bool) {
    let room = Room::lying(harness, Arc::clone(&liar) as Arc<dyn Tamper>).await;
    room.append(30).await;
    let cortex = puller(&room).await;
    until("the lie is met", || caught(&cortex, &liar)).await;
    let stored = cortex.reader().head().seq;
    let same = |seq: Seq| {
        let entries = |log: &crate::log::LogReader| log.durable_entries(Seq::ZERO, usize::MAX, usize::MAX);
        let records = |log| entries(log).map(|all| all.into_iter().map(|e| e.record).collect::<Vec<_>>());
        let (ours, theirs) =
            (records(cortex.reader()).expect("memory reads"), records(room.log.reader()).expect("memory reads"));
        theirs.starts_with(&ours[..usize::try_from(seq.get()).unwrap_or(usize::MAX).min(ours.len())])
    };
    assert!(same(stored), "what is stored is a prefix of the server's log");
    liar.lying.store(false, Ordering::Relaxed);
    let server = PeerName::new("server").expect("a name");
    cortex.syncer().wake(&server).await.expect("the peer is configured");
    until("all is there once the server is honest", || cortex.reader().head().seq.get() == 30).await;
    assert!(same(Seq::new(30)));
    assert_eq!(cortex.reader().heads(), room.log.reader().heads());
    cortex.stop().await;
    room.stop().await;
}

/// The peer fails in this way, and nothing of what it said is stored.
async fn refused(
    harness: &dyn TransportHarness,
    category: ErrorCategory,
    lie: impl Fn(EventBatch) -> EventBatch + Send + Sync + 'static,
) {
    survive(harness, liar(move |_, batch| vec![lie(batch)]), |cortex, _| health(cortex) == Some(category)).await;
}

async fn events_in_another_order_are_refused(harness: &dyn TransportHarness) {
    refused(harness, ErrorCategory::Protocol, |mut batch| {
        // Their sequence numbers stay in order, or the frame would not even decode.
        if let [(_, one), (_, two), ..] = &mut batch.events[..] {
            std::mem::swap(one, two);
        }
        batch
    })
    .await;
}

async fn a_hole_is_refused(harness: &dyn TransportHarness) {
    refused(harness, ErrorCategory::Protocol, |mut batch| {
        if batch.events.len() > 2 {
            batch.events.remove(1);
        }
        batch
    })
    .await;
}

/// It claims to cover what it leaves out.
async fn a_batch_cut_short_is_refused(harness: &dyn TransportHarness) {
    refused(harness, ErrorCategory::Protocol, |mut batch| {
        batch.events.truncate(batch.events.len() / 2);
        batch
    })
    .await;
}

async fn more_than_was_asked_for_is_refused(harness: &dyn TransportHarness) {
    refused(harness, ErrorCategory::Protocol, |mut batch| {
        if let Some((seq, event)) = batch.events.last().cloned() {
            let more = (1..20_000_u64).map(|n| (Seq::new(seq.get() + n), event.clone()));
            batch.events.extend(more.take(crate::protocol::MAX_BATCH_EVENTS as usize - batch.events.len()));
        }
        batch
    })
    .await;
}

async fn a_repeated_answer_changes_nothing(harness: &dyn TransportHarness) {
    let twice = liar(|_, batch| vec![batch.clone(), batch]);
    survive(harness, twice, |cortex, _| cortex.reader().head().seq.get() == 30).await;
}

/// Every other answer is lost: the one after it does not fit, and the question is asked again.
async fn a_lost_answer_is_asked_for_again(harness: &dyn TransportHarness) {
    let count = AtomicU64::new(0);
    let losing = liar(move |request, batch| {
        let lost = count.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) && !request.wait.is_zero();
        if lost { Vec::new() } else { vec![batch] }
    });
    survive(harness, losing, |_, liar| liar.told.load(Ordering::Relaxed) > 0).await;
}

async fn an_answer_to_another_question_changes_nothing(harness: &dyn TransportHarness) {
    let late = liar(|_, mut batch| {
        batch.request.number += 1000;
        vec![batch]
    });
    survive(harness, late, |cortex, _| health(cortex).is_some()).await;
}

async fn a_head_behind_what_was_given_is_refused(harness: &dyn TransportHarness) {
    refused(harness, ErrorCategory::Protocol, |mut batch| {
        batch.head = batch.prev;
        batch
    })
    .await;
}

/// A peer that says it has more and sends nothing of it is not asked in a loop.
async fn a_head_far_ahead_does_not_hurry_anybody(harness: &dyn TransportHarness) {
    let boaster = liar(|_, mut batch| {
        batch.head.seq = Seq::new(batch.head.seq.get() + 1_000_000);
        vec![batch]
    });
    let room = Room::lying(harness, Arc::clone(&boaster) as Arc<dyn Tamper>).await;
    room.append(30).await;
    let cortex = puller(&room).await;
    until("what there is", || cortex.reader().head().seq.get() == 30).await;
    let before = boaster.told.load(Ordering::Relaxed);
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    let asked = boaster.told.load(Ordering::Relaxed) - before;
    assert!(asked < 20, "{asked} answers in half a second, none of which brought anything");
    cortex.stop().await;
    room.stop().await;
}

async fn another_identity_is_refused(harness: &dyn TransportHarness) {
    let other = CortexId::from_bytes([5; 16]);
    let liar = Arc::new(Liar {
        lying: AtomicBool::new(false),
        told: AtomicU64::new(0),
        lie: Box::new(|_, batch| vec![batch]),
        identity: Some(other),
    });
    let room = Room::lying(harness, Arc::clone(&liar) as Arc<dyn Tamper>).await;
    let link = room.link();
    for lying in [false, true, false] {
        liar.lying.store(lying, Ordering::Relaxed);
        let identified = link.identify(super::room::SOON).await;
        if harness.proves() && lying {
            let error = identified.expect_err("an identity that is not the proved one must not be brought");
            assert_eq!(error.kind(), TransportErrorKind::Unproven, "{error}");
            continue;
        }
        let identified = identified.expect("an identity");
        assert_eq!(identified.is_proven(), harness.proves(), "it must say what is proved");
        assert_eq!(identified.identity().cortex_id == other, lying, "who it is must be asked each time");
    }
    room.append(3).await;
    let cortex = puller(&room).await;
    let server = PeerName::new("server").expect("a name");
    until("first contact", || cortex.reader().head().seq.get() == 3).await;
    liar.lying.store(true, Ordering::Relaxed);
    cortex.syncer().pause(&server).await.expect("the peer is configured");
    room.append(1).await;
    cortex.syncer().resume(&server).await.expect("the peer is configured");
    let found = if harness.proves() { ErrorCategory::Unproven } else { ErrorCategory::Identity };
    until("another identity", || health(&cortex) == Some(found)).await;
    assert_eq!(cortex.reader().head().seq.get(), 3, "nothing of it is stored");
    cortex.stop().await;
    room.stop().await;
}
