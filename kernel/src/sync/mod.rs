//! The thin asynchronous side of [`crate::machine`]: one task a peer feeds its machine and carries its actions out.

mod compare;
mod feed;
mod inspect;
mod peer_task;
mod space;
mod statuses;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::config::{Config, FederationMode};
use crate::entropy;
use crate::health::ErrorCategory;
use crate::ids::{Origin, PeerName};
use crate::log::{LogHandle, read_pin};
use crate::machine::{IdentityContext, check_identity};
use crate::state::{PeerState, State, StateError};
use crate::transport::Transport;
pub use compare::Compared;
use compare::Comparison;
pub use inspect::inspection_request;
use peer_task::{Command, Common, IDENTIFY_DEADLINE, PeerTask, hard, link_to};
use space::SpaceWatch;
use statuses::Statuses;
pub use statuses::SyncEvent;

/// A peer that configuration does not name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no peer `{name}`; configured are: {known}")]
pub struct UnknownPeer {
    name: PeerName,
    known: String,
}

/// Why a command for a peer failed.
#[derive(Debug, thiserror::Error)]
pub enum PeerCommandError {
    /// No such peer.
    #[error(transparent)]
    Unknown(#[from] UnknownPeer),
    /// Its state could not be written.
    #[error(transparent)]
    State(#[from] StateError),
    /// The syncer was stopped.
    #[error("the syncer is stopped")]
    Stopped,
}

/// Why histories could not be compared.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// No such peer.
    #[error(transparent)]
    Unknown(#[from] UnknownPeer),
    /// The peer, or our own store, failed.
    #[error("{peer} {}; {}", category.reason(), category.remedy())]
    Failed {
        /// The peer.
        peer: PeerName,
        /// How.
        category: ErrorCategory,
    },
}

struct Running {
    commands: mpsc::Sender<Command>,
    task: JoinHandle<()>,
}

/// Pulls every peer's log: verifies identity, ingests what is new, backs off from failures, skips paused peers.
pub struct Syncer {
    log: LogHandle,
    transports: Vec<Arc<dyn Transport>>,
    config: Config,
    statuses: Arc<Statuses>,
    running: Mutex<BTreeMap<PeerName, Running>>,
    space: Mutex<Option<JoinHandle<()>>>,
    federation: watch::Sender<FederationMode>,
}

impl Syncer {
    /// A syncer that does nothing until [`Syncer::start`].
    #[must_use]
    pub fn new(log: LogHandle, transports: Vec<Arc<dyn Transport>>, config: Config) -> Self {
        let federation = watch::Sender::new(config.mode);
        Self {
            federation,
            log,
            transports,
            config,
            statuses: Arc::default(),
            running: Mutex::default(),
            space: Mutex::default(),
        }
    }

    /// Starts pulling: one task a peer. Peers that are paused wait to be resumed. Under mode `publish` they are asked for what
    /// this cortex wrote and has lost, and for nothing else.
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`StateError`] if what is kept about a peer cannot be read.
    pub fn start(&self) -> Result<(), StateError> {
        let state = State::new(self.log.clone());
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let space = SpaceWatch::new(self.log.clone(), self.config.effective_min_free());
        let common = Common {
            interval: self.config.effective_interval(),
            log: self.log.clone(),
            transports: self.transports.clone(),
            statuses: Arc::clone(&self.statuses),
            pinning: Arc::default(),
            low: space.low(),
            federation: self.federation.subscribe(),
        };
        for peer in &self.config.peers {
            let mut first = state.peer_state(&peer.name, &peer.endpoint)?;
            first.mode = peer.mode;
            first.phase = crate::machine::Phase::Paused;
            let (commands, inbox) = mpsc::channel(16);
            let task = PeerTask::new(peer.clone(), first, common.clone());
            let task = tokio::spawn(task.run(inbox));
            running.insert(peer.name.clone(), Running { commands, task });
        }
        *self.space.lock().unwrap_or_else(PoisonError::into_inner) = Some(tokio::spawn(space.run()));
        Ok(())
    }

    /// Stops pulling; what is in flight is dropped, what was given to the log is kept.
    pub async fn stop(&self) {
        let running = std::mem::take(&mut *self.running.lock().unwrap_or_else(PoisonError::into_inner));
        let space = self.space.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(space) = space {
            space.abort();
            // Until it is gone it holds the store, which its owner may want to open again.
            let _ = space.await;
        }
        for (_, peer) in running {
            drop(peer.commands);
            // A task that panicked has nothing left to stop.
            let _ = peer.task.await;
        }
    }

    /// Told of each change of a peer's state from now on: [`crate::machine::Phase::Live`] says "caught up".
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
            let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
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
        self.command(name, Command::Pause).await
    }

    /// Pulls a paused peer again.
    ///
    /// # Errors
    /// [`PeerCommandError`].
    pub async fn resume(&self, name: &PeerName) -> Result<(), PeerCommandError> {
        self.command(name, Command::Resume).await
    }

    /// Forgets a peer's pin, cursor, last contact and health, and begins anew.
    ///
    /// # Errors
    /// [`PeerCommandError`].
    pub async fn reset(&self, name: &PeerName) -> Result<(), PeerCommandError> {
        self.command(name, Command::Reset).await
    }

    /// Asks every peer anew: events left our log, and what they were told that we hold is not true any more.
    pub async fn ask_anew(&self) {
        for peer in self.peers() {
            // One that was stopped meanwhile is not asked at all.
            let _ = self.command(&peer.name, Command::Anew).await;
        }
    }

    /// Changes what this cortex pulls: everything, or under `publish` what it wrote itself and has lost.
    pub fn set_mode(&self, mode: FederationMode) {
        self.federation.send_if_modified(|now| std::mem::replace(now, mode) != mode);
    }

    /// Compares all histories with a peer's, over a connection of its own. Changes nothing, here or there.
    ///
    /// # Errors
    /// [`CompareError`].
    pub async fn compare(&self, name: &PeerName) -> Result<Vec<(Origin, Compared)>, CompareError> {
        let peer = self.config.peers.iter().find(|peer| peer.name == *name).ok_or_else(|| self.unknown(name))?;
        let failed = |category| CompareError::Failed { peer: name.clone(), category };
        let link = link_to(&self.transports, peer, self.log.view()).map_err(|error| failed(error.category()))?;
        let identity = hard(IDENTIFY_DEADLINE, link.identify(IDENTIFY_DEADLINE)).await;
        let identity = identity.map_err(|error| failed(error.category()))?;
        let view = self.log.view().clone();
        let pin = read_pin(&**view.store(), name).map_err(|_| failed(ErrorCategory::Store))?.map(|pin| pin.cortex_id);
        let context = IdentityContext { own: view.local().cortex_id, pin, pinned_elsewhere: Vec::new() };
        check_identity(&identity, &context).map_err(failed)?;
        // Far from the numbers of what is pulled meanwhile.
        let number = 1 << 63 | entropy::random() as u64 >> 2;
        Comparison { link, view, to: identity.cortex_id, number }.run().await.map_err(failed)
    }

    fn unknown(&self, name: &PeerName) -> UnknownPeer {
        let names = self.config.peers.iter().map(|peer| peer.name.as_str()).collect::<Vec<_>>().join(", ");
        UnknownPeer { name: name.clone(), known: if names.is_empty() { "none".to_owned() } else { names } }
    }

    /// Tries a failing peer now rather than after its back-off.
    ///
    /// # Errors
    /// [`PeerCommandError`].
    pub async fn wake(&self, name: &PeerName) -> Result<(), PeerCommandError> {
        self.command(name, Command::Wake).await
    }
}
