//! `antiphon-bench catchup`: how much memory a node takes that begins with nothing and reads a long log.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::cli::{CatchupArgs, GROUP};
use crate::output::{print, rounded};
use crate::replicate::{SOURCE, fill, replicate};
use crate::rig::Bench;

/// At how many points of the way memory is told.
const POINTS: u64 = 10;

pub(crate) async fn run(args: CatchupArgs, json: bool) -> Result<()> {
    let bench = Bench::new(args.dir.as_deref())?;
    fill(&bench, SOURCE, args.events, args.size, GROUP).await?;
    let mut rows = Vec::new();
    for &scheme in &args.transport {
        let took = replicate(&bench, scheme, args.events, false).await?;
        let samples: Vec<(u64, u64)> =
            serde_json::from_value(took.pulling["samples"].clone()).context("the pulling side noted no memory")?;
        for point in 1..=POINTS {
            let at = args.events * point / POINTS;
            let until = samples.iter().filter(|(events, _)| *events <= at);
            let most = until.map(|(_, kib)| *kib).max().unwrap_or_default();
            rows.push(row(scheme.as_str(), at, most));
        }
        let peak = took.pulling["peak_kib"].as_u64().unwrap_or_default();
        rows.push(row(&format!("{} (peak)", scheme.as_str()), args.events, peak));
        let peak = took.serving["peak_kib"].as_u64().unwrap_or_default();
        rows.push(row(&format!("{} (serving, peak)", scheme.as_str()), args.events, peak));
    }
    print(&["transport", "events read", "most MiB so far"], &rows, json)
}

fn row(what: &str, events: u64, kib: u64) -> Vec<Value> {
    vec![json!(what), json!(events), rounded(kib as f64 / 1024.0, 1)]
}
