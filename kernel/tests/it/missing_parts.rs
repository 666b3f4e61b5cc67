//! A missing part is a debt: it is noted with its event, asked for by dot, filled in place, and its event is replayed then.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use antiphon_kernel::clock::VClock;
use antiphon_kernel::codec::{Absence, RecordRef};
use antiphon_kernel::config::{Config, Interval, PeerConfig};
use antiphon_kernel::cortex::Cortex;
use antiphon_kernel::cursor::Seq;
use antiphon_kernel::event::{Event, EventBytes};
use antiphon_kernel::ids::Dot;
use antiphon_kernel::internals::log::{Filled, Log, LogOptions, NotFilled, salvage};
use antiphon_kernel::internals::replay::ReplayCore;
use antiphon_kernel::internals::sync::part_request;
use antiphon_kernel::log::{LogEntry, verify};
use antiphon_kernel::protocol::{FetchReply, PROTOCOL_MAX, RequestId};
use antiphon_kernel::replay::{EventReplayer, NotReplayed, Projection, ReplayError};
use antiphon_kernel::store::{Durability, Family, Store};
use antiphon_kernel::testing::{CommitFault, MemoryNetwork, MemoryStore};
use antiphon_kernel::time::Timestamp;

use crate::support::{Node, cortex_id, peer, two, until};

const NOW: Timestamp = Timestamp::from_micros(5_000_000);
const MISSING: Option<Absence> = Some(Absence::Missing);

/// Notes the data of each event that it is given.
#[derive(Clone, Default)]
struct Applied(Arc<Mutex<Vec<String>>>);

impl Applied {
    fn seen(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

impl EventReplayer for Applied {
    fn name(&self) -> &'static str {
        "applied"
    }

    fn families(&self) -> Vec<String> {
        Vec::new()
    }

    fn replay_event(&mut self, event: &Event, _: &mut Projection<'_>) -> Result<(), ReplayError> {
        self.0.lock().unwrap().push(event.subject.clone().unwrap_or_default());
        Ok(())
    }
}

fn nodes(count: usize) -> (Vec<Node>, Vec<Arc<MemoryStore>>) {
    let stores: Vec<_> = (0..count).map(|_| Arc::new(MemoryStore::new())).collect();
    let each = stores.iter().enumerate();
    (each.map(|(n, store)| Node::new(n, count, Arc::clone(store) as Arc<dyn Store>)).collect(), stores)
}

/// Takes everything that another node has, each record as a relay makes it.
fn take(node: &mut Node, other: &Node, relay: impl Fn(&EventBytes) -> EventBytes) {
    let (asked, mut reply) = node.ask(other, 100, true);
    let FetchReply::Batch(batch) = &mut reply else { panic!("{reply:?}") };
    batch.events.iter_mut().for_each(|(_, record)| *record = relay(record));
    node.take(other.n, &asked, &reply, Durability::Sync).unwrap();
}

fn thin(record: &EventBytes) -> EventBytes {
    RecordRef::decode(record).unwrap().without(None, MISSING)
}

fn entry(node: &Node, seq: u64) -> LogEntry {
    node.log.reader().entry(Seq::new(seq)).unwrap().unwrap()
}

fn owed(node: &Node) -> Vec<Dot> {
    let view = node.log.reader();
    let debts = view.debts(None, 100).unwrap();
    assert_eq!(view.owed(), debts.len() as u64, "what is counted is what is stored");
    debts
}

/// What another node answers to the question for an event.
fn part(node: &Node, other: &Node, dot: Dot) -> Option<EventBytes> {
    let request = RequestId { process: 0, number: 9 };
    let request = part_request(&node.log.reader(), dot, (cortex_id(other.n), PROTOCOL_MAX), request).unwrap();
    match other.log.reader().answer(&request).unwrap() {
        FetchReply::Batch(batch) => batch.events.into_iter().map(|(_, record)| record).next(),
        FetchReply::Refused { refusal, .. } => panic!("{refusal}"),
    }
}

#[test]
fn a_missing_part_is_noted_with_its_event_and_filled_in_its_place() {
    let (mut nodes, _) = nodes(2);
    for subject in ["a", "b", "c"] {
        nodes[0].append(subject, &VClock::new(), NOW, Durability::Sync);
    }
    let (bravo, alpha) = two(&mut nodes, 1, 0);
    take(bravo, alpha, thin);
    let dots: Vec<_> = (1..=3).map(|n| Dot::new(alpha.log.reader().local().origin(), n).unwrap()).collect();
    assert_eq!(owed(bravo), dots);
    assert_eq!(bravo.log.reader().debts(Some(dots[0]), 1).unwrap(), [dots[1]]);
    bravo.restart();
    assert_eq!(owed(bravo), dots, "they outlive the process");
    let (before, was) = (entry(bravo, 2), bravo.log.reader().origins());
    let record = part(bravo, alpha, dots[1]).unwrap();
    assert_eq!(bravo.log.fill(&record).unwrap(), Filled { dot: dots[1], is_settled: true });
    assert!(matches!(bravo.log.fill(&record), Err(NotFilled::NotMissing { .. })), "it is staged already");
    assert_eq!(owed(bravo).len(), 3, "not before the commit");
    bravo.log.commit(Durability::Sync).unwrap();
    assert_eq!(owed(bravo), [dots[0], dots[2]]);
    assert!(matches!(bravo.log.fill(&record), Err(NotFilled::NotMissing { .. })));
    let after = entry(bravo, 2);
    assert_eq!((after.seq, after.joined, after.epoch), (before.seq, before.joined, before.epoch));
    assert_eq!(after.record, entry(alpha, 2).record, "byte for byte");
    assert_eq!(bravo.digest(), alpha.digest());
    assert!(verify(&bravo.log.reader()).unwrap().is_clean());
    let origin = dots[1].origin();
    let now = bravo.log.reader().origins();
    // A hash may be longer than the part that it replaces.
    assert_eq!(now[&origin].bytes + before.record.len() as u64, was[&origin].bytes + after.record.len() as u64);
    bravo.restart();
    assert_eq!(owed(bravo), [dots[0], dots[2]]);
    assert_eq!(bravo.log.reader().origins(), now);
    // What is filled is served.
    assert_eq!(part(alpha, bravo, dots[1]), Some(record));
}

#[test]
fn what_does_not_fill_changes_nothing() {
    let (mut nodes, stores) = nodes(3);
    nodes[0].append("a", &VClock::new(), NOW, Durability::Sync);
    let (bravo, alpha) = two(&mut nodes, 1, 0);
    take(bravo, alpha, thin);
    let dot = owed(bravo)[0];
    let record = part(bravo, alpha, dot).unwrap();
    let mut other = record.to_vec();
    *other.last_mut().unwrap() ^= 1;
    assert!(matches!(bravo.log.fill(&other.into()), Err(NotFilled::OtherPart { part: "data", .. })));
    assert!(matches!(bravo.log.fill(&thin(&record)), Err(NotFilled::Nothing { .. })));
    assert!(matches!(bravo.log.fill(&EventBytes::from_static(b"no record")), Err(NotFilled::Invalid(_))));
    bravo.log.commit(Durability::Sync).unwrap();
    assert_eq!((owed(bravo).len(), entry(bravo, 1).record), (1, thin(&record)));
    assert!(matches!(nodes[2].log.fill(&record), Err(NotFilled::NotHeld { .. })));
    // A write that fails leaves the debt, and the next one removes it.
    stores[1].fail_commits([CommitFault::Lost]);
    nodes[1].log.fill(&record).unwrap();
    assert!(nodes[1].log.commit(Durability::Sync).is_err());
    nodes[1].log.recover().unwrap();
    assert_eq!(owed(&nodes[1]), [dot]);
    nodes[1].log.fill(&record).unwrap();
    nodes[1].log.commit(Durability::Sync).unwrap();
    assert!(owed(&nodes[1]).is_empty() && entry(&nodes[1], 1).record == record);
}

#[test]
fn an_event_is_replayed_when_it_is_filled_and_once() {
    let (mut nodes, _) = nodes(2);
    for subject in ["a", "b", "c"] {
        nodes[0].append(subject, &VClock::new(), NOW, Durability::Sync);
    }
    let (bravo, alpha) = two(&mut nodes, 1, 0);
    let second = entry(alpha, 2).record;
    take(bravo, alpha, |record| if *record == second { thin(record) } else { record.clone() });
    let applied = Applied::default();
    let mut replay = ReplayCore::open(bravo.log.reader(), Box::new(applied.clone())).unwrap();
    replay.step().unwrap();
    assert_eq!((applied.seen(), replay.parked()), (vec!["a".to_owned(), "c".to_owned()], 1));
    bravo.log.fill(&second).unwrap();
    replay.step().unwrap();
    assert_eq!(replay.parked(), 1, "not before the commit");
    bravo.log.commit(Durability::Sync).unwrap();
    for _ in 0..2 {
        replay.step().unwrap();
        assert_eq!((applied.seen(), replay.parked()), (["a", "c", "b"].map(str::to_owned).to_vec(), 0));
    }
}

#[test]
fn a_filled_event_is_replayed_by_the_next_process() {
    let (mut nodes, _) = nodes(2);
    nodes[0].append("a", &VClock::new(), NOW, Durability::Sync);
    let (bravo, alpha) = two(&mut nodes, 1, 0);
    take(bravo, alpha, thin);
    let applied = Applied::default();
    let mut replay = ReplayCore::open(bravo.log.reader(), Box::new(applied.clone())).unwrap();
    replay.step().unwrap();
    drop(replay);
    bravo.log.fill(&entry(alpha, 1).record).unwrap();
    bravo.log.commit(Durability::Sync).unwrap();
    bravo.restart();
    let replay = ReplayCore::open(bravo.log.reader(), Box::new(applied.clone())).unwrap();
    assert_eq!((applied.seen(), replay.parked()), (vec!["a".to_owned()], 0));
}

/// A repair takes debts along with the events that it keeps, and with those that join later.
#[test]
fn debts_are_those_of_the_log_after_a_repair() {
    let (mut nodes, stores) = nodes(2);
    // Each event comes in a segment of its own.
    for subject in ["a", "b", "c", "d"] {
        nodes[0].append(subject, &VClock::new(), NOW, Durability::Sync);
        let (bravo, alpha) = two(&mut nodes, 1, 0);
        take(bravo, alpha, thin);
    }
    let dots = owed(&nodes[1]);
    stores[1].tamper(Family::Log, &3_u64.to_be_bytes(), Some(b"not what was written"));
    let new = Arc::new(MemoryStore::new());
    let salvaged = salvage(&*stores[1], Arc::clone(&new) as Arc<dyn Store>, NOW).unwrap();
    assert_eq!((salvaged.kept, salvaged.waiting), (2, 1));
    nodes[1] = Node::over(1, new);
    assert_eq!(owed(&nodes[1]), dots[..2], "no debt of what is not in the log");
    let (bravo, alpha) = two(&mut nodes, 1, 0);
    let (asked, reply) = bravo.ask(alpha, 1, true);
    bravo.take(0, &asked, &reply, Durability::Sync).unwrap();
    assert_eq!(bravo.log.reader().head().seq, Seq::new(4));
    assert_eq!(owed(bravo), [dots[0], dots[1], dots[3]], "the third came whole, the fourth joined as it was");
}

/// A debt that is lost is never asked for, so a check has to find it.
#[test]
fn a_check_compares_debts_with_the_log() {
    let (mut nodes, stores) = nodes(2);
    for subject in ["a", "b"] {
        nodes[0].append(subject, &VClock::new(), NOW, Durability::Sync);
    }
    let (bravo, alpha) = two(&mut nodes, 1, 0);
    take(bravo, alpha, thin);
    let [first, second] = owed(bravo)[..] else { panic!("two parts are missing") };
    let key = |dot: Dot| [&b"m"[..], &dot.origin().to_bytes(), &dot.counter().to_be_bytes()].concat();
    let debt = stores[1].get(Family::Evidence, &key(first)).unwrap().unwrap();
    let found = || verify(&nodes[1].log.reader()).unwrap().faults;
    assert!(found().is_empty());
    stores[1].tamper(Family::Evidence, &key(first), None);
    assert_eq!(found(), [format!("family `evidence`: {first} lacks a part, and nothing notes it")]);
    stores[1].tamper(Family::Evidence, &key(first), Some(&debt));
    assert!(found().is_empty());
    let third = Dot::new(second.origin(), 3).unwrap();
    stores[1].tamper(Family::Evidence, &key(third), Some(&debt));
    let fault = format!("family `evidence`: {third} is noted as missing a part, and the log has no such event");
    assert_eq!(found(), [fault]);
}

/// Events that leave the log take their debts along.
#[test]
fn debts_leave_the_log_with_their_events() {
    let (mut nodes, stores) = nodes(3);
    nodes[0].append("both", &VClock::new(), NOW, Durability::Sync);
    let mut twin = Node::over(0, Arc::new(stores[0].durable_copy()) as Arc<dyn Store>);
    nodes[0].append("ours", &VClock::new(), NOW, Durability::Sync);
    let theirs = twin.append("theirs", &VClock::new(), NOW, Durability::Sync);
    let (charlie, alpha) = two(&mut nodes, 2, 0);
    take(charlie, alpha, thin);
    assert_eq!(owed(charlie).len(), 2);
    // Bravo holds the other version.
    nodes[1].pull(&twin).unwrap();
    let (charlie, bravo) = two(&mut nodes, 2, 1);
    charlie.pull(bravo).unwrap();
    let keep = twin.log.reader().chain_digest(theirs.dot.origin(), 2).unwrap().unwrap();
    assert_eq!(charlie.log.resolve_fork(keep, NOW).unwrap().set_aside, 1);
    assert_eq!(owed(charlie).len(), 1);
    assert!(verify(&charlie.log.reader()).unwrap().is_clean());
    charlie.pull(bravo).unwrap();
    assert_eq!((owed(charlie).len(), charlie.log.reader().clock().get(theirs.dot.origin())), (1, 2));
}

fn config(peers: &[&str]) -> Config {
    let peers: Vec<PeerConfig> = peers.iter().map(|name| peer(name)).collect();
    Config { interval: Some(Interval::new(Duration::from_secs(20)).unwrap()), peers, ..Config::default() }
}

/// Alpha wrote it, bravo and charlie hold it without its data. Charlie pulls both.
#[tokio::test]
async fn a_running_node_asks_for_what_is_missing_and_replays_it() {
    let (mut nodes, stores) = nodes(3);
    for subject in ["a", "b", "c"] {
        nodes[0].append(subject, &VClock::new(), NOW, Durability::Sync);
    }
    for n in [1, 2] {
        let (node, alpha) = two(&mut nodes, n, 0);
        take(node, alpha, thin);
    }
    drop(nodes);
    let network = MemoryNetwork::new();
    let applied = Applied::default();
    let charlie = Cortex::builder(Arc::clone(&stores[2])).config(config(&["alpha", "bravo"]));
    let charlie = charlie.transport(network.clone()).causal_replayer(applied.clone()).start().await.unwrap();
    let bravo = Cortex::builder(Arc::clone(&stores[1])).start().await.unwrap();
    network.serve("bravo", bravo.service().clone());
    let replayer = charlie.replayers()[0].clone();
    until("all are parked", || replayer.status().parked == 3).await;
    let error = replayer.wait_replayed(Seq::new(2)).await.unwrap_err();
    assert!(matches!(&error, NotReplayed::Parked { error } if error.contains("missing")), "{error}");
    let alpha = Cortex::builder(Arc::clone(&stores[0])).start().await.unwrap();
    network.serve("alpha", alpha.service().clone());
    charlie.syncer().wake(&antiphon_kernel::ids::PeerName::new("alpha").unwrap()).await.unwrap();
    until("nothing is missing", || charlie.reader().owed() == 0 && replayer.status().parked == 0).await;
    let mut seen = applied.seen();
    seen.sort();
    assert_eq!(seen, ["a", "b", "c"], "each once");
    replayer.wait_replayed(Seq::new(2)).await.unwrap();
    assert_eq!(bravo.reader().owed(), 3, "it pulls from no peer");
    assert!(verify(charlie.reader()).unwrap().is_clean());
    for cortex in [alpha, bravo, charlie] {
        cortex.stop().await;
    }
    let log = Log::open(Arc::clone(&stores[2]) as Arc<dyn Store>, LogOptions::default()).unwrap();
    assert_eq!(log.reader().owed(), 0);
}
