//! One peer's task: waits for the first of a command, an answer or a timer, feeds the machine, does what it wants.

use std::future::Future;
use std::ops::RangeInclusive;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio::time::Instant;

use super::feed::{Feed, Question, SharedTold, lock};
use super::inspect::{MAX_QUESTIONS, inspect};
use super::overdue::Overdue;
use super::portion::Portion;
use super::probe::must_be_this_node;
use super::statuses::{Live, Statuses};
use crate::config::{FederationMode, PeerConfig, PeerMode};
use crate::entropy;
use crate::health::{ErrorCategory, Failure, PeerHealth};
use crate::ids::{CortexId, Origin, PeerName};
use crate::log::{Asked, IngestError, LogHandle, LogView};
use crate::machine::{Action, IdentityContext, IngestOutcome, Inspection, Lag, News, Now, PeerMachine, Phase, Source};
use crate::measure::{CORTEX, EXCHANGE_FAILURES, FETCH_SECONDS, INGEST_SECONDS, PeerLabels};
use crate::protocol::{EventBatch, FetchReply, Identity, MAX_WAIT, Pushed, RequestId, Scope};
use crate::state::{PeerState, State, StateError};
use crate::time::{Timestamp, skew_ms};
use crate::transport::{Link, Transport, TransportError};

/// How long a peer may take to say who it is.
pub(super) const IDENTIFY_DEADLINE: Duration = Duration::from_secs(15);
/// How long news of what we hold may be on their way.
const REFRESH_DEADLINE: Duration = Duration::from_secs(5);
/// News of what we hold are at least this far apart, and further where telling them takes its time; what changes in
/// between goes with the next. Within a peer's grace for what comes to us by a shorter road.
const REFRESH_APART: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_millis(200);
/// So many cortexes are told of before they wrote anything.
const TELL_ALL: usize = 64;
/// How often the clock of a peer that stays in contact is read.
const CLOCK_EVERY: Duration = Duration::from_secs(600);
/// The kernel's own, harder deadline: a transport that ignores its deadline is dropped after it.
const HARD: Duration = Duration::from_secs(5);

type Done = oneshot::Sender<Result<(), StateError>>;

pub(super) enum Command {
    Pause(Done),
    Resume(Done),
    Reset(Done),
    Wake(Done),
    /// It asked us something.
    Heard,
    Anew(Done),
    /// The configuration was read again: this is the interval now, and whether whatever is open must be opened anew.
    Reload(Duration, bool, Done),
}

enum Input {
    /// Who it is, and its clock minus ours in milliseconds.
    Identity(u64, Result<(Identity, i64), TransportError>),
    /// With how long it took, unless it was waited for.
    Answer(u64, Box<(Feed, Asked, Source)>, Option<Duration>, Result<Pushed, TransportError>),
    NoLink(u64, TransportError),
    Inspected(u64, Result<(), Failure>),
    Ingested(u64, Option<Box<Feed>>, Stored, Result<crate::log::Ingested, IngestError>),
}

/// What a batch was, and how long it took.
struct Stored {
    events: u64,
    bytes: u64,
    took: Duration,
}

type InFlight = Pin<Box<dyn Future<Output = Input> + Send>>;
type Refreshing = Pin<Box<dyn Future<Output = ()> + Send>>;
/// Whose clock it is, and how far it is ahead of ours in milliseconds; nothing where it could not be read.
type Clock = Pin<Box<dyn Future<Output = Option<(CortexId, i64)>> + Send>>;

pub(super) struct PeerTask {
    peer: PeerConfig,
    log: LogHandle,
    state: State,
    transports: Vec<Arc<dyn Transport>>,
    link: Option<Arc<dyn Link>>,
    machine: PeerMachine,
    statuses: Arc<Statuses>,
    live: watch::Receiver<Live>,
    status: PeerState,
    started: Instant,
    requests: u64,
    in_flight: Option<InFlight>,
    timer: Option<(u64, Instant)>,
    asked: Option<Asked>,
    feed: Option<Feed>,
    told: SharedTold,
    refreshing: Option<Refreshing>,
    clock: Option<Clock>,
    clock_read: Instant,
    /// What exactly failed last, with the rule and the event where there is one.
    detail: Option<String>,
    portion: Portion,
    overdue: Overdue,
    pinning: Arc<Mutex<()>>,
    /// Whether there is too little space for more.
    low: watch::Receiver<bool>,
    /// What this cortex does in its federation.
    federation: watch::Receiver<FederationMode>,
    measures: Measures,
    /// What was said last to be done about its failure.
    explained: Option<&'static str>,
    /// Whether the store may keep more of the peer than the status says.
    stale: bool,
}

/// How long this peer takes. Made when there is something to measure.
struct Measures {
    cortex: String,
    label: String,
    fetch: Option<metrics::Histogram>,
    ingest: Option<metrics::Histogram>,
}

impl Measures {
    fn fetched(&mut self, took: Duration) {
        let made =
            || metrics::histogram!(FETCH_SECONDS.name, CORTEX => self.cortex.clone(), "peer" => self.label.clone());
        self.fetch.get_or_insert_with(made).record(took);
    }

    fn ingested(&mut self, took: Duration) {
        let made =
            || metrics::histogram!(INGEST_SECONDS.name, CORTEX => self.cortex.clone(), "peer" => self.label.clone());
        self.ingest.get_or_insert_with(made).record(took);
    }

    fn failed(&self, category: ErrorCategory) {
        let cortex = self.cortex.clone();
        metrics::counter!(EXCHANGE_FAILURES.name, CORTEX => cortex, "category" => category.as_str()).increment(1);
    }
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
    pub(super) labels: Arc<PeerLabels>,
}

impl PeerTask {
    pub(super) fn new(peer: PeerConfig, status: PeerState, common: Common) -> Self {
        let Common { interval, log, transports, statuses, pinning, low, federation, labels } = common;
        let cortex = log.view().local().name;
        let measures = Measures { cortex, label: labels.of(&peer.name), fetch: None, ingest: None };
        let context = IdentityContext {
            own: log.view().local().cortex_id,
            pin: status.cortex_id,
            expected: peer.cortex,
            pinned_elsewhere: Vec::new(),
        };
        let machine = PeerMachine::new(interval.min(MAX_WAIT), context, status.health.clone());
        let task = Self {
            state: State::new(log.clone()),
            peer,
            log,
            transports,
            link: None,
            machine,
            live: statuses.watch_live(),
            statuses,
            status,
            started: Instant::now(),
            requests: 0,
            in_flight: None,
            timer: None,
            asked: None,
            feed: None,
            told: SharedTold::default(),
            refreshing: None,
            clock: None,
            clock_read: Instant::now(),
            detail: None,
            portion: Portion::default(),
            overdue: Overdue::default(),
            pinning,
            low,
            federation,
            measures,
            explained: None,
            stale: false,
        };
        task.show();
        task
    }

    pub(super) async fn run(mut self, mut inbox: mpsc::Receiver<Command>) {
        self.space();
        if self.status.mode == PeerMode::Sync {
            self.machine.resume();
        }
        let mut durable = self.log.view().watch_durable();
        let mut rewrites = self.log.view().watch_rewrites();
        loop {
            self.act().await;
            self.publish().await;
            let timer = self.timer;
            let told = self.refreshing.is_none() && lock(&self.told).is_open();
            let in_contact = self.in_contact();
            tokio::select! {
                command = inbox.recv() => match command {
                    Some(command) => self.command(command).await,
                    None => return self.leave().await,
                },
                () = sleep_until(self.overdue.due().map(|due| (0, self.started + due))) => {
                    self.overdue.look(self.started.elapsed());
                }
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
                () = wait_for_refresh(&mut self.refreshing) => {
                    self.refreshing = None;
                    // What changed while it was on its way.
                    durable.mark_changed();
                }
                read = wait_for_clock(&mut self.clock) => {
                    self.clock = None;
                    if let Some((_, skew)) = read.filter(|(cortex, _)| self.machine.peer() == Some(*cortex)) {
                        self.status.skew_ms = Some(skew);
                    }
                }
                () = tokio::time::sleep_until(self.clock_read + CLOCK_EVERY), if in_contact && self.clock.is_none() => {
                    self.read_clock();
                }
                Ok(()) = self.low.changed() => self.space(),
                Ok(()) = self.federation.changed() => {
                    self.close_feed();
                    self.machine.ask_anew(self.now());
                }
                // What the peer was told that we hold is not true any more.
                Ok(()) = rewrites.changed() => {
                    self.stale = true;
                    self.close_feed();
                    self.machine.ask_anew(self.now());
                }
                Ok(()) = durable.changed(), if told => self.refresh(),
                Ok(()) = self.live.changed(), if told => self.refresh(),
                () = sleep_until(timer) => {
                    if let Some((token, _)) = self.timer.take() {
                        self.machine.handle_timer(self.now(), token);
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

    async fn command(&mut self, command: Command) {
        // What the store keeps may have been changed beside this task.
        self.stale = true;
        let (done, result) = match command {
            Command::Pause(done) => {
                self.halt();
                self.status.mode = PeerMode::Paused;
                self.machine.pause();
                (done, Ok(()))
            }
            Command::Resume(done) => {
                self.status.mode = PeerMode::Sync;
                self.machine.resume();
                (done, Ok(()))
            }
            Command::Reset(done) => {
                self.halt();
                self.link = None;
                let result = self.state.reset_peer(&self.peer.name).await;
                self.machine.reset();
                (done, result)
            }
            Command::Heard => return self.machine.heard(self.now()),
            Command::Wake(done) => {
                self.machine.wake();
                (done, Ok(()))
            }
            Command::Reload(interval, reconnect, done) => {
                self.machine.set_interval(interval.min(MAX_WAIT));
                // What could not be dialled as it was configured may be possible now.
                let unusable = self.machine.health().last_error == Some(ErrorCategory::Configuration);
                if reconnect || unusable && self.machine.phase() == Phase::Halted {
                    self.halt();
                    self.link = None;
                    self.machine.reconnect();
                }
                (done, Ok(()))
            }
            Command::Anew(done) => {
                self.close_feed();
                self.machine.ask_anew(self.now());
                (done, Ok(()))
            }
        };
        self.act().await;
        self.publish().await;
        // The caller may have given up waiting.
        let _ = done.send(result);
    }

    /// Pulls only while there is space for it.
    fn space(&mut self) {
        if *self.low.borrow_and_update() {
            self.halt();
            self.machine.hold();
        } else {
            self.machine.release();
        }
    }

    fn halt(&mut self) {
        self.in_flight = None;
        self.overdue.over();
        self.timer = None;
        self.close_feed();
    }

    /// Ends what the peer may still be sending.
    fn close_feed(&mut self) {
        self.feed = None;
        self.refreshing = None;
        *lock(&self.told) = Default::default();
    }

    fn input(&mut self, input: Input) {
        let (now, chance) = (self.now(), entropy::random() as u64);
        self.detail = None;
        match input {
            Input::Identity(number, answer) => {
                let answer = answer.map_err(|error| self.note(&error)).map(|(identity, skew)| {
                    let (min, max) = (identity.protocol_min, identity.protocol_max);
                    // Shown if that is not who it must be.
                    self.detail =
                        Some(format!("it is cortex {}, and speaks protocols {min} to {max}", identity.cortex_id));
                    self.status.skew_ms = Some(skew);
                    identity
                });
                self.machine.set_pinned_elsewhere(self.statuses.pinned_under_others(&self.peer.name));
                self.machine.handle_identity(now, number, answer, chance);
            }
            Input::NoLink(number, error) => {
                let category = self.note(&error);
                self.machine.handle_reply(now, number, Source::Asked, Err(category), chance);
            }
            Input::Answer(number, kept, took, answer) => {
                let (mut feed, asked, source) = *kept;
                if let (Some(took), Ok(Pushed::Reply(reply))) = (took, &answer) {
                    self.measures.fetched(took);
                    if let FetchReply::Batch(batch) = reply {
                        let bytes = batch.events.iter().map(|(_, record)| record.len() as u64).sum();
                        if self.portion.came(bytes, took) {
                            feed.end();
                        }
                    }
                }
                match (&answer, took) {
                    (Ok(_), None) => self.portion.caught_up(),
                    (Err(_), _) if feed.was_late() => self.portion.late(),
                    _ => {}
                }
                self.feed = Some(feed);
                self.asked = Some(asked);
                match answer {
                    Ok(Pushed::Heartbeat(heartbeat)) => self.machine.handle_heartbeat(now, number, &heartbeat, chance),
                    Ok(Pushed::Reply(reply)) => {
                        if let FetchReply::Refused(refusal) = &reply {
                            self.detail = Some(refusal.to_string());
                            tracing::debug!(peer = %self.peer.name, "the peer refused: {refusal}");
                        }
                        self.machine.handle_reply(now, number, source, Ok(reply), chance);
                    }
                    Err(error) => {
                        let category = self.note(&error);
                        self.machine.handle_reply(now, number, Source::Asked, Err(category), chance);
                    }
                }
            }
            Input::Inspected(number, outcome) => {
                let outcome = outcome.map_err(|failure| self.found(failure));
                if outcome == Err(ErrorCategory::Timeout) {
                    self.portion.late();
                }
                self.machine.handle_inspected(now, number, outcome, chance);
            }
            Input::Ingested(number, feed, batch, result) => {
                self.stale = true;
                self.feed = feed.map(|feed| *feed);
                self.count(&batch, &result);
                self.detail = result.as_ref().err().map(ToString::to_string);
                let outcome = match result {
                    Ok(ingested) => IngestOutcome::Done(ingested),
                    Err(IngestError::NotAsked) => IngestOutcome::NotAsked,
                    Err(IngestError::Gap { .. } | IngestError::OtherQuestion { .. }) => IngestOutcome::Gap,
                    Err(IngestError::Fork { origin, counter }) => IngestOutcome::Fork(origin, counter),
                    Err(error) => {
                        tracing::debug!(peer = %self.peer.name, %error, "a batch was not taken");
                        if error.is_hole() { IngestOutcome::Hole } else { IngestOutcome::Failed(error.category()) }
                    }
                };
                self.machine.handle_ingested(now, number, outcome, chance);
            }
        }
    }

    fn count(&mut self, batch: &Stored, result: &Result<crate::log::Ingested, IngestError>) {
        let received = &mut self.status.received;
        received.events += batch.events;
        received.bytes += batch.bytes;
        if let Ok(ingested) = result {
            received.stored += ingested.stored as u64;
            self.measures.ingested(batch.took);
        }
        if batch.events > 0 {
            self.status.last_received = Some(Timestamp::now());
        }
    }

    /// Keeps what exactly failed, for the log and the peer's state, and gives its kind to the machine.
    fn note(&mut self, error: &TransportError) -> ErrorCategory {
        self.found(error.clone().into())
    }

    fn found(&mut self, failure: Failure) -> ErrorCategory {
        self.detail = Some(failure.detail);
        failure.category
    }

    /// Carries out everything the machine wants now.
    async fn act(&mut self) {
        while let Some(action) = self.machine.poll_action() {
            match action {
                Action::Identify { number } => self.identify(number),
                Action::Pin { cortex_id } => {
                    self.stale = true;
                    match self.state.pin(&self.peer.name, cortex_id, &self.statuses.names()).await {
                        Ok(before) if before.is_empty() => {
                            tracing::info!(peer = %self.peer.name, %cortex_id, "first contact: pinned");
                        }
                        Ok(before) => {
                            let before = before.iter().map(PeerName::as_str).collect::<Vec<_>>().join(", ");
                            tracing::warn!(
                                peer = %self.peer.name, %cortex_id,
                                "pinned to the cortex that `{before}` was pinned to, which is not configured any more: that pin is forgotten"
                            );
                        }
                        Err(error) => {
                            tracing::error!(peer = %self.peer.name, %error, "a pin could not be stored");
                            self.detail = Some(error.to_string());
                            self.machine.handle_pin_failed(self.now(), entropy::random() as u64);
                        }
                    }
                }
                Action::Fetch { number, to, by_clock, anew, own, wait } => {
                    let scope = if own { self.own() } else { self.scope() };
                    self.fetch(number, to, by_clock, anew, scope, wait);
                }
                Action::Inspect { number, to, origin, counter } => self.inspect(number, to, origin, counter),
                Action::Ingest { number, batch } => self.ingest(number, *batch),
                Action::Timer { token, at } => self.timer = Some((token, self.started + at)),
                Action::Save { health, news } => {
                    self.stale = true;
                    if let News::Failed(category) | News::StillFailing(category) = news {
                        self.close_feed();
                        self.measures.failed(category);
                        if matches!(category, ErrorCategory::Tls | ErrorCategory::Auth) {
                            // What was read from files may have been replaced by now.
                            self.link = None;
                        }
                    }
                    match news {
                        News::Failed(_) | News::StillFailing(_) => {
                            let breach = self.machine.breach().map(|rule| rule.to_string());
                            self.status.detail = breach.or_else(|| self.detail.take()).filter(|why| !why.is_empty());
                        }
                        News::Recovered | News::None => self.status.detail = None,
                    }
                    self.tell(news, &health);
                    let detail = self.status.detail.as_deref();
                    if let Err(error) = self.state.set_health(&self.peer.name, &health, detail).await {
                        tracing::error!(peer = %self.peer.name, %error, "a peer's health could not be stored");
                    }
                }
            }
        }
    }

    fn link(&mut self) -> Result<Arc<dyn Link>, TransportError> {
        if let Some(link) = &self.link {
            return Ok(Arc::clone(link));
        }
        let link = link_to(&self.transports, &self.peer, self.log.view())?;
        self.link = Some(Arc::clone(&link));
        Ok(link)
    }

    fn identify(&mut self, number: u64) {
        let link = self.link();
        self.clock = None;
        self.clock_read = Instant::now();
        let (view, peer) = (self.log.view().clone(), self.peer.name.clone());
        self.in_flight = Some(Box::pin(async move {
            let answer = async {
                let link = link?;
                let answer = who_and_when(&*link).await?;
                if answer.0.cortex_id == view.local().cortex_id {
                    must_be_this_node(&*link, &view, &peer).await?;
                }
                Ok(answer)
            };
            Input::Identity(number, answer.await)
        }));
    }

    /// Reads the peer's clock anew, beside whatever else is asked: a contact may last for months.
    fn read_clock(&mut self) {
        self.clock_read = Instant::now();
        let Some(link) = self.link.clone() else { return };
        self.clock = Some(Box::pin(async move {
            let (identity, skew) = who_and_when(&*link).await.ok()?;
            Some((identity.cortex_id, skew))
        }));
    }

    fn fetch(&mut self, number: u64, to: CortexId, by_clock: bool, anew: bool, scope: Scope, wait: Duration) {
        self.requests += 1;
        self.overdue.asked(self.started.elapsed(), wait);
        let view = self.log.view().clone();
        let request = RequestId { process: view.process(), number: self.requests };
        let (peer, direct) = (self.peer.name.clone(), self.direct());
        let (max_bytes, patience) = (self.portion.bytes(), self.portion.patience());
        let question = Question { view, peer, to, by_clock, anew, wait, scope, direct, request, max_bytes, patience };
        let feed = match self.feed.take() {
            Some(feed) => Ok(feed),
            None => self.link().map(|link| Feed::new(link, Arc::clone(&self.told))),
        };
        // Whoever has caught up waits for something new, and not for the peer.
        let timed = wait.is_zero() || self.machine.phase() == Phase::CatchingUp;
        self.in_flight = Some(Box::pin(async move {
            match feed {
                Ok(mut feed) => {
                    let began = Instant::now();
                    let (asked, source, answer) = feed.next(&question).await;
                    let took = timed.then(|| began.elapsed());
                    Input::Answer(number, Box::new((feed, asked, source)), took, answer)
                }
                Err(error) => Input::NoLink(number, error),
            }
        }));
    }

    fn inspect(&mut self, number: u64, to: CortexId, origin: Origin, counter: u64) {
        self.close_feed();
        let first = self.requests + 1;
        self.requests += MAX_QUESTIONS;
        let (link, log, peer, portion) = (self.link(), self.log.clone(), self.peer.name.clone(), self.portion);
        self.in_flight = Some(Box::pin(async move {
            let outcome = match link {
                Ok(link) => inspect(link, log, peer, to, Inspection::new(origin, counter), first, portion).await,
                Err(error) => Err(error.into()),
            };
            Input::Inspected(number, outcome)
        }));
    }

    /// A publisher wants back what it wrote and has lost, and nothing else.
    fn scope(&mut self) -> Scope {
        if self.federation.borrow_and_update().pulls() { Scope::All } else { self.own() }
    }

    fn own(&self) -> Scope {
        Scope::Cortex(self.log.view().local().cortex_id)
    }

    /// Whom we pull ourselves. Where they are many, those alone who ever wrote anything: of the others there is nothing to
    /// hold back, and among a thousand peers that say nothing each would be told of all others.
    fn direct(&mut self) -> Vec<CortexId> {
        let live = self.live.borrow_and_update();
        if live.len() <= TELL_ALL { live.to_vec() } else { self.log.view().authors_among(&live) }
    }

    /// Tells the peer what we hold by now, so that it does not send it.
    fn refresh(&mut self) {
        let direct = self.direct();
        let view = self.log.view();
        let news = lock(&self.told).news(view.local().cortex_id, &view.heads(), direct);
        let (Some(refresh), Some(link)) = (news, self.link.clone()) else { return };
        let peer = self.peer.name.clone();
        self.refreshing = Some(Box::pin(async move {
            let began = Instant::now();
            if let Err(error) = hard(REFRESH_DEADLINE, link.refresh(&refresh, REFRESH_DEADLINE)).await {
                tracing::debug!(%peer, category = %error.category(), "what we hold could not be told: {error}");
            }
            let apart = (began.elapsed() * 4).clamp(*REFRESH_APART.start(), *REFRESH_APART.end());
            tokio::time::sleep(apart).await;
        }));
    }

    fn ingest(&mut self, number: u64, batch: EventBatch) {
        let (log, peer, asked) = (self.log.clone(), self.peer.name.clone(), self.asked.take());
        let mut feed = self.feed.take().map(Box::new);
        self.in_flight = Some(Box::pin(async move {
            let (holder, heads) = (batch.from, batch.heads.clone());
            let bytes = batch.events.iter().map(|(_, record)| record.len() as u64).sum();
            let mut stored = Stored { events: batch.events.len() as u64, bytes, took: Duration::ZERO };
            let began = Instant::now();
            let ingested = async {
                match asked {
                    Some(asked) => log.ingest_visibly(peer, asked, batch).await,
                    None => Err(IngestError::NotAsked),
                }
            };
            let result = match &mut feed {
                // The next answer is received and decoded while this one is stored.
                Some(feed) => tokio::select! {
                    result = ingested => result,
                    () = feed.read_ahead() => Err(IngestError::NotAsked),
                },
                None => ingested.await,
            };
            if result.is_ok() {
                let view = log.view().clone();
                let own = view.local().cortex_id;
                if heads.iter().any(|(origin, _)| origin.cortex() == own) {
                    // An event that is acknowledged later is no loss, so an error here is none.
                    let noted = tokio::task::spawn_blocking(move || view.acknowledge(holder, &heads)).await;
                    if let Ok(Err(error)) = noted {
                        tracing::debug!(%error, "what the peer holds could not be compared");
                    }
                }
            }
            stored.took = began.elapsed();
            Input::Ingested(number, feed, stored, result)
        }));
    }

    /// The first failure of a kind is explained, with its remedy; repetitions are brief; recovery is told.
    fn tell(&mut self, news: News, health: &PeerHealth) {
        let name = &self.peer.name;
        let why = self.status.detail.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
        let remedy = health.remedy(Timestamp::now());
        // One that may pass is explained again once it lasts.
        let explained = std::mem::replace(&mut self.explained, remedy);
        match news {
            News::Failed(c) | News::StillFailing(c) if news == News::Failed(c) || explained != remedy => {
                tracing::warn!(peer = %name, category = %c, "peer {name} {}{why}; {}", c.reason(), remedy.unwrap_or_default())
            }
            News::Failed(_) => {}
            News::StillFailing(c) => tracing::info!(peer = %name, category = %c, "peer {name} still fails, {c}{why}"),
            News::Recovered => tracing::info!(peer = %name, "peer {name} reachable again"),
            News::None => {}
        }
    }

    /// Shows the peer's status, with what the store keeps of it.
    async fn publish(&mut self) {
        if !std::mem::take(&mut self.stale) {
            return self.show();
        }
        let (state, peer) = (self.state.clone(), self.peer.clone());
        let stored = tokio::task::spawn_blocking(move || state.peer_state(&peer.name, &peer.endpoint)).await;
        // What the store keeps is the truth; if it cannot be read, the last known values stand.
        if let Ok(Ok(stored)) = stored {
            let PeerState { mode, skew_ms, last_received, received, .. } = self.status;
            self.status =
                PeerState { mode, skew_ms, last_received, received, detail: self.status.detail.take(), ..stored };
        }
        self.show();
    }

    fn show(&self) {
        let mut status = self.status.clone();
        // Of what is not pulled nobody lags behind.
        let lag = self.machine.lag().filter(|_| self.federation.borrow().pulls());
        (status.phase, status.lag) = self.overdue.shown(self.machine.phase(), lag);
        let withheld = status.cortex_id.map(|cortex| self.log.view().withheld_from(cortex));
        status.withheld = withheld.unwrap_or_default();
        // The cursor passes what is withheld.
        let withheld = status.withheld.events;
        status.lag = status.lag.map(|lag| Lag { events: lag.events + withheld, ..lag });
        // What its clock says now is not known of a peer that is not in contact.
        status.skew_ms = status.skew_ms.filter(|_| self.in_contact());
        status.health = self.machine.health().clone();
        // Stored now and then, and known at any time.
        status.last_seen = status.last_seen.max(status.health.last_success);
        self.statuses.publish(status);
    }
}

/// A way to reach a peer, over the transport that its endpoint names.
pub(crate) fn link_to(
    transports: &[Arc<dyn Transport>],
    peer: &PeerConfig,
    view: &LogView,
) -> Result<Arc<dyn Link>, TransportError> {
    let scheme = peer.endpoint.split("://").next().unwrap_or_default();
    let transport = transports.iter().find(|t| t.schemes().contains(&scheme)).ok_or_else(|| {
        let known: Vec<_> = transports.iter().flat_map(|t| t.schemes()).copied().collect();
        let detail = format!("no transport for `{scheme}://`; there are: {}", known.join(", "));
        TransportError::new(ErrorCategory::Configuration, detail)
    })?;
    Ok(transport.link(peer, &view.local())?.into())
}

pub(super) async fn hard<T>(
    deadline: Duration,
    answer: impl Future<Output = Result<T, TransportError>>,
) -> Result<T, TransportError> {
    match tokio::time::timeout(deadline + HARD, answer).await {
        Ok(answer) => answer,
        Err(_) => Err(TransportError::new(ErrorCategory::Timeout, "the transport overran its deadline")),
    }
}

/// Who the peer is, and its clock minus ours in milliseconds.
async fn who_and_when(link: &dyn Link) -> Result<(Identity, i64), TransportError> {
    let asked = Instant::now();
    let identity = hard(IDENTIFY_DEADLINE, link.identify(IDENTIFY_DEADLINE)).await?;
    let skew = skew_ms(identity.time, Timestamp::now(), asked.elapsed());
    Ok((identity, skew))
}

async fn wait_for_clock(clock: &mut Option<Clock>) -> Option<(CortexId, i64)> {
    match clock {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

async fn wait_for(in_flight: &mut Option<InFlight>) -> Input {
    match in_flight {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

async fn wait_for_refresh(refreshing: &mut Option<Refreshing>) {
    match refreshing {
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
