//! Whole cortexes under one seed: the services, the tasks of peers, the writers and the replayers as they run in a program, over
//! stores and a network in memory. What [`super::run`] drives step by step runs on its own here, so what is found is in what starts,
//! waits, parks, wakes and stops.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::entropy::Entropy;
use crate::config::Config;
use crate::cortex::CortexBuilder;
use crate::cursor::Seq;
use crate::event::{Draft, Event};
use crate::ids::Dot;
use crate::limits::{Limits, PeerLimits};
use crate::log::verify;
use crate::replay::{EventReplayer, Projection, ReplayError};
use crate::testing::until::holds;
use crate::testing::{CommitFault, Federation, simulate};

/// How many things happen to a federation.
const STEPS: u64 = 60;
/// How often a start is tried: more often than writes are made to fail one after another.
const STARTS: usize = 20;
/// An append that takes longer in virtual time is stuck.
const PATIENCE: Duration = Duration::from_secs(120);
/// A run that takes longer in virtual time is stuck: far longer than each of its waits.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// A live event is replayed everywhere within this: the grace for direct links, and then some.
const LIVE: Duration = Duration::from_millis(1500);
/// How many events are measured once all is well.
const LIVE_EVENTS: usize = 6;
/// More than half of the live events are everywhere within this, which is below the pause between heartbeats.
const SOON: Duration = Duration::from_millis(500);
/// The appends of a cortex that has a quota, while it is cut off, and the events of each.
const BACKLOG: (u64, u64) = (30, 4);

/// What happened in a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Happened {
    pub cortexes: usize,
    pub acknowledged: u64,
    pub refused: u64,
    pub cuts: u64,
    pub crashes: u64,
    pub restarts: u64,
    pub delays: u64,
    pub lost_answers: u64,
    pub failed_writes: u64,
    /// Virtual milliseconds until the end.
    pub took_ms: u64,
    /// The digest of all logs in the end.
    pub digest: String,
}

/// Runs a federation of whole cortexes.
///
/// # Errors
/// The rule that was broken: it begins with `W` and its number.
pub fn run_whole(seed: u64) -> Result<Happened, String> {
    simulate(seed, async || {
        let whole = async {
            let mut run = Run::begin(seed).await?;
            for _ in 0..STEPS {
                run.step().await?;
                let moment = run.entropy.below(800);
                sleep(Duration::from_millis(moment)).await;
            }
            run.end().await
        };
        timeout(LONGEST, whole).await.unwrap_or_else(|_| Err("W8: something never ends".to_owned()))
    })
}

/// Counts how often each event was applied.
struct Count;

impl EventReplayer for Count {
    fn name(&self) -> &str {
        "count"
    }

    fn families(&self) -> Vec<String> {
        vec!["count".to_owned()]
    }

    fn replay_event(&mut self, event: &Event, count: &mut Projection<'_>) -> Result<(), ReplayError> {
        let key = event.id.to_bytes();
        let times = count.get("count", &key)?.map_or(0, |times| times[0]);
        Ok(count.put("count", &key, &[times + 1])?)
    }
}

struct Run {
    federation: Federation,
    entropy: Entropy,
    count: usize,
    down: BTreeSet<usize>,
    acknowledged: Vec<Dot>,
    happened: Happened,
    began: Instant,
    /// The events a second that each cortex sends to each other, or takes from it, if there is a quota.
    quota: Option<u64>,
}

impl Run {
    async fn begin(seed: u64) -> Result<Self, String> {
        let mut entropy = Entropy::new(seed);
        let count = 2 + entropy.index(3);
        let quota = entropy.one_in(4).then(|| 5 + entropy.below(20));
        let limits = match entropy.one_in(2) {
            true => Limits { events_out_per_second: quota, ..Limits::default() },
            false => Limits { events_in_per_second: quota, ..Limits::default() },
        };
        let limits = PeerLimits { default: limits, peers: Vec::new() };
        let config = Config { limits, ..Config::default() };
        let build = move |builder: CortexBuilder| builder.config(config.clone()).causal_replayer(Count);
        let federation = Federation::with(count, build).await;
        let federation = federation.map_err(|error| format!("W0: the federation does not start: {error}"))?;
        let happened = Happened { cortexes: count, ..Happened::default() };
        let (down, acknowledged) = (BTreeSet::new(), Vec::new());
        Ok(Self { federation, entropy, count, down, acknowledged, happened, began: Instant::now(), quota })
    }

    async fn step(&mut self) -> Result<(), String> {
        let node = self.entropy.index(self.count);
        match self.entropy.below(20) {
            0 => {
                // No side is empty.
                let (one, other): (Vec<_>, Vec<_>) = (0..self.count)
                    .partition(|&one| one == node || self.entropy.one_in(2) && one != (node + 1) % self.count);
                self.federation.partition(&one, &other);
                self.happened.cuts += 1;
            }
            1 | 2 => self.federation.network().heal(),
            3 => self.crash(node).await,
            // Right after what it acknowledged.
            10 => {
                self.append(node).await?;
                self.crash(node).await;
            }
            4 | 5 => self.restart(node).await?,
            6 => {
                let (other, millis) = (self.other_than(node), self.entropy.below(3000));
                self.federation.network().delay(&name(node), &name(other), Duration::from_millis(millis));
                self.happened.delays += 1;
            }
            7 => {
                let (other, answers) = (self.other_than(node), 1 + self.entropy.index(4));
                self.federation.network().drop_next(&name(node), &name(other), answers);
                self.happened.lost_answers += answers as u64;
            }
            8 if self.entropy.one_in(3) => {
                self.federation.store(node).fail_sync();
                self.happened.failed_writes += 1;
            }
            9 if self.entropy.one_in(3) => {
                let fault = CommitFault::ALL[self.entropy.index(CommitFault::ALL.len())];
                self.federation.store(node).fail_commit_after(self.entropy.index(4), fault);
                self.happened.failed_writes += 1;
            }
            _ => self.append(node).await?,
        }
        Ok(())
    }

    async fn crash(&mut self, node: usize) {
        if self.down.insert(node) {
            self.federation.crash(node).await;
            self.happened.crashes += 1;
        }
    }

    fn other_than(&mut self, node: usize) -> usize {
        (node + 1 + self.entropy.index(self.count - 1)) % self.count
    }

    async fn restart(&mut self, node: usize) -> Result<(), String> {
        self.down.remove(&node);
        self.happened.restarts += 1;
        for _ in 0..STARTS {
            // A write that was made to fail may be one of the start.
            if self.federation.restart(node).await.is_ok() {
                return Ok(());
            }
        }
        Err(format!("W0: {} does not start again", name(node)))
    }

    async fn append(&mut self, node: usize) -> Result<(), String> {
        if self.down.contains(&node) {
            return Ok(());
        }
        let drafts: Vec<_> = (0..1 + self.entropy.below(3))
            .map(|n| Draft::new("whole.happened", format!("{n}")).subject(format!("s/{}", self.entropy.below(4))))
            .collect();
        let cortex = self.federation.cortex(node);
        let appended = timeout(PATIENCE, cortex.log().append(drafts, crate::log::CausalContext::Replayed)).await;
        match appended {
            Ok(Ok(appended)) => {
                self.happened.acknowledged += appended.len() as u64;
                self.acknowledged.extend(appended.into_iter().map(|one| one.dot));
            }
            // A failed write says that it did.
            Ok(Err(_)) => self.happened.refused += 1,
            Err(_) => return Err(format!("W1: an append of {} was answered neither way", name(node))),
        }
        Ok(())
    }

    async fn end(mut self) -> Result<Happened, String> {
        self.federation.network().heal();
        for (one, other) in (0..self.count).flat_map(|one| (0..self.count).map(move |other| (one, other))) {
            self.federation.network().delay(&name(one), &name(other), Duration::ZERO);
            self.federation.network().drop_next(&name(one), &name(other), 0);
        }
        for node in 0..self.count {
            self.federation.store(node).fail_commits([]);
        }
        for node in std::mem::take(&mut self.down) {
            self.restart(node).await?;
        }
        self.federation.heal().await;
        for node in 0..self.count {
            // Two crashes within one event halt its replayer, until an operator has it try again.
            let replayer = self.federation.cortex(node).replayer("count").ok_or("W5: a replayer is gone")?;
            replayer.retry(None).await.map_err(|error| format!("W5: {}: {error}", name(node)))?;
        }
        self.converged().await?;
        self.check().await?;
        self.is_live().await?;
        if let Some(quota) = self.quota {
            self.keeps(quota).await?;
        }
        self.happened.took_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.happened.digest = self.federation.cortex(0).reader().heads().fold().to_string();
        let stopped = timeout(PATIENCE, self.federation.stop()).await;
        stopped.map_err(|_| "W8: the federation does not stop".to_owned())?;
        Ok(self.happened)
    }

    async fn converged(&self) -> Result<(), String> {
        if holds(|| self.federation.is_converged()).await {
            return Ok(());
        }
        Err(format!("W2: the federation does not converge:{}", self.federation.report()))
    }

    async fn in_contact(&self) -> Result<(), String> {
        if holds(|| self.federation.is_in_contact()).await {
            return Ok(());
        }
        Err(format!("W6: not all peers are in contact again:{}", self.federation.report()))
    }

    /// What every log and every replayer must have in the end.
    async fn check(&self) -> Result<(), String> {
        for node in 0..self.count {
            let (name, view) = (name(node), self.federation.cortex(node).reader().clone());
            let report = verify(&view).map_err(|error| format!("W3: {name} cannot be read: {error}"))?;
            if !report.is_clean() {
                return Err(format!("W3: the log of {name} is damaged: {:?}", report.faults));
            }
            for &dot in &self.acknowledged {
                if view.dot(dot).map_err(|error| format!("W3: {error}"))?.is_none() {
                    return Err(format!("W4: {dot} was acknowledged, and {name} does not hold it"));
                }
            }
            let entries = view.entries(Seq::ZERO, usize::MAX, usize::MAX).map_err(|error| format!("W3: {error}"))?;
            let ids = entries.iter().map(|entry| entry.id().map_err(|error| format!("W3: {error}")));
            let ids: Vec<_> = ids.collect::<Result<_, _>>()?;
            let replayer = self.federation.cortex(node).replayer("count").ok_or("W5: a replayer is gone")?;
            let read = replayer.read(move |count| {
                ids.into_iter().map(|id| Ok((id, count.get("count", &id.to_bytes())?))).collect::<Result<Vec<_>, _>>()
            });
            let applied = read.await.map_err(|error| format!("W5: {name}: {error}"))?.value;
            if let Some((id, times)) = applied.iter().find(|(_, times)| times.as_deref() != Some(&[1])) {
                return Err(format!("W5: {name} applied event {id} this often: {times:?}"));
            }
        }
        Ok(())
    }

    /// What one cortex has more than the others reaches them at the pace of their quotas, and does reach them.
    async fn keeps(&mut self, quota: u64) -> Result<(), String> {
        let others: Vec<_> = (1..self.count).collect();
        self.federation.partition(&[0], &others);
        for _ in 0..BACKLOG.0 {
            let drafts = (0..BACKLOG.1).map(|n| Draft::new("whole.happened", format!("{n}"))).collect();
            let appended = self.federation.cortex(0).log().append(drafts, crate::log::CausalContext::Replayed).await;
            appended.map_err(|error| format!("W1: node-0 refuses an append although all is well: {error}"))?;
        }
        let began = Instant::now();
        self.federation.heal().await;
        self.converged().await?;
        let took = began.elapsed();
        // Each event leaves the cortex at least once. The bucket of each of the others holds a second, and two answers are on their way
        // before either is paid for.
        let least = (BACKLOG.0 * BACKLOG.1 / others.len() as u64).saturating_sub(3 * quota) / quota;
        if took < Duration::from_secs(least) {
            return Err(format!(
                "W9: a quota of {quota} events a second let a backlog pass within {took:?}, not {least} s"
            ));
        }
        Ok(())
    }

    /// In a federation where all is well, an event is replayed everywhere soon.
    async fn is_live(&mut self) -> Result<(), String> {
        // A sync that was made to fail fails now, and all peers are in contact again after that.
        for node in 0..self.count {
            self.append(node).await?;
        }
        self.converged().await?;
        self.in_contact().await?;
        // One path of each loses an answer, and no peer is woken: they try again on their own.
        for node in 0..self.count {
            let other = self.other_than(node);
            self.federation.network().drop_next(&name(node), &name(other), 1);
        }
        for node in 0..self.count {
            self.append(node).await?;
        }
        self.converged().await?;
        self.in_contact().await?;
        let mut late = Vec::new();
        for node in (0..self.count).cycle().take(LIVE_EVENTS) {
            let before = self.acknowledged.len();
            self.append(node).await?;
            if self.acknowledged.len() == before {
                return Err(format!("W1: {} refuses an append although all is well", name(node)));
            }
            let began = Instant::now();
            self.converged().await?;
            let took = began.elapsed();
            if took > LIVE {
                return Err(format!("W7: an event of {} was everywhere only after {took:?}", name(node)));
            }
            if took > SOON {
                late.push(took);
            }
        }
        if late.len() * 2 > LIVE_EVENTS {
            return Err(format!("W7: of {LIVE_EVENTS} live events, these took long: {late:?}"));
        }
        Ok(())
    }
}

fn name(node: usize) -> String {
    format!("node-{node}")
}
