//! `antiphon-bench replicate`.

use std::path::Path;
use std::sync::Arc;

use antiphon_kernel::cortex::Cortex;
use antiphon_kernel::event::Draft;
use antiphon_kernel::internals::log::{EpochEnd, Log, LogOptions};
use antiphon_kernel::log::CausalContext;
use antiphon_kernel::store::Durability;
use antiphon_kernel::time::Timestamp;
use antiphon_storage::{Create, RocksStore};
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::cli::{ReplicateArgs, Scheme};
use crate::interleave::{Written, interleave};
use crate::limit;
use crate::noise::Noise;
use crate::output::{print, rounded};
use crate::rig::Bench;
use crate::side::{Side, address};

/// How many events are appended at once.
const APPEND: u64 = 4096;
/// No append of this bench has more bytes, unless a single event has.
const GROUP_BYTES: u64 = 256 * 1024;
pub(crate) const SOURCE: &str = "source";

pub(crate) async fn run(args: ReplicateArgs, json: bool) -> Result<()> {
    let bench = Bench::new(args.dir.as_deref())?;
    let others = args.cortexes - 1;
    if args.writers > 1 {
        let of = Written { writers: args.writers, events: args.events, size: args.size, group: args.group };
        tokio::task::block_in_place(|| interleave(&bench, SOURCE, &of))?;
    } else {
        tokio::task::block_in_place(|| widen(&bench, SOURCE, others))?;
        fill(&bench, SOURCE, args.events, args.size, args.group).await?;
    }
    let events = args.events + u64::from(others);
    let durability = if args.relaxed { Durability::Relaxed } else { Durability::Sync };
    let mut rows = Vec::new();
    for round in 0..args.rounds {
        let limit = tokio::task::block_in_place(|| limit::puts(&bench, SOURCE, durability))?.as_secs_f64();
        for &scheme in &args.transport {
            let took = replicate(&bench, scheme, events, args.relaxed).await?;
            rows.push(took.row(&args, scheme, round, args.events as f64 / limit));
        }
    }
    print(
        &[
            "transport",
            "cortexes",
            "writers",
            "events/append",
            "round",
            "events",
            "bytes",
            "events/s",
            "MB/s",
            "of RocksDB",
            "RocksDB events/s",
            "wire B/event",
            "disk B/event",
            "serving CPU s",
            "pulling CPU s",
            "serving MiB",
            "pulling MiB",
        ],
        &rows,
        json,
    )
}

/// What it took to bring a log from one process to another.
pub(crate) struct Took {
    pub(crate) seconds: f64,
    pub(crate) serving: Value,
    pub(crate) pulling: Value,
    /// Bytes of the pulling side's store, once it was closed.
    pub(crate) disk_bytes: u64,
}

impl Took {
    fn row(&self, args: &ReplicateArgs, scheme: Scheme, round: u32, limit: f64) -> Vec<Value> {
        let events = args.events as f64;
        let rate = events / self.seconds;
        let of = |side: &Value, what: &str| side[what].as_f64().unwrap_or_default();
        let mib = |side: &Value| rounded(of(side, "peak_kib") / 1024.0, 0);
        vec![
            json!(scheme.as_str()),
            json!(args.cortexes),
            json!(args.writers),
            json!(args.group),
            json!(round + 1),
            json!(args.events),
            json!(args.size),
            rounded(rate, 0),
            rounded(rate * f64::from(args.size) / 1e6, 1),
            rounded(rate / limit, 2),
            rounded(limit, 0),
            rounded(of(&self.serving, "wire_bytes") / events, 0),
            rounded(self.disk_bytes as f64 / events, 0),
            rounded(of(&self.serving, "cpu"), 2),
            rounded(of(&self.pulling, "cpu"), 2),
            mib(&self.serving),
            mib(&self.pulling),
        ]
    }
}

/// A log of so many events, each of as many bytes, no two alike and none that shrinks.
pub(crate) async fn fill(bench: &Bench, name: &str, events: u64, size: u32, group: u64) -> Result<()> {
    let cortex = bench.node(name, vec![], Durability::Relaxed)?.start().await?;
    append(&cortex, events, size, group).await?;
    cortex.stop().await;
    Ok(())
}

/// Appends drafts in groups that wait for one sync together. A group crosses whole, so a large one would be the unit of all
/// that is measured. Groups of one event are appended one after another, or the log would make larger ones of them.
async fn append_groups(cortex: &Cortex, drafts: Vec<Draft>, group: usize) -> Result<()> {
    let appends = drafts.chunks(group).map(|group| cortex.log().append(group.to_vec(), CausalContext::default()));
    if group == 1 {
        for append in appends {
            append.await?;
        }
    } else {
        futures_util::future::try_join_all(appends).await?;
    }
    Ok(())
}

pub(crate) async fn append(cortex: &Cortex, events: u64, size: u32, group: u64) -> Result<()> {
    let mut noise = Noise::new();
    let group = group.min(GROUP_BYTES / (u64::from(size) + 1)).max(1) as usize;
    // Large events are appended fewer at a time: what waits for the writer is memory.
    let together = APPEND.min((32 << 20) / u64::from(size.max(1)) + 1);
    let mut left = events;
    while left > 0 {
        let count = left.min(together);
        let drafts: Vec<_> = (0..count)
            .map(|n| Draft::new("bench.event", noise.bytes(size as usize)).subject(format!("s/{}", (left - n) % 1000)))
            .collect();
        append_groups(cortex, drafts, group).await?;
        left -= count;
    }
    // Nothing is served before.
    let visible = cortex.reader().visible();
    cortex.reader().watch_durable().wait_for(|head| *head >= visible).await?;
    Ok(())
}

/// Begins a log with one event of each of so many origins, each of which has seen all before it: all that is appended then
/// has a clock of as many entries.
fn widen(bench: &Bench, name: &str, origins: u16) -> Result<()> {
    let store = Arc::new(RocksStore::open_with(bench.path().join(name), Create::IfMissing)?);
    Log::begin(&*store, name, None)?;
    let mut log = Log::open(store, LogOptions { log: Some(antiphon_kernel::testing::LOG), ..LogOptions::default() })?;
    for _ in 0..origins {
        let seen = log.reader().clock();
        log.append(&[Draft::new("bench.origin", Vec::new())], &seen, Timestamp::now())?;
        log.begin_epoch(EpochEnd::Restored, Timestamp::now())?;
        log.commit(Durability::Relaxed)?;
        log.sync()?;
    }
    Ok(())
}

pub(crate) async fn replicate(bench: &Bench, scheme: Scheme, events: u64, relaxed: bool) -> Result<Took> {
    let (root, key) = (bench.path(), bench.key());
    let puller = format!("puller-{}", scheme.as_str());
    let side = |role: &str, name: &str, more: &[&str]| start(root, key, scheme, relaxed, role, name, more);
    let mut serving = side("serve", SOURCE, &[])?;
    let from = address(&serving.said().await?)?.to_string();
    let pulling = side("pull", &puller, &["--from", &from, "--events", &events.to_string()])?;
    let pulled = pulling.end().await?;
    let served = serving.end().await?;
    ensure!(pulled["digest"] == served["digest"], "the two logs are not the same");
    let seconds = pulled["seconds"].as_f64().context("the pulling side said no time")?;
    ensure!(seconds > 0.0, "the pulling side took no time");
    let store = root.join(puller);
    // Opened once more, so that nothing is in the write-ahead log and in a sorted file.
    drop(RocksStore::open_with(&store, Create::Never)?);
    let disk_bytes = bytes_below(&store)?;
    std::fs::remove_dir_all(store)?;
    Ok(Took { seconds, serving: served, pulling: pulled, disk_bytes })
}

fn start(root: &Path, key: &str, scheme: Scheme, relaxed: bool, role: &str, name: &str, more: &[&str]) -> Result<Side> {
    let mut args = vec!["--role", role, "--scheme", scheme.as_str(), "--name", name];
    args.extend_from_slice(more);
    if relaxed {
        args.push("--relaxed");
    }
    Side::start(root, key, &args)
}

/// Bytes of the files below a directory.
fn bytes_below(dir: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() { bytes_below(&entry.path())? } else { metadata.len() };
    }
    Ok(bytes)
}
