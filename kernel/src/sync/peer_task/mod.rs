//! One peer's task: waits for the first of a command, an answer or a timer, feeds the machine, does what it wants.
//!
//! `commands` is what others ask of it, `inputs` what comes back to it, `actions` what it does for the machine, `debts` what it asks
//! for next to that, `quota` what the peer may cost, and `shown` what it reports.

mod actions;
mod commands;
mod debts;
mod inputs;
mod measures;
mod quota;
mod shown;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, mpsc, watch};
use tokio::time::Instant;

pub(super) use commands::Command;
use inputs::Input;
use measures::Measures;

use super::batch_budget::BatchBudget;
use super::feed::{Feed, SharedAdvertised, lock};
use super::metered::Inbound;
use super::notices::Notices;
use super::slowed::Slowed;
use super::staleness::Staleness;
use super::statuses::{Live, Statuses};
use crate::config::{FederationMode, PeerConfig, PeerMode};
use crate::health::Failure;
use crate::ids::{CortexId, LogId};
use crate::limits::PeerLimits;
use crate::log::{Ahead, LogHandle, SentQuery};
use crate::machine::{IdentityContext, Now, PartsPace, PartsRound, PeerMachine, Phase};
use crate::measure::PeerLabels;
use crate::mutant::{self, Mutant};
use crate::protocol::MAX_WAIT;
use crate::receipts::LogReport;
use crate::state::{PeerState, State};
use crate::time::Timestamp;
use crate::transport::{Link, Transport};

/// How often the clock of a peer that stays in contact is read.
const CLOCK_EVERY: Duration = Duration::from_secs(600);

/// What the task waits for next to its commands.
type Waited<T> = Option<Pin<Box<dyn Future<Output = T> + Send>>>;

pub(super) struct PeerTask {
    peer: PeerConfig,
    log: LogHandle,
    state: State,
    transports: Vec<Arc<dyn Transport>>,
    link: Option<Arc<dyn Link>>,
    /// The log that this cortex belonged to when the link was made.
    link_log: Option<LogId>,
    machine: PeerMachine,
    statuses: Arc<Statuses>,
    live: watch::Receiver<Live>,
    status: PeerState,
    started: Instant,
    requests: u64,
    in_flight: Waited<Input>,
    timer: Option<(u64, Instant)>,
    asked: Option<SentQuery>,
    /// What was computed of the answer that came last.
    ahead: Ahead,
    feed: Option<Feed>,
    advertised: SharedAdvertised,
    refreshing: Waited<()>,
    /// The cortex whose clock it is, and how far that is ahead of ours in milliseconds; nothing where it could not be read.
    clock: Waited<Option<(CortexId, i64)>>,
    clock_read: Instant,
    /// What exactly failed last, with the rule and the event where there is one.
    detail: Option<String>,
    batch_budget: BatchBudget,
    overdue: Staleness,
    pinning: Arc<Mutex<()>>,
    /// Whether there is too little space for more.
    low: watch::Receiver<bool>,
    /// What this cortex does in its federation.
    federation: watch::Receiver<FederationMode>,
    /// What peers may cost.
    limits: watch::Receiver<Arc<PeerLimits>>,
    /// The quotas that the open question was asked under.
    quotas: Arc<PeerLimits>,
    inbound: Arc<Inbound>,
    slowed: Slowed,
    measures: Measures,
    notices: Notices,
    /// Whether the store may keep more of the peer than the status says.
    stale: bool,
    parts: PartsPace,
    /// Whether the peer proved who it is, at its last identity.
    is_proven: bool,
    /// A round of questions for missing parts: of which cortex, and what it led to.
    asking_parts: Waited<(CortexId, (PartsRound, Option<Failure>))>,
}

/// What all peers' tasks have in common.
#[derive(Clone)]
pub(super) struct Common {
    pub(super) interval: Duration,
    pub(super) log: LogHandle,
    pub(super) transports: Vec<Arc<dyn Transport>>,
    pub(super) statuses: Arc<Statuses>,
    pub(super) pinning: Arc<Mutex<()>>,
    pub(super) low: watch::Receiver<bool>,
    pub(super) federation: watch::Receiver<FederationMode>,
    pub(super) limits: watch::Receiver<Arc<PeerLimits>>,
    pub(super) labels: Arc<PeerLabels>,
}

impl PeerTask {
    pub(in crate::sync) fn new(peer: PeerConfig, status: PeerState, common: Common) -> Self {
        let Common { interval, log, transports, statuses, pinning, low, federation, limits, labels } = common;
        let quotas = Arc::clone(&limits.borrow());
        let local = log.reader().local();
        let cortex = local.name;
        let measures = Measures { cortex, label: labels.of(&peer.name), fetch: None, ingest: None };
        let context = IdentityContext {
            own: local.cortex_id,
            pin: status.cortex_id,
            statement: status.key_statement,
            expected: peer.cortex,
            pinned_elsewhere: Vec::new(),
            log: local.log,
            protocols: local.protocols,
            unproven: peer.unproven,
        };
        let machine = PeerMachine::new(interval.min(MAX_WAIT), context, status.health.clone());
        let task = Self {
            state: State::new(log.clone()),
            peer,
            log,
            transports,
            link: None,
            is_proven: false,
            link_log: None,
            machine,
            live: statuses.watch_live(),
            statuses,
            status,
            started: Instant::now(),
            requests: 0,
            in_flight: None,
            timer: None,
            asked: None,
            ahead: Ahead::default(),
            feed: None,
            advertised: SharedAdvertised::default(),
            refreshing: None,
            clock: None,
            clock_read: Instant::now(),
            detail: None,
            batch_budget: BatchBudget::default(),
            overdue: Staleness::default(),
            pinning,
            low,
            federation,
            quotas,
            limits,
            inbound: Arc::default(),
            slowed: Slowed::default(),
            measures,
            notices: Notices::default(),
            stale: false,
            parts: PartsPace::default(),
            asking_parts: None,
        };
        task.show();
        task
    }

    pub(in crate::sync) async fn run(
        mut self,
        mut inbox: mpsc::Receiver<Command>,
        mut reports: watch::Receiver<Option<LogReport>>,
    ) {
        self.space();
        if self.status.mode == PeerMode::Sync {
            self.machine.resume();
        }
        let mut durable = self.log.reader().watch_durable();
        let mut rewrites = self.log.reader().watch_rewrites();
        let mut owed = self.log.reader().watch_owed();
        let mut access = self.log.reader().watch_access();
        self.owes(*owed.borrow_and_update());
        loop {
            self.meter();
            self.act().await;
            self.publish().await;
            let timer = self.timer;
            let asked = self.refreshing.is_none() && lock(&self.advertised).is_open();
            let in_contact = self.in_contact();
            let asks_parts = in_contact && self.asking_parts.is_none() && self.federation.borrow().pulls();
            let parts_due = self.parts.due().map(|due| (0, self.started + due));
            // In this order: the timer, which is due once each time it is set; what others ask for, which strangers can cause without
            // end; what is due; and last what may always be ready while a peer sends without a pause.
            tokio::select! {
                biased;
                () = sleep_until(timer) => {
                    if let Some((token, _)) = self.timer.take().filter(|_| !mutant::is(Mutant::TimerForgotten)) {
                        self.machine.handle_timer(self.now(), token);
                    }
                }
                command = inbox.recv() => match command {
                    Some(command) => self.command(command).await,
                    None => return self.leave().await,
                },
                Ok(()) = self.low.changed() => self.space(),
                Ok(()) = self.federation.changed() => {
                    self.close_feed();
                    self.machine.ask_again(self.now());
                }
                Ok(()) = self.limits.changed() => self.limits_changed(),
                // What was advertised to the peer is not true any more.
                Ok(()) = rewrites.changed() => {
                    self.stale = true;
                    self.close_feed();
                    self.machine.ask_again(self.now());
                }
                () = sleep_until(self.overdue.due().map(|due| (0, self.started + due))) => {
                    self.overdue.look(self.started.elapsed());
                }
                () = sleep_until(self.slowed.due().map(|due| (0, self.started + due))) => {
                    self.slowed.look(self.started.elapsed());
                }
                () = sleep_until(self.notices.due().map(|due| (0, self.started + due))) => self.report_absence(),
                Ok(()) = reports.changed() => {
                    if let Some(report) = *reports.borrow_and_update() {
                        self.machine.handle_report(report);
                    }
                }
                Ok(()) = owed.changed() => {
                    let owed = *owed.borrow_and_update();
                    self.owes(owed);
                }
                // More may be allowed from the peer now.
                Ok(()) = access.changed() => {
                    access.borrow_and_update();
                    self.parts.begin_again(self.started.elapsed());
                }
                () = sleep_until(parts_due), if asks_parts => self.ask_for_parts(),
                (to, round) = wait_for(&mut self.asking_parts) => {
                    self.asking_parts = None;
                    self.took_parts(to, round);
                }
                read = wait_for(&mut self.clock) => {
                    self.clock = None;
                    if let Some((_, skew)) = read.filter(|(cortex, _)| self.machine.peer() == Some(*cortex)) {
                        self.status.skew_ms = Some(skew);
                    }
                }
                () = tokio::time::sleep_until(self.clock_read + CLOCK_EVERY), if in_contact && self.clock.is_none() => {
                    self.read_clock();
                }
                () = wait_for(&mut self.refreshing) => {
                    self.refreshing = None;
                    // What changed while it was on its way.
                    durable.mark_changed();
                }
                Ok(()) = durable.changed(), if asked => self.refresh(),
                Ok(()) = self.live.changed(), if asked => self.refresh(),
                input = wait_for(&mut self.in_flight) => {
                    self.in_flight = None;
                    self.overdue.over();
                    // Checking who is pinned elsewhere and pinning are one step among all peers: or two names for one
                    // cortex, met at the same moment, would both pin it.
                    let pinning = Arc::clone(&self.pinning);
                    let alone = match input {
                        Input::Identity(..) => Some(pinning.lock().await),
                        _ => None,
                    };
                    self.input(input);
                    self.act().await;
                    if alone.is_some() {
                        // The next one that checks must see it.
                        self.publish().await;
                    }
                }
            }
        }
    }

    /// Keeps when it was last reached, which is stored now and then only.
    async fn leave(&mut self) {
        if self.machine.health().last_success.is_none() {
            return;
        }
        let detail = self.status.detail.as_deref();
        if let Err(error) = self.state.set_health(&self.peer.name, self.machine.health(), detail).await {
            tracing::debug!(peer = %self.peer.name, %error, "a peer's health could not be stored");
        }
    }

    fn in_contact(&self) -> bool {
        matches!(self.machine.phase(), Phase::CatchingUp | Phase::Live)
    }

    fn now(&self) -> Now {
        Now { monotonic: self.started.elapsed(), wall: Timestamp::now() }
    }
}

async fn wait_for<T>(waited: &mut Waited<T>) -> T {
    match waited {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(timer: Option<(u64, Instant)>) {
    match timer {
        Some((_, at)) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
