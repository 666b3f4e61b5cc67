//! `antiphon-bench depth`: what a peer's fetch costs at the end of a short log and of a long one.

use std::time::{Duration, Instant};

use antiphon_kernel::cortex::Cortex;
use antiphon_kernel::cursor::Cursor;
use antiphon_kernel::ids::CortexId;
use antiphon_kernel::protocol::{ChainHead, FetchReply, FetchRequest, Heads, Known};
use antiphon_kernel::store::Durability;
use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use crate::cli::{DepthArgs, GROUP};
use crate::output::{print, rounded};
use crate::replicate::append;
use crate::rig::Bench;

/// How many events the peer lacks.
const MISSING: u64 = 1000;
/// How often the fetch is repeated at each length.
const FETCHES: u32 = 50;

pub(crate) async fn run(args: DepthArgs, json: bool) -> Result<()> {
    let bench = Bench::new(args.dir.as_deref())?;
    let cortex = bench.node("log", vec![], Durability::Relaxed)?.start().await?;
    let mut lengths = args.events.clone();
    lengths.sort_unstable();
    let (mut rows, mut there) = (Vec::new(), 0);
    for length in lengths {
        append(&cortex, length.saturating_sub(there), args.size, GROUP).await?;
        there = length.max(there);
        rows.push(tokio::task::block_in_place(|| measure(&cortex, there))?);
    }
    cortex.stop().await;
    print(&["events in the log", "fetch of the last 1,000, ms", "beside the shortest"], &beside_the_first(rows), json)
}

fn measure(cortex: &Cortex, length: u64) -> Result<(u64, Duration)> {
    let question = question(cortex, length)?;
    let fetch = || -> Result<u64> {
        match cortex.reader().answer(&question)? {
            FetchReply::Batch(batch) => Ok(batch.events.len() as u64),
            FetchReply::Refused { refusal, .. } => bail!("a fetch was refused: {refusal}"),
        }
    };
    // What a first one reads into memory the next ones find there, at every length.
    let fetched = fetch()?;
    if fetched != MISSING.min(length) {
        bail!("a fetch brought {fetched} events");
    }
    let began = Instant::now();
    for _ in 0..FETCHES {
        fetch()?;
    }
    Ok((length, began.elapsed() / FETCHES))
}

/// Of a peer that holds all but the last thousand.
fn question(cortex: &Cortex, length: u64) -> Result<FetchRequest> {
    let view = cortex.reader();
    let local = view.local();
    let held = length.saturating_sub(MISSING);
    let known = match held {
        0 => Heads::default(),
        _ => {
            let digest = view.chain_digest(local.origin(), held)?.context("an event is missing")?;
            Heads::new(vec![(local.origin(), ChainHead { counter: held, digest })])
        }
    };
    let after = match view.entries(antiphon_kernel::cursor::Seq::new(held.saturating_sub(1)), 1, usize::MAX)?.first() {
        Some(entry) if held > 0 => Some(Cursor { epoch: local.epoch, seq: entry.seq, last_event: entry.event()?.id }),
        _ => None,
    };
    let plain = antiphon_kernel::testing::question(CortexId::from_bytes([9; 16]), local.cortex_id);
    Ok(FetchRequest { after, known: Known::Full(known), ..plain })
}

fn beside_the_first(rows: Vec<(u64, Duration)>) -> Vec<Vec<Value>> {
    let first = rows.first().map_or(1.0, |row| row.1.as_secs_f64());
    let row = |(length, took): (u64, Duration)| {
        let took = took.as_secs_f64();
        vec![json!(length), rounded(took * 1000.0, 3), rounded(took / first, 2)]
    };
    rows.into_iter().map(row).collect()
}
