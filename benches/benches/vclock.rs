//! Comparing and merging vector clocks, beside `crdts::VClock` and a hash map on the same origins and counters.
//!
//! Two kinds of ours: `shared`, clocks that grew from one another and so share their slice of origins, as a log's clocks
//! do; and `apart`, clocks that were decoded or built separately. The others know no such difference. All of this is over
//! in microseconds, so it is as large in tests.

use std::cmp::Ordering;
use std::hint::black_box;

use antiphon_benches::events::origin;
use antiphon_benches::hash_clock::HashClock;
use antiphon_kernel::clock::{Causality, VClock};
use antiphon_kernel::ids::Origin;
use crdts::{CmRDT, CvRDT, Dot};
use criterion::{BatchSize, BenchmarkId, Criterion};

const SIZES: [u64; 3] = [3, 16, 256];

type Theirs = crdts::VClock<Origin>;

/// How the second clock stands to the first: which entries are raised, and what `first.compare(&second)` then says.
struct Relation {
    name: &'static str,
    first_ahead: bool,
    second_ahead: bool,
    newcomer: bool,
    says: Causality,
}

const fn relation(name: &'static str, ahead: [bool; 2], newcomer: bool, says: Causality) -> Relation {
    Relation { name, first_ahead: ahead[0], second_ahead: ahead[1], newcomer, says }
}

const RELATIONS: [Relation; 4] = [
    relation("equal", [false, false], false, Causality::Equal),
    relation("ordered", [false, true], false, Causality::Before),
    relation("concurrent", [true, true], false, Causality::Concurrent),
    // The second has an origin more, in the middle: no slice is shared, and nothing but a walk tells.
    relation("newcomer", [false, false], true, Causality::Before),
];

/// Two clocks of `size` entries in this relation; the second grew from the first.
fn ours(size: u64, relation: &Relation) -> (VClock, VClock) {
    // Even numbers, so that a newcomer finds room in between.
    let entries: Vec<_> = (0..size).map(|n| (origin(2 * n), 1000 + n)).collect();
    let mut first = VClock::from_sorted(&entries).expect("ids ascend with their time");
    let mut second = first.clone();
    if relation.first_ahead {
        first.increment(origin(0)).expect("far from the bound");
    }
    if relation.second_ahead {
        second.increment(origin(2 * (size - 1))).expect("far from the bound");
    }
    if relation.newcomer {
        second.raise(origin(size | 1), 1).expect("far from the bound");
    }
    (first, second)
}

fn apart(clock: &VClock) -> VClock {
    VClock::from_sorted(&clock.iter().collect::<Vec<_>>()).expect("a clock's own entries")
}

fn theirs(clock: &VClock) -> Theirs {
    let mut theirs = Theirs::new();
    for (origin, counter) in clock.iter() {
        theirs.apply(Dot::new(origin, counter));
    }
    theirs
}

fn compare(c: &mut Criterion) {
    for size in SIZES {
        let mut group = c.benchmark_group(format!("compare/{size}"));
        for relation in &RELATIONS {
            let (first, second) = ours(size, relation);
            let (other, first_theirs, second_theirs) = (apart(&second), theirs(&first), theirs(&second));
            let (first_hash, second_hash) = (HashClock::from(&first), HashClock::from(&second));
            assert_eq!((first.compare(&second), first.compare(&other)), (relation.says, relation.says));
            assert_eq!(first_theirs.partial_cmp(&second_theirs), Option::<Ordering>::from(relation.says));
            assert_eq!(first_hash.compare(&second_hash), relation.says);

            group.bench_function(BenchmarkId::new("shared", relation.name), |b| {
                b.iter(|| black_box(&first).compare(black_box(&second)));
            });
            group.bench_function(BenchmarkId::new("apart", relation.name), |b| {
                b.iter(|| black_box(&first).compare(black_box(&other)));
            });
            group.bench_function(BenchmarkId::new("crdts", relation.name), |b| {
                b.iter(|| black_box(&first_theirs).partial_cmp(black_box(&second_theirs)));
            });
            group.bench_function(BenchmarkId::new("hash_map", relation.name), |b| {
                b.iter(|| black_box(&first_hash).compare(black_box(&second_hash)));
            });
        }
        group.finish();
    }
}

/// The clones that a merge uses up are made, and the result is dropped, outside the measured time, for all alike.
fn merge(c: &mut Criterion) {
    for size in SIZES {
        let mut group = c.benchmark_group(format!("merge/{size}"));
        for relation in &RELATIONS {
            let (first, second) = ours(size, relation);
            let (other, first_theirs, second_theirs) = (apart(&second), theirs(&first), theirs(&second));
            let (first_hash, second_hash) = (HashClock::from(&first), HashClock::from(&second));
            let sum = merged(first.clone(), &other);
            assert_eq!(theirs(&sum), merged_theirs(first_theirs.clone(), second_theirs.clone()));
            assert_eq!(HashClock::from(&sum), merged_hash(first_hash.clone(), &second_hash));

            for (name, second) in [("shared", &second), ("apart", &other)] {
                group.bench_function(BenchmarkId::new(name, relation.name), |b| {
                    b.iter_batched(|| first.clone(), |clock| merged(clock, black_box(second)), BatchSize::SmallInput);
                });
            }
            group.bench_function(BenchmarkId::new("crdts", relation.name), |b| {
                b.iter_batched(
                    || (first_theirs.clone(), second_theirs.clone()),
                    |(clock, second)| merged_theirs(clock, second),
                    BatchSize::SmallInput,
                );
            });
            group.bench_function(BenchmarkId::new("hash_map", relation.name), |b| {
                b.iter_batched(
                    || first_hash.clone(),
                    |clock| merged_hash(clock, black_box(&second_hash)),
                    BatchSize::SmallInput,
                );
            });
        }
        group.finish();
    }
}

fn merged(mut clock: VClock, other: &VClock) -> VClock {
    clock.merge(other).expect("far from the bound");
    clock
}

fn merged_theirs(mut clock: Theirs, other: Theirs) -> Theirs {
    clock.merge(other);
    clock
}

fn merged_hash(mut clock: HashClock, other: &HashClock) -> HashClock {
    clock.merge(other);
    clock
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    compare(&mut criterion);
    merge(&mut criterion);
    criterion.final_summary();
}
