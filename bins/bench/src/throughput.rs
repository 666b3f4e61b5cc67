//! `antiphon-bench throughput`.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use antiphon_fault_proxy::{Faults, Path, TcpProxy, UdpProxy};
use antiphon_kernel::cortex::Cortex;
use antiphon_kernel::event::Draft;
use antiphon_kernel::log::CausalContext;
use antiphon_kernel::store::Durability;
use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::cli::{Scheme, ThroughputArgs};
use crate::output::{print, rounded};
use crate::rig::Bench;

const SEED: u64 = 1;
/// How long the first batch may take beyond the time that is measured.
const FIRST_BATCH: Duration = Duration::from_secs(60);

enum Proxy {
    Tcp(TcpProxy),
    Udp(UdpProxy),
}

impl Proxy {
    async fn start(scheme: Scheme, upstream: SocketAddr, faults: Faults) -> Result<Self> {
        Ok(match scheme {
            Scheme::Quic => Self::Udp(UdpProxy::start(upstream, faults, SEED).await?),
            Scheme::Https => Self::Tcp(TcpProxy::start(upstream, faults, SEED).await?),
        })
    }

    const fn addr(&self) -> SocketAddr {
        match self {
            Self::Tcp(proxy) => proxy.addr(),
            Self::Udp(proxy) => proxy.addr(),
        }
    }
}

pub(crate) async fn run(args: ThroughputArgs, json: bool) -> Result<()> {
    let bench = Bench::new(args.dir.as_deref())?;
    let server = bench.node("server", vec![], Durability::Sync)?.start().await?;
    fill(&server, &args).await?;
    let mut rows = Vec::new();
    for &rtt in &args.rtt {
        for &loss in &args.loss {
            for &scheme in &args.transport {
                rows.push(measure(&bench, &server, scheme, rtt, loss, &args).await?);
            }
        }
    }
    server.stop().await;
    print(&["rtt ms", "loss %", "transport", "Mbit/s", "% of limit", "events/s"], &rows, json)
}

/// More events than the limit lets through in the time that is measured.
async fn fill(server: &Cortex, args: &ThroughputArgs) -> Result<()> {
    let bytes = u64::from(args.limit) * 1_000_000 / 8 * u64::from(args.seconds);
    let mut left = bytes / u64::from(args.size) + 1;
    while left > 0 {
        let count = left.min(2000);
        // Groups of one event: one crosses whole, and the path is slow.
        let draft = || Draft::new("bench.bulk", vec![7_u8; args.size as usize]);
        let appends = (0..count).map(|_| server.log().append(vec![draft()], CausalContext::default()));
        futures_util::future::try_join_all(appends).await?;
        left -= count;
    }
    Ok(())
}

async fn measure(
    bench: &Bench,
    server: &Cortex,
    scheme: Scheme,
    rtt: u32,
    loss: f64,
    args: &ThroughputArgs,
) -> Result<Vec<Value>> {
    let listening = bench.serve(scheme, server.service()).await?;
    let path = Path {
        latency: Duration::from_millis(rtt.into()) / 2,
        bytes_per_second: Some(u64::from(args.limit) * 1_000_000 / 8),
        loss: loss / 100.0,
        ..Path::default()
    };
    let proxy = Proxy::start(scheme, listening.addr(), Faults::symmetric(path)).await?;
    let name = format!("puller-{}-{rtt}-{loss}", scheme.as_str());
    let began = Instant::now();
    let puller = bench.node(&name, vec![bench.peer(scheme, proxy.addr())?], Durability::Sync)?.start().await?;
    let all = server.reader().head().seq;
    let mut durable = puller.reader().watch_durable();
    let caught_up = durable.wait_for(|head| *head >= all);
    // Time up is the usual end; on a path without latency everything may have arrived before.
    let _ = tokio::time::timeout(Duration::from_secs(args.seconds.into()), caught_up).await;
    // A batch counts once it is whole. On a slow path with losses the first one may take longer than what is measured.
    let first = durable.wait_for(|head| head.get() > 0);
    tokio::time::timeout(FIRST_BATCH, first).await.context("no batch arrived")??;
    let elapsed = began.elapsed().as_secs_f64();
    let events = puller.reader().head().seq.get() as f64;
    puller.stop().await;
    drop((proxy, listening));
    std::fs::remove_dir_all(bench.path().join(name))?;
    // Data alone: what the events, the frames, TLS and the packets add to it is part of the cost.
    let megabits = events * f64::from(args.size) * 8.0 / 1e6 / elapsed;
    let share = megabits / f64::from(args.limit) * 100.0;
    let scheme = json!(scheme.as_str());
    Ok(vec![json!(rtt), json!(loss), scheme, rounded(megabits, 1), rounded(share, 0), rounded(events / elapsed, 0)])
}
