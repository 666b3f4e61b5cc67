//! What RocksDB takes for the same puts: the limit that no replication over it can pass.

use std::time::{Duration, Instant};

use antiphon_kernel::cursor::Seq;
use antiphon_kernel::store::{Batch, Durability, Family, Store};
use antiphon_storage::{Create, RocksStore};
use anyhow::Result;

use crate::rig::Bench;

/// As many as one batch of a run has at most.
const BATCH: usize = 4096;

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
        for entry in &entries {
            let place = entry.seq.get().to_be_bytes();
            batch.put_parts(Family::Log, &place, &[&[0; 9], &entry.record]);
            batch.put(Family::Dots, &[&entry.record[17..41], &place].concat(), &[0; 27]);
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
