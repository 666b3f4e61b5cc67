//! Replay of 256-byte events, alone and behind ingest, beside RocksDB's own limit for the same puts.
//!
//! `ingest_and_replay` and `rocksdb_limit` write synced batches of 512 events into a fresh store. The limit puts the bytes
//! that ingest stores (log, dots, ids) and what a replayer that keeps the newest event of a subject adds, without deciding
//! anything.

use std::time::{Duration, Instant};

use antiphon_benches::events::SUBJECTS;
use antiphon_benches::logs::{pulling, written};
use antiphon_benches::pulls;
use antiphon_benches::sizes::Sizes;
use antiphon_benches::stores::Kind;
use antiphon_kernel::cursor::Seq;
use antiphon_kernel::event::Event;
use antiphon_kernel::internals::replay::{ReplayCore, ReplayStep};
use antiphon_kernel::log::LogReader;
use antiphon_kernel::replay::{EventReplayer, Projection, ReplayError};
use antiphon_kernel::store::{Batch, Durability, Family};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const BATCH: u32 = 512;
const NEWEST: &str = "newest";

struct Newest;

impl EventReplayer for Newest {
    fn name(&self) -> &'static str {
        NEWEST
    }

    fn families(&self) -> Vec<String> {
        vec![NEWEST.to_owned()]
    }

    fn replay_event(&mut self, event: &Event, projection: &mut Projection<'_>) -> Result<(), ReplayError> {
        projection.put(NEWEST, event.subject.as_deref().unwrap_or_default().as_bytes(), &event.data)?;
        Ok(())
    }
}

fn catch_up(replay: &mut ReplayCore) {
    while !matches!(replay.step().expect("the store works"), ReplayStep::CaughtUp) {}
}

fn replayer(view: LogReader) -> ReplayCore {
    ReplayCore::open(view, Box::new(Newest)).expect("its name and families are valid")
}

/// A whole log, from its beginning.
fn replay_alone(replay: &mut ReplayCore, count: u64) -> Duration {
    replay.rebuild().expect("the store works");
    let began = Instant::now();
    catch_up(replay);
    let elapsed = began.elapsed();
    assert_eq!(replay.position(), Seq::new(count));
    elapsed
}

fn ingest_and_replay(writer: &LogReader) -> Duration {
    let fresh = Kind::Rocks.fresh();
    let mut log = pulling(fresh.store());
    let mut replay = replayer(log.reader());
    let began = Instant::now();
    let mut number = 0;
    while log.reader().visible() < writer.visible() {
        number += 1;
        let pull = pulls::next(&log.reader(), writer, number, BATCH);
        pulls::take(&mut log, &pull);
        catch_up(&mut replay);
    }
    began.elapsed()
}

fn limit(writer: &LogReader) -> Duration {
    let fresh = Kind::Rocks.fresh();
    let store = fresh.store();
    store.ensure_families(&[NEWEST]).expect("the name is valid");
    let entries = writer.entries(Seq::ZERO, usize::MAX, usize::MAX).expect("the store reads");
    let began = Instant::now();
    let mut batch = Batch::new();
    for entries in entries.chunks(BATCH as usize) {
        // As the kernel does: one value for the entries that fit into 64 KiB, which are fewer than 256.
        for segment in entries.chunks(190) {
            let seq = segment[0].seq.get().to_be_bytes();
            let records: Vec<&[u8]> = segment.iter().map(|entry| &entry.record[..]).collect();
            batch.put_parts(Family::Log, &seq, &records);
            batch.put(Family::Dots, &[&[2; 24][..], &seq].concat(), &[0; 27]);
        }
        for entry in entries {
            let event = entry.event().expect("it was appended, and so is valid");
            batch.put(Family::User(NEWEST), &(entry.seq.get() % SUBJECTS).to_be_bytes(), event.data);
        }
        store.commit(&batch, Durability::Sync).expect("the store takes it");
        batch.clear();
    }
    began.elapsed()
}

fn replay(c: &mut Criterion) {
    let count = Sizes::of_this_run().replay;
    let mut group = c.benchmark_group("replay");
    group.sample_size(10).throughput(Throughput::Elements(count));
    for kind in Kind::ALL {
        let fresh = kind.fresh();
        let mut replay = replayer(written(fresh.store(), count).reader());
        group.bench_function(BenchmarkId::new("alone", kind.name()), |b| {
            b.iter_custom(|n| (0..n).map(|_| replay_alone(&mut replay, count)).sum());
        });
    }
    let source = Kind::Memory.fresh();
    let writer = written(source.store(), count).reader();
    group.bench_function("ingest_and_replay", |b| b.iter_custom(|n| (0..n).map(|_| ingest_and_replay(&writer)).sum()));
    group.bench_function("rocksdb_limit", |b| b.iter_custom(|n| (0..n).map(|_| limit(&writer)).sum()));
    group.finish();
}

criterion_group!(benches, replay);
criterion_main!(benches);
