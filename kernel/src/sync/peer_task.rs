//! One peer's task: waits for the first of a command, an answer or a timer, feeds the machine, does what it wants.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::Instant;

use super::Statuses;
use crate::config::{PeerConfig, PeerMode};
use crate::entropy;
use crate::health::ErrorCategory;
use crate::ids::CortexId;
use crate::log::{Asked, IngestError, LogHandle, read_cursor, read_pin};
use crate::machine::{Action, IdentityContext, IngestOutcome, News, Now, PeerMachine};
use crate::protocol::{
    EventBatch, FetchReply, FetchRequest, Identity, Known, MAX_BATCH_BYTES, MAX_BATCH_EVENTS, MAX_WAIT, PROTOCOL_MAX,
    RequestId,
};
use crate::state::{PeerState, State, StateError};
use crate::time::Timestamp;
use crate::transport::{Link, Transport, TransportError};

/// How long a peer may take to say who it is.
const IDENTIFY_DEADLINE: Duration = Duration::from_secs(15);
/// How long a fetch may take beyond the time it may be parked.
const FETCH_DEADLINE: Duration = Duration::from_secs(60);
/// The kernel's own, harder deadline: a transport that ignores its deadline is dropped after it.
const HARD: Duration = Duration::from_secs(5);

type Done = oneshot::Sender<Result<(), StateError>>;

pub(super) enum Command {
    Pause(Done),
    Resume(Done),
    Reset(Done),
    Wake(Done),
}

enum Input {
    Identity(u64, Result<Identity, TransportError>),
    Reply(u64, Asked, Result<FetchReply, TransportError>),
    Ingested(u64, Result<crate::log::Ingested, IngestError>),
}

type InFlight = Pin<Box<dyn Future<Output = Input> + Send>>;

pub(super) struct PeerTask {
    peer: PeerConfig,
    log: LogHandle,
    state: State,
    transports: Vec<Arc<dyn Transport>>,
    link: Option<Arc<dyn Link>>,
    machine: PeerMachine,
    statuses: Statuses,
    status: PeerState,
    started: Instant,
    requests: u64,
    in_flight: Option<InFlight>,
    timer: Option<(u64, Instant)>,
    asked: Option<Asked>,
    pinning: Arc<Mutex<()>>,
}

impl PeerTask {
    pub(super) fn new(
        peer: PeerConfig,
        interval: Duration,
        log: LogHandle,
        transports: Vec<Arc<dyn Transport>>,
        statuses: Statuses,
        status: PeerState,
        pinning: Arc<Mutex<()>>,
    ) -> Self {
        let context =
            IdentityContext { own: log.view().local().cortex_id, pin: status.cortex_id, pinned_elsewhere: Vec::new() };
        let machine = PeerMachine::new(interval.min(MAX_WAIT), context, status.health.clone());
        let task = Self {
            state: State::new(log.clone()),
            peer,
            log,
            transports,
            link: None,
            machine,
            statuses,
            status,
            started: Instant::now(),
            requests: 0,
            in_flight: None,
            timer: None,
            asked: None,
            pinning,
        };
        task.publish();
        task
    }

    pub(super) async fn run(mut self, mut inbox: mpsc::Receiver<Command>) {
        if self.status.mode == PeerMode::Sync {
            self.machine.resume();
        }
        loop {
            self.act().await;
            self.publish();
            let timer = self.timer;
            tokio::select! {
                command = inbox.recv() => match command {
                    Some(command) => self.command(command).await,
                    None => return,
                },
                input = wait_for(&mut self.in_flight) => {
                    self.in_flight = None;
                    // Checking who is pinned elsewhere and pinning are one step among all peers: or two names for one
                    // cortex, met at the same moment, would both pin it.
                    let pinning = Arc::clone(&self.pinning);
                    let _alone = match input {
                        Input::Identity(..) => Some(pinning.lock().await),
                        _ => None,
                    };
                    self.input(input);
                    self.act().await;
                }
                () = sleep_until(timer) => {
                    if let Some((token, _)) = self.timer.take() {
                        self.machine.handle_timer(self.now(), token);
                    }
                }
            }
        }
    }

    fn now(&self) -> Now {
        Now { monotonic: self.started.elapsed(), wall: Timestamp::now() }
    }

    async fn command(&mut self, command: Command) {
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
            Command::Wake(done) => {
                self.machine.wake();
                (done, Ok(()))
            }
        };
        self.act().await;
        self.publish();
        // The caller may have given up waiting.
        let _ = done.send(result);
    }

    fn halt(&mut self) {
        self.in_flight = None;
        self.timer = None;
    }

    fn input(&mut self, input: Input) {
        let (now, chance) = (self.now(), entropy::random() as u64);
        match input {
            Input::Identity(number, answer) => {
                let answer = answer.map_err(|error| self.note(&error));
                self.machine.set_pinned_elsewhere(self.pinned_elsewhere());
                self.machine.handle_identity(now, number, answer, chance);
            }
            Input::Reply(number, asked, answer) => {
                let answer = answer.map_err(|error| self.note(&error));
                if let Ok(FetchReply::Refused(refusal)) = &answer {
                    tracing::debug!(peer = %self.peer.name, "the peer refused: {refusal}");
                }
                self.asked = Some(asked);
                self.machine.handle_reply(now, number, answer, chance);
            }
            Input::Ingested(number, result) => {
                let outcome = match result {
                    Ok(ingested) => IngestOutcome::Done(ingested),
                    Err(IngestError::NotAsked) => IngestOutcome::NotAsked,
                    Err(error) => {
                        tracing::warn!(peer = %self.peer.name, %error, "a batch was not taken");
                        if error.is_hole() { IngestOutcome::Hole } else { IngestOutcome::Failed(error.category()) }
                    }
                };
                self.machine.handle_ingested(now, number, outcome, chance);
            }
        }
    }

    fn note(&self, error: &TransportError) -> ErrorCategory {
        tracing::debug!(peer = %self.peer.name, category = %error.category(), "{}", error.detail());
        error.category()
    }

    /// Carries out everything the machine wants now.
    async fn act(&mut self) {
        while let Some(action) = self.machine.poll_action() {
            match action {
                Action::Identify { number } => self.identify(number),
                Action::Pin { cortex_id } => match self.state.set_peer_cortex_id(&self.peer.name, cortex_id).await {
                    Ok(()) => tracing::info!(peer = %self.peer.name, %cortex_id, "first contact: pinned"),
                    Err(error) => {
                        tracing::error!(peer = %self.peer.name, %error, "a pin could not be stored");
                        self.machine.handle_pin_failed(self.now(), entropy::random() as u64);
                    }
                },
                Action::Fetch { number, to, by_clock, wait } => self.fetch(number, to, by_clock, wait),
                Action::Ingest { number, batch } => self.ingest(number, *batch),
                Action::Timer { token, at } => self.timer = Some((token, self.started + at)),
                Action::Save { health, news } => {
                    self.tell(news);
                    if let Err(error) = self.state.set_health(&self.peer.name, &health).await {
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
        let scheme = self.peer.endpoint.split("://").next().unwrap_or_default();
        let transport = self.transports.iter().find(|t| t.schemes().contains(&scheme)).ok_or_else(|| {
            let known: Vec<_> = self.transports.iter().flat_map(|t| t.schemes()).copied().collect();
            let detail = format!("no transport for `{scheme}://`; there are: {}", known.join(", "));
            TransportError::new(ErrorCategory::Configuration, detail)
        })?;
        let link: Arc<dyn Link> = transport.link(&self.peer)?.into();
        self.link = Some(Arc::clone(&link));
        Ok(link)
    }

    fn identify(&mut self, number: u64) {
        let link = self.link();
        self.in_flight = Some(Box::pin(async move {
            let answer = match link {
                Ok(link) => hard(IDENTIFY_DEADLINE, link.identify(IDENTIFY_DEADLINE)).await,
                Err(error) => Err(error),
            };
            Input::Identity(number, answer)
        }));
    }

    fn fetch(&mut self, number: u64, to: CortexId, by_clock: bool, wait: Duration) {
        self.requests += 1;
        let view = self.log.view().clone();
        let request = RequestId { process: view.process(), number: self.requests };
        let peer = self.peer.name.clone();
        let link = self.link();
        self.in_flight = Some(Box::pin(async move {
            let mut asked =
                Asked { request, to, after: None, max_events: MAX_BATCH_EVENTS, max_bytes: MAX_BATCH_BYTES };
            let answer = async {
                let link = link?;
                if !by_clock {
                    asked.after = read_cursor(&**view.store(), &peer)
                        .map_err(|e| TransportError::new(ErrorCategory::Store, e.to_string()))?;
                }
                let request = FetchRequest {
                    request,
                    from: view.local().cortex_id,
                    to,
                    protocol: PROTOCOL_MAX,
                    after: asked.after,
                    known: Known::Full(view.heads()),
                    direct: Vec::new(),
                    max_events: asked.max_events,
                    max_bytes: asked.max_bytes,
                    wait,
                };
                let deadline = FETCH_DEADLINE + wait;
                hard(deadline, link.fetch(&request, deadline)).await
            };
            let answer = answer.await;
            Input::Reply(number, asked, answer)
        }));
    }

    fn ingest(&mut self, number: u64, batch: EventBatch) {
        let (log, peer, asked) = (self.log.clone(), self.peer.name.clone(), self.asked.take());
        self.in_flight = Some(Box::pin(async move {
            let result = match asked {
                Some(asked) => log.ingest(peer, asked, batch).await,
                None => Err(IngestError::NotAsked),
            };
            Input::Ingested(number, result)
        }));
    }

    fn pinned_elsewhere(&self) -> Vec<CortexId> {
        let statuses = self.statuses.read().unwrap_or_else(PoisonError::into_inner);
        let others = statuses.keys().filter(|name| **name != self.peer.name);
        others
            .filter_map(|name| read_pin(&**self.log.view().store(), name).ok().flatten())
            .map(|pin| pin.cortex_id)
            .collect()
    }

    /// The first failure of a kind is explained, with its remedy; repetitions are brief; recovery is told.
    fn tell(&self, news: News) {
        let name = &self.peer.name;
        match news {
            News::Failed(c) => {
                tracing::warn!(peer = %name, category = %c, "peer {name} {}; {}", c.reason(), c.remedy())
            }
            News::StillFailing(c) => tracing::info!(peer = %name, category = %c, "peer {name} still failing: {c}"),
            News::Recovered => tracing::info!(peer = %name, "peer {name} reachable again"),
            News::None => {}
        }
    }

    fn publish(&self) {
        let mut status = self.status.clone();
        // What the store keeps is the truth; if it cannot be read, the last known values stand.
        if let Ok(stored) = self.state.peer_state(&self.peer.name, &self.peer.endpoint) {
            status = PeerState { mode: self.status.mode, ..stored };
        }
        status.lag = self.machine.lag();
        status.phase = self.machine.phase();
        status.health = self.machine.health().clone();
        self.statuses.write().unwrap_or_else(PoisonError::into_inner).insert(self.peer.name.clone(), status);
    }
}

async fn hard<T>(
    deadline: Duration,
    answer: impl Future<Output = Result<T, TransportError>>,
) -> Result<T, TransportError> {
    match tokio::time::timeout(deadline + HARD, answer).await {
        Ok(answer) => answer,
        Err(_) => Err(TransportError::new(ErrorCategory::Timeout, "the transport overran its deadline")),
    }
}

async fn wait_for(in_flight: &mut Option<InFlight>) -> Input {
    match in_flight {
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
