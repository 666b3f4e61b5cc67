//! The whole path: a new cortex catches up with one that has written, over memory, HTTPS and QUIC.
//!
//! Measured from the start of the new cortex, with its first contact and its handshakes, until all is durable in its store.
//! Both are in this process, with TLS and a shared key between them. `antiphon-bench replicate` does it in two.

use std::time::{Duration, Instant};

use antiphon_benches::logs::{writer_keys, written};
use antiphon_benches::sizes::Sizes;
use antiphon_benches::stores::Kind;
use antiphon_benches::transports::{Medium, Opened, key};
use antiphon_kernel::cortex::Cortex;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tokio::runtime::Runtime;

/// Far longer than it takes. A bench that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(300);

async fn catch_up(kind: Kind, writer: &Cortex, opened: &Opened) -> Duration {
    let (fresh, head) = (kind.fresh(), writer.reader().head().seq);
    let began = Instant::now();
    let puller = opened.puller(fresh.store()).start().await.expect("the configuration is valid");
    let mut durable = puller.reader().watch_durable();
    let caught_up = tokio::time::timeout(PATIENCE, durable.wait_for(|&seq| seq == head)).await;
    let elapsed = began.elapsed();
    caught_up.expect("it catches up in time").expect("the log stays open");
    assert_eq!(puller.reader().heads().fold(), writer.reader().heads().fold());
    puller.stop().await;
    elapsed
}

fn path(c: &mut Criterion) {
    let count = Sizes::of_this_run().path;
    let runtime = Runtime::new().expect("threads can be started");
    let mut group = c.benchmark_group("path");
    group.sample_size(10).throughput(Throughput::Elements(count));
    for kind in Kind::ALL {
        let source = kind.fresh();
        drop(written(source.store(), count));
        let writer = Cortex::builder(source.store()).keys(writer_keys()).shared_key(key()).start();
        let writer = runtime.block_on(writer).expect("the store holds a log");
        for medium in Medium::ALL {
            let opened = runtime.block_on(Opened::start(medium, writer.service()));
            group.bench_function(BenchmarkId::new(medium.name(), kind.name()), |b| {
                b.iter_custom(|n| (0..n).map(|_| runtime.block_on(catch_up(kind, &writer, &opened))).sum());
            });
        }
        runtime.block_on(writer.stop());
    }
    group.finish();
}

criterion_group!(benches, path);
criterion_main!(benches);
