//! `antiphon-bench mesh`: everybody pulls everybody, in one process, over real sockets.

use std::sync::Arc;
use std::time::{Duration, Instant};

use antiphon_kernel::config::{Config, FederationMode};
use antiphon_kernel::event::Draft;
use antiphon_kernel::internals::cortex::mint_identity;
use antiphon_kernel::internals::log::{Log, LogOptions};
use antiphon_kernel::log::{CausalContext, LogHandle};
use antiphon_kernel::service::Service;
use antiphon_kernel::state::Phase;
use antiphon_kernel::store::Durability;
use antiphon_kernel::sync::Syncer;
use antiphon_storage::{Create, RocksStore};
use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use crate::cli::{MeshArgs, Scheme};
use crate::output::{print, rounded};
use crate::rig::{Bench, Server};

const PATIENCE: Duration = Duration::from_secs(600);
const LOOK: Duration = Duration::from_millis(10);

pub(crate) async fn run(args: MeshArgs, json: bool) -> Result<()> {
    let mut rows = Vec::new();
    for &scheme in &args.transport {
        for &cortexes in &args.cortexes {
            rows.push(measure(scheme, cortexes, &args).await?);
        }
    }
    print(
        &["transport", "cortexes", "events", "transfers/event", "events/s everywhere", "wire B/transfer"],
        &rows,
        json,
    )
}

struct Member {
    log: LogHandle,
    service: Service,
    server: Server,
    syncer: Syncer,
}

async fn measure(scheme: Scheme, cortexes: u16, args: &MeshArgs) -> Result<Vec<Value>> {
    let bench = Bench::new(args.dir.as_deref())?;
    let members = members(&bench, scheme, cortexes).await?;
    // Once around, so that everyone has told everyone whom it pulls.
    append(&members, 1).await?;
    converge(&members, cortexes.into()).await?;
    let sent = || members.iter().map(|member| member.service.served().events).sum::<u64>();
    let (before, began) = (sent(), Instant::now());
    append(&members, args.events).await?;
    let all = u64::from(cortexes) * (u64::from(args.events) + 1);
    converge(&members, all).await?;
    let (seconds, sent) = (began.elapsed().as_secs_f64(), sent() - before);
    let events = all - u64::from(cortexes);
    let needed = events * (u64::from(cortexes) - 1);
    let wire = stop(members).await;
    Ok(vec![
        json!(scheme.as_str()),
        json!(cortexes),
        json!(events),
        rounded(sent as f64 / needed as f64, 3),
        rounded(events as f64 / seconds, 0),
        rounded(wire as f64 / sent as f64, 0),
    ])
}

/// All answer before the first one asks.
async fn members(bench: &Bench, scheme: Scheme, cortexes: u16) -> Result<Vec<Member>> {
    let mut answering = Vec::new();
    for n in 0..cortexes {
        let name = format!("member-{n}");
        let store: Arc<RocksStore> = Arc::new(RocksStore::open_with(bench.path().join(&name), Create::IfMissing)?);
        Log::create(&*store, &mint_identity(&name))?;
        let log = LogHandle::start(
            Log::open(store, LogOptions { log: Some(antiphon_kernel::testing::LOG), ..LogOptions::default() })?,
            Durability::Sync,
        )?;
        let service = Service::new(log.reader().clone(), bench.key.clone(), FederationMode::Sync);
        let server = bench.serve(scheme, &service).await?;
        answering.push((name, log, service, server));
    }
    let mut configs = Vec::new();
    for (name, ..) in &answering {
        let others = answering.iter().filter(|(other, ..)| other != name);
        let peers = others.map(|(other, _, _, server)| bench.peer_named(other, scheme, server.addr()));
        let peers = peers.collect::<Result<_>>()?;
        configs.push(Config { peers, shared_key: bench.key.clone(), ..Config::default() });
    }
    let mut members = Vec::new();
    for ((_, log, service, server), config) in answering.into_iter().zip(configs) {
        let syncer = Syncer::new(log.clone(), bench.transports(), config);
        syncer.start().await?;
        members.push(Member { log, service, server, syncer });
    }
    let live = |member: &Member| member.syncer.peers().iter().all(|peer| peer.phase == Phase::Live);
    until("not every peer came to be live", || members.iter().all(live)).await?;
    Ok(members)
}

/// Everybody appends at once, one event after another.
async fn append(members: &[Member], events: u32) -> Result<()> {
    let mut appending = tokio::task::JoinSet::new();
    for member in members {
        let log = member.log.clone();
        appending.spawn(async move {
            for _ in 0..events {
                log.append(vec![Draft::new("bench.mesh", vec![7_u8; 256])], CausalContext::default()).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(appended) = appending.join_next().await {
        appended??;
    }
    Ok(())
}

async fn converge(members: &[Member], events: u64) -> Result<()> {
    let whole = |member: &Member| member.log.reader().head().seq.get() == events;
    until("not every event came to be everywhere", || members.iter().all(whole)).await?;
    let digest = |member: &Member| member.log.reader().heads().fold();
    let one = members.first().map(digest);
    if members.iter().any(|member| Some(digest(member)) != one) {
        bail!("the members hold as many events, and not the same ones");
    }
    Ok(())
}

async fn until(what: &'static str, holds: impl Fn() -> bool) -> Result<()> {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.context(what)
}

async fn stop(members: Vec<Member>) -> u64 {
    let mut wire = 0;
    for member in &members {
        member.syncer.stop().await;
    }
    for member in members {
        member.service.close();
        wire += member.server.shutdown().await;
        member.log.close().await;
    }
    wire
}
