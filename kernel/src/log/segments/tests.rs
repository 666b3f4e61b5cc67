//! Random appends, events of other origins, cuts and restarts, against a plain list of events.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::clock::VClock;
use crate::codec::{EncodedDraft, Front, GroupEnd, StoredChain, StoredDot, encode_in_group};
use crate::event::{Draft, EventBytes};
use crate::ids::{Epoch, Origin};
use crate::log::held::NewEvent;
use crate::log::{Appended, LocalIdentity, Log, LogOptions, LogState as _, verify};
use crate::store::Durability;
use crate::testing::{Author, LOG, MemoryStore, Written, seeded_cortex};
use crate::time::Timestamp;

#[derive(Debug, Clone)]
enum Step {
    /// Own events with data of these sizes, in one append.
    Append(Vec<usize>),
    /// Events of one of a few other origins.
    Take(u8, Vec<usize>),
    /// What was staged becomes visible; durable, or not yet.
    Commit(bool),
    /// Closed and opened.
    Reopen,
    /// An origin's events from one of its counters on leave the log.
    Cut(prop::sample::Index, prop::sample::Index),
}

fn sizes() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![
        4 => prop::collection::vec(0..300_usize, 1..6),
        1 => prop::collection::vec(0..40_usize, 200..600),
        1 => prop::collection::vec(prop_oneof![Just(10), Just(30_000), Just(70_000)], 1..8),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => sizes().prop_map(Step::Append),
        6 => (0..4_u8, sizes()).prop_map(|(origin, sizes)| Step::Take(origin, sizes)),
        3 => any::<bool>().prop_map(Step::Commit),
        1 => Just(Step::Reopen),
        1 => (any::<prop::sample::Index>(), any::<prop::sample::Index>()).prop_map(|(one, other)| Step::Cut(one, other)),
    ];
    prop::collection::vec(step, 1..24)
}

struct World {
    store: Arc<MemoryStore>,
    log: Log,
    entropy: u64,
    /// The log as it must be, staged events included: the last of them are not visible yet.
    model: Vec<(Dot, EventBytes)>,
    visible: usize,
}

fn open(store: &Arc<MemoryStore>, entropy: u64) -> Log {
    let mut next = u128::from(entropy) << 96 | u128::from(entropy) << 32;
    let entropy = Box::new(move || {
        next += 1 << 64 | 1;
        next
    });
    let options = LogOptions { entropy, ..LogOptions::default() };
    Log::open(Arc::clone(store) as Arc<dyn Store>, options).unwrap()
}

impl World {
    fn new() -> Self {
        let store = Arc::new(MemoryStore::new());
        let identity = LocalIdentity::new(seeded_cortex(9), Epoch::new(1), "model".to_owned());
        let identity = LocalIdentity { log: Some(LOG), ..identity };
        Log::create(&*store, &identity).unwrap();
        let log = open(&store, 1);
        Self { store, log, entropy: 1, model: Vec::new(), visible: 0 }
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_micros(1_000_000 + self.model.len() as i64 * 1000)
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Append(sizes) => {
                let drafts: Vec<_> = sizes.iter().map(|size| Draft::new("t", vec![7; *size])).collect();
                let time = self.now();
                let appended = self.log.append(&drafts, &VClock::new(), time).unwrap();
                // Its last event is staged with the group's end.
                self.log.close_group().unwrap();
                for (draft, Appended { seq, id, dot }) in drafts.iter().zip(&appended) {
                    assert_eq!(*seq, Seq::new(self.model.len() as u64 + 1));
                    let assigned = EncodedDraft { id: *id, dot: *dot, deps: &VClock::new(), time };
                    let record =
                        encode_in_group(draft, &assigned, appended.last().is_some_and(|last| last.dot == *dot));
                    self.model.push((*dot, record));
                }
            }
            Step::Take(n, sizes) => {
                for size in sizes {
                    let mut author = Author::new(*n + 1, 1);
                    let origin = author.origin();
                    if let Some(chain) = self.log.chain(origin) {
                        author = author.at(chain.clone());
                    }
                    let id = EventId::from_parts(author.chain().counter + 1, u128::from(*n));
                    let draft = Draft::new("t", vec![*n; *size]);
                    let Written { dot, record, head, seal, inception, .. } =
                        author.write(id, &draft, &VClock::new(), self.now());
                    if dot.counter() == 1 {
                        self.log.stage_inception(origin, &inception);
                        self.log.begin_chain(origin, author.start());
                    }
                    let event = NewEvent { id, dot, digest: head.digest, record: record.clone() };
                    self.log.stage_new(&event, self.now());
                    self.log.set_chain(origin, author.chain().clone());
                    self.log.stage_end(origin, GroupEnd::of(&author.chain().sealed(origin), seal));
                    self.model.push((dot, record));
                }
            }
            Step::Commit(durable) => {
                self.log.commit(if *durable { Durability::Sync } else { Durability::Relaxed }).unwrap();
                self.visible = self.model.len();
            }
            Step::Reopen => {
                self.take(&Step::Commit(true));
                self.entropy += 1;
                self.log = open(&self.store, self.entropy);
            }
            Step::Cut(origin, counter) => {
                let chains: Vec<_> = self.log.chains().iter().map(|(&of, chain)| (of, chain.counter)).collect();
                if chains.is_empty() {
                    return;
                }
                self.take(&Step::Commit(true));
                let (origin, last) = *origin.get(&chains);
                let from = counter.index(usize::try_from(last).unwrap()) as u64 + 1;
                let is_end = |(dot, record): &&(Dot, EventBytes)| {
                    dot.origin() == origin && dot.counter() < from && Front::decode(record).unwrap().ends_group
                };
                let start = self.model.iter().filter(is_end).map(|(dot, _)| dot.counter() + 1).max().unwrap_or(1);
                self.log.set_aside(origin, from, Digest::of(b"another"), self.now()).unwrap();
                self.model.retain(|(dot, _)| dot.origin() != origin || dot.counter() < start);
                self.visible = self.model.len();
            }
        }
        self.check();
    }

    /// Everything that can be asked of the log, by every way to it.
    fn check(&self) {
        let (view, store) = (self.log.reader(), &*self.store);
        let visible = &self.model[..self.visible];
        let entries = view.entries(Seq::ZERO, usize::MAX, usize::MAX).unwrap();
        let read: Vec<_> = entries.iter().map(|entry| &entry.record).collect();
        assert_eq!(read, visible.iter().map(|(_, record)| record).collect::<Vec<_>>());
        let mut chains: BTreeMap<Origin, StoredChain> = BTreeMap::new();
        for (seq, (dot, record)) in (1..).map(Seq::new).zip(&self.model) {
            let start = self.log.chains()[&dot.origin()].start;
            let chain = chains.entry(dot.origin()).or_insert_with(|| StoredChain::of(start));
            chain.digest = chained(chain.digest, record);
            let expected = StoredDot { seq, digest: chain.digest };
            let (origin, counter) = (dot.origin(), dot.counter());
            // All of a short log, and a part of a long one.
            if seq.get() % (self.model.len() as u64 / 64 + 1) != 0 {
                continue;
            }
            assert_eq!(self.log.dot(origin, counter).unwrap(), Some(expected), "{dot}, staged ones included");
            assert_eq!(self.log.digest_at(origin, counter).unwrap(), Some(chain.digest), "{dot}");
            assert_eq!(self.log.seq(origin, counter).unwrap(), Some(seq), "{dot}");
            if seq.get() > self.visible as u64 {
                continue;
            }
            assert_eq!(stored_digest(store, origin, counter).unwrap(), Some(chain.digest), "{dot}");
            let (id, _) = dot_at(seq, record).unwrap();
            assert_eq!(stored_dot(store, origin, counter).unwrap(), Some(expected));
            assert_eq!(view.find(id).unwrap(), Some(seq), "{dot}");
            assert_eq!(&view.entry(seq).unwrap().unwrap().record, record);
            assert_eq!(&view.entries(seq.prev(), 1, usize::MAX).unwrap()[0].record, record);
        }
        for (&origin, chain) in self.log.chains() {
            assert_eq!(self.log.dot(origin, chain.counter + 1).unwrap(), None);
            assert_eq!(stored_seq(store, origin, chain.counter + 1).unwrap(), None);
        }
        let report = verify(&view).unwrap();
        assert!(report.is_clean(), "{report:?}");
        self.check_segments();
    }

    fn check_segments(&self) {
        let mut next = 1;
        self.store
            .scan(Family::Log, KeyRange::prefix(&[]), &mut |key, value| {
                let segment = SegmentRef::decode(value).unwrap();
                assert_eq!(keys::seq_of_log(key), Some(Seq::new(next)));
                let bytes: usize = segment.iter().map(|(_, record)| record.len()).sum();
                assert!(segment.len() == 1 || bytes <= 65_536);
                next += segment.len() as u64;
                ControlFlow::Continue(())
            })
            .unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn the_log_is_a_plain_list_of_events(steps in steps()) {
        let mut world = World::new();
        for step in &steps {
            world.take(step);
        }
        world.take(&Step::Reopen);
    }
}
