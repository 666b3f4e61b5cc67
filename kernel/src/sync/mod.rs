//! The thin asynchronous side of `machine`: one task a peer feeds its machine and carries its actions out.

mod batch_budget;
mod changes;
mod compare;
mod exclude;
mod feed;
mod inspect;
mod links;
mod metered;
mod notices;
mod origin_question;
#[cfg(test)]
mod own_head_tests;
mod parts;
mod peer_task;
mod plain_question;
mod probe;
mod slowed;
mod space;
mod staleness;
mod statuses;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tracing::Instrument as _;

use crate::blocking::blocking;
use crate::config::{Config, FederationMode, PeerConfig, PeerMode};
use crate::entropy;
use crate::error_code::ErrorCode;
use crate::health::ErrorCategory;
use crate::ids::{CortexId, Origin, PeerName};
use crate::limits::PeerLimits;
use crate::log::{LogHandle, read_pin};
use crate::machine::{IdentityContext, Phase, check_identity};
use crate::measure::PeerLabels;
use crate::receipts::LogReport;
use crate::state::{PeerState, State, StateError};
use crate::time::Timestamp;
use crate::transport::Transport;
pub use changes::PeerChanges;
pub use compare::Compared;
use compare::Comparison;
pub(crate) use links::link_to;
use links::{IDENTIFY_DEADLINE, hard};
use peer_task::{Command, Common, PeerTask};
use space::SpaceWatch;
use statuses::Statuses;
pub use statuses::SyncEvent;

pub(crate) mod internals {
    pub use super::inspect::inspection_request;
    pub use super::links::skew_ms;
    pub use super::parts::{next_parts, part_request};
}

/// A peer that configuration does not name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no peer `{name}`; configured are: {known}")]
pub struct UnknownPeer {
    name: PeerName,
    known: String,
}

impl UnknownPeer {
    /// The stable code of this failure.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        ErrorCode::SyncUnknownPeer
    }
}

/// Why a command for a peer failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PeerCommandError {
    /// No such peer.
    #[error(transparent)]
    Unknown(#[from] UnknownPeer),
    /// Its state could not be written.
    #[error(transparent)]
    State(#[from] StateError),
    /// The syncer was stopped.
    #[error("nobody pulls it: the syncer was stopped, or the task of this peer ended by a fault, which the log tells")]
    Stopped,
}

impl PeerCommandError {
    /// The stable code of this failure.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Unknown(error) => error.code(),
            Self::State(error) => error.code(),
            Self::Stopped => ErrorCode::SyncStopped,
        }
    }
}

/// Why histories could not be compared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompareError {
    /// No such peer.
    #[error(transparent)]
    Unknown(#[from] UnknownPeer),
    /// The peer, or our own store, failed.
    #[error("{peer} {}", category.reason())]
    Failed {
        /// The peer.
        peer: PeerName,
        /// How.
        category: ErrorCategory,
    },
}

impl CompareError {
    /// The stable code of this failure.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Unknown(error) => error.code(),
            Self::Failed { category, .. } => category.code(),
        }
    }
}

struct Running {
    commands: mpsc::Sender<Command>,
    /// What the peer reported last of its log.
    reports: watch::Sender<Option<LogReport>>,
    task: JoinHandle<()>,
}

/// Pulls every peer's log: verifies identity, ingests what is new, backs off from failures, skips paused peers.
pub struct Syncer {
    log: LogHandle,
    transports: Vec<Arc<dyn Transport>>,
    config: Mutex<Config>,
    statuses: Arc<Statuses>,
    running: Arc<Mutex<BTreeMap<PeerName, Running>>>,
    space: Mutex<Option<(oneshot::Sender<()>, JoinHandle<()>)>>,
    /// How many bytes are to stay free.
    floor: Arc<AtomicU64>,
    federation: watch::Sender<FederationMode>,
    limits: watch::Sender<Arc<PeerLimits>>,
    /// What new tasks are given; there once it started.
    common: Mutex<Option<Common>>,
    labels: Arc<PeerLabels>,
    /// One reload at a time.
    reloading: tokio::sync::Mutex<()>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it holds one of these.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Syncer {
    /// A syncer that does nothing until [`Syncer::start`].
    #[must_use]
    pub fn new(log: LogHandle, transports: Vec<Arc<dyn Transport>>, config: Config) -> Self {
        Self {
            federation: watch::Sender::new(config.mode),
            limits: watch::Sender::new(Arc::new(config.limits.clone())),
            floor: Arc::new(AtomicU64::new(config.effective_min_free())),
            log,
            transports,
            config: Mutex::new(config),
            statuses: Arc::default(),
            running: Arc::default(),
            space: Mutex::default(),
            common: Mutex::default(),
            labels: Arc::default(),
            reloading: tokio::sync::Mutex::default(),
        }
    }

    /// Starts pulling: one task a peer. Peers that are paused wait to be resumed. Under mode `publish` they are asked for what
    /// this cortex wrote and has lost, and for nothing else.
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`StateError`] if what is kept about a peer cannot be read.
    pub async fn start(&self) -> Result<(), StateError> {
        let config = locked(&self.config).clone();
        let kept = self.kept(config.peers.clone()).await?;
        let space = SpaceWatch::new(self.log.clone(), Arc::clone(&self.floor)).await;
        let common = Common {
            interval: config.effective_interval(),
            log: self.log.clone(),
            transports: self.transports.clone(),
            statuses: Arc::clone(&self.statuses),
            pinning: Arc::default(),
            low: space.low(),
            federation: self.federation.subscribe(),
            limits: self.limits.subscribe(),
            labels: Arc::clone(&self.labels),
        };
        *locked(&self.common) = Some(common);
        for (peer, kept) in config.peers.iter().zip(kept) {
            self.spawn(peer, kept);
        }
        let (stop, stopped) = oneshot::channel();
        *locked(&self.space) = Some((stop, tokio::spawn(space.run(stopped))));
        Ok(())
    }

    /// What is kept about these peers, in their order.
    async fn kept(&self, peers: Vec<PeerConfig>) -> Result<Vec<PeerState>, StateError> {
        let state = State::new(self.log.clone());
        blocking(move || peers.iter().map(|peer| state.peer_state(&peer.name, &peer.endpoint)).collect()).await
    }

    /// Begins to pull a peer of which this is kept.
    fn spawn(&self, peer: &PeerConfig, mut first: PeerState) {
        let Some(common) = locked(&self.common).clone() else { return };
        first.mode = peer.mode;
        first.phase = Phase::Paused;
        let (commands, inbox) = mpsc::channel(16);
        let (reports, reported) = watch::channel(None);
        let (name, statuses) = (peer.name.clone(), Arc::clone(&self.statuses));
        // The cortex is a field rather than a span: two spans around a task that lives for months would say no more.
        let span = tracing::debug_span!("peer", cortex = %common.log.reader().local().name, name = %peer.name);
        let pulling = tokio::spawn(PeerTask::new(peer.clone(), first, common).run(inbox, reported).instrument(span));
        let task = tokio::spawn(async move {
            if let Err(fault) = pulling.await {
                // What stood in its state when it ended must not stand there for ever, as if all were well.
                let category = ErrorCategory::Fault;
                tracing::error!(peer = %name, %fault, code = %category.code(), "peer {name} {}", category.reason());
                statuses.halt(&name, ErrorCategory::Fault, Timestamp::now());
            }
        });
        locked(&self.running).insert(peer.name.clone(), Running { commands, reports, task });
    }

    async fn end(&self, name: &PeerName) {
        let Some(peer) = locked(&self.running).remove(name) else { return };
        drop(peer.commands);
        let _ = peer.task.await;
    }

    /// Takes up another configuration: peers come, go and move, are paused and resumed; mode, interval and the floor under the
    /// free space change. `reconnect` opens every connection again, for a key that changed. What is kept about a peer that goes
    /// stays, and it goes on from there should it come again. Returns what changed.
    ///
    /// The configuration is expected to be valid; see [`Config::validate`].
    ///
    /// # Errors
    /// [`StateError`] if what is kept about a peer that comes cannot be read: then nothing changed, as
    /// [`Syncer::can_take_up`] tells beforehand. If it could be read before and no more when it was needed, everything else
    /// was taken up, that peer is halted or missing, and the next reload finds it new.
    pub async fn reload(&self, config: Config, reconnect: bool) -> Result<PeerChanges, StateError> {
        let _one = self.reloading.lock().await;
        let changes = self.can_take_up(&config).await?;
        let interval = config.effective_interval();
        let limits = Arc::new(config.limits.clone());
        *locked(&self.config) = config;
        self.limits.send_if_modified(|before| {
            let differs = *before != limits;
            *before = limits;
            differs
        });
        if let Some(common) = &mut *locked(&self.common) {
            common.interval = interval;
        }
        if let Some(floor) = changes.min_free {
            self.floor.store(floor, Ordering::Relaxed);
        }
        if let Some(mode) = changes.mode {
            self.set_mode(mode);
        }
        for name in &changes.removed {
            self.end(name).await;
            self.statuses.remove(name);
        }
        for peer in &changes.moved {
            self.end(&peer.name).await;
        }
        // One that was stopped meanwhile has nothing to take up.
        let names: Vec<_> = locked(&self.running).keys().cloned().collect();
        for name in &names {
            let _ = self.command(name, |done| Command::Reload(interval, reconnect, done)).await;
        }
        for (name, mode) in &changes.modes {
            let _ = match mode {
                PeerMode::Paused => self.pause(name).await,
                PeerMode::Sync => self.resume(name).await,
            };
        }
        let mut result = Ok(());
        for peer in changes.moved.iter().chain(&changes.added) {
            match self.kept(vec![peer.clone()]).await {
                Ok(kept) => kept.into_iter().for_each(|kept| self.spawn(peer, kept)),
                Err(error) => {
                    // It must not stand there as it was while nobody pulls it, nor be taken for configured.
                    self.statuses.halt(&peer.name, ErrorCategory::Store, Timestamp::now());
                    locked(&self.config).peers.retain(|known| known.name != peer.name);
                    result = Err(error);
                }
            }
        }
        result.map(|()| changes)
    }

    /// What a configuration would change, if it can be taken up: what is kept about the peers that come can be read.
    ///
    /// # Errors
    /// [`StateError`] if it cannot.
    pub async fn can_take_up(&self, config: &Config) -> Result<PeerChanges, StateError> {
        let changes = PeerChanges::between(&locked(&self.config), config);
        self.kept(changes.moved.iter().chain(&changes.added).cloned().collect()).await?;
        Ok(changes)
    }

    /// Which peers have a label of their own in metrics.
    #[must_use]
    pub fn labels(&self) -> &PeerLabels {
        &self.labels
    }

    /// Under how many free bytes peers are not pulled.
    #[must_use]
    pub fn min_free(&self) -> u64 {
        self.floor.load(Ordering::Relaxed)
    }

    /// Stops pulling; what is in flight is dropped, what was given to the log is kept.
    pub async fn stop(&self) {
        *locked(&self.common) = None;
        let running = std::mem::take(&mut *locked(&self.running));
        let space = locked(&self.space).take();
        if let Some((stop, space)) = space {
            drop(stop);
            // Until it ended it holds the store, which its owner may want to open again.
            let _ = space.await;
        }
        for (_, peer) in running {
            drop(peer.commands);
            // A task that panicked has nothing left to stop.
            let _ = peer.task.await;
        }
    }

    /// The same without waiting: what is in flight ends soon.
    pub(crate) fn abandon(&self) {
        *locked(&self.common) = None;
        drop(std::mem::take(&mut *locked(&self.running)));
        drop(locked(&self.space).take());
    }

    /// Receives each change of a peer's state from now on: [`crate::state::Phase::Live`] says "caught up".
    #[must_use]
    pub fn subscribe(&self) -> tokio::sync::broadcast::Receiver<SyncEvent> {
        self.statuses.subscribe()
    }

    /// What is known of every peer, by name.
    #[must_use]
    pub fn peers(&self) -> Vec<PeerState> {
        self.statuses.all()
    }

    async fn command(
        &self,
        name: &PeerName,
        make: impl FnOnce(oneshot::Sender<Result<(), StateError>>) -> Command,
    ) -> Result<(), PeerCommandError> {
        let commands = {
            let running = locked(&self.running);
            running.get(name).map(|peer| peer.commands.clone()).ok_or_else(|| self.unknown(name))?
        };
        let (done, answer) = oneshot::channel();
        commands.send(make(done)).await.map_err(|_| PeerCommandError::Stopped)?;
        Ok(answer.await.map_err(|_| PeerCommandError::Stopped)??)
    }

    /// Stops pulling one peer; it is still served.
    ///
    /// # Errors
    /// [`PeerCommandError`].
    pub async fn pause(&self, name: &PeerName) -> Result<(), PeerCommandError> {
        self.note_mode(name, PeerMode::Paused);
        self.command(name, Command::Pause).await
    }

    /// The next reload starts from what the peer does now.
    fn note_mode(&self, name: &PeerName, mode: PeerMode) {
        locked(&self.config).peers.iter_mut().filter(|peer| peer.name == *name).for_each(|peer| peer.mode = mode);
    }

    /// Pulls a paused peer again.
    ///
    /// # Errors
    /// [`PeerCommandError`].
    pub async fn resume(&self, name: &PeerName) -> Result<(), PeerCommandError> {
        self.note_mode(name, PeerMode::Sync);
        self.command(name, Command::Resume).await
    }

    /// Forgets a peer's pin, cursor, last contact and health, and begins again.
    ///
    /// # Errors
    /// [`PeerCommandError`].
    pub async fn reset(&self, name: &PeerName) -> Result<(), PeerCommandError> {
        self.command(name, Command::Reset).await
    }

    /// Asks every peer again: events left this log, and what was advertised to the peers is not true any more.
    pub(crate) async fn ask_again(&self) {
        for peer in self.peers() {
            // One that was stopped meanwhile is not asked at all.
            let _ = self.command(&peer.name, Command::AskAgain).await;
        }
    }

    /// Opens every connection again: what this cortex proves itself with changed.
    pub(crate) async fn reconnect(&self) {
        let interval = locked(&self.config).effective_interval();
        for peer in self.peers() {
            // One that was stopped meanwhile has no connection.
            let _ = self.command(&peer.name, |done| Command::Reload(interval, true, done)).await;
        }
    }

    /// Changes what this cortex pulls: everything, or under `publish` what it wrote itself and has lost.
    pub fn set_mode(&self, mode: FederationMode) {
        locked(&self.config).mode = mode;
        self.federation.send_if_modified(|now| std::mem::replace(now, mode) != mode);
    }

    /// Compares all histories with a peer's, over a connection of its own. Changes nothing, here or there.
    ///
    /// # Errors
    /// [`CompareError`].
    pub async fn compare(&self, name: &PeerName) -> Result<Vec<(Origin, Compared)>, CompareError> {
        let peer = locked(&self.config).peers.iter().find(|peer| peer.name == *name).cloned();
        let peer = &peer.ok_or_else(|| self.unknown(name))?;
        let failed = |category| CompareError::Failed { peer: name.clone(), category };
        let link = link_to(&self.transports, peer, self.log.reader()).map_err(|error| failed(error.category()))?;
        let identity = hard(IDENTIFY_DEADLINE, link.identify(IDENTIFY_DEADLINE)).await;
        let identity = identity.map_err(|error| failed(error.category()))?;
        let view = self.log.reader().clone();
        let (store, peer_name) = (Arc::clone(view.store()), name.clone());
        let pin = blocking(move || read_pin(&*store, &peer_name)).await.map_err(|_| failed(ErrorCategory::Store))?;
        let statement = pin.map_or(0, |pin| pin.statement);
        let pin = pin.map(|pin| pin.cortex_id);
        let (local, expected) = (view.local(), peer.cortex);
        let context = IdentityContext {
            own: local.cortex_id,
            pin,
            statement,
            expected,
            pinned_elsewhere: Vec::new(),
            log: local.log,
            protocols: local.protocols,
            unproven: peer.unproven,
        };
        check_identity(&identity, &context).map_err(failed)?;
        let identity = identity.into_identity();
        let protocol = identity.protocols().common(local.protocols).unwrap_or(local.protocols.max());
        // Far from the numbers of what is pulled meanwhile.
        let number = 1 << 63 | entropy::random() as u64 >> 2;
        Comparison { link, view, to: (identity.cortex_id, protocol), number }.run().await.map_err(failed)
    }

    fn unknown(&self, name: &PeerName) -> UnknownPeer {
        let config = locked(&self.config);
        let names = config.peers.iter().map(|peer| peer.name.as_str()).collect::<Vec<_>>().join(", ");
        UnknownPeer { name: name.clone(), known: if names.is_empty() { "none".to_owned() } else { names } }
    }

    /// What to call with the id of each cortex that asks ours something: see `crate::service::Service::on_asked`. A peer that
    /// could not be reached and is heard from is tried again soon, however long its back-off has become.
    pub fn hears(&self) -> impl Fn(CortexId) + Send + Sync + 'static {
        let (statuses, running) = (Arc::clone(&self.statuses), Arc::clone(&self.running));
        move |cortex| {
            let Some(name) = statuses.waiting(cortex) else { return };
            if let Some(peer) = locked(&running).get(&name) {
                // One that has that many commands to carry out is awake.
                let _ = peer.commands.try_send(Command::Heard);
            }
        }
    }

    /// What to call with each report of a cortex that asks ours something: see `crate::service::Service::on_report`. Events
    /// that a peer holds and that are here are then no lag, whatever brought them.
    pub(crate) fn takes_reports(&self) -> impl Fn(CortexId, LogReport) + Send + Sync + 'static {
        let (statuses, running) = (Arc::clone(&self.statuses), Arc::clone(&self.running));
        move |cortex, report| {
            let Some(name) = statuses.pulled(cortex) else { return };
            if let Some(peer) = locked(&running).get(&name) {
                peer.reports.send_replace(Some(report));
            }
        }
    }

    /// Tries a failing peer now rather than after its back-off.
    ///
    /// # Errors
    /// [`PeerCommandError`].
    pub async fn wake(&self, name: &PeerName) -> Result<(), PeerCommandError> {
        self.command(name, Command::Wake).await
    }
}
