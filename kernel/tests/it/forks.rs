//! Logs that went backwards, copies, and two histories of one origin.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use antiphon_kernel::clock::VClock;
use antiphon_kernel::codec::{Absence, EventRef, RecordRef};
use antiphon_kernel::cursor::{Cursor, Seq};
use antiphon_kernel::event::Draft;
use antiphon_kernel::ids::{Epoch, EventId, Origin};
use antiphon_kernel::internals::log::{
    AdviceReason, EpochEnd, IngestError, NotAFork, Pin, SentQuery, bringers, brought_by, events_beside, put_pin,
    read_cursor, read_epoch_change,
};
use antiphon_kernel::log::{forks, verify};
use antiphon_kernel::protocol::{FetchReply, Heads, Known, Refusal, RequestId, Scope};
use antiphon_kernel::store::{Batch, Durability, Family, KeyRange, Store};
use antiphon_kernel::testing::{Author, CommitFault, MemoryStore, answer_of};
use antiphon_kernel::time::Timestamp;

use crate::support::{Node, cortex_id, peer_name, two};

struct World {
    nodes: Vec<Node>,
    stores: Vec<Arc<MemoryStore>>,
}

impl World {
    fn new(count: usize) -> Self {
        let stores: Vec<_> = (0..count).map(|_| Arc::new(MemoryStore::new())).collect();
        let nodes = stores.iter().enumerate();
        let nodes = nodes.map(|(n, store)| Node::new(n, count, Arc::clone(store) as Arc<dyn Store>)).collect();
        Self { nodes, stores }
    }

    fn append(&mut self, n: usize, subject: &str) {
        self.nodes[n].append(subject, &VClock::new(), Timestamp::from_micros(5_000_000), Durability::Sync);
    }

    /// Appends something that depends on all that this node holds.
    fn append_after_all(&mut self, n: usize, subject: &str) {
        let seen = self.nodes[n].log.reader().clock();
        self.nodes[n].append(subject, &seen, Timestamp::from_micros(5_000_000), Durability::Sync);
    }

    fn pull(&mut self, one: usize, other: usize) -> usize {
        let (client, server) = two(&mut self.nodes, one, other);
        client.pull(server).unwrap()
    }

    fn pull_all(&mut self) {
        for _ in 0..4 {
            for one in 0..self.nodes.len() {
                for other in (0..self.nodes.len()).filter(|&other| other != one) {
                    self.pull(one, other);
                }
            }
        }
    }

    /// Puts an older image of a node's store back, and starts it again.
    fn roll_back(&mut self, n: usize, image: MemoryStore) {
        self.stores[n] = Arc::new(image);
        self.nodes[n].store = Arc::clone(&self.stores[n]) as Arc<dyn Store>;
        self.nodes[n].restart();
    }

    fn origin(&self, n: usize) -> Origin {
        self.nodes[n].log.reader().local().origin()
    }

    fn subjects(&self, n: usize) -> Vec<String> {
        let entries = self.nodes[n].log.reader().entries(Seq::ZERO, usize::MAX, usize::MAX).unwrap();
        let mut all: Vec<_> = entries.iter().map(|e| e.event().unwrap().subject.to_owned()).collect();
        all.sort();
        all
    }

    fn check(&self) {
        for node in &self.nodes {
            let report = verify(&node.log.reader()).unwrap();
            assert!(report.is_clean(), "node {}: {:?}", node.n, report.faults);
        }
    }

    fn same_everywhere(&self) -> bool {
        self.nodes.iter().all(|node| node.digest() == self.nodes[0].digest())
    }
}

fn why(world: &World, n: usize) -> Option<EpochEnd> {
    read_epoch_change(&*world.nodes[n].store).unwrap().map(|change| change.why)
}

#[test]
fn a_log_that_was_rolled_back_in_silence_goes_on_under_a_new_epoch_and_gets_back_what_it_lost() {
    let mut world = World::new(2);
    world.append(0, "kept");
    let image = world.stores[0].durable_copy();
    world.append(0, "lost");
    world.append(0, "lost too");
    world.pull(1, 0);
    let old = world.origin(0);
    world.roll_back(0, image);
    assert_eq!(world.origin(0), old, "nothing is known of it yet");
    assert_eq!(world.pull(0, 1), 2);
    assert_ne!(world.origin(0), old);
    assert_eq!(why(&world, 0), Some(EpochEnd::RolledBack));
    assert_eq!(world.nodes[0].log.reader().clock().get(old), 3);
    world.append(0, "new");
    world.pull_all();
    assert!(world.same_everywhere());
    assert_eq!(world.subjects(1), ["kept", "lost", "lost too", "new"]);
    world.check();
    // It holds after a restart, and is over then.
    let epoch = world.origin(0);
    world.nodes[0].restart();
    assert_eq!(world.origin(0), epoch);
}

/// Another cortex of the same name and epoch, going on from what node 0 has now.
fn twin(world: &World) -> Node {
    Node::over(0, Arc::new(world.stores[0].durable_copy()) as Arc<dyn Store>)
}

fn write(node: &mut Node, subject: &str) {
    node.append(subject, &VClock::new(), Timestamp::from_micros(6_000_000), Durability::Sync);
}

#[test]
fn a_peer_that_makes_up_events_of_ours_changes_the_epoch_once_and_not_for_ever() {
    let mut world = World::new(2);
    world.append(0, "ours");
    let mut liar = twin(&world);
    write(&mut liar, "made up");
    world.nodes[1].pull(&liar).unwrap();
    let old = world.origin(0);
    assert_eq!(world.pull(0, 1), 1);
    let epoch = world.origin(0);
    assert_ne!(epoch, old);
    world.append(0, "under the new epoch");
    let mut liar = twin(&world);
    write(&mut liar, "made up again");
    world.nodes[1].pull(&liar).unwrap();
    let (alpha, bravo) = two(&mut world.nodes, 0, 1);
    let error = alpha.pull(bravo).unwrap_err();
    assert!(matches!(error, IngestError::OwnEpoch { .. }), "{error}");
    assert_eq!(world.origin(0), epoch);
    world.check();
}

#[test]
fn a_mere_claim_changes_nothing() {
    let mut world = World::new(2);
    world.append(0, "ours");
    world.pull(1, 0);
    let before = world.nodes[0].log.reader().local();
    // Bravo asks, and says that it holds more of ours than there is, and otherwise.
    let mut liar = twin(&world);
    write(&mut liar, "made up");
    world.nodes[1].pull(&liar).unwrap();
    let (bravo, alpha) = two(&mut world.nodes, 1, 0);
    bravo.ask(alpha, 10, false);
    bravo.ask(alpha, 10, true);
    assert_eq!(world.nodes[0].log.reader().local(), before);
    // A fork that is claimed and cannot be shown.
    let finding = antiphon_kernel::internals::log::ForkFinding {
        peer: peer_name(1),
        holder: cortex_id(1),
        origin: before.origin(),
        from: 1,
        inception: None,
        records: vec![],
        seals: vec![],
    };
    let alpha = &mut world.nodes[0].log;
    assert!(matches!(alpha.note_fork(&finding, Timestamp::from_micros(0)), Err(NotAFork::Unproven { .. })));
    let same = alpha.reader().entry(Seq::new(1)).unwrap().unwrap().record;
    let finding = antiphon_kernel::internals::log::ForkFinding { records: vec![same], ..finding };
    assert!(matches!(alpha.note_fork(&finding, Timestamp::from_micros(0)), Err(NotAFork::Unproven { .. })));
    assert_eq!(forks(&*world.nodes[0].store).unwrap(), []);
    assert_eq!(world.nodes[0].log.reader().local(), before);
}

#[test]
fn a_copied_store_writes_under_an_epoch_of_its_own() {
    let mut world = World::new(2);
    world.append(0, "before");
    let image = world.stores[0].durable_copy();
    image.move_to(77);
    let mut copy = Node::over(0, Arc::new(image) as Arc<dyn Store>);
    assert_eq!(copy.log.reader().local().origin(), world.origin(0), "it may be the only one, on another machine");
    write(&mut copy, "by the copy");
    assert_ne!(copy.log.reader().local().origin(), world.origin(0));
    assert_eq!(read_epoch_change(&*copy.store).unwrap().unwrap().why, EpochEnd::Copied);
    write(&mut world.nodes[0], "by the original");
    world.nodes[1].pull(&copy).unwrap();
    world.pull(1, 0);
    assert_eq!(world.subjects(1), ["before", "by the copy", "by the original"]);
    assert_eq!(forks(&*world.nodes[1].store).unwrap(), []);
    // Opened again where it stands, it stays what it is.
    let epoch = copy.log.reader().local().epoch;
    copy.restart();
    assert_eq!(copy.log.reader().local().epoch, epoch);
}

#[test]
fn a_volume_that_moves_without_being_written_spends_no_origin() {
    let mut world = World::new(2);
    world.append(0, "at home");
    let (origin, volume) = (world.origin(0), Arc::clone(&world.stores[0]));
    let home = u64::from_be_bytes(volume.fingerprint().unwrap().unwrap().try_into().unwrap());
    for machine in [77, 78, 77, home] {
        volume.move_to(machine);
        world.nodes[0].restart();
        // What others wrote may come there.
        world.append(1, "of another");
        world.pull(0, 1);
        assert_eq!(world.origin(0), origin, "machine {machine}");
    }
    world.append(0, "at home again");
    assert_eq!((world.origin(0), why(&world, 0)), (origin, None));
    // Written elsewhere, it spends one, and no more while it stays there.
    volume.move_to(77);
    for _ in 0..3 {
        world.nodes[0].restart();
        world.append(0, "away");
    }
    assert_ne!(world.origin(0), origin);
    let own = world.nodes[0].log.reader().heads().iter().filter(|(one, _)| one.cortex() == origin.cortex()).count();
    assert_eq!((own, why(&world, 0)), (2, Some(EpochEnd::Copied)));
}

/// Both go on from the same data, and neither knows which of them is the copy.
#[test]
fn a_copy_takes_its_epoch_from_what_the_original_wrote_since_as_well() {
    let mut world = World::new(2);
    world.append(0, "before");
    let image = world.stores[0].durable_copy();
    image.move_to(77);
    let mut copy = Node::over(0, Arc::new(image) as Arc<dyn Store>);
    world.append(0, "by the original");
    world.pull(1, 0);
    copy.pull(&world.nodes[1]).unwrap();
    assert_ne!(copy.log.reader().local().origin(), world.origin(0));
    assert_eq!(read_epoch_change(&*copy.store).unwrap().unwrap().why, EpochEnd::Copied);
    write(&mut copy, "by the copy");
    world.nodes[1].pull(&copy).unwrap();
    assert_eq!(world.subjects(1), ["before", "by the copy", "by the original"]);
    assert_eq!(forks(&*world.nodes[1].store).unwrap(), []);
}

#[test]
fn a_new_epoch_that_could_not_be_written_is_due_again() {
    let mut world = World::new(1);
    world.append(0, "before");
    let image = world.stores[0].durable_copy();
    image.move_to(77);
    let store = Arc::new(image);
    let mut copy = Node::over(0, Arc::clone(&store) as Arc<dyn Store>);
    store.fail_commits([CommitFault::Lost]);
    copy.log.append(&[Draft::new("t", "x")], &VClock::new(), Timestamp::from_micros(1)).unwrap();
    copy.log.commit(Durability::Sync).unwrap_err();
    copy.log.recover().unwrap();
    assert_eq!(copy.log.reader().local().origin(), world.origin(0));
    write(&mut copy, "by the copy");
    assert_ne!(copy.log.reader().local().origin(), world.origin(0));
}

#[test]
fn a_log_that_lost_its_end_is_noticed_at_open() {
    let mut world = World::new(1);
    world.append(0, "kept");
    let old = world.stores[0].durable_copy();
    world.append(0, "lost");
    let noted = world.stores[0].noted().unwrap();
    old.note(&noted, Durability::Relaxed);
    let before = world.origin(0);
    world.roll_back(0, old);
    assert_eq!(why(&world, 0), Some(EpochEnd::LostTail));
    assert_ne!(world.origin(0), before);
    // What was noted was damaged: nothing is known, and nothing is claimed.
    let epoch = world.origin(0);
    world.stores[0].note(&[7; 32], Durability::Relaxed);
    world.nodes[0].restart();
    assert_eq!(world.origin(0), epoch);
}

/// Node 0 was rolled back to one event and appended before anybody told it; node 1 has its other history.
fn forked(count: usize) -> World {
    let mut world = World::new(count);
    world.append(0, "common");
    let image = world.stores[0].durable_copy();
    world.append(0, "first 2");
    world.append(0, "first 3");
    world.append(0, "first 4");
    world.pull(1, 0);
    world.append_after_all(1, "answer to first 4");
    world.append(1, "independent");
    world.roll_back(0, image);
    world.append(0, "second 2");
    world.append(0, "second 3");
    world
}

#[test]
fn a_fork_is_found_at_the_first_contact_and_stops_only_what_follows_from_it() {
    let mut world = forked(3);
    let origin = world.origin(0);
    world.pull_all();
    // Both sides found the very counter, by real comparison, and hold evidence of it.
    let of = |world: &World, n: usize| forks(&*world.nodes[n].store).unwrap();
    let (alpha, bravo) = (of(&world, 0), of(&world, 1));
    let places: Vec<_> = alpha.iter().chain(&bravo).map(|f| (f.origin, f.from)).collect();
    assert!(places.len() >= 2 && places.iter().all(|place| *place == (origin, 2)), "{places:?}");
    let with_bravo = alpha.iter().find(|f| f.holder == cortex_id(1)).unwrap();
    let with_alpha = bravo.iter().find(|f| f.holder == cortex_id(0)).unwrap();
    assert_eq!((with_bravo.ours, with_bravo.theirs), (with_alpha.theirs, with_alpha.ours));
    assert!(with_alpha.by_owner() && !with_bravo.by_owner());
    assert_ne!(world.origin(0), origin, "the owner goes on under a new epoch");
    assert_eq!(why(&world, 0), Some(EpochEnd::Forked));
    let shown = world.nodes[1].store.last(Family::Evidence, b"r").unwrap();
    assert!(shown.is_some(), "evidence is kept");
    // What does not follow from the fork flows, both ways; new events of all flow.
    world.append(0, "new by 0");
    world.append(1, "new by 1");
    world.append(2, "new by 2");
    world.pull_all();
    for n in 0..3 {
        let held = world.subjects(n);
        for subject in ["common", "new by 0", "new by 2"] {
            assert!(held.contains(&subject.to_owned()), "{n}: {subject} in {held:?}");
        }
    }
    assert!(!world.subjects(0).contains(&"answer to first 4".to_owned()));
    assert!(!world.subjects(0).contains(&"new by 1".to_owned()), "its chain passes through what depends on the fork");
    // No cursor passed anything that is held back: it is all still to come.
    world.check();
}

#[test]
fn a_fork_is_ended_by_a_command_in_favour_of_either_side() {
    for keep_first in [true, false] {
        let mut world = forked(3);
        world.pull_all();
        let fork = forks(&*world.nodes[1].store).unwrap().into_iter().find(|f| f.holder == cortex_id(0)).unwrap();
        let keep = if keep_first { fork.ours } else { fork.theirs };
        let now = Timestamp::from_micros(9_000_000);
        assert!(world.nodes[1].log.resolve_fork(antiphon_kernel::digest::Digest::of(b"neither"), now).is_err());
        for n in 0..3 {
            if !forks(&*world.nodes[n].store).unwrap().is_empty() {
                world.nodes[n].log.resolve_fork(keep, now).unwrap();
            }
            world.check();
        }
        world.append(0, "after");
        world.pull_all();
        assert!(world.same_everywhere(), "keep the first: {keep_first}");
        let all = world.subjects(2);
        assert_eq!(all.contains(&"first 4".to_owned()), keep_first);
        assert_eq!(all.contains(&"second 2".to_owned()), !keep_first);
        assert!(all.contains(&"after".to_owned()));
        world.check();
        for node in &world.nodes {
            assert_eq!(forks(&*node.store).unwrap(), [], "node {}", node.n);
        }
    }
}

/// Found with real nodes: an answer that read sequence numbers while a fork was resolved reported damage where there was none.
#[test]
fn an_answer_that_is_made_while_the_log_is_rewritten_is_refused_and_is_no_damage() {
    let mut world = World::new(3);
    let image = world.stores[0].durable_copy();
    world.append(0, "first");
    world.pull(1, 0);
    // Much that stays moves to other sequence numbers.
    for n in 0..2000 {
        world.append(1, &format!("{n}"));
    }
    world.roll_back(0, image);
    world.append(0, "second");
    world.pull(1, 0);
    let keep = forks(&*world.nodes[1].store).unwrap()[0].theirs;
    let (asker, server) = two(&mut world.nodes, 2, 1);
    let (_, request) = asker.question(server, 10_000, true);
    let (view, log) = (server.log.reader(), &mut world.nodes[1].log);
    let (begun, over) = (std::sync::Barrier::new(2), std::sync::atomic::AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            begun.wait();
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                match view.answer(&request) {
                    Ok(FetchReply::Batch(_) | FetchReply::Refused { refusal: Refusal::CursorUnknown, .. }) => {}
                    other => panic!("{other:?}"),
                }
            }
        });
        begun.wait();
        log.resolve_fork(keep, Timestamp::from_micros(0)).unwrap();
        over.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
fn what_is_kept_beside_the_log_is_read_in_pages_that_miss_nothing() {
    let mut world = World::new(2);
    let image = world.stores[0].durable_copy();
    for n in 0..25 {
        world.append(0, &format!("first {n}"));
    }
    world.pull(1, 0);
    world.roll_back(0, image);
    world.append(0, "second");
    world.pull(1, 0);
    let keep = forks(&*world.nodes[1].store).unwrap()[0].theirs;
    let resolved = world.nodes[1].log.resolve_fork(keep, Timestamp::from_micros(0)).unwrap();
    assert_eq!(resolved.set_aside, 25);
    let store = &*world.nodes[1].store;
    let all = events_beside(store, 0, usize::MAX, usize::MAX).unwrap();
    assert_eq!(all.len(), 25);
    for (max_events, max_bytes) in [(10, usize::MAX), (usize::MAX, 3 * all[0].record.len()), (usize::MAX, 1)] {
        let mut read = Vec::new();
        loop {
            let page = events_beside(store, read.len(), max_events, max_bytes).unwrap();
            assert!(page.len() <= 10, "{max_events} {max_bytes}");
            if page.is_empty() {
                break;
            }
            read.extend(page);
        }
        assert!(read.iter().map(|e| &e.record).eq(all.iter().map(|e| &e.record)), "{max_events} {max_bytes}");
    }
}

/// Found with three real nodes that were set back at random: they agreed, and one listed a fork for ever.
#[test]
fn a_fork_is_over_where_the_other_version_is_gone() {
    for common in [0, 1] {
        let mut world = World::new(2);
        (0..common).for_each(|_| world.append(0, "common"));
        let image = world.stores[0].durable_copy();
        world.append(0, "first");
        world.pull(1, 0);
        world.roll_back(0, image.durable_copy());
        world.append(0, "second");
        world.pull(1, 0);
        let listed = |world: &World| forks(&*world.nodes[1].store).unwrap().iter().map(|f| f.from).collect::<Vec<_>>();
        assert_eq!(listed(&world), [common + 1]);
        world.roll_back(0, image);
        world.pull(1, 0);
        assert_eq!(listed(&world), [0; 0], "it holds nothing that differs");
        world.pull_all();
        assert!(world.same_everywhere() && world.subjects(0).contains(&"first".to_owned()));
        world.check();
    }
}

#[test]
fn a_choice_says_what_it_costs_and_who_brought_each_version() {
    let mut world = forked(3);
    world.pull_all();
    let (own, store) = (cortex_id(1), &*world.nodes[1].store);
    let known = forks(store).unwrap();
    let fork = known.iter().find(|fork| fork.holder == cortex_id(0)).unwrap();
    let costs = world.nodes[1].log.reader().fork_costs(std::slice::from_ref(fork)).unwrap();
    let cost = costs.first().unwrap();
    // Three of the fork; the answer to them and what follows that answer. The other version has two.
    assert_eq!(cost.here, BTreeMap::from([(fork.origin, 3), (world.origin(1), 2)]));
    assert_eq!((cost.events_here(), cost.there), (5, 2));
    assert_eq!(cost.advice(fork, fork.owners(own)), (fork.theirs, AdviceReason::Owners));
    let resolved = world.nodes[1].log.resolve_fork(fork.theirs, Timestamp::from_micros(1)).unwrap();
    assert_eq!(resolved.set_aside, 5, "as was said");
    // Both versions are of the owner, which was set back: no peer is suspected.
    let world = forked(2);
    assert_eq!(brought_by(&*world.nodes[1].store, world.origin(0), 4).unwrap(), Some(peer_name(0)));
    assert_eq!(brought_by(&*world.nodes[1].store, world.origin(1), 1).unwrap(), None, "it was written here");
}

/// Node 1 continues what node 0 wrote, and node 2 meets that first.
#[test]
fn the_peer_that_made_events_up_is_suspected_and_not_their_owner() {
    let mut world = World::new(3);
    world.append(0, "ours");
    let mut liar = twin(&world);
    write(&mut liar, "made up");
    world.append(0, "also ours");
    world.nodes[1].pull(&liar).unwrap();
    world.pull(2, 1);
    world.pull(2, 0);
    let known = forks(&*world.nodes[2].store).unwrap();
    let [fork] = &known[..] else { panic!("{known:?}") };
    assert!(fork.by_owner());
    let found = bringers(&*world.nodes[2].store, cortex_id(2), fork).unwrap();
    assert_eq!((found.ours, found.suspects), (Some(peer_name(1)), vec![peer_name(1)]));
    // What was set aside says no more who brought it; what comes instead does.
    world.nodes[2].log.resolve_fork(fork.theirs, Timestamp::from_micros(0)).unwrap();
    world.pull(2, 0);
    assert_eq!(brought_by(&*world.nodes[2].store, world.origin(0), 2).unwrap(), Some(peer_name(0)));
    // The owner sees it as well.
    let (alpha, bravo) = two(&mut world.nodes, 0, 1);
    alpha.pull(bravo).unwrap_or_default();
    let known = forks(&*world.nodes[0].store).unwrap();
    let found = bringers(&*world.nodes[0].store, cortex_id(0), known.first().unwrap()).unwrap();
    assert_eq!((found.ours, found.suspects), (None, vec![peer_name(1)]));
}

#[test]
fn what_was_set_aside_comes_back_once_and_supersedes_nothing() {
    let mut world = forked(2);
    world.pull_all();
    let fork = forks(&*world.nodes[1].store).unwrap().remove(0);
    let now = Timestamp::from_micros(9_000_000);
    world.nodes[1].log.resolve_fork(fork.theirs, now).unwrap();
    let before = world.nodes[1].log.reader().head().seq.get();
    // Those that it wrote itself; node 0 brings its own back.
    let back = world.nodes[1].log.bring_back(false, now).unwrap();
    assert_eq!((back.appended, back.held, back.others, back.more), (2, 0, 3, false));
    assert_eq!(world.nodes[1].log.reader().head().seq.get(), before + 2);
    let entries = world.nodes[1].log.reader().entries(Seq::new(before), 10, 1 << 20).unwrap();
    let subjects: Vec<_> = entries.iter().map(|entry| entry.event().unwrap().subject.to_owned()).collect();
    assert_eq!(subjects, ["answer to first 4", "independent"]);
    assert!(entries.iter().all(|entry| entry.event().unwrap().deps.is_empty()), "they claim to have seen nothing");
    assert_eq!(world.nodes[1].log.bring_back(false, now).unwrap().appended, 0, "once");
    assert_eq!(events_beside(&*world.nodes[1].store, 0, 10, 1 << 20).unwrap().len(), 5, "the evidence stays");
    let back = world.nodes[1].log.bring_back(true, now).unwrap();
    assert_eq!((back.appended, back.others), (3, 0));
    world.pull_all();
    assert!(world.same_everywhere());
    world.check();
}

/// Three histories of one origin: of two that differ at their third event, one was decided for; then for one that differs earlier.
#[test]
fn a_decision_ends_those_about_what_came_after_it() {
    let mut world = World::new(2);
    world.append(0, "one");
    let mut early = twin(&world);
    write(&mut early, "two, early");
    write(&mut early, "three, early");
    world.append(0, "two");
    let mut late = twin(&world);
    write(&mut late, "three, late");
    world.append(0, "three");
    world.pull(1, 0);
    for (other, at, held) in
        [(&late, 3, ["one", "three, late", "two"]), (&early, 2, ["one", "three, early", "two, early"])]
    {
        world.nodes[1].pull(other).unwrap_or_default();
        let keep = other.log.reader().chain_digest(world.origin(0), at).unwrap().unwrap();
        world.nodes[1].log.resolve_fork(keep, Timestamp::from_micros(1)).unwrap();
        world.nodes[1].pull(other).unwrap();
        assert_eq!(world.subjects(1), held);
    }
    world.nodes[1].restart();
    assert!(forks(&*world.nodes[1].store).unwrap().is_empty());
    world.nodes[1].pull(&early).unwrap();
    assert!(verify(&world.nodes[1].log.reader()).unwrap().is_clean());
}

#[test]
fn what_lacks_a_part_stays_where_it_is_and_the_rest_comes_back() {
    let mut world = forked(2);
    world.pull_all();
    let fork = forks(&*world.nodes[1].store).unwrap().remove(0);
    let now = Timestamp::from_micros(9_000_000);
    world.nodes[1].log.resolve_fork(fork.theirs, now).unwrap();
    let mut aside = Vec::new();
    let store = Arc::clone(&world.nodes[1].store);
    store
        .scan(Family::Evidence, KeyRange::prefix(b"a"), &mut |key, value| {
            aside.push((key.to_vec(), value.to_vec()));
            ControlFlow::Continue(())
        })
        .unwrap();
    // A version and a time come before the record.
    let is_independent = |value: &[u8]| EventRef::decode(&value[9..]).unwrap().subject == "independent";
    let (key, value) = aside.iter().find(|(_, value)| is_independent(value)).unwrap();
    let thin = RecordRef::decode(&value[9..]).unwrap().without(None, Some(Absence::Missing));
    let mut change = Batch::new();
    change.put(Family::Evidence, key, &[&value[..9], &thin].concat());
    store.commit(&change, Durability::Sync).unwrap();
    let back = world.nodes[1].log.bring_back(false, now).unwrap();
    assert_eq!((back.appended, back.others, back.unread, back.more), (1, 3, 1, false));
    let back = world.nodes[1].log.bring_back(false, now).unwrap();
    assert_eq!((back.appended, back.unread), (0, 1), "it is still there");
}

#[test]
fn what_is_set_aside_is_kept_and_replayers_and_cursors_begin_again() {
    let mut world = forked(2);
    world.pull_all();
    let fork = forks(&*world.nodes[1].store).unwrap().remove(0);
    let before = world.nodes[1].log.reader().head().seq.get();
    let resolved = world.nodes[1].log.resolve_fork(fork.theirs, Timestamp::from_micros(1)).unwrap();
    // Three of the fork, the answer to them, and what stands behind that answer in its chain.
    assert_eq!(resolved.set_aside, 5);
    assert_eq!(world.nodes[1].log.reader().head().seq.get(), before - 5);
    let mut kept = 0;
    let prefix = antiphon_kernel::store::KeyRange::prefix(b"a");
    world.nodes[1]
        .store
        .scan(Family::Evidence, prefix, &mut |_, _| {
            kept += 1;
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(kept, 5);
    assert_eq!(read_cursor(&*world.nodes[1].store, &peer_name(0)).unwrap(), None);
    // The log is shorter than it was: that is no end that got lost.
    let origin = world.origin(1);
    world.nodes[1].restart();
    assert_eq!((world.origin(1), why(&world, 1)), (origin, Some(EpochEnd::Resolved)));
    world.check();
}

/// As many forks with one cortex as a question can name, and one more.
#[test]
fn more_forks_with_one_cortex_than_a_question_can_name_are_not_taken_note_of() {
    let mut world = World::new(1);
    let log = |n: u8, data: &str| {
        let draft = Draft::new("test", data.to_owned());
        Author::new(n, 1).write(EventId::from_parts(1, 1), &draft, &VClock::new(), Timestamp::from_micros(0))
    };
    let node = &mut world.nodes[0];
    let mut outcomes = Vec::new();
    for n in 100..165 {
        let (ours, theirs) = (log(n, "one"), log(n, "other"));
        let origin = ours.dot.origin();
        // Ours came from somebody else.
        let request = RequestId { process: node.log.reader().process(), number: u64::from(n) };
        let batch = answer_of(&[ours], request, cortex_id(7), Cursor::start(Epoch::new(7)));
        let asked = SentQuery {
            request: batch.request,
            to: cortex_id(7),
            after: None,
            max_events: 10,
            max_bytes: 1 << 20,
            scope: Scope::Origin(origin),
            withhold: Heads::default(),
            held: Heads::default(),
            exclude: Vec::new(),
        };
        let mut pin = Batch::new();
        put_pin(&mut pin, &peer_name(7), &Pin::of_id(cortex_id(7), Timestamp::from_micros(0)));
        node.log.stage_state(&pin).unwrap();
        node.log.commit(Durability::Sync).unwrap();
        node.log.ingest(&peer_name(7), &asked, &batch, Timestamp::from_micros(0)).unwrap();
        node.log.commit(Durability::Sync).unwrap();
        let finding = theirs.as_fork(peer_name(8), cortex_id(8));
        outcomes.push(node.log.note_fork(&finding, Timestamp::from_micros(0)));
        node.log.commit(Durability::Sync).unwrap();
    }
    assert!(outcomes[..64].iter().all(Result::is_ok), "{outcomes:?}");
    assert!(matches!(outcomes[64], Err(NotAFork::TooMany { .. })), "{:?}", outcomes[64]);
    assert_eq!(forks(&*node.store).unwrap().len(), 64);
}

#[test]
fn a_question_that_was_open_when_the_epoch_ended_is_refused() {
    let mut world = forked(2);
    let (alpha, bravo) = two(&mut world.nodes, 0, 1);
    let (_, request) = alpha.question(bravo, 10, true);
    let request = antiphon_kernel::protocol::FetchRequest { known: Known::Full(Heads::default()), ..request };
    let bravo = &mut world.nodes[1];
    let mut open = bravo.log.reader().ask(&request).unwrap().unwrap();
    assert!(bravo.log.reader().next_batch(&mut open, None).unwrap().is_ok());
    bravo.log.begin_epoch(EpochEnd::Restored, Timestamp::from_micros(0)).unwrap();
    bravo.log.commit(Durability::Sync).unwrap();
    let refused = bravo.log.reader().next_batch(&mut open, None).unwrap().unwrap_err();
    assert_eq!(refused, Refusal::CursorUnknown);
}

/// A history that changes while a question is open: what was compared once is due again.
#[test]
fn a_head_that_moves_is_compared_again_before_anything_that_depends_on_it_is_sent() {
    let mut world = forked(3);
    // Node 2 holds the first version up to its end, and asks node 1's stand-in, which has nothing of it yet.
    world.pull(2, 1);
    let mut late = Node::new(3, 3, Arc::new(MemoryStore::new()) as Arc<dyn Store>);
    let (_, request) = {
        let asking = &mut world.nodes[2];
        asking.question(&late, 100, true)
    };
    let mut open = late.log.reader().ask(&request).unwrap().unwrap();
    let first = late.log.reader().next_batch(&mut open, None).unwrap().unwrap();
    open.sent(&first.batch);
    // Now it takes the second version, longer than what node 2 holds of the origin, and depends on it.
    world.append(0, "second 4");
    late.pull(&world.nodes[0]).unwrap();
    let seen = late.log.reader().clock();
    late.append("after the second", &seen, Timestamp::from_micros(0), Durability::Sync);
    let next = late.log.reader().next_batch(&mut open, None).unwrap();
    assert!(matches!(next, Err(Refusal::Fork { counter: 4, .. })), "{next:?}");
}
