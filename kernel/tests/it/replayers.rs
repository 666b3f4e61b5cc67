//! Conflicts, quarantine, starts, rebuilding, crash loops, hanging.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use antiphon_kernel::clock::VClock;
use antiphon_kernel::cortex::Cortex;
use antiphon_kernel::cursor::{Cursor, Seq};
use antiphon_kernel::event::{Draft, Event};
use antiphon_kernel::ids::{Epoch, EventId};
use antiphon_kernel::internals::replay::{ReplayCore, ReplayStep};
use antiphon_kernel::replay::{
    EventReplayer, MAX_FRONTIER, OnFailure, Projection, Relation, ReplayCommandError, ReplayError, ReplayOptions,
    SkipError, Start, conflicts, parked, read_current, skipped,
};
use antiphon_kernel::store::{Durability, Family, KeyRange, Store};
use antiphon_kernel::testing::{CommitFault, MemoryStore};
use antiphon_kernel::time::Timestamp;

use crate::support::{Node, two, until};

/// Writes down what it was given, in order, per subject; and fails where it is told to.
#[derive(Clone, Default)]
struct Diary {
    options: ReplayOptions,
    broken: Arc<AtomicBool>,
    relations: Relations,
}

type Relations = Arc<Mutex<Vec<(EventId, Option<Relation>)>>>;

const NAME: &str = "diary";
const FAMILY: &str = "diary";

impl EventReplayer for Diary {
    fn name(&self) -> &'static str {
        NAME
    }

    fn families(&self) -> Vec<String> {
        vec![FAMILY.to_owned()]
    }

    fn options(&self) -> ReplayOptions {
        self.options
    }

    fn replay_event(&mut self, event: &Event, projection: &mut Projection<'_>) -> Result<(), ReplayError> {
        let key = event.subject.clone().unwrap_or_default();
        let mut line = projection.get(FAMILY, key.as_bytes())?.unwrap_or_default();
        line.extend_from_slice(format!("{} ", event.seq).as_bytes());
        projection.put(FAMILY, key.as_bytes(), &line)?;
        if self.broken.load(Ordering::Relaxed) && key == "poison" {
            return Err("it is poison".into());
        }
        self.relations.lock().unwrap().push((event.id, projection.relation().cloned()));
        Ok(())
    }
}

fn diary(on_failure: OnFailure) -> Diary {
    Diary { options: ReplayOptions { on_failure, causality: true, ..ReplayOptions::default() }, ..Diary::default() }
}

fn core(node: &Node, diary: &Diary) -> ReplayCore {
    ReplayCore::open(node.log.reader(), Box::new(diary.clone())).unwrap()
}

/// The cursor at a sequence number.
fn at(node: &Node, place: u64) -> Cursor {
    node.log.reader().entry(Seq::new(place)).unwrap().unwrap().cursor().unwrap().unwrap()
}

fn drain(core: &mut ReplayCore) {
    while !matches!(core.step().unwrap(), ReplayStep::CaughtUp) {}
}

fn line(store: &dyn Store, subject: &str) -> String {
    let line = read_current(store, NAME, |state| state.get(FAMILY, subject.as_bytes())).unwrap().unwrap_or_default();
    String::from_utf8(line).unwrap().trim().to_owned()
}

fn now() -> Timestamp {
    Timestamp::from_micros(1)
}

fn append(node: &mut Node, subject: &str, context: &VClock) -> EventId {
    node.append(subject, context, now(), Durability::Sync).id
}

fn alone() -> (Arc<MemoryStore>, Node) {
    let store = Arc::new(MemoryStore::new());
    let node = Node::new(0, 1, store.clone());
    (store, node)
}

/// Three write one subject while apart; all meet; all see the same conflict; one resolves it; all agree.
#[test]
fn a_conflict_is_seen_and_resolved_everywhere() {
    let mut nodes: Vec<_> = (0..3).map(|n| Node::new(n, 3, Arc::new(MemoryStore::new()))).collect();
    let mut ids: Vec<_> = nodes.iter_mut().map(|node| append(node, "doc", &VClock::new())).collect();
    ids.sort_unstable();
    let diaries: Vec<_> = (0..3).map(|_| diary(OnFailure::Halt)).collect();
    let mut cores: Vec<_> = nodes.iter().zip(&diaries).map(|(node, diary)| core(node, diary)).collect();
    let meet = |nodes: &mut Vec<Node>, cores: &mut Vec<ReplayCore>| {
        for (one, other) in [(0, 1), (0, 2), (1, 0), (2, 0)] {
            let (client, server) = two(nodes, one, other);
            client.poll(server, 4096);
        }
        cores.iter_mut().for_each(drain);
    };
    meet(&mut nodes, &mut cores);
    for node in &nodes {
        let found = conflicts(&*node.store, NAME).unwrap();
        let [conflict] = &found[..] else { panic!("{found:?}") };
        assert_eq!(conflict.subject, "doc");
        assert_eq!(conflict.events.iter().map(|(_, id)| *id).collect::<Vec<_>>(), ids);
    }
    assert!(cores.iter().all(|core| core.conflicts() == 1));
    let (_, last) = diaries[1].relations.lock().unwrap().last().cloned().unwrap();
    assert!(matches!(last, Some(Relation::Concurrent { with }) if with.len() == 2));
    // Node 1 resolves, by an event that has seen all three.
    let context = conflicts(&*nodes[1].store, NAME).unwrap()[0].context();
    append(&mut nodes[1], "doc", &context);
    meet(&mut nodes, &mut cores);
    meet(&mut nodes, &mut cores);
    for ((node, diary), counted) in nodes.iter().zip(&diaries).zip(&cores) {
        assert_eq!(conflicts(&*node.store, NAME).unwrap(), []);
        assert_eq!((counted.conflicts(), core(node, diary).conflicts()), (0, 0), "also when it is opened again");
        assert_eq!(diary.relations.lock().unwrap().last().unwrap().1, Some(Relation::Supersedes));
        assert_eq!(node.digest(), nodes[0].digest());
    }
}

/// What arrived but was not replayed yet was not seen: an append in between must not supersede it.
#[test]
fn what_was_not_replayed_is_never_superseded() {
    let mut nodes: Vec<_> = (0..2).map(|n| Node::new(n, 2, Arc::new(MemoryStore::new()))).collect();
    append(&mut nodes[1], "doc", &VClock::new());
    let diary = diary(OnFailure::Halt);
    let mut core = core(&nodes[0], &diary);
    drain(&mut core);
    let (client, server) = two(&mut nodes, 0, 1);
    client.poll(server, 4096);
    let seen = core.clock().clone();
    append(&mut nodes[0], "doc", &seen);
    drain(&mut core);
    assert_eq!(conflicts(&*nodes[0].store, NAME).unwrap().len(), 1);
    assert_eq!((core.conflicts(), self::core(&nodes[0], &diary).conflicts()), (1, 1));
    // Once it was replayed, an append on top of it is an answer to it.
    let seen = core.clock().clone();
    append(&mut nodes[0], "doc", &seen);
    drain(&mut core);
    assert_eq!(conflicts(&*nodes[0].store, NAME).unwrap(), []);
}

/// Anybody with the key may write as many concurrent events as there are origins: that must stop no replayer.
#[test]
fn more_concurrent_events_than_are_listed_stop_no_replayer_and_are_the_same_in_any_order() {
    let count = MAX_FRONTIER + 6;
    let mut nodes: Vec<_> = (0..=count).map(|n| Node::new(n, count + 1, Arc::new(MemoryStore::new()))).collect();
    // The first ones weigh most: their ids are old, and they are listed all the same.
    for (n, node) in nodes.iter_mut().enumerate().skip(1) {
        if n <= 3 {
            append(node, "other", &VClock::new());
        }
        append(node, "doc", &VClock::new());
    }
    let orders: [Vec<usize>; 2] = [(1..=count).collect(), (1..=count).rev().collect()];
    let found: Vec<_> = orders
        .iter()
        .map(|order| {
            let mut reader = Node::new(0, count + 1, Arc::new(MemoryStore::new()));
            for &n in order {
                reader.poll(&nodes[n], 4096);
            }
            let mut core = core(&reader, &diary(OnFailure::Halt));
            drain(&mut core);
            let open = conflicts(&*reader.store, NAME).unwrap();
            assert_eq!(core.conflicts(), open.len() as u64);
            (reader, open.into_iter().find(|conflict| conflict.subject == "doc").unwrap())
        })
        .collect();
    let [(mut reader, conflict), (_, other)] = <[_; 2]>::try_from(found).ok().unwrap();
    assert_eq!(conflict, other, "in whatever order they arrived");
    assert_eq!((conflict.events.len(), conflict.more), (MAX_FRONTIER, 6));
    for node in &nodes[1..=3] {
        let origin = node.log.reader().local().origin();
        assert!(conflict.events.iter().any(|(dot, _)| dot.origin() == origin), "the heaviest are listed");
    }
    // What supersedes those that are listed leaves the others in conflict with it, and they are listed then.
    append(&mut reader, "doc", &conflict.context());
    let mut again = core(&reader, &diary(OnFailure::Halt));
    drain(&mut again);
    let open = conflicts(&*reader.store, NAME).unwrap();
    let left = open.iter().find(|conflict| conflict.subject == "doc").unwrap();
    assert_eq!((left.events.len(), left.more), (7, 0));
}

#[test]
fn quarantine_keeps_order_lets_others_flow_and_survives_a_restart() {
    let (store, mut node) = alone();
    let diary = diary(OnFailure::Quarantine);
    diary.broken.store(true, Ordering::Relaxed);
    for subject in ["a", "poison", "b", "poison", "a"] {
        append(&mut node, subject, &VClock::new());
    }
    let mut first = core(&node, &diary);
    drain(&mut first);
    assert_eq!((first.position().get(), first.parked()), (5, 2));
    assert_eq!(
        (line(&*store, "a"), line(&*store, "b"), line(&*store, "poison")),
        ("1 5".into(), "3".into(), "".into())
    );
    node.restart();
    let mut again = core(&node, &diary);
    append(&mut node, "poison", &VClock::new());
    append(&mut node, "b", &VClock::new());
    drain(&mut again);
    let waiting = parked(&*store, NAME).unwrap();
    assert_eq!(waiting.iter().map(|p| (p.seq.get(), p.tries)).collect::<Vec<_>>(), [(2, 1), (4, 0), (6, 0)]);
    assert!(waiting[0].error.contains("poison") && waiting[1].error.contains("waits behind"));
    assert_eq!(line(&*store, "b"), "3 7");
    // Still broken: the first is tried, the others wait on.
    assert_eq!(again.retry(Some("poison")).unwrap(), 0);
    assert_eq!(parked(&*store, NAME).unwrap().iter().map(|p| p.tries).collect::<Vec<_>>(), [2, 0, 0]);
    // Left out by command, and that is on record.
    again.skip(&at(&node, 2), now()).unwrap();
    assert!(matches!(again.skip(&at(&node, 3), now()), Err(SkipError::NotWaiting { .. })));
    let record = &skipped(&*store, NAME).unwrap()[0];
    assert_eq!((record.seq.get(), record.subject.as_deref(), record.at), (2, Some("poison"), now()));
    assert!(record.error.contains("poison"));
    diary.broken.store(false, Ordering::Relaxed);
    assert_eq!(again.retry(None).unwrap(), 2);
    assert_eq!((line(&*store, "poison"), again.parked()), ("4 6".into(), 0));
    append(&mut node, "poison", &VClock::new());
    drain(&mut again);
    assert_eq!(line(&*store, "poison"), "4 6 8", "the lane is open again");
}

#[test]
fn the_event_that_halts_replay_can_be_skipped() {
    let (store, mut node) = alone();
    let diary = diary(OnFailure::Halt);
    diary.broken.store(true, Ordering::Relaxed);
    for subject in ["a", "poison", "a"] {
        append(&mut node, subject, &VClock::new());
    }
    let mut core = core(&node, &diary);
    let step = core.step().unwrap();
    let ReplayStep::Failed { replayed: 1, at: failing, .. } = step else { panic!("{step:?}") };
    assert_eq!(failing, at(&node, 2));
    core.skip(&failing, now()).unwrap();
    drain(&mut core);
    assert_eq!((line(&*store, "a"), line(&*store, "poison")), ("1 3".into(), "".into()));
    assert_eq!(skipped(&*store, NAME).unwrap().len(), 1);
}

/// A sequence number alone named whatever event was there by then.
#[test]
fn a_cursor_of_another_history_skips_nothing() {
    let (store, mut node) = alone();
    let diary = diary(OnFailure::Halt);
    diary.broken.store(true, Ordering::Relaxed);
    for subject in ["a", "poison", "a"] {
        append(&mut node, subject, &VClock::new());
    }
    let mut core = core(&node, &diary);
    core.step().unwrap();
    let here = at(&node, 2);
    let elsewhere = [
        Cursor { epoch: Epoch::new(77), ..here },
        Cursor { last_event: at(&node, 1).last_event, ..here },
        Cursor { seq: Seq::new(9), ..here },
    ];
    for cursor in elsewhere {
        let refused = core.skip(&cursor, now());
        assert!(matches!(refused, Err(SkipError::CursorUnknown(_))), "{cursor}: {refused:?}");
    }
    assert!(matches!(core.skip(&Cursor::start(here.epoch), now()), Err(SkipError::NotWaiting { .. })));
    assert!(skipped(&*store, NAME).unwrap().is_empty());
    core.skip(&here, now()).unwrap();
}

#[test]
fn a_new_replayer_begins_where_it_says() {
    let after = |node: &Node, seq| Cursor {
        seq,
        ..node.log.reader().entry(Seq::new(2)).unwrap().unwrap().cursor().unwrap().unwrap()
    };
    type Begin<'a> = &'a dyn Fn(&Node) -> Start;
    let starts: [(Begin<'_>, &str); 4] = [
        (&|_| Start::Beginning, "1 2 3 4"),
        (&|node| Start::After(after(node, Seq::new(2))), "3 4"),
        (&|_| Start::Now, "4"),
        // Of a history that the log does not have: nothing of it may be passed over.
        (&|node| Start::After(after(node, Seq::new(99))), "1 2 3 4"),
    ];
    for (start, expected) in starts {
        let (store, mut node) = alone();
        for _ in 0..3 {
            append(&mut node, "a", &VClock::new());
        }
        let start = start(&node);
        let options = ReplayOptions { start, ..ReplayOptions::default() };
        let diary = Diary { options, ..Diary::default() };
        let mut fresh = core(&node, &diary);
        append(&mut node, "a", &VClock::new());
        drain(&mut fresh);
        assert_eq!(line(&*store, "a"), expected, "{start:?}");
        assert_eq!(fresh.clock(), &node.log.reader().clock(), "what was passed over counts as seen");
        // It applies once: a restart goes on.
        append(&mut node, "a", &VClock::new());
        drain(&mut core(&node, &diary));
        assert_eq!(line(&*store, "a"), format!("{expected} 5"));
    }
}

/// All that is stored of the replayer, of its only build.
fn all(store: &dyn Store) -> Vec<(Vec<u8>, Vec<u8>)> {
    let (mut all, mut builds) = (Vec::new(), BTreeSet::new());
    for (family, before) in [(Family::User(FAMILY), &b""[..]), (Family::Replay, &b"diary\0"[..])] {
        let visit = &mut |key: &[u8], value: &[u8]| {
            if let Some((build, rest)) = key[before.len()..].split_first_chunk::<8>() {
                builds.insert(*build);
                all.push((rest.to_vec(), value.to_vec()));
            }
            std::ops::ControlFlow::Continue(())
        };
        store.scan(family, KeyRange::prefix(before), visit).unwrap();
    }
    assert_eq!(builds.len(), 1, "{builds:?}");
    all
}

/// All that readers see.
fn read(store: &dyn Store) -> Vec<(Vec<u8>, Vec<u8>)> {
    let read = read_current(store, NAME, |state| {
        let mut all = Vec::new();
        state.scan(FAMILY, KeyRange::prefix(&[]), |key, value| {
            all.push((key.to_vec(), value.to_vec()));
            std::ops::ControlFlow::Continue(())
        })?;
        Ok(all)
    });
    read.unwrap()
}

#[test]
fn rebuilding_comes_to_the_same_even_if_it_is_interrupted() {
    let (store, mut node) = alone();
    for n in 0..40 {
        append(&mut node, &format!("s{}", n % 7), &VClock::new());
    }
    let diary = diary(OnFailure::Halt);
    let mut replayer = core(&node, &diary);
    drain(&mut replayer);
    let before = all(&*store);
    let line_before = line(&*store, "s1");
    replayer.rebuild().unwrap();
    // Readers see the earlier state until the other one is filled.
    assert_eq!((replayer.position().get(), line(&*store, "s1")), (40, line_before.clone()));
    assert_eq!(replayer.filling().map(|filling| (filling.position.get(), filling.until.get())), Some((0, 40)));
    assert!(matches!(replayer.step().unwrap(), ReplayStep::Replayed(40)));
    assert_eq!((replayer.position().get(), line(&*store, "s1")), (40, line_before));
    drain(&mut replayer);
    assert!(all(&*store) == before && replayer.filling().is_none());
    // Its first commit fails, and is there or not: it continues at the next opening, or never began.
    for fault in [CommitFault::Applied, CommitFault::Lost] {
        store.fail_commits([fault]);
        replayer.rebuild().unwrap_err();
        store.fail_commits([]);
        replayer = core(&node, &diary);
        assert_eq!((replayer.position().get(), replayer.filling().is_some()), (40, fault == CommitFault::Applied));
        drain(&mut replayer);
        assert!(all(&*store) == before, "{fault:?}");
    }
}

/// A commit of a rebuild fails, and the process lives.
#[test]
fn a_rebuild_that_failed_is_resumed_and_was_never_read_half_done() {
    // The start, the events, the switch, the deletion of the old build.
    for (succeed, fault) in (0..4).flat_map(|succeed| CommitFault::ALL.map(|fault| (succeed, fault))) {
        let (store, mut node) = alone();
        for n in 0..5 {
            append(&mut node, &format!("s{}", n % 2), &VClock::new());
        }
        let mut replayer = core(&node, &diary(OnFailure::Halt));
        drain(&mut replayer);
        let before = read(&*store);
        store.fail_commit_after(succeed, fault);
        let failed = replayer.rebuild().and_then(|()| {
            while !matches!(replayer.step()?, ReplayStep::CaughtUp) {}
            Ok(())
        });
        failed.unwrap_err();
        replayer.load().unwrap();
        assert!(read(&*store) == before, "commit {succeed}, {fault:?}");
        node.log.recover().unwrap();
        assert!(read(&*store) == before, "commit {succeed}, {fault:?}");
        append(&mut node, "s0", &VClock::new());
        drain(&mut replayer);
        let lines = (line(&*store, "s0"), line(&*store, "s1"));
        assert_eq!(lines, ("1 3 5 6".to_owned(), "2 4".to_owned()), "commit {succeed}, {fault:?}");
        all(&*store);
    }
}

/// The power fails after any step of a rebuild, and takes none, some or all of what was not durable.
#[test]
fn a_power_cut_at_every_step_of_a_rebuild_loses_and_doubles_nothing() {
    let (store, mut node) = alone();
    // More keys than one step deletes.
    for n in 0..1_200 {
        append(&mut node, &format!("s{n}"), &VClock::new());
    }
    let diary = diary(OnFailure::Halt);
    let mut replayer = core(&node, &diary);
    drain(&mut replayer);
    store.sync().unwrap();
    let before = read(&*store);
    let mut complete = 0;
    for (steps, part) in (0..).flat_map(|steps| [0, 1, 2].map(|part| (steps, part))) {
        replayer.rebuild().unwrap();
        complete += u32::from((0..steps).any(|_| matches!(replayer.step().unwrap(), ReplayStep::CaughtUp)));
        assert!(read(&*store) == before, "after {steps} steps");
        store.crash(store.pending() * part / 2);
        node.restart();
        replayer = core(&node, &diary);
        assert!(read(&*store) == before, "after {steps} steps and a power cut");
        drain(&mut replayer);
        assert!(read(&*store) == before, "after {steps} steps, a power cut and the rest");
        all(&*store);
        if complete == 3 {
            assert!(steps > 5, "a rebuild has more steps: {steps}");
            return;
        }
    }
}

/// A process that dies in an event cannot say so. The third one to begin there does not try it.
#[test]
fn a_crash_loop_ends_at_the_third_start() {
    for on_failure in [OnFailure::Halt, OnFailure::Quarantine] {
        let (store, mut node) = alone();
        append(&mut node, "a", &VClock::new());
        append(&mut node, "b", &VClock::new());
        let diary = diary(on_failure);
        for _ in 0..2 {
            // It began, and was never heard of again.
            drop(core(&node, &diary));
        }
        let mut third = core(&node, &diary);
        let step = third.step().unwrap();
        if on_failure == OnFailure::Halt {
            let ReplayStep::Failed { replayed: 0, error, .. } = step else { panic!("{step:?}") };
            assert!(error.to_string().contains("2 processes in a row died"), "{error}");
            assert!(matches!(third.step().unwrap(), ReplayStep::Failed { .. }), "and it stays untried");
        } else {
            drain(&mut third);
            assert_eq!((line(&*store, "b"), third.parked()), ("2".into(), 1));
        }
        third.retry(None).unwrap();
        drain(&mut third);
        assert_eq!((line(&*store, "a"), line(&*store, "b"), third.parked()), ("1".into(), "2".into(), 0));
        // Starts at which there was nothing to replay, or that got on, accuse nobody.
        for _ in 0..4 {
            drain(&mut core(&node, &diary));
        }
        append(&mut node, "a", &VClock::new());
        drain(&mut core(&node, &diary));
        assert_eq!(line(&*store, "a"), "1 3");
    }
}

/// Blocks in every event until it is let go.
struct Sleeper(Arc<(Mutex<bool>, std::sync::Condvar)>);

impl EventReplayer for Sleeper {
    fn name(&self) -> &'static str {
        "sleeper"
    }

    fn families(&self) -> Vec<String> {
        Vec::new()
    }

    fn options(&self) -> ReplayOptions {
        ReplayOptions { hangs_after: Duration::from_millis(20), ..ReplayOptions::default() }
    }

    fn replay_event(&mut self, _: &Event, _: &mut Projection<'_>) -> Result<(), ReplayError> {
        let (awake, bell) = &*self.0;
        let asleep = bell.wait_while(awake.lock().unwrap(), |awake| !*awake).unwrap();
        drop(asleep);
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replayer_that_hangs_is_reported_and_holds_nobody_else_up() {
    let bed = Arc::<(Mutex<bool>, std::sync::Condvar)>::default();
    let diary = diary(OnFailure::Quarantine);
    let cortex = Cortex::builder(Arc::new(MemoryStore::new()))
        .causal_replayer(diary.clone())
        .replayer(Sleeper(Arc::clone(&bed)))
        .start()
        .await
        .unwrap();
    let [awake, asleep] = cortex.replayers() else { panic!("two") };
    let event = cortex.append(Draft::new("t", "x").subject("a")).await.unwrap();
    let soon = |what| tokio::time::timeout(Duration::from_secs(20), what);
    soon(awake.wait_replayed(Seq::new(1))).await.unwrap().unwrap();
    until("it hangs", || asleep.status().hangs_at == Some(event.cursor())).await;
    // Commands reach the one that is awake.
    assert_eq!(awake.retry(None).await.unwrap(), 0);
    let refused = awake.skip(event.cursor()).await;
    assert!(matches!(refused, Err(ReplayCommandError::Skip(SkipError::NotWaiting { .. }))), "{refused:?}");
    awake.rebuild().await.unwrap();
    soon(awake.wait_replayed(Seq::new(1))).await.unwrap().unwrap();
    *bed.0.lock().unwrap() = true;
    bed.1.notify_all();
    soon(asleep.wait_replayed(Seq::new(1))).await.unwrap().unwrap();
    assert_eq!(asleep.status().hangs_at, None);
    cortex.stop().await;
}

/// A thread cannot be killed; the end of the process must not wait for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_replayer_that_hangs_does_not_hold_up_the_end() {
    let cortex =
        Cortex::builder(Arc::new(MemoryStore::new())).causal_replayer(Sleeper(Arc::default())).start().await.unwrap();
    cortex.append(Draft::new("t", "x")).await.unwrap();
    let refused =
        tokio::time::timeout(Duration::from_millis(50), cortex.replayers()[0].wait_replayed(Seq::new(1))).await;
    assert!(refused.is_err(), "it hangs");
    tokio::time::timeout(Duration::from_secs(20), cortex.stop()).await.unwrap();
}
