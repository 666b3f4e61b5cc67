//! `antiphon-bench idle`: what thousands of peers cost while nothing happens.

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use crate::cli::{IdleArgs, Scheme};
use crate::output::{print, rounded};
use crate::rig::Bench;
use crate::side::Side;

pub(crate) async fn run(args: IdleArgs, json: bool) -> Result<()> {
    let mut rows = Vec::new();
    for &scheme in &args.transport {
        for &peers in &args.peers {
            rows.push(measure(scheme, peers, &args).await?);
        }
    }
    print(
        &[
            "transport",
            "peers",
            "seconds",
            "pulling: % of a core",
            "KiB/peer",
            "answering: % of a core",
            "KiB/peer there",
        ],
        &rows,
        json,
    )
}

/// One process is the node that pulls them all; the other one is all of them.
async fn measure(scheme: Scheme, peers: u32, args: &IdleArgs) -> Result<Vec<Value>> {
    let bench = Bench::new(args.dir.as_deref())?;
    let (count, seconds) = (peers.to_string(), args.seconds.to_string());
    let common = ["--scheme", scheme.as_str(), "--events", &count];
    let side = |more: &[&str]| Side::start(bench.path(), bench.key(), &[&common[..], more].concat());
    let mut many = side(&["--role", "many", "--name", "many"])?;
    let listening = many.said().await?;
    let file = bench.path().join("peers.json");
    std::fs::write(&file, listening["listening"].to_string())?;
    let file = file.to_str().context("a directory that is no text")?;
    let mut one = side(&["--role", "pull-many", "--name", "one", "--peers", file, "--seconds", &seconds])?;
    // The many begin to count when the one does.
    let live = one.said().await?;
    if live["live"] != true {
        bail!("the pulling side said {live}");
    }
    many.tell().await?;
    let pulling = one.said().await?;
    many.tell().await?;
    let answering = many.said().await?;
    drop(one);
    many.end().await?;
    let of = |side: &Value, what: &str| side[what].as_f64().unwrap_or_default();
    let percent = |side: &Value| rounded(of(side, "cpu") / f64::from(args.seconds) * 100.0, 2);
    let each = |side: &Value| rounded(of(side, "grown_kib") / f64::from(peers), 1);
    Ok(vec![
        json!(scheme.as_str()),
        json!(peers),
        json!(args.seconds),
        percent(&pulling),
        each(&pulling),
        percent(&answering),
        each(&answering),
    ])
}
