//! One fork or one origin too many costs the cortex that wrote it. The events of others come all the same.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use antiphon_kernel::clock::VClock;
use antiphon_kernel::codec::EventRef;
use antiphon_kernel::config::{Config, Interval};
use antiphon_kernel::cortex::Cortex;
use antiphon_kernel::cursor::Cursor;
use antiphon_kernel::event::Draft;
use antiphon_kernel::ids::{CortexId, Epoch, EventId, PeerName};
use antiphon_kernel::internals::log::{IngestError, Log, SentQuery, plan_ingest};
use antiphon_kernel::log::{ExclusionCause, forks};
use antiphon_kernel::protocol::{EventBatch, FetchReply, FetchRequest, Heads, Known, Refusal, RequestId, Scope};
use antiphon_kernel::rule::Rule;
use antiphon_kernel::state::{PeerState, Phase};
use antiphon_kernel::store::Durability;
use antiphon_kernel::testing::{
    Author, MemoryNetwork, MemoryStore, Written, answer_of, question, retain, seeded_cortex,
};
use antiphon_kernel::time::Timestamp;

use crate::support::{self, Node, cortex_id, peer, two, until};

const NOW: Timestamp = Timestamp::from_micros(5_000_000);

pub(crate) const BYZANTINE: u8 = 0xaa;

pub(crate) fn byzantine() -> CortexId {
    seeded_cortex(BYZANTINE)
}

/// The first event of an epoch, in one of its versions.
pub(crate) fn first_of(number: u8, epoch: u64, version: &str) -> Written {
    Author::new(number, epoch).write(
        EventId::from_parts(1, 1),
        &Draft::new("test", version.to_owned()),
        &VClock::new(),
        NOW,
    )
}

async fn start(network: &MemoryNetwork, own: &str, peers: &[&str]) -> Cortex {
    let interval = Some(Interval::new(Duration::from_secs(1)).unwrap());
    let peers = peers.iter().map(|name| peer(name)).collect();
    support::start(network, own, Config { interval, peers, ..Config::default() }).await
}

/// Gives a cortex these events, as if a peer had brought them.
pub(crate) async fn bring(cortex: &Cortex, events: Vec<Written>) {
    let (source, from) = (PeerName::new("source").unwrap(), CortexId::from_bytes([0xee; 16]));
    cortex.state().set_peer_cortex_id(&source, from).await.unwrap();
    let request = RequestId { process: cortex.reader().process(), number: 1 << 40 };
    let batch = answer_of(&events, request, from, Cursor::start(Epoch::new(7)));
    let asked = SentQuery {
        request,
        to: from,
        after: None,
        max_events: 4096,
        max_bytes: 8 << 20,
        scope: Scope::All,
        withhold: Heads::default(),
        held: Heads::default(),
        exclude: Vec::new(),
    };
    cortex.log().ingest(source, asked, batch).await.unwrap();
}

fn status(cortex: &Cortex, peer: &str) -> PeerState {
    cortex.syncer().peers().into_iter().find(|one| one.name.as_str() == peer).unwrap()
}

fn excluded(cortex: &Cortex, peer: &str) -> Vec<(CortexId, ExclusionCause, u64)> {
    status(cortex, peer).excluded.into_iter().map(|one| (one.cortex, one.cause, one.count)).collect()
}

fn head(cortex: &Cortex) -> u64 {
    cortex.reader().head().seq.get()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_too_many_excludes_its_cortex_alone_until_one_of_them_is_resolved() {
    let network = MemoryNetwork::new();
    let bravo = start(&network, "bravo", &[]).await;
    let alpha = start(&network, "alpha", &["bravo"]).await;
    bring(&alpha, (0..65).map(|n| first_of(BYZANTINE, n, "one")).collect()).await;
    bring(&bravo, (0..65).map(|n| first_of(BYZANTINE, n, "other")).collect()).await;
    bravo.append(Draft::new("t", "bravo's")).await.unwrap();
    bring(&bravo, vec![first_of(0xcc, 1, "a third cortex's")]).await;
    let bravo_name = PeerName::new("bravo").unwrap();
    alpha.syncer().wake(&bravo_name).await.unwrap();
    until("the events of others", || head(&alpha) == 67).await;
    until("the exclusion shows", || excluded(&alpha, "bravo") == [(byzantine(), ExclusionCause::Forks, 64)]).await;
    let known = status(&alpha, "bravo");
    assert_eq!((known.withheld.histories, known.health.last_error), (64, None), "{known:?}");
    bravo.append(Draft::new("t", "later")).await.unwrap();
    until("a later event", || head(&alpha) == 68).await;
    until("it is live", || status(&alpha, "bravo").phase == Phase::Live).await;

    // With one fork less there is room for the one that was too many.
    let before: BTreeSet<_> = forks(&**alpha.reader().store()).unwrap().iter().map(|fork| fork.origin).collect();
    let resolved = forks(&**alpha.reader().store()).unwrap().remove(0);
    alpha.resolve_fork(resolved.theirs).await.unwrap();
    until("the exclusion ends", || excluded(&alpha, "bravo").is_empty()).await;
    let theirs = |origin| alpha.reader().heads().get(origin).map(|head| head.digest);
    until("what was resolved comes", || theirs(resolved.origin) == Some(resolved.theirs)).await;
    until("the last fork is known", || forks(&**alpha.reader().store()).unwrap().len() == 64).await;
    let after: BTreeSet<_> = forks(&**alpha.reader().store()).unwrap().iter().map(|fork| fork.origin).collect();
    assert_eq!((after.difference(&before).count(), after.contains(&resolved.origin)), (1, false));
    alpha.stop().await;
    bravo.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_too_many_excludes_its_cortex_alone() {
    let network = MemoryNetwork::new();
    let bravo = start(&network, "bravo", &[]).await;
    let alpha = start(&network, "alpha", &["bravo"]).await;
    // Together they are more than a clock can have.
    let strangers = |n: u64| first_of(0xbb, n, "one");
    bring(&alpha, (0..65).map(strangers).collect()).await;
    bring(&bravo, (0..959).map(|n| first_of(BYZANTINE, n, "one")).collect()).await;
    bravo.append(Draft::new("t", "bravo's")).await.unwrap();
    alpha.syncer().wake(&PeerName::new("bravo").unwrap()).await.unwrap();
    until("the event of another cortex", || head(&alpha) == 66).await;
    until("the exclusion shows", || excluded(&alpha, "bravo") == [(byzantine(), ExclusionCause::Origins, 65)]).await;
    bravo.append(Draft::new("t", "later")).await.unwrap();
    until("a later event", || head(&alpha) == 67).await;
    assert_eq!(status(&alpha, "bravo").health.last_error, None);
    // A reset of the peer forgets what is excluded, and so does the next contact exclude it again.
    alpha.syncer().reset(&PeerName::new("bravo").unwrap()).await.unwrap();
    until("it is excluded again", || excluded(&alpha, "bravo") == [(byzantine(), ExclusionCause::Origins, 66)]).await;
    alpha.stop().await;
    bravo.stop().await;
}

/// Three nodes: the first one is excluded, the second one's second event depends on it, the third one's events are its own.
fn nodes() -> Vec<Node> {
    let mut nodes: Vec<_> = (0..4).map(|n| Node::new(n, 4, Arc::new(MemoryStore::new()))).collect();
    nodes[1].append("before", &VClock::new(), NOW, Durability::Sync);
    nodes[0].append("excluded", &VClock::new(), NOW, Durability::Sync);
    let (second, first) = two(&mut nodes, 1, 0);
    second.pull(first).unwrap();
    let seen = first.log.reader().clock();
    second.append("depends", &seen, NOW, Durability::Sync);
    second.append("follows", &VClock::new(), NOW, Durability::Sync);
    nodes[2].append("apart", &VClock::new(), NOW, Durability::Sync);
    let (second, third) = two(&mut nodes, 1, 2);
    second.pull(third).unwrap();
    nodes
}

fn asks(node: &Node, exclude: Vec<CortexId>) -> FetchRequest {
    FetchRequest { exclude, ..question(cortex_id(3), cortex_id(node.n)) }
}

fn batch(reply: FetchReply) -> EventBatch {
    let FetchReply::Batch(batch) = reply else { panic!("{reply:?}") };
    batch
}

fn subjects(batch: &EventBatch) -> Vec<String> {
    batch.events.iter().map(|(_, record)| EventRef::decode(record).unwrap().subject.to_owned()).collect()
}

#[test]
fn nothing_of_an_excluded_cortex_is_sent_nor_what_depends_on_it() {
    let nodes = nodes();
    let view = nodes[1].log.reader();
    let all = batch(view.answer(&asks(&nodes[1], vec![])).unwrap());
    assert_eq!(subjects(&all), ["before", "excluded", "depends", "follows", "apart"]);
    let some = batch(view.answer(&asks(&nodes[1], vec![cortex_id(0)])).unwrap());
    assert_eq!((subjects(&some), some.last), (vec!["before".to_owned(), "apart".to_owned()], all.last));
    // The cursor passed what was excluded. Once the exclusion ended, it is not valid any more.
    let known = Known::Full(some.heads.clone());
    let later = FetchRequest { after: Some(some.last), known: known.clone(), ..asks(&nodes[1], vec![cortex_id(0)]) };
    assert_eq!(batch(view.answer(&later).unwrap()).events.len(), 0);
    let ended = FetchRequest { after: Some(some.last), known, ..asks(&nodes[1], vec![]) };
    assert_eq!(view.answer(&ended).unwrap(), FetchReply::refused(Refusal::CursorUnknown));
    let by_clock = FetchRequest { after: None, ..ended };
    assert_eq!(subjects(&batch(view.answer(&by_clock).unwrap())), ["excluded", "depends", "follows"]);
    // Other histories of it are not compared.
    let origin = nodes[0].log.reader().local().origin();
    let other = first_of(1, origin.epoch().get(), "another version");
    let known = Known::Full(Heads::new(vec![(origin, other.head)]));
    let differs = FetchRequest { known: known.clone(), ..asks(&nodes[1], vec![]) };
    assert!(matches!(view.answer(&differs).unwrap(), FetchReply::Refused { refusal: Refusal::Fork { .. }, .. }));
    let excluded = FetchRequest { known, ..asks(&nodes[1], vec![cortex_id(0)]) };
    assert_eq!(subjects(&batch(view.answer(&excluded).unwrap())), ["before", "apart"]);
    let too_many = (0..1025_u16).map(|n| CortexId::from_parts(u64::from(n), 0)).collect();
    assert_eq!(view.answer(&asks(&nodes[1], too_many)).unwrap(), FetchReply::refused(Refusal::Malformed));
    let filter = FetchRequest { filter: Some([1; 32]), ..asks(&nodes[1], vec![]) };
    assert_eq!(view.answer(&filter).unwrap(), FetchReply::refused(Refusal::Filter));
}

#[test]
fn an_answer_with_what_is_excluded_breaks_a_rule() {
    let mut nodes = nodes();
    let (asker, server) = two(&mut nodes, 3, 1);
    let (asked, reply) = asker.ask(server, 100, true);
    let all = batch(reply);
    let asked = SentQuery { exclude: vec![cortex_id(0)], ..asked };
    let broken = |batch: &EventBatch, log: &Log| match plan_ingest(batch, &asked, log).map(|_| ()) {
        Err(IngestError::Protocol { rule, .. }) => rule,
        other => panic!("{other:?}"),
    };
    assert_eq!(broken(&all, &asker.log), Rule::Excluded);
    // It held what is excluded before, so only the dependence is left.
    asker.pull(server).unwrap();
    let mut fresh = Node::new(3, 4, Arc::new(MemoryStore::new()));
    let first = &nodes[0];
    fresh.pull(first).unwrap();
    let mut depends = all.clone();
    retain(&mut depends, |origin| origin.cortex() == cortex_id(1));
    assert_eq!(broken(&depends, &fresh.log), Rule::DependsOnExcluded);
    // And the ingest takes no answer to a question that excluded others than are excluded now.
    let stale = fresh.take(1, &asked, &FetchReply::Batch(depends), Durability::Sync);
    assert!(matches!(stale, Err(IngestError::NotAsked)), "{stale:?}");
}
