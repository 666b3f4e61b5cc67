//! What RocksDB takes for the same puts: the limit that no replication over it can pass.

use std::time::{Duration, Instant};

use antiphon_kernel::cursor::Seq;
use antiphon_kernel::log::LogEntry;
use antiphon_kernel::store::{Batch, Durability, Family, Store};
use antiphon_storage::{Create, RocksStore};
use anyhow::Result;

use crate::rig::Bench;

/// As many as one batch of a run has at most.
const BATCH: usize = 4096;

/// The kernel cuts a batch into values of at most this many entries and bytes.
const SEGMENT_ENTRIES: usize = 256;
const SEGMENT_BYTES: usize = 64 * 1024;

/// Cuts entries as the kernel does.
fn segments(mut entries: &[LogEntry]) -> impl Iterator<Item = &[LogEntry]> {
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = entries.iter().take(SEGMENT_ENTRIES).take_while(|entry| {
            bytes += entry.record.len();
            bytes <= SEGMENT_BYTES
        });
        let (segment, rest) = entries.split_at_checked(fits.count().max(1))?;
        entries = rest;
        Some(segment)
    })
}

/// Puts the records of a log into a fresh store as ingest does (log, dots, and per batch the chain's tip and the cursor),
/// in synced batches of 4,096, without a network and without deciding anything. Reading them is not counted.
pub(crate) fn puts(bench: &Bench, log: &str, durability: Durability) -> Result<Duration> {
    let source = RocksStore::open_with(bench.path().join(log), Create::Never)?;
    let view = antiphon_kernel::internals::log::Log::look(std::sync::Arc::new(source))?;
    let name = format!("{log}-limit");
    let store = RocksStore::open_with(bench.path().join(&name), Create::IfMissing)?;
    let (mut at, mut batch, mut elapsed) = (Seq::ZERO, Batch::new(), Duration::ZERO);
    loop {
        let entries = view.entries(at, BATCH, 16 << 20)?;
        let Some(last) = entries.last() else { break };
        at = last.seq;
        let began = Instant::now();
        for segment in segments(&entries) {
            let first = segment[0].seq.get().to_be_bytes();
            let table = &[0; 4 * SEGMENT_ENTRIES + 11][..4 * segment.len() + 11];
            let parts: Vec<&[u8]> = [table].into_iter().chain(segment.iter().map(|entry| &entry.record[..])).collect();
            batch.put_parts(Family::Log, &first, &parts);
            batch.put(Family::Dots, &[&[7; 24][..], &first].concat(), &[0; 27]);
        }
        batch.put(Family::Clocks, &[7; 24], &[0; 64]);
        batch.put(Family::Cursors, &[7; 24], &[0; 32]);
        store.commit(&batch, durability)?;
        batch.clear();
        elapsed += began.elapsed();
    }
    drop(store);
    std::fs::remove_dir_all(bench.path().join(name))?;
    Ok(elapsed)
}
