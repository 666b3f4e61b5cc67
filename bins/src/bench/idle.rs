//! `antiphon bench idle`: what thousands of peers cost while nothing happens.

use std::sync::Arc;
use std::time::Duration;

use antiphon_kernel::config::{FederationMode, PeerMode};
use antiphon_kernel::cortex::{Cortex, mint_identity};
use antiphon_kernel::log::{Log, LogOptions};
use antiphon_kernel::machine::Phase;
use antiphon_kernel::service::Service;
use antiphon_kernel::store::Durability;
use antiphon_kernel::testing::MemoryStore;
use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;

use super::side::Side;
use super::usage::{cpu_seconds, resident_kib};
use super::{Bench, Server, print, rounded};
use crate::cli::{IdleArgs, Scheme, SideArgs};

const PATIENCE: Duration = Duration::from_secs(300);
const LOOK: Duration = Duration::from_millis(100);

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

fn say(what: &Value) -> Result<()> {
    crate::commands::show::line(&what.to_string())
}

/// So many cortexes with empty logs in memory, each with a server of its own.
pub(super) async fn many(bench: &Bench, args: &SideArgs) -> Result<()> {
    let mut answering: Vec<(Log, Server)> = Vec::new();
    for n in 0..args.events {
        let store = Arc::new(MemoryStore::new());
        Log::create(&*store, &mint_identity(&format!("peer-{n}")))?;
        let log = Log::open(store, LogOptions::default())?;
        let service = Service::new(log.view(), bench.key.clone(), FederationMode::Sync);
        answering.push((log, bench.serve(args.scheme, &service).await?));
    }
    let before = resident_kib()?;
    let addresses: Vec<_> = answering.iter().map(|(_, server)| server.addr().to_string()).collect();
    say(&json!({ "listening": addresses }))?;
    let mut told = [0; 1];
    tokio::io::stdin().read_exact(&mut told).await?;
    let cpu = cpu_seconds()?;
    tokio::io::stdin().read_exact(&mut told).await?;
    say(&json!({ "cpu": cpu_seconds()? - cpu, "grown_kib": resident_kib()?.saturating_sub(before) }))?;
    tokio::io::stdin().read_to_end(&mut Vec::new()).await?;
    say(&json!({ "ended": true }))
}

/// One node that pulls them all.
pub(super) async fn pull_many(bench: &Bench, args: &SideArgs) -> Result<()> {
    let file = args.peers.as_ref().context("a side that pulls many is told whom")?;
    let addresses: Vec<String> = serde_json::from_str(&std::fs::read_to_string(file)?)?;
    let mut peers = Vec::with_capacity(addresses.len());
    for (n, address) in addresses.iter().enumerate() {
        peers.push(bench.peer_named(&format!("peer-{n}"), args.scheme, address.parse()?)?);
    }
    // What a node takes without peers is not theirs; and neither is what the first of them makes it load.
    let first = peers.split_off(peers.len().saturating_sub(1));
    let warm = node(bench, "warm", first)?.start().await?;
    live(&warm).await?;
    let before = resident_kib()?;
    let cortex = node(bench, &args.name, peers)?.start().await?;
    live(&cortex).await?;
    let grown = resident_kib()?.saturating_sub(before);
    say(&json!({ "live": true }))?;
    let cpu = cpu_seconds()?;
    tokio::time::sleep(Duration::from_secs(args.seconds)).await;
    let used = json!({ "cpu": cpu_seconds()? - cpu, "grown_kib": resident_kib()?.saturating_sub(before).max(grown) });
    if !all_live(&cortex) {
        bail!("peers were lost while nothing happened");
    }
    say(&used)?;
    cortex.stop().await;
    warm.stop().await;
    Ok(())
}

fn node(
    bench: &Bench,
    name: &str,
    peers: Vec<antiphon_kernel::config::PeerConfig>,
) -> Result<antiphon_kernel::cortex::CortexBuilder> {
    bench.node(name, peers, Durability::Sync)
}

fn all_live(cortex: &Cortex) -> bool {
    cortex.syncer().peers().iter().all(|peer| peer.phase == Phase::Live && peer.mode == PeerMode::Sync)
}

async fn live(cortex: &Cortex) -> Result<()> {
    let waiting = async {
        while !all_live(cortex) {
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.context("not every peer came to be live")
}
