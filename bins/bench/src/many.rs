//! What the sides of `antiphon-bench idle` do: one process is many peers, the other one pulls them all.

use std::sync::Arc;
use std::time::Duration;

use antiphon_kernel::config::{FederationMode, PeerConfig, PeerMode};
use antiphon_kernel::cortex::{Cortex, CortexBuilder};
use antiphon_kernel::internals::log::{Log, LogOptions};
use antiphon_kernel::service::Service;
use antiphon_kernel::state::Phase;
use antiphon_kernel::store::Durability;
use antiphon_kernel::testing::MemoryStore;
use anyhow::{Context as _, Result, bail};
use serde_json::json;
use tokio::io::AsyncReadExt as _;

use crate::cli::SideArgs;
use crate::output::say;
use crate::rig::{Bench, Server};
use crate::usage::{cpu_seconds, resident_kib};

const PATIENCE: Duration = Duration::from_secs(300);
const LOOK: Duration = Duration::from_millis(100);

/// N cortexes with empty logs in memory, each with a server of its own.
pub(crate) async fn many(bench: &Bench, args: &SideArgs) -> Result<()> {
    let mut answering: Vec<(Log, Server)> = Vec::new();
    for n in 0..args.events {
        let store = Arc::new(MemoryStore::new());
        Log::begin(&*store, &format!("peer-{n}"), None)?;
        let log = Log::open(store, LogOptions { log: Some(antiphon_kernel::testing::LOG), ..LogOptions::default() })?;
        let service = Service::new(log.reader(), bench.key.clone(), FederationMode::Sync);
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
pub(crate) async fn pull_many(bench: &Bench, args: &SideArgs) -> Result<()> {
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

fn node(bench: &Bench, name: &str, peers: Vec<PeerConfig>) -> Result<CortexBuilder> {
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
