//! Ingest and replay of 256-byte events into RocksDB, beside RocksDB's own limit for the same puts.
//!
//! Both write synced batches of 512 events into a fresh store. `limit` puts the bytes that ingest stores (log, dots, ids)
//! and what a replayer that keeps the newest event of a subject adds, without deciding anything.

use std::sync::Arc;
use std::time::{Duration, Instant};

use antiphon_kernel::clock::VClock;
use antiphon_kernel::cursor::Seq;
use antiphon_kernel::event::{Draft, Event};
use antiphon_kernel::ids::{CortexId, Epoch, PeerName};
use antiphon_kernel::log::{Asked, LocalIdentity, Log, LogOptions, Pin, put_pin, read_cursor};
use antiphon_kernel::protocol::{
    Delivery, EventBatch, FetchReply, FetchRequest, Known, PROTOCOL_MAX, RequestId, Scope,
};
use antiphon_kernel::replay::{EventReplayer, Projection, ReplayCore, ReplayError, ReplayStep};
use antiphon_kernel::store::{Batch, Durability, Family, Store};
use antiphon_kernel::testing::MemoryStore;
use antiphon_kernel::time::Timestamp;
use antiphon_storage::{Create, RocksStore};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const EVENTS: u64 = 4096;
const BATCH: u32 = 512;

fn identity(n: u8) -> LocalIdentity {
    LocalIdentity { cortex_id: CortexId::from_bytes([n; 16]), epoch: Epoch::new(u64::from(n)), name: "bench".into() }
}

fn peer() -> PeerName {
    PeerName::new("peer").expect("a name")
}

fn open(store: Arc<dyn Store>, n: u8) -> Log {
    Log::create(&*store, &identity(n)).expect("a fresh store");
    let mut log = Log::open(store, LogOptions::default()).expect("a log");
    let mut pins = Batch::new();
    put_pin(&mut pins, &peer(), &Pin { cortex_id: identity(2).cortex_id, since: Timestamp::from_micros(0) });
    log.stage_state(&pins).expect("state");
    log.commit(Durability::Sync).expect("a commit");
    log
}

/// A peer's log of `EVENTS` events of 256 bytes over 64 subjects.
fn source() -> Log {
    let mut log = open(Arc::new(MemoryStore::new()), 2);
    for n in 0..EVENTS {
        let draft = Draft::new("bench.event", vec![0x5a; 256]).subject(format!("subject/{}", n % 64));
        log.append(&[draft], &VClock::new(), Timestamp::from_micros(0)).expect("an append");
    }
    log.commit(Durability::Sync).expect("a commit");
    log
}

struct Newest;

impl EventReplayer for Newest {
    fn name(&self) -> &'static str {
        "newest"
    }

    fn families(&self) -> Vec<String> {
        vec!["newest".to_owned()]
    }

    fn replay_event(&mut self, event: &Event, projection: &mut Projection<'_>) -> Result<(), ReplayError> {
        projection.put("newest", event.subject.as_deref().unwrap_or_default().as_bytes(), &event.data)?;
        Ok(())
    }
}

fn next_batch(client: &Log, server: &Log, number: u64) -> (Asked, EventBatch) {
    let view = client.view();
    let request = RequestId { process: view.process(), number };
    let after = read_cursor(&**view.store(), &peer()).expect("a cursor");
    let asked = Asked {
        request,
        to: identity(2).cortex_id,
        after,
        max_events: BATCH,
        max_bytes: 8 << 20,
        scope: Scope::All,
        withhold: antiphon_kernel::protocol::Heads::default(),
    };
    let request = FetchRequest {
        request,
        from: view.local().cortex_id,
        to: asked.to,
        protocol: PROTOCOL_MAX,
        after,
        known: Known::Full(view.heads()),
        direct: vec![],
        max_events: BATCH,
        max_bytes: asked.max_bytes,
        wait: Duration::ZERO,
        delivery: Delivery::Once,
        scope: Scope::All,
        withhold: antiphon_kernel::protocol::Heads::default(),
    };
    match server.view().answer(&request).expect("an answer") {
        FetchReply::Batch(batch) => (asked, batch),
        FetchReply::Refused(refusal) => panic!("{refusal}"),
    }
}

fn ingest_and_replay(server: &Log) -> Duration {
    let directory = tempfile::tempdir().expect("a directory");
    let store: Arc<dyn Store> = Arc::new(RocksStore::open(directory.path(), Create::IfMissing).expect("a store"));
    let mut log = open(store, 1);
    let mut replay = ReplayCore::open(log.view(), Box::new(Newest)).expect("a replayer");
    let began = Instant::now();
    let mut number = 0;
    while log.view().visible() < Seq::new(EVENTS) {
        number += 1;
        let (asked, batch) = next_batch(&log, server, number);
        log.ingest(&peer(), &asked, &batch, Timestamp::from_micros(0)).expect("an honest batch");
        log.commit(Durability::Sync).expect("a commit");
        while !matches!(replay.step().expect("a step"), ReplayStep::CaughtUp) {}
    }
    began.elapsed()
}

fn limit(server: &Log) -> Duration {
    let directory = tempfile::tempdir().expect("a directory");
    let store = RocksStore::open(directory.path(), Create::IfMissing).expect("a store");
    store.ensure_families(&["newest"]).expect("a family");
    let entries = server.view().entries(Seq::ZERO, usize::MAX, usize::MAX).expect("entries");
    let began = Instant::now();
    let mut batch = Batch::new();
    for entries in entries.chunks(BATCH as usize) {
        for entry in entries {
            let seq = entry.seq.get().to_be_bytes();
            batch.put(Family::Log, &seq, &entry.record);
            batch.put(Family::Dots, &[&[2; 24][..], &seq].concat(), &[0; 27]);
            batch.put(Family::Ids, &[&entry.record[1..17], &[2; 24]].concat(), &seq);
            batch.put(Family::User("newest"), &(entry.seq.get() % 64).to_be_bytes(), &[0x5a; 256]);
        }
        store.commit(&batch, Durability::Sync).expect("a commit");
        batch.clear();
    }
    began.elapsed()
}

fn replay(c: &mut Criterion) {
    let server = source();
    let mut group = c.benchmark_group("replay");
    group.sample_size(10).throughput(Throughput::Elements(EVENTS));
    group.bench_function("ingest_and_replay", |b| b.iter_custom(|n| (0..n).map(|_| ingest_and_replay(&server)).sum()));
    group.bench_function("rocksdb_limit", |b| b.iter_custom(|n| (0..n).map(|_| limit(&server)).sum()));
    group.finish();
}

criterion_group!(benches, replay);
criterion_main!(benches);
