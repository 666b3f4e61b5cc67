//! Reading a log on RocksDB for a peer.
//!
//! `whole` is all of it, batch after batch, as a run of answers reads it. `end` is the question of somebody who lacks the
//! last few events, by cursor and by the clock alone, at the end of a short log and of one a thousand times longer: the two
//! should cost the same.

use antiphon_benches::logs::written;
use antiphon_benches::pulls::question;
use antiphon_benches::sizes::Sizes;
use antiphon_benches::stores::{Fresh, Kind};
use antiphon_kernel::cursor::{Cursor, Seq};
use antiphon_kernel::log::LogReader;
use antiphon_kernel::protocol::{ChainHead, EventBatch, FetchRequest, Heads, MAX_BATCH_EVENTS, RequestId};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// So many events are lacking at the end.
const LACKING: u64 = 16;

/// A log, and the store below it.
struct Served {
    view: LogReader,
    _store: Fresh,
}

fn served(count: u64) -> Served {
    let fresh = Kind::Rocks.fresh();
    Served { view: written(fresh.store(), count).reader(), _store: fresh }
}

fn ask(after: Option<Cursor>, known: Heads) -> FetchRequest {
    question(RequestId { process: 1, number: 1 }, after, known, MAX_BATCH_EVENTS)
}

/// Hands every batch that answers a question to `taken`, until there is nothing more.
fn answer(view: &LogReader, request: &FetchRequest, mut taken: impl FnMut(&EventBatch)) {
    let mut asking = view.ask(request).expect("the store reads").expect("the question is an honest one");
    loop {
        let found = view.next_batch(&mut asking, None).expect("the store reads").expect("the epoch stays");
        taken(&found.batch);
        asking.sent(&found.batch);
        if found.batch.last == found.batch.head {
            break;
        }
    }
}

fn count_of(view: &LogReader, request: &FetchRequest) -> u64 {
    let mut count = 0;
    answer(view, request, |batch| count += batch.events.len() as u64);
    count
}

/// The questions of a peer that holds everything but the last [`LACKING`] events.
fn at_the_end(view: &LogReader) -> [(&'static str, FetchRequest); 2] {
    let seq = Seq::new(view.head().seq.get() - LACKING);
    let entry = view.entry(seq).expect("the store reads").expect("the log is longer than that");
    let event = entry.event().expect("it was appended, and so is valid");
    let digest = view.chain_digest(event.dot.origin(), event.dot.counter());
    let digest = digest.expect("the store reads").expect("the event is held");
    let known = Heads::new(vec![(event.dot.origin(), ChainHead { counter: event.dot.counter(), digest })]);
    let cursor = Cursor { epoch: view.local().epoch, seq, last_event: event.id };
    [("cursor", ask(Some(cursor), known.clone())), ("clock", ask(None, known))]
}

fn whole(c: &mut Criterion, view: &LogReader) {
    let (count, request) = (view.head().seq.get(), ask(None, Heads::default()));
    let mut bytes = 0;
    answer(view, &request, |batch| bytes += batch.events.iter().map(|(_, record)| record.len() as u64).sum::<u64>());
    let mut group = c.benchmark_group("serve");
    group.sample_size(10).throughput(Throughput::ElementsAndBytes { elements: count, bytes });
    group.bench_function(BenchmarkId::new("whole", count), |b| {
        b.iter(|| assert_eq!(count_of(view, &request), count));
    });
    group.finish();
}

fn end(c: &mut Criterion, view: &LogReader) {
    let mut group = c.benchmark_group("serve/end");
    group.throughput(Throughput::Elements(LACKING));
    for (by, request) in at_the_end(view) {
        group.bench_function(BenchmarkId::new(by, view.head().seq), |b| {
            b.iter(|| assert_eq!(count_of(view, &request), LACKING));
        });
    }
    group.finish();
}

fn serve(c: &mut Criterion) {
    let short = Sizes::of_this_run().short_log;
    let (short, long) = (served(short), served(short * Sizes::LONGER));
    whole(c, &long.view);
    end(c, &short.view);
    end(c, &long.view);
}

criterion_group!(benches, serve);
criterion_main!(benches);
