//! One cortex, assembled: log, replayers, service and syncer.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::Stream;

use crate::blocking::blocking;
use crate::config::{Config, PeerConfig, PeerMode, SharedKey};
use crate::cursor::Cursor;
use crate::digest::Digest;
use crate::entropy;
use crate::event::Draft;
use crate::ids::{CortexId, Epoch, InvalidPeerName, PeerName};
use crate::log::{
    AppendError, Appended, Context, LocalIdentity, Log, LogEntry, LogHandle, LogOptions, LogView, OpenError, ReadError,
    ResolveError, Resolved,
};
use crate::receipts::{NotReplicated, Wanted};
use crate::replay::{EventReplayer, ReplayCommandError, ReplayCore, ReplayHandle};
use crate::service::Service;
use crate::state::{State, StateError};
use crate::store::{Durability, Store};
use crate::sync::{PeerChanges, Syncer};
use crate::time::Timestamp;
use crate::transport::Transport;

/// Why a cortex did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its log could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Its state could not be read.
    #[error(transparent)]
    State(#[from] StateError),
    /// Its configuration cannot be used.
    #[error(transparent)]
    Config(#[from] crate::config::InvalidConfig),
    /// A peer's name is none.
    #[error(transparent)]
    PeerName(#[from] InvalidPeerName),
    /// A thread could not be started.
    #[error("a thread could not be started: {0}")]
    Thread(#[from] std::io::Error),
}

impl From<crate::store::StoreError> for StartError {
    fn from(error: crate::store::StoreError) -> Self {
        Self::Open(OpenError::Store(error))
    }
}

/// Why a fork was not resolved, or not by all replayers.
#[derive(Debug, thiserror::Error)]
pub enum ResolveForkError {
    /// The log did not.
    #[error(transparent)]
    Log(#[from] ResolveError),
    /// The log did, and a replayer did not begin again; it will when the process starts next.
    #[error("the log resolved it, but a replayer does not begin again before this process is restarted: {0}")]
    Replayer(#[from] ReplayCommandError),
}

/// Assembles a [`Cortex`].
pub struct CortexBuilder {
    store: Arc<dyn Store>,
    name: String,
    config: Config,
    peers: Vec<(String, String, Option<PathBuf>)>,
    transports: Vec<Arc<dyn Transport>>,
    replayers: Vec<Box<dyn EventReplayer>>,
    durability: Durability,
    options: LogOptions,
}

impl CortexBuilder {
    /// The name it gives itself where it has none yet.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// The whole federation at once: mode, interval, peers, key.
    #[must_use]
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// The key shared with peers.
    #[must_use]
    pub fn shared_key(mut self, key: SharedKey) -> Self {
        self.config.shared_key = key;
        self
    }

    /// One more peer to pull from.
    #[must_use]
    pub fn peer(mut self, name: impl Into<String>, endpoint: impl Into<String>) -> Self {
        self.peers.push((name.into(), endpoint.into(), None));
        self
    }

    /// One more way to reach peers.
    #[must_use]
    pub fn transport(mut self, transport: impl Transport) -> Self {
        self.transports.push(Arc::new(transport));
        self
    }

    /// One more replayer. The first one's position is what appends claim to have seen.
    #[must_use]
    pub fn replayer(mut self, replayer: impl EventReplayer) -> Self {
        self.replayers.push(Box::new(replayer));
        self
    }

    /// Whether `append` waits for the disk; it does unless told otherwise.
    #[must_use]
    pub const fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// The largest record that may be appended here, in bytes.
    #[must_use]
    pub const fn max_append_bytes(mut self, bytes: usize) -> Self {
        self.options.max_append_bytes = bytes;
        self
    }

    /// Opens the log (making a new identity in an empty store), starts replayers and begins to pull. Must be called
    /// within a tokio runtime.
    ///
    /// # Errors
    /// [`StartError`]. An unreachable peer is none: it shows in [`Syncer::peers`].
    pub async fn start(mut self) -> Result<Cortex, StartError> {
        for (name, endpoint, ca) in std::mem::take(&mut self.peers) {
            let name = PeerName::new(&name)?;
            self.config.peers.push(PeerConfig { name, endpoint, ca, mode: PeerMode::Sync });
        }
        self.config.validate()?;
        let Self { store, name, config, transports, replayers, durability, options, .. } = self;
        let opened = blocking(move || {
            match Log::create(&*store, &mint_identity(&name)) {
                Ok(()) | Err(OpenError::AlreadyInitialised(_)) => {}
                Err(error) => return Err(error.into()),
            }
            let handle = LogHandle::start(Log::open(store, options)?, durability)?;
            let mut running = Vec::new();
            for (at, replayer) in replayers.into_iter().enumerate() {
                let core = ReplayCore::open(handle.view().clone(), replayer)?;
                running.push(ReplayHandle::start(core, &handle, at == 0)?);
            }
            Ok::<_, StartError>((handle, running))
        });
        let (handle, replayers) = opened.await?;
        let service = Service::new(handle.view().clone(), config.shared_key.clone(), config.mode);
        let syncer = Syncer::new(handle.clone(), transports, config);
        syncer.start().await?;
        service.on_asked(syncer.hears());
        Ok(Cortex { log: handle, replayers, service, syncer })
    }
}

/// A new identity: a fresh cortex id and a first epoch.
#[must_use]
pub fn mint_identity(name: &str) -> LocalIdentity {
    LocalIdentity {
        cortex_id: CortexId::from_parts(Timestamp::now().ulid_ms(), entropy::random()),
        epoch: Epoch::new(entropy::random() as u64),
        name: name.to_owned(),
    }
}

/// Whom [`Cortex::wait_replicated`] waits for.
#[derive(Debug, Clone, Copy)]
pub enum WaitFor<'a> {
    /// These, by their names in the configuration. A peer that is not pulled here has no pin, and is never known by name.
    Peers(&'a [PeerName]),
    /// So many cortexes, whoever they are.
    Count(usize),
}

/// A running cortex.
pub struct Cortex {
    log: LogHandle,
    replayers: Vec<ReplayHandle>,
    service: Service,
    syncer: Syncer,
}

impl Cortex {
    /// Begins to assemble a cortex over a store.
    #[must_use]
    pub fn builder(store: Arc<dyn Store>) -> CortexBuilder {
        CortexBuilder {
            store,
            name: "cortex".to_owned(),
            config: Config::default(),
            peers: Vec::new(),
            transports: Vec::new(),
            replayers: Vec::new(),
            durability: Durability::Sync,
            options: LogOptions::default(),
        }
    }

    /// Appends one event. `Ok` means that it is durable; what it claims to have seen is what the first replayer has
    /// replayed.
    ///
    /// # Errors
    /// [`AppendError`].
    pub async fn append(&self, draft: Draft) -> Result<Appended, AppendError> {
        let appended = self.log.append(vec![draft], Context::Replayed).await?;
        appended.into_iter().next().ok_or(AppendError::Closed)
    }

    /// The log, for appending several events or with a context of one's own.
    #[must_use]
    pub const fn log(&self) -> &LogHandle {
        &self.log
    }

    /// The log, for reading.
    #[must_use]
    pub const fn view(&self) -> &LogView {
        self.log.view()
    }

    /// The replayers, in the order they were given.
    #[must_use]
    pub fn replayers(&self) -> &[ReplayHandle] {
        &self.replayers
    }

    /// What answers peers: hand it to a transport's server.
    #[must_use]
    pub const fn service(&self) -> &Service {
        &self.service
    }

    /// What pulls peers.
    #[must_use]
    pub const fn syncer(&self) -> &Syncer {
        &self.syncer
    }

    /// What is kept about peers.
    #[must_use]
    pub fn state(&self) -> State {
        State::new(self.log.clone())
    }

    /// The log's durable entries after a cursor (without one, from the beginning), and then those to come. Keep the
    /// [`LogEntry::cursor`] of the last one that was taken, to continue there after a restart.
    pub fn subscribe(&self, after: Option<Cursor>) -> impl Stream<Item = Result<LogEntry, ReadError>> + Send + use<> {
        self.log.view().follow(after)
    }

    /// Waits until these peers durably hold an event of ours, or any so many of those that ask us. Returns how many hold it.
    ///
    /// # Errors
    /// [`NotReplicated`], which names them, after `timeout`; at once where nobody is missing but peers that were never in
    /// contact. The event is stored here all the same.
    pub async fn wait_replicated(
        &self,
        event: &Appended,
        peers: WaitFor<'_>,
        timeout: Duration,
    ) -> Result<usize, NotReplicated> {
        let pinned = self.view().pinned();
        let pin = |wanted: &PeerName| pinned.iter().find(|(_, name)| *name == wanted).map(|(cortex, _)| *cortex);
        let wanted = match peers {
            WaitFor::Count(count) => Wanted::Count(count),
            WaitFor::Peers(names) => Wanted::Cortexes(names.iter().map(|name| (name.clone(), pin(name))).collect()),
        };
        self.view().receipts().wait(event.dot, &wanted, timeout).await
    }

    /// Takes up another configuration without a restart: see [`Syncer::reload`]. `keys` are the keys that are accepted from now
    /// on; the one to present is for the transports to be told. Whatever is open is opened anew if `reconnect` says so.
    ///
    /// # Errors
    /// [`StartError`]: the configuration is invalid, or what is kept about a new peer cannot be read; nothing changed.
    pub async fn reload(&self, config: Config, keys: &[SharedKey], reconnect: bool) -> Result<PeerChanges, StartError> {
        config.validate()?;
        self.syncer.can_take_up(&config).await?;
        self.service.set_keys(keys);
        self.service.set_mode(config.mode);
        Ok(self.syncer.reload(config, reconnect).await?)
    }

    /// Ends a fork here in favour of the version with this digest, and lets the replayers begin again if events of theirs
    /// left the log. Where the version held here is kept, the others are the ones to resolve it.
    ///
    /// # Errors
    /// [`ResolveForkError`]. A replayer that could not be rebuilt is when the process starts next.
    pub async fn resolve_fork(&self, keep: Digest) -> Result<Resolved, ResolveForkError> {
        let before = self.view().rewrites();
        let resolved = self.log.resolve_fork(keep).await;
        // What it kept from crossing is wanted now, or what peers were told is not true any more.
        self.syncer.ask_anew().await;
        // After an error it is not known whether events left the log: what replayers hold may be of some that did. One that
        // cannot begin again must not keep the others from it.
        let mut failed = None;
        if self.view().rewrites() != before {
            for replayer in &self.replayers {
                failed = replayer.rebuild().await.err().or(failed);
            }
        }
        let resolved = resolved?;
        failed.map_or(Ok(()), Err)?;
        Ok(resolved)
    }

    /// Stops pulling, answering, replaying and writing, in this order. Everything acknowledged is durable.
    pub async fn stop(&self) {
        self.syncer.stop().await;
        self.service.close();
        for replayer in &self.replayers {
            replayer.stop().await;
        }
        self.log.close().await;
    }
}
