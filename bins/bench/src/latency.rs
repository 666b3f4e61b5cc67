//! `antiphon-bench latency`.

use std::io::Write as _;
use std::time::{Duration, Instant};

use antiphon_kernel::cortex::Cortex;
use antiphon_kernel::event::{Draft, Event};
use antiphon_kernel::replay::{EventReplayer, Projection, ReplayError};
use antiphon_kernel::store::Durability;
use anyhow::{Context as _, Result};
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::cli::{LatencyArgs, Scheme};
use crate::output::{print, rounded};
use crate::rig::{Bench, Server};

const WARM_UP: u32 = 50;
/// One event that takes so long is a fault, not a figure.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) async fn run(args: LatencyArgs, json: bool) -> Result<()> {
    let bench = Bench::new(args.dir.as_deref())?;
    let mut rows = vec![row("disk", "write + fsync", &fsync(&bench, args.events, args.size)?)];
    for &scheme in &args.transport {
        for durability in [Durability::Sync, Durability::Relaxed] {
            let what = match durability {
                Durability::Sync => "sync",
                Durability::Relaxed => "relaxed",
            };
            let Measured { append, replayed } = measure(&bench, scheme, durability, &args).await?;
            if args.transport.first() == Some(&scheme) {
                // What an append takes does not depend on the transport.
                rows.push(row("append alone", what, &append));
            }
            rows.push(row(scheme.as_str(), what, &replayed));
        }
    }
    print(&["transport", "durability", "p50 ms", "p95 ms", "p99 ms", "events"], &rows, json)
}

/// From the call of append on, in microseconds.
struct Measured {
    /// Until it returned.
    append: Histogram<u64>,
    /// Until the event was replayed on the other node.
    replayed: Histogram<u64>,
}

fn row(transport: &str, durability: &str, micros: &Histogram<u64>) -> Vec<Value> {
    let at = |quantile| rounded(micros.value_at_quantile(quantile) as f64 / 1000.0, 2);
    vec![json!(transport), json!(durability), at(0.5), at(0.95), at(0.99), json!(micros.len())]
}

fn histogram() -> Result<Histogram<u64>> {
    Ok(Histogram::new(3)?)
}

fn micros(elapsed: Duration) -> u64 {
    u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX)
}

/// What the disk takes for as many bytes: the part that no software can save.
fn fsync(bench: &Bench, events: u32, size: u32) -> Result<Histogram<u64>> {
    let mut file = tempfile::tempfile_in(bench.path()).context("no file to measure the disk with")?;
    let (data, mut histogram) = (vec![7_u8; size as usize + 300], histogram()?);
    for _ in 0..events {
        let began = Instant::now();
        file.write_all(&data)?;
        file.sync_data()?;
        histogram.record(micros(began.elapsed()))?;
    }
    Ok(histogram)
}

/// Says when it was given an event.
struct Stopwatch(mpsc::UnboundedSender<Instant>);

impl EventReplayer for Stopwatch {
    fn name(&self) -> &str {
        "stopwatch"
    }

    fn families(&self) -> Vec<String> {
        Vec::new()
    }

    fn replay_event(&mut self, _: &Event, _: &mut Projection<'_>) -> Result<(), ReplayError> {
        // Nobody listens any more where the bench ended early.
        let _ = self.0.send(Instant::now());
        Ok(())
    }
}

async fn measure(bench: &Bench, scheme: Scheme, durability: Durability, args: &LatencyArgs) -> Result<Measured> {
    let name = |side| format!("{side}-{}-{durability:?}", scheme.as_str());
    let server = bench.node(&name("server"), vec![], durability)?.start().await?;
    let listening = bench.serve(scheme, server.service()).await?;
    let (replayed, mut replays) = mpsc::unbounded_channel();
    let puller = bench.node(&name("puller"), vec![bench.peer(scheme, listening.addr())?], durability)?;
    let puller = puller.causal_replayer(Stopwatch(replayed)).start().await?;
    let measured = rounds(&server, &mut replays, args).await;
    stop(puller, listening, server).await;
    measured
}

async fn rounds(
    server: &Cortex,
    replays: &mut mpsc::UnboundedReceiver<Instant>,
    args: &LatencyArgs,
) -> Result<Measured> {
    let mut measured = Measured { append: histogram()?, replayed: histogram()? };
    for round in 0..WARM_UP + args.events {
        let draft = Draft::new("bench.tick", vec![7_u8; args.size as usize]);
        let began = Instant::now();
        server.append(draft).await?;
        let appended = began.elapsed();
        let replayed = tokio::time::timeout(PATIENCE, replays.recv()).await;
        let replayed = replayed.ok().flatten().context("an event did not arrive")?;
        if round >= WARM_UP {
            measured.append.record(micros(appended))?;
            measured.replayed.record(micros(replayed.saturating_duration_since(began)))?;
        }
    }
    Ok(measured)
}

async fn stop(puller: Cortex, listening: Server, server: Cortex) {
    puller.stop().await;
    drop(listening);
    server.stop().await;
}
