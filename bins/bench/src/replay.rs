//! `antiphon-bench replay`.

use std::time::{Duration, Instant};

use antiphon_kernel::cursor::Seq;
use antiphon_kernel::event::{Draft, Event};
use antiphon_kernel::log::CausalContext;
use antiphon_kernel::replay::latest::LatestBySubject;
use antiphon_kernel::replay::{EventReplayer, OnFailure, Projection, ReplayError};
use antiphon_kernel::store::Durability;
use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::cli::ReplayArgs;
use crate::output::{print, rounded};
use crate::rig::Bench;

/// As many as the log gives a peer in one batch.
const BATCH: u32 = 512;
const PATIENCE: Duration = Duration::from_secs(3600);

/// Counts the events of each subject: the least that a replayer with a projection does.
struct Tally(&'static str);

impl EventReplayer for Tally {
    fn name(&self) -> &str {
        self.0
    }

    fn families(&self) -> Vec<String> {
        vec![self.0.to_owned()]
    }

    fn replay_event(&mut self, event: &Event, projection: &mut Projection<'_>) -> Result<(), ReplayError> {
        let key = event.subject.as_deref().unwrap_or_default().as_bytes();
        let count = projection.get(self.0, key)?.and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_be_bytes);
        projection.put(self.0, key, &(count + 1).to_be_bytes())?;
        Ok(())
    }
}

pub(crate) async fn run(args: ReplayArgs, json: bool) -> Result<()> {
    let bench = Bench::new(args.dir.as_deref())?;
    let mut rows = vec![row("append alone", args.events, fill(&bench, &args).await?)];
    rows.push(row("replay: latest by subject", args.events, replay(&bench, &args, false).await?));
    rows.push(row("replay: latest by subject, second", args.events, replay(&bench, &args, true).await?));
    print(&["work", "events", "seconds", "events/s"], &rows, json)
}

fn row(what: &str, events: u32, elapsed: Duration) -> Vec<Value> {
    let seconds = elapsed.as_secs_f64();
    vec![json!(what), json!(events), rounded(seconds, 2), rounded(f64::from(events) / seconds, 0)]
}

/// Writes the log, a synced batch at a time, with no replayer beside it.
async fn fill(bench: &Bench, args: &ReplayArgs) -> Result<Duration> {
    let cortex = bench.node("log", vec![], Durability::Sync)?.start().await?;
    let began = Instant::now();
    let mut at = 0;
    while at < args.events {
        let until = args.events.min(at + BATCH);
        let drafts = (at..until).map(|n| {
            Draft::new("bench.bulk", vec![7_u8; args.size as usize]).subject(format!("s/{}", n % args.subjects))
        });
        cortex.log().append(drafts.collect(), CausalContext::default()).await?;
        at = until;
    }
    let elapsed = began.elapsed();
    cortex.stop().await;
    Ok(elapsed)
}

/// Replays the whole log: through `LatestBySubject`, or after a rebuild of it and with a second replayer.
async fn replay(bench: &Bench, args: &ReplayArgs, second: bool) -> Result<Duration> {
    let builder = bench.node("log", vec![], Durability::Sync)?;
    let began = Instant::now();
    let builder = builder.causal_replayer(LatestBySubject { on_failure: OnFailure::Halt });
    let builder = if second { builder.replayer(Tally("tally")) } else { builder };
    let cortex = builder.start().await?;
    if second {
        cortex.replayers()[0].rebuild().await?;
    }
    let end = Seq::new(args.events.into());
    for replayer in cortex.replayers() {
        let done = tokio::time::timeout(PATIENCE, replayer.wait_replayed(end)).await;
        done.context("a replayer did not come to the end in time")??;
        let rebuilt = tokio::time::timeout(PATIENCE, replayer.wait_rebuilt()).await;
        rebuilt.context("a rebuild did not come to the end in time")??;
    }
    let elapsed = began.elapsed();
    cortex.stop().await;
    Ok(elapsed)
}
