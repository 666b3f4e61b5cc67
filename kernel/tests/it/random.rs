//! A randomised federation over the in-memory store: crashes that drop what was not durable, relays, small batches, late,
//! repeated and reordered answers, concurrent pulls, clocks that jump. Checked after every step; a failing seed prints
//! the command that repeats it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use antiphon_kernel::clock::VClock;
use antiphon_kernel::cursor::Seq;
use antiphon_kernel::ids::Origin;
use antiphon_kernel::internals::log::{IngestError, Log, SentQuery, read_cursor};
use antiphon_kernel::log::verify;
use antiphon_kernel::protocol::FetchReply;
use antiphon_kernel::store::{Durability, Store};
use antiphon_kernel::testing::MemoryStore;
use antiphon_kernel::time::Timestamp;

use crate::support::{Entropy, Node, peer_name, two};

const SEEDS: u64 = 2_000;
const STEPS: usize = 60;

struct World {
    entropy: Entropy,
    stores: Vec<Arc<MemoryStore>>,
    nodes: Vec<Node>,
    in_flight: Vec<(usize, usize, SentQuery, FetchReply)>,
    refused: usize,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut entropy = Entropy::new(seed);
        let count = 2 + entropy.below(3);
        let stores: Vec<_> = (0..count).map(|_| Arc::new(MemoryStore::new())).collect();
        let nodes =
            stores.iter().enumerate().map(|(n, store)| Node::new(n, count, Arc::clone(store) as Arc<dyn Store>));
        Self { nodes: nodes.collect(), entropy, stores, in_flight: Vec::new(), refused: 0 }
    }

    fn durability(&mut self) -> Durability {
        if self.entropy.one_in(3) { Durability::Relaxed } else { Durability::Sync }
    }

    fn step(&mut self) {
        let one = self.entropy.below(self.nodes.len());
        match self.entropy.below(10) {
            0..3 => self.append(one),
            3..6 => self.ask(one),
            6..9 => self.deliver(),
            _ if self.entropy.one_in(2) => self.nodes[one].log.sync().unwrap(),
            _ => {
                let keep = self.entropy.below(self.stores[one].pending() + 1);
                self.stores[one].crash(keep);
                self.nodes[one].restart();
            }
        }
        for n in 0..self.nodes.len() {
            self.check(n);
        }
    }

    fn append(&mut self, one: usize) {
        let durability = self.durability();
        // An application may have seen anything between nothing and all of what is held.
        let held = self.nodes[one].log.reader().clock();
        let context = if self.entropy.one_in(2) { held } else { VClock::new() };
        let now = Timestamp::from_micros(i64::try_from(self.entropy.below(3_000_000)).unwrap() * 1000);
        self.nodes[one].append("subject", &context, now, durability);
    }

    fn ask(&mut self, one: usize) {
        let other = (one + 1 + self.entropy.below(self.nodes.len() - 1)) % self.nodes.len();
        let (max_events, by_clock) = (1 + u32::try_from(self.entropy.below(4)).unwrap(), self.entropy.one_in(5));
        let (client, server) = two(&mut self.nodes, one, other);
        let (asked, reply) = client.ask(server, max_events, by_clock);
        if let FetchReply::Batch(batch) = &reply {
            let durable = Log::look(Arc::new(self.stores[other].durable_copy())).unwrap().head().seq;
            assert!(batch.head.seq <= durable, "served {} of {durable} durable", batch.head.seq);
        }
        self.in_flight.push((one, other, asked, reply));
    }

    fn deliver(&mut self) {
        if self.in_flight.is_empty() {
            return;
        }
        let at = self.entropy.below(self.in_flight.len());
        let repeated = self.entropy.one_in(3);
        let (one, other, asked, reply) =
            if repeated { self.in_flight[at].clone() } else { self.in_flight.swap_remove(at) };
        let durability = self.durability();
        match self.nodes[one].take(other, &asked, &reply, durability) {
            Ok(_) => {}
            Err(IngestError::NotAsked) => self.refused += 1,
            Err(error) => panic!("honest peers, and yet: {error}"),
        }
    }

    /// Contiguous chains, causes before effects, nothing twice, no cursor past what is held.
    fn check(&self, n: usize) {
        let view = self.nodes[n].log.reader();
        let mut counters: BTreeMap<Origin, u64> = BTreeMap::new();
        let mut ids = BTreeSet::new();
        for entry in view.entries(Seq::ZERO, usize::MAX, usize::MAX).unwrap() {
            let event = entry.event().unwrap();
            for (origin, counter) in event.deps.iter() {
                assert!(counters.get(&origin).copied().unwrap_or(0) >= counter, "an effect before its cause");
            }
            let counter = counters.entry(event.dot.origin()).or_default();
            assert_eq!(event.dot.counter(), *counter + 1, "a hole or a repetition");
            *counter += 1;
            assert!(ids.insert((event.id, event.dot)), "an event twice");
        }
        for (m, other) in self.nodes.iter().enumerate().filter(|(m, _)| *m != n) {
            let Some(cursor) = read_cursor(&*self.nodes[n].store, &peer_name(m)).unwrap() else { continue };
            for entry in
                other.log.reader().entries(Seq::ZERO, usize::try_from(cursor.seq.get()).unwrap(), usize::MAX).unwrap()
            {
                let event = entry.event().unwrap();
                let held = counters.get(&event.dot.origin()).copied().unwrap_or(0);
                assert!(held >= event.dot.counter(), "the cursor passed {} at {}", event.dot, entry.seq);
            }
        }
    }

    fn heal(&mut self) {
        self.in_flight.clear();
        for node in &mut self.nodes {
            node.log.sync().unwrap();
        }
        for _ in 0..200 {
            let mut stored = 0;
            for one in 0..self.nodes.len() {
                for other in (0..self.nodes.len()).filter(|&other| other != one) {
                    let (client, server) = two(&mut self.nodes, one, other);
                    stored += client.poll(server, 3).1;
                }
            }
            if stored == 0 && self.nodes.iter().all(|node| node.digest() == self.nodes[0].digest()) {
                break;
            }
        }
        for n in 0..self.nodes.len() {
            self.check(n);
            assert_eq!(self.nodes[n].digest(), self.nodes[0].digest(), "converged");
            let report = verify(&self.nodes[n].log.reader()).unwrap();
            assert!(report.is_clean(), "{:?}", report.faults);
            assert_eq!(report.digest.to_string(), self.nodes[n].digest());
        }
    }
}

fn run(seed: u64) -> usize {
    let mut world = World::new(seed);
    for _ in 0..STEPS {
        world.step();
    }
    world.heal();
    world.refused
}

#[test]
fn random_federations_converge() {
    let seeds: Vec<u64> = match std::env::var("ANTIPHON_SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => (0..SEEDS).collect(),
    };
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let late: usize = std::thread::scope(|scope| {
        let workers: Vec<_> = seeds
            .chunks(seeds.len().div_ceil(threads))
            .map(|chunk| {
                scope.spawn(|| {
                    let outcomes = chunk.iter().map(|&seed| {
                        std::panic::catch_unwind(|| run(seed)).unwrap_or_else(|_| {
                            panic!("repeat with: ANTIPHON_SEED={seed} cargo test -p antiphon-kernel --test it random")
                        })
                    });
                    outcomes.sum::<usize>()
                })
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).sum()
    });
    assert!(seeds.len() == 1 || late > 100, "late and repeated answers must occur to be tested: {late}");
}
