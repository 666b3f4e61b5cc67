//! One side of a bench in a process of its own, so that what it takes can be told from what the other takes.
//!
//! A side is this program again, started with the hidden command `side`. It says what it has to say as lines of
//! JSON on its standard output, and ends when its standard input does.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use antiphon_kernel::cortex::Cortex;
use antiphon_kernel::cursor::Seq;
use antiphon_kernel::store::Durability;
use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::cli::{Role, SideArgs};
use crate::output::say;
use crate::rig::{Bench, KEY};
use crate::usage::{cpu_seconds, peak_kib, resident_kib};

/// A bench that takes longer is stuck.
const PATIENCE: Duration = Duration::from_secs(3600);
/// How often a catch-up's memory is looked at.
const SAMPLE: Duration = Duration::from_millis(100);

/// Runs as one side.
pub(crate) async fn run(args: SideArgs) -> Result<()> {
    let bench = Bench::join(&args.root)?;
    let durability = if args.relaxed { Durability::Relaxed } else { Durability::Sync };
    match args.role {
        Role::Serve => serve(&bench, &args, durability).await,
        Role::Pull => pull(&bench, &args, durability).await,
        Role::Many => crate::many::many(&bench, &args).await,
        Role::PullMany => crate::many::pull_many(&bench, &args).await,
    }
}

async fn serve(bench: &Bench, args: &SideArgs, durability: Durability) -> Result<()> {
    let cortex = bench.node(&args.name, vec![], durability)?.start().await?;
    let server = bench.serve(args.scheme, cortex.service()).await?;
    let before = cpu_seconds()?;
    say(&json!({ "listening": server.addr() }))?;
    // Until whoever started it lets go.
    tokio::io::stdin().read_to_end(&mut Vec::new()).await?;
    let (cpu, peak_kib, digest) = (cpu_seconds()? - before, peak_kib()?, cortex.reader().heads().fold().to_string());
    let wire_bytes = server.shutdown().await;
    cortex.stop().await;
    say(&json!({ "cpu": cpu, "peak_kib": peak_kib, "wire_bytes": wire_bytes, "digest": digest }))
}

async fn pull(bench: &Bench, args: &SideArgs, durability: Durability) -> Result<()> {
    let from = args.from.context("a side that pulls is told from where")?;
    let before = cpu_seconds()?;
    let began = Instant::now();
    let cortex = bench.node(&args.name, vec![bench.peer(args.scheme, from)?], durability)?.start().await?;
    let samples = wait_for(&cortex, Seq::new(args.events)).await?;
    let seconds = began.elapsed().as_secs_f64();
    let used = json!({
        "seconds": seconds, "cpu": cpu_seconds()? - before, "peak_kib": peak_kib()?, "samples": samples,
        "digest": cortex.reader().heads().fold().to_string(),
    });
    cortex.stop().await;
    say(&used)
}

/// Waits until so much is durable, and notes on the way how much memory goes with how many events.
async fn wait_for(cortex: &Cortex, all: Seq) -> Result<Vec<(u64, u64)>> {
    let mut durable = cortex.reader().watch_durable();
    let (began, mut samples) = (Instant::now(), Vec::new());
    loop {
        let head = *durable.borrow_and_update();
        samples.push((head.get(), resident_kib()?));
        if head >= all {
            return Ok(samples);
        }
        if began.elapsed() > PATIENCE {
            bail!("{} of {} events arrived in {PATIENCE:?}", head.get(), all.get());
        }
        let arrived = tokio::time::timeout(SAMPLE, durable.wait_for(|head| *head >= all)).await;
        arrived.ok().transpose().context("the log was closed")?;
    }
}

/// A side as the bench sees it that started it.
pub(crate) struct Side {
    child: Child,
    /// Closing it ends the other side.
    stdin: Option<ChildStdin>,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Side {
    pub(crate) fn start(root: &Path, key: &str, args: &[&str]) -> Result<Self> {
        let program = std::env::current_exe().context("this program does not find itself")?;
        let mut child = Command::new(program)
            .args(["side", "--root"])
            .arg(root)
            .args(args)
            .env(KEY, key)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("a second process could not be started")?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().context("a child without an output")?;
        Ok(Self { child, stdin, lines: BufReader::new(stdout).lines() })
    }

    /// The next thing it says.
    pub(crate) async fn said(&mut self) -> Result<Value> {
        let line =
            tokio::time::timeout(PATIENCE, self.lines.next_line()).await.context("a side of the bench is stuck")??;
        match line {
            Some(line) => serde_json::from_str(&line).with_context(|| format!("a side of the bench said {line:?}")),
            None => bail!("a side of the bench ended early: {}", self.child.wait().await?),
        }
    }

    /// Lets it go on: a letter, whatever it is.
    pub(crate) async fn tell(&mut self) -> Result<()> {
        let stdin = self.stdin.as_mut().context("a side that was let go is told nothing")?;
        stdin.write_all(b"x").await?;
        Ok(stdin.flush().await?)
    }

    /// Lets it end, and takes its last words.
    pub(crate) async fn end(mut self) -> Result<Value> {
        self.stdin.take();
        let last = self.said().await?;
        self.child.wait().await?;
        Ok(last)
    }
}

pub(crate) fn address(listening: &Value) -> Result<SocketAddr> {
    listening["listening"].as_str().and_then(|addr| addr.parse().ok()).context("the serving side said no address")
}
