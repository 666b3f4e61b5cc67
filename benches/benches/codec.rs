//! Records and frames, to bytes and back: events of 256 bytes.
//!
//! `record` is one event as it is appended and read; `header` is what a relay reads of one. `frame` is a batch as it
//! travels, its checksum included.

use std::hint::black_box;

use antiphon_benches::events::{self, draft, origin};
use antiphon_benches::logs::{NOW, pulling, written};
use antiphon_benches::pulls;
use antiphon_benches::sizes::Sizes;
use antiphon_benches::stores::Kind;
use antiphon_kernel::clock::VClock;
use antiphon_kernel::codec::{EventRef, Message, decode, encode};
use antiphon_kernel::ids::{Dot, EventId};
use antiphon_kernel::internals::codec::{EncodedDraft, encode_record};
use antiphon_kernel::protocol::FetchReply;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn record(c: &mut Criterion) {
    let draft = draft(1);
    let deps = VClock::from_sorted(&[(origin(2), 7), (origin(3), 9)]).expect("the origins ascend");
    let assigned = EncodedDraft {
        id: EventId::from_parts(1_700_000_000_000, 1),
        dot: Dot::new(origin(1), 8).expect("8 is a counter"),
        deps: &deps,
        time: NOW,
    };
    let bytes = encode_record(&draft, &assigned);
    assert_eq!(EventRef::decode(&bytes).expect("it was encoded just now").data, &draft.data);

    let mut group = c.benchmark_group(format!("record/{}", events::SIZE));
    group.throughput(Throughput::ElementsAndBytes { elements: 1, bytes: bytes.len() as u64 });
    group.bench_function("encode", |b| b.iter(|| encode_record(black_box(&draft), black_box(&assigned))));
    group.bench_function("decode", |b| b.iter(|| EventRef::decode(black_box(&bytes))));
    group.bench_function("header", |b| b.iter(|| EventRef::decode_dot(black_box(&bytes))));
    group.finish();
}

fn frame(c: &mut Criterion) {
    let count = Sizes::of_this_run().frame;
    let (ours, theirs) = (Kind::Memory.fresh(), Kind::Memory.fresh());
    let (_, batch) =
        pulls::next(&pulling(ours.store()).reader(), &written(theirs.store(), count).reader(), 1, u32::MAX);
    assert_eq!(batch.events.len() as u64, count, "one batch holds them all");
    let message = Message::Reply(FetchReply::Batch(batch));
    let frame = encode(&message);

    let mut group = c.benchmark_group(format!("frame/{count}"));
    group.throughput(Throughput::ElementsAndBytes { elements: count, bytes: frame.len() as u64 });
    group.bench_function("encode", |b| b.iter(|| encode(black_box(&message))));
    group.bench_function("decode", |b| b.iter(|| decode(black_box(&frame))));
    group.finish();
}

/// Compresses `bytes` with zstd at level 1.
fn compress(bytes: &[u8]) -> Vec<u8> {
    let mut small = Vec::with_capacity(zstd_safe::compress_bound(bytes.len()));
    zstd_safe::compress(&mut small, bytes, 1).expect("the buffer has the bound's size");
    small
}

/// Decompresses `small` into a buffer of `len` bytes, the original's length.
fn decompress(small: &[u8], len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len);
    zstd_safe::decompress(&mut bytes, small).expect("`compress` made it");
    bytes
}

/// Measures the size and the cost of a frame compressed with zstd. Rates count uncompressed bytes. `records` are small JSON
/// objects, as applications write them; `random` cannot be compressed.
fn compressed(c: &mut Criterion) {
    let count = Sizes::of_this_run().frame;
    let json = |n: u64| {
        format!(r#"{{"account":"{}","amount":{},"currency":"EUR","note":"transfer {n}"}}"#, n % 97, n * 7919 % 10_007)
    };
    let records: Vec<u8> = (0..count).flat_map(|n| json(n).into_bytes()).collect();
    let mut state = 1_u64;
    let random: Vec<u8> = (0..records.len())
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .collect();
    let mut group = c.benchmark_group("zstd");
    for (name, bytes) in [("records", &records), ("random", &random)] {
        let small = compress(bytes);
        eprintln!("zstd/{name}: {} bytes become {}", bytes.len(), small.len());
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(format!("{name}/compress"), |b| b.iter(|| compress(black_box(bytes))));
        group.bench_function(format!("{name}/decompress"), |b| b.iter(|| decompress(black_box(&small), bytes.len())));
    }
    group.finish();
}

criterion_group!(benches, record, frame, compressed);
criterion_main!(benches);
