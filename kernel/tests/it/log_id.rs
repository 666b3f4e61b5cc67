//! A log has an id: cortexes of different logs exchange nothing, and one without events takes the first log that it meets.

use std::sync::Arc;
use std::time::Duration;

use antiphon_kernel::clock::VClock;
use antiphon_kernel::config::{Config, Interval, PeerConfig};
use antiphon_kernel::cortex::Cortex;
use antiphon_kernel::event::Draft;
use antiphon_kernel::health::ErrorCategory;
use antiphon_kernel::internals::log::{IngestError, Log, LogOptions};
use antiphon_kernel::log::OpenError;
use antiphon_kernel::protocol::{FetchReply, Refusal};
use antiphon_kernel::state::PeerState;
use antiphon_kernel::store::{Durability, Family, Store, StoreErrorKind};
use antiphon_kernel::testing::{LOG, MemoryNetwork, MemoryStore, question};
use antiphon_kernel::time::Timestamp;
use antiphon_kernel::{CortexId, LogId};

use crate::support::{Node, peer, two, until};

const OTHER: LogId = LogId::from_bytes([0x77; 16]);
const NOW: Timestamp = Timestamp::from_micros(5_000_000);

fn open(store: &Arc<MemoryStore>, log: Option<LogId>) -> Result<Log, OpenError> {
    Log::open(Arc::clone(store) as Arc<dyn Store>, LogOptions { log, ..LogOptions::default() })
}

fn created() -> Arc<MemoryStore> {
    let store = Arc::new(MemoryStore::new());
    Log::begin(&*store, "alpha", None).unwrap();
    store
}

fn append(log: &mut Log) {
    log.append(&[Draft::new("test", "x")], &VClock::new(), NOW).unwrap();
    log.commit(Durability::Sync).unwrap();
}

fn id(log: &Log) -> Option<LogId> {
    log.reader().local().log
}

async fn start(network: &MemoryNetwork, own: &str, log: Option<LogId>, peers: Vec<PeerConfig>) -> Cortex {
    let interval = Some(Interval::new(Duration::from_secs(1)).unwrap());
    let config = Config { interval, peers, ..Config::default() };
    let mut builder = Cortex::builder(MemoryStore::new()).name(own).config(config).transport(network.clone());
    if let Some(log) = log {
        builder = builder.log(log);
    }
    let cortex = builder.start().await.unwrap();
    network.serve(own, cortex.service().clone());
    cortex
}

fn of(cortex: &Cortex) -> Option<LogId> {
    cortex.reader().local().log
}

fn status(cortex: &Cortex, peer: &str) -> PeerState {
    cortex.syncer().peers().into_iter().find(|one| one.name.as_str() == peer).unwrap()
}

#[test]
fn the_first_append_mints_a_log_and_no_later_one_does() {
    let store = created();
    let mut log = open(&store, None).unwrap();
    assert_eq!(id(&log), None);
    append(&mut log);
    let minted = id(&log).expect("the first append decides");
    append(&mut log);
    assert_eq!(id(&log), Some(minted));
    drop(log);
    assert_eq!(id(&open(&store, None).unwrap()), Some(minted), "it is kept");
    assert_eq!(id(&open(&store, Some(minted)).unwrap()), Some(minted));
}

#[test]
fn a_log_that_is_given_stays_and_another_one_is_an_error() {
    let store = created();
    assert_eq!(id(&open(&store, Some(LOG)).unwrap()), Some(LOG));
    assert_eq!(id(&open(&store, None).unwrap()), Some(LOG), "it is kept before any event");
    let refused = open(&store, Some(OTHER)).err().unwrap();
    assert!(matches!(refused, OpenError::OtherLog { stored: LOG, given: OTHER }), "{refused}");
    assert_eq!(refused.code().as_str(), "AP-OPEN-004");
}

#[test]
fn a_log_of_the_first_events_is_stored_with_them_or_not_at_all() {
    let (giver, taker) = (Arc::new(MemoryStore::new()), Arc::new(MemoryStore::new()));
    let giver = Node::new(0, 2, giver);
    let mut nodes = vec![giver, Node::of_no_log(1, 2, Arc::clone(&taker) as Arc<dyn Store>)];
    // An answer without events decides nothing.
    let (asker, giver) = two(&mut nodes, 1, 0);
    let (asked, reply) = asker.ask(giver, 10, true);
    asker.take(0, &asked, &reply, Durability::Sync).unwrap();
    assert_eq!(id(&asker.log), None);
    nodes[0].append("a", &VClock::new(), NOW, Durability::Sync);
    let (asker, giver) = two(&mut nodes, 1, 0);
    asker.pull(giver).unwrap();
    assert_eq!((id(&asker.log), asker.log.reader().head().seq.get()), (Some(LOG), 1));
    asker.restart();
    assert_eq!(id(&asker.log), Some(LOG));
    // Events without the id are damage: they were committed together.
    let bare = created().get(Family::Meta, b"identity").unwrap().unwrap();
    taker.tamper(Family::Meta, b"identity", Some(&bare));
    let Err(OpenError::Store(error)) = open(&taker, None) else { panic!("it opens") };
    assert!(error.kind() == StoreErrorKind::Corrupt && error.to_string().contains("no log id"), "{error}");
}

#[test]
fn a_batch_of_another_log_is_refused_although_the_question_named_none() {
    let mut nodes: Vec<_> = (0..2).map(|n| Node::new(n, 2, Arc::new(MemoryStore::new()))).collect();
    nodes[0].append("a", &VClock::new(), NOW, Durability::Sync);
    let (asker, giver) = two(&mut nodes, 1, 0);
    let (asked, reply) = asker.ask(giver, 10, true);
    let FetchReply::Batch(mut batch) = reply else { panic!("it answers") };
    batch.log = Some(OTHER);
    let refused = asker.take(0, &asked, &FetchReply::Batch(batch), Durability::Sync).unwrap_err();
    assert!(matches!(refused, IngestError::OtherLog { actual: OTHER, ours: LOG }), "{refused}");
    assert_eq!((refused.category(), refused.code().as_str()), (ErrorCategory::OtherLog, "AP-INGEST-011"));
    assert_eq!(asker.log.reader().head().seq.get(), 0);
}

#[tokio::test]
async fn a_question_from_another_log_is_refused_by_name() {
    let cortex = Cortex::builder(MemoryStore::new()).log(LOG).start().await.unwrap();
    let asks = async |log| {
        let mut request = question(CortexId::from_bytes([1; 16]), cortex.reader().local().cortex_id);
        request.log = log;
        cortex.service().trusting(request.from).fetch(request).await
    };
    assert_eq!(asks(Some(OTHER)).await, FetchReply::refused(Refusal::OtherLog { actual: LOG }));
    assert!(matches!(asks(Some(LOG)).await, FetchReply::Batch(_)));
    assert!(matches!(asks(None).await, FetchReply::Batch(_)), "an asker of no log may join");
    cortex.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cortexes_of_two_logs_refuse_each_other_and_exchange_nothing() {
    let network = MemoryNetwork::new();
    let bravo = start(&network, "bravo", Some(OTHER), vec![]).await;
    bravo.append(Draft::new("t", "b")).await.unwrap();
    let alpha = start(&network, "alpha", Some(LOG), vec![peer("bravo")]).await;
    until("the refusal", || status(&alpha, "bravo").health.last_error == Some(ErrorCategory::OtherLog)).await;
    let known = status(&alpha, "bravo");
    let detail = known.detail.unwrap_or_default();
    assert!(detail.contains(&OTHER.to_string()), "{detail}");
    assert_eq!((known.cortex_id, alpha.reader().head().seq.get()), (None, 0), "nothing is pinned or taken");
    alpha.stop().await;
    bravo.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cortex_of_no_log_joins_the_first_one_that_it_pulls_from() {
    let network = MemoryNetwork::new();
    let bravo = start(&network, "bravo", None, vec![]).await;
    let alpha = start(&network, "alpha", None, vec![peer("bravo")]).await;
    until("contact", || status(&alpha, "bravo").cortex_id.is_some()).await;
    assert_eq!((of(&alpha), of(&bravo)), (None, None), "two cortexes of no log talk to each other");
    bravo.append(Draft::new("t", "b")).await.unwrap();
    until("the event", || alpha.reader().head().seq.get() == 1).await;
    assert!(of(&alpha).is_some() && of(&alpha) == of(&bravo));
    alpha.append(Draft::new("t", "a")).await.unwrap();
    assert_eq!(of(&alpha), of(&bravo));
    alpha.stop().await;
    bravo.stop().await;
}
