//! Assembles a cortex. No order of calls loses anything: what is given is kept until the start, and checked there.

use std::sync::{Arc, Mutex, PoisonError};

use super::{Cortex, Peer};
use crate::access::Authorizer;
use crate::blocking::blocking;
use crate::config::{Config, PeerConfig, SharedKey};
use crate::error_code::ErrorCode;
use crate::health::ErrorCategory;
use crate::identity::Signer;
use crate::ids::{CortexId, InvalidPeerName, LogId, PeerName};
use crate::log::{Log, LogHandle, LogOptions, LogReader, OpenError, read_pin};
#[cfg(any(test, feature = "testing"))]
use crate::protocol::Protocols;
use crate::replay::{EventReplayer, OpenReplayerError, ReplayCore, ReplayHandle};
use crate::service::Service;
use crate::state::StateError;
use crate::store::{Durability, Store, StoreError};
use crate::sync::Syncer;
use crate::transport::{ServeError, Server, Transport};

/// Why a cortex did not start.
///
/// ```
/// use antiphon_kernel::testing::MemoryStore;
/// use antiphon_kernel::{Cortex, Peer, StartError};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // No transport was given, so none has this scheme.
/// let bravo = Peer::new("bravo", "quic://bravo.example:7443");
/// let started = Cortex::builder(MemoryStore::new()).peer(bravo).start().await;
/// assert!(matches!(started, Err(StartError::Peer { .. })));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
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
    /// A peer's name is invalid.
    #[error(transparent)]
    PeerName(#[from] InvalidPeerName),
    /// A peer cannot be dialled as it is configured.
    #[error("peer `{name}`: {reason}")]
    Peer {
        /// The peer.
        name: PeerName,
        /// What is wrong with its endpoint or its certificates.
        reason: String,
    },
    /// A peer is pinned to another cortex than the configuration names.
    #[error("peer `{name}` is pinned to cortex {pinned}, and the configuration names {configured}")]
    Pinned {
        /// The peer.
        name: PeerName,
        /// The cortex that was met first.
        pinned: CortexId,
        /// The cortex that the configuration names.
        configured: CortexId,
    },
    /// Two replayers have one name.
    #[error("two replayers are named `{name}`, and each keeps its state under its name")]
    DuplicateReplayer {
        /// The name.
        name: String,
    },
    /// A replayer is older than its state.
    #[error(transparent)]
    Replayer(OpenReplayerError),
    /// A transport does not answer peers.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// A thread could not be started.
    #[error("a thread could not be started")]
    Thread(#[from] std::io::Error),
}

impl StartError {
    /// The stable code of this failure.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Open(error) => error.code(),
            Self::State(error) => error.code(),
            Self::Config(error) => error.code(),
            Self::PeerName(error) => error.code(),
            Self::Peer { .. } => ErrorCode::StartPeer,
            Self::Pinned { .. } => ErrorCode::StartPinned,
            Self::DuplicateReplayer { .. } => ErrorCode::StartDuplicateReplayer,
            Self::Replayer(error) => error.code(),
            Self::Serve(error) => error.code(),
            Self::Thread(_) => ErrorCode::StartThread,
        }
    }
}

impl From<StoreError> for StartError {
    fn from(error: StoreError) -> Self {
        Self::Open(OpenError::Store(error))
    }
}

impl From<OpenReplayerError> for StartError {
    fn from(error: OpenReplayerError) -> Self {
        match error {
            OpenReplayerError::Store(error) => error.into(),
            OpenReplayerError::Downgrade { .. } => Self::Replayer(error),
        }
    }
}

/// Assembles a [`Cortex`].
///
/// ```
/// use antiphon_kernel::testing::{MemoryNetwork, MemoryStore};
/// use antiphon_kernel::{Cortex, Durability, Peer};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let cortex = Cortex::builder(MemoryStore::new())
///     .name("alpha")
///     .durability(Durability::Relaxed)
///     .transport(MemoryNetwork::new())
///     .peer(Peer::new("bravo", "memory://bravo"))
///     .start()
///     .await?;
/// assert_eq!(cortex.reader().local().name, "alpha");
/// cortex.stop().await;
/// # Ok(())
/// # }
/// ```
#[must_use = "a builder does nothing until it is started"]
pub struct CortexBuilder {
    store: Arc<dyn Store>,
    name: String,
    config: Config,
    authorizer: Option<Arc<dyn Authorizer>>,
    shared_key: Option<SharedKey>,
    peers: Vec<Peer>,
    transports: Vec<Arc<dyn Transport>>,
    causal: Option<Box<dyn EventReplayer>>,
    replayers: Vec<Box<dyn EventReplayer>>,
    durability: Durability,
    options: LogOptions,
}

impl CortexBuilder {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            name: "cortex".to_owned(),
            config: Config::default(),
            authorizer: None,
            shared_key: None,
            peers: Vec::new(),
            transports: Vec::new(),
            causal: None,
            replayers: Vec::new(),
            durability: Durability::Sync,
            options: LogOptions::default(),
        }
    }

    /// The name that a new identity gets. An identity that exists keeps its own.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// The log that the cortex belongs to. Give the same one to cortexes that append before they first meet. Without it, an empty
    /// store mints one with its first append, or takes that of the first events that it pulls, whichever comes first.
    ///
    /// ```
    /// use antiphon_kernel::testing::MemoryStore;
    /// use antiphon_kernel::{Cortex, LogId};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let log: LogId = "5ZRM1XBM2J7QDG6Y0K4V8W9ETH".parse()?;
    /// let cortex = Cortex::builder(MemoryStore::new()).log(log).start().await?;
    /// assert_eq!(cortex.reader().local().log, Some(log));
    /// # cortex.stop().await;
    /// # Ok(())
    /// # }
    /// ```
    pub const fn log(mut self, log: LogId) -> Self {
        self.options.log = Some(log);
        self
    }

    /// Speaks other protocols than this build does, to test how two versions agree.
    #[cfg(any(test, feature = "testing"))]
    pub const fn protocols(mut self, protocols: Protocols) -> Self {
        self.options.protocols = protocols;
        self
    }

    /// Decides what callers may read, instead of the rules of the configuration: see [`Authorizer`].
    pub fn authorizer(mut self, authorizer: impl Authorizer) -> Self {
        self.authorizer = Some(Arc::new(authorizer));
        self
    }

    /// Merges a configuration: its mode, interval and reserve of disk space replace what was set, its peers are added. Its key counts unless
    /// [`CortexBuilder::shared_key`] gives one, before or after.
    pub fn config(mut self, mut config: Config) -> Self {
        config.peers.splice(0..0, std::mem::take(&mut self.config.peers));
        if config.shared_key.is_open() {
            config.shared_key = std::mem::take(&mut self.config.shared_key);
        }
        self.config = config;
        self
    }

    /// The key that this cortex shares with its peers. Transports get it from here.
    pub fn shared_key(mut self, key: SharedKey) -> Self {
        self.shared_key = Some(key);
        self
    }

    /// Adds a peer to pull from.
    pub fn peer(mut self, peer: Peer) -> Self {
        self.peers.push(peer);
        self
    }

    /// Adds a transport that dials peers. One that has an address also answers them.
    pub fn transport(mut self, transport: impl Transport) -> Self {
        self.transports.push(Arc::new(transport));
        self
    }

    /// Adds a transport that dials peers and answers them: the same as [`CortexBuilder::transport`].
    pub fn serve(self, transport: impl Transport) -> Self {
        self.transport(transport)
    }

    /// Sets the replayer whose position appends claim to have seen: the one that the application reads before it writes. Without
    /// one, an append claims to have seen only earlier events of its own cortex. A second call replaces the first.
    pub fn causal_replayer(mut self, replayer: impl EventReplayer) -> Self {
        self.causal = Some(Box::new(replayer));
        self
    }

    /// Adds a replayer.
    pub fn replayer(mut self, replayer: impl EventReplayer) -> Self {
        self.replayers.push(Box::new(replayer));
        self
    }

    /// Whether `append` waits for the disk. It does by default.
    pub const fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// The largest record that may be appended here, in bytes. The events of one call may have as much together, or 1 MiB if
    /// that is more.
    pub const fn max_append_bytes(mut self, bytes: usize) -> Self {
        self.options.max_append_bytes = bytes;
        self
    }

    /// Sets the keys of this cortex, which its id comes from. Without them, the store's are used: a new store creates them, if it is
    /// one that keeps keys.
    pub fn keys(mut self, keys: Arc<dyn Signer>) -> Self {
        self.options.keys = Some(keys);
        self
    }

    /// Opens the log, starts replayers, answers peers and begins to pull. An empty store gets a new identity. Must be called
    /// within a tokio runtime.
    ///
    /// # Errors
    /// [`StartError`]; nothing runs then. An unreachable peer is no error: it shows in [`Syncer::peers`].
    pub async fn start(mut self) -> Result<Cortex, StartError> {
        for peer in std::mem::take(&mut self.peers) {
            self.config.peers.push(peer.into_config()?);
        }
        if let Some(key) = self.shared_key.take() {
            self.config.shared_key = key;
        }
        self.config.validate()?;
        let keys: Vec<_> = Some(&self.config.shared_key).filter(|key| !key.is_open()).cloned().into_iter().collect();
        self.transports.iter().for_each(|transport| transport.set_keys(&keys));
        let Self { store, name, config, authorizer, transports, causal, replayers, durability, options, .. } = self;
        let claims = causal.is_some().then_some(0);
        let (peers, dials) = (config.peers.clone(), transports.clone());
        let opened = blocking(move || {
            match Log::begin(&*store, &name, options.keys.as_ref()) {
                Ok(_) | Err(OpenError::AlreadyInitialised(_)) => {}
                Err(error) => return Err(error.into()),
            }
            let log = Log::open(store, options)?;
            let view = log.reader();
            peers.iter().try_for_each(|peer| check_peer(peer, &dials, &view))?;
            let mut cores: Vec<ReplayCore> = Vec::new();
            for replayer in causal.into_iter().chain(replayers) {
                let core = ReplayCore::open(view.clone(), replayer)?;
                if cores.iter().any(|other| other.name() == core.name()) {
                    return Err(StartError::DuplicateReplayer { name: core.name().to_owned() });
                }
                cores.push(core);
            }
            let handle = LogHandle::start(log, durability)?;
            let mut running = Vec::new();
            for (at, core) in cores.into_iter().enumerate() {
                running.push(ReplayHandle::start(core, &handle, claims == Some(at))?);
            }
            Ok::<_, StartError>((handle, running))
        });
        let (handle, replayers) = opened.await?;
        let service = Service::new(handle.reader().clone(), config.shared_key.clone(), config.mode);
        let has_authorizer = authorizer.is_some();
        service.set_authorizer(authorizer.unwrap_or_else(|| Arc::new(config.access.clone())));
        service.set_peers(&config.peers);
        service.set_ruled(&config.access);
        service.set_limits(&config.limits);
        handle.set_limits(&config.limits);
        let syncer = Syncer::new(handle.clone(), transports.clone(), config);
        let servers = Mutex::default();
        // An identity that exists keeps its own.
        let name = handle.reader().local().name;
        let cortex = Cortex {
            name,
            log: handle,
            replayers,
            causal: claims,
            service,
            has_authorizer,
            syncer,
            transports,
            servers,
        };
        if let Err(error) = cortex.begin().await {
            cortex.stop().await;
            return Err(error);
        }
        Ok(cortex)
    }
}

/// Checks what a dial would find: an endpoint or certificates that can never work are an error now.
fn check_peer(peer: &PeerConfig, transports: &[Arc<dyn Transport>], view: &LogReader) -> Result<(), StartError> {
    let linked = match crate::sync::link_to(transports, peer, view) {
        Err(error) if error.category() == ErrorCategory::Configuration => Err(error.detail().to_owned()),
        _ => Ok(()),
    };
    linked.map_err(|reason| StartError::Peer { name: peer.name.clone(), reason })?;
    let pinned = read_pin(&**view.store(), &peer.name)?.map(|pin| pin.cortex_id);
    match (pinned, peer.cortex) {
        (Some(pinned), Some(configured)) if pinned != configured => {
            Err(StartError::Pinned { name: peer.name.clone(), pinned, configured })
        }
        _ => Ok(()),
    }
}

impl Cortex {
    /// Answers peers, and begins to pull.
    async fn begin(&self) -> Result<(), StartError> {
        let mut servers: Vec<Box<dyn Server>> = Vec::new();
        for transport in &self.transports {
            match transport.serve(&self.service).await {
                Ok(server) => servers.extend(server),
                Err(error) => {
                    futures_util::future::join_all(servers.into_iter().map(|server| server.shutdown())).await;
                    return Err(error.into());
                }
            }
        }
        *self.servers.lock().unwrap_or_else(PoisonError::into_inner) = servers;
        self.syncer.start().await?;
        self.service.on_asked(self.syncer.hears());
        self.service.on_report(self.syncer.takes_reports());
        Ok(())
    }
}
