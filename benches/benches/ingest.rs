//! Taking a peer's batches into a store: checks, digests, puts and a sync for each batch. The batches were fetched before.

use std::time::{Duration, Instant};

use antiphon_benches::logs::{pulling, written};
use antiphon_benches::pulls::{self, Pull};
use antiphon_benches::sizes::Sizes;
use antiphon_benches::stores::Kind;
use antiphon_kernel::cursor::Seq;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// The most events of a batch: few for one sync, and as many as there may be.
const BATCHES: [u32; 2] = [512, 4096];

fn take_all(kind: Kind, pulls: &[Pull], count: u64) -> Duration {
    let fresh = kind.fresh();
    let mut log = pulling(fresh.store());
    let began = Instant::now();
    for pull in pulls {
        pulls::take(&mut log, pull);
    }
    let elapsed = began.elapsed();
    assert_eq!(log.reader().head().seq, Seq::new(count));
    elapsed
}

fn ingest(c: &mut Criterion) {
    let count = Sizes::of_this_run().ingest;
    let source = Kind::Memory.fresh();
    let writer = written(source.store(), count).reader();
    let mut group = c.benchmark_group("ingest");
    group.sample_size(10).throughput(Throughput::Elements(count));
    for batch in BATCHES {
        let pulls = pulls::all(pulling(Kind::Memory.fresh().store()), &writer, batch);
        for kind in Kind::ALL {
            group.bench_function(BenchmarkId::new(kind.name(), batch), |b| {
                b.iter_custom(|n| (0..n).map(|_| take_all(kind, &pulls, count)).sum());
            });
        }
    }
    group.finish();
}

criterion_group!(benches, ingest);
criterion_main!(benches);
