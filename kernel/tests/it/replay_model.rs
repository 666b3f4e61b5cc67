//! Replay against a plain model: appends, pulls, failing subjects, commands, crashes and restarts in any order. After every
//! step, what a replayer holds of a subject is exactly the log's events of it, in order, without those that are parked or
//! were skipped; so each event was replayed exactly once. A failing seed prints the command that repeats it.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};

use antiphon_kernel::clock::VClock;
use antiphon_kernel::cursor::Seq;
use antiphon_kernel::event::Event;
use antiphon_kernel::internals::replay::{ReplayCore, ReplayStep, parked_in, skipped_in};
use antiphon_kernel::replay::{BuildNumber, EventReplayer, OnFailure, Projection, ReplayError, ReplayOptions, parked};
use antiphon_kernel::store::{Durability, Family, KeyRange, Store};
use antiphon_kernel::testing::{CommitFault, MemoryStore};
use antiphon_kernel::time::Timestamp;

use crate::support::{Entropy, Node, two};

const SEEDS: u64 = 500;
const STEPS: usize = 80;
const SUBJECTS: [&str; 4] = ["a", "b", "c", "d"];
const NAME: &str = "model";
const FAMILY: &str = "model";

/// Writes each event's sequence number under its subject, unless that is broken just now.
struct Model {
    on_failure: OnFailure,
    broken: Arc<Mutex<BTreeSet<String>>>,
    version: u32,
}

impl EventReplayer for Model {
    fn name(&self) -> &'static str {
        NAME
    }

    fn families(&self) -> Vec<String> {
        vec![FAMILY.to_owned()]
    }

    fn version(&self) -> u32 {
        self.version
    }

    fn options(&self) -> ReplayOptions {
        ReplayOptions { on_failure: self.on_failure, causality: true, ..ReplayOptions::default() }
    }

    fn replay_event(&mut self, event: &Event, projection: &mut Projection<'_>) -> Result<(), ReplayError> {
        let subject = event.subject.clone().unwrap_or_default();
        let mut places = projection.get(FAMILY, subject.as_bytes())?.unwrap_or_default();
        places.extend_from_slice(&event.seq.get().to_be_bytes());
        projection.put(FAMILY, subject.as_bytes(), &places)?;
        if self.broken.lock().unwrap().contains(&subject) { Err("not now".into()) } else { Ok(()) }
    }
}

struct World {
    entropy: Entropy,
    stores: Vec<Arc<MemoryStore>>,
    nodes: Vec<Node>,
    core: ReplayCore,
    on_failure: OnFailure,
    broken: Arc<Mutex<BTreeSet<String>>>,
    version: u32,
}

fn open(node: &Node, on_failure: OnFailure, broken: &Arc<Mutex<BTreeSet<String>>>, version: u32) -> ReplayCore {
    let model = Model { on_failure, broken: Arc::clone(broken), version };
    ReplayCore::open(node.log.reader(), Box::new(model)).unwrap()
}

impl World {
    fn new(seed: u64) -> Self {
        let stores: Vec<_> = (0..2).map(|_| Arc::new(MemoryStore::new())).collect();
        let nodes: Vec<_> =
            stores.iter().enumerate().map(|(n, store)| Node::new(n, 2, Arc::clone(store) as Arc<dyn Store>)).collect();
        let on_failure = if seed.is_multiple_of(2) { OnFailure::Halt } else { OnFailure::Quarantine };
        let broken = Arc::default();
        let core = open(&nodes[0], on_failure, &broken, 1);
        Self { entropy: Entropy::new(seed), stores, nodes, core, on_failure, broken, version: 1 }
    }

    fn append(&mut self, one: usize) {
        let subject = SUBJECTS[self.entropy.below(SUBJECTS.len())];
        let context = if one == 0 { self.core.clock().clone() } else { VClock::new() };
        let durability = if self.entropy.one_in(2) { Durability::Relaxed } else { Durability::Sync };
        self.nodes[one].append(subject, &context, Timestamp::from_micros(1), durability);
    }

    fn step(&mut self) {
        match self.entropy.below(18) {
            0..3 => self.append(0),
            3..5 => self.append(1),
            5 => {
                self.nodes[1].log.sync().unwrap();
                let (client, server) = two(&mut self.nodes, 0, 1);
                client.poll(server, 3);
            }
            6..10 => drop(self.core.step().unwrap()),
            10 => {
                let subject = SUBJECTS[self.entropy.below(SUBJECTS.len())].to_owned();
                let mut broken = self.broken.lock().unwrap();
                if !broken.remove(&subject) {
                    broken.insert(subject);
                }
            }
            11 => drop(self.core.retry(None).unwrap()),
            12 => drop(self.core.retry(Some(SUBJECTS[self.entropy.below(SUBJECTS.len())])).unwrap()),
            13 => {
                let waiting = parked(&*self.stores[0], NAME).unwrap();
                let first = waiting.first().map_or(self.core.position().next(), |event| event.seq);
                if self.entropy.one_in(3) {
                    // Nothing to skip there is an answer, too.
                    let entry = self.nodes[0].log.reader().entry(first).unwrap();
                    if let Some(at) = entry.and_then(|entry| entry.cursor().unwrap()) {
                        drop(self.core.skip(&at, Timestamp::from_micros(2)));
                    }
                }
            }
            14 => {
                // The commit fails, and is there or not.
                let fault = CommitFault::ALL[self.entropy.below(3)];
                self.stores[0].fail_commits([fault]);
                let failed = self.core.step().is_err();
                self.stores[0].fail_commits([]);
                if failed {
                    self.core.load().unwrap();
                    self.nodes[0].log.recover().unwrap();
                }
            }
            15 => {
                let fault = self.entropy.one_in(3).then(|| CommitFault::ALL[self.entropy.below(3)]);
                self.stores[0].fail_commits(fault);
                let failed = self.core.rebuild().is_err();
                self.stores[0].fail_commits([]);
                if failed {
                    self.core.load().unwrap();
                    self.nodes[0].log.recover().unwrap();
                }
            }
            _ => {
                // A program of a newer version may start in its place.
                self.version += u32::from(self.entropy.one_in(4));
                let keep = self.entropy.below(self.stores[0].pending() + 1);
                self.stores[0].crash(keep);
                self.nodes[0].restart();
                self.core = open(&self.nodes[0], self.on_failure, &self.broken, self.version);
            }
        }
        // What a reopening changed is read with the next step.
        if self.core.is_current() {
            self.check();
        }
    }

    /// The build that readers see, and the one that a rebuild fills.
    fn check(&self) {
        let current = self.core.builds().current.as_ref().unwrap().number;
        self.check_build(current, self.core.position());
        if let Some(filling) = self.core.filling() {
            self.check_build(filling.build, filling.position);
        }
        let waiting = parked(&*self.stores[0], NAME).unwrap();
        assert_eq!(waiting.len(), self.core.parked());
    }

    fn check_build(&self, build: BuildNumber, position: Seq) {
        let store = &*self.stores[0];
        let waiting: BTreeSet<Seq> =
            parked_in(store, NAME, build).unwrap().into_iter().map(|event| event.seq).collect();
        let left_out: BTreeSet<Seq> =
            skipped_in(store, NAME, build).unwrap().into_iter().map(|event| event.seq).collect();
        let entries = self.nodes[0].log.reader().entries(Seq::ZERO, usize::MAX, usize::MAX).unwrap();
        assert!(position <= self.nodes[0].log.reader().visible());
        for subject in SUBJECTS {
            let expected: Vec<u64> = entries
                .iter()
                .filter(|entry| entry.seq <= position && entry.event().unwrap().subject == subject)
                .map(|entry| entry.seq)
                .filter(|seq| !waiting.contains(seq) && !left_out.contains(seq))
                .map(Seq::get)
                .collect();
            let key = [&build.get().to_be_bytes()[..], subject.as_bytes()].concat();
            let held = store.get(Family::User(FAMILY), &key).unwrap().unwrap_or_default();
            let held: Vec<_> = held.chunks(8).map(|place| u64::from_be_bytes(place.try_into().unwrap())).collect();
            assert_eq!(held, expected, "`{subject}` in build {build}");
        }
    }

    fn mend(&mut self) {
        self.broken.lock().unwrap().clear();
        loop {
            self.core.retry(None).unwrap();
            if matches!(self.core.step().unwrap(), ReplayStep::CaughtUp) && self.core.parked() == 0 {
                break;
            }
        }
        self.check();
        assert_eq!(self.core.position(), self.nodes[0].log.reader().visible());
        let builds = self.core.builds();
        let current = builds.current.as_ref().unwrap();
        assert!(
            builds.filling.is_none() && builds.emptying.is_empty() && current.version == self.version,
            "{builds:?}"
        );
        // Nothing is left of any other build.
        let visit = &mut |key: &[u8], _: &[u8]| {
            assert!(key.starts_with(&current.number.get().to_be_bytes()), "{key:?}");
            ControlFlow::Continue(())
        };
        self.stores[0].scan(Family::User(FAMILY), KeyRange::prefix(&[]), visit).unwrap();
    }
}

#[test]
fn every_interleaving_leaves_what_the_model_says() {
    let only = std::env::var("ANTIPHON_SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds = only.map_or(0..SEEDS, |seed: u64| seed..seed + 1);
    let failed = seeds.into_iter().find_map(|seed| {
        let run = std::panic::catch_unwind(|| {
            let mut world = World::new(seed);
            for _ in 0..STEPS {
                world.step();
            }
            world.mend();
        });
        run.err().map(|panic| (seed, panic.downcast_ref::<String>().cloned().unwrap_or_default()))
    });
    if let Some((seed, why)) = failed {
        panic!(
            "seed {seed}: {why}\nrepeat it: ANTIPHON_SEED={seed} cargo test -p antiphon-kernel --test it replay_model"
        );
    }
}
