//! The node: a cortex on RocksDB, with its transports, servers and configuration, whether it serves or not.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use antiphon_kernel::budget::Budget;
use antiphon_kernel::cortex::Cortex;
use antiphon_kernel::replay::latest::{self, LatestBySubject};
use antiphon_kernel::replay::{OnFailure, ReplayHandle};
use antiphon_kernel::state::PeerState;
use antiphon_kernel::store::{Durability, Store};
use antiphon_kernel::time::Timestamp;
use antiphon_storage::{Create, RocksStore};
use antiphon_transport_common::Refreshed;
use anyhow::{Context as _, Result};

use crate::config::{DurabilityName, NodeConfig, ReplayFailure};
use crate::overrides::apply_overrides;
use crate::owner::must_be_the_owner;
use crate::servers::Servers;
use crate::transports::Transports;
use crate::{data_dir, expiry};

pub struct Node {
    config: RwLock<Arc<NodeConfig>>,
    cortex: Cortex,
    store: Arc<RocksStore>,
    transports: Transports,
    servers: Mutex<Option<Servers>>,
    serving: bool,
    started_at: Timestamp,
    reloads: Mutex<Reloads>,
    /// One change of what the node does at a time: a reload, or a command that overrides the file.
    changing: tokio::sync::Mutex<()>,
}

/// The reloads of the configuration.
#[derive(Debug, Clone, Default)]
pub struct Reloads {
    /// Whether the last time worked, if there was one.
    pub last: Option<bool>,
    pub succeeded: Option<Timestamp>,
    /// Why the last one was refused, if it was.
    pub refused: Option<String>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it holds one of these.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Node {
    /// Opens the node's store. With `serving`, peers are pulled.
    pub async fn open(config: NodeConfig, serving: bool) -> Result<Arc<Self>> {
        let from = config.clone();
        // The store may have a long log to recover.
        let opened = tokio::task::spawn_blocking(move || {
            let store = Arc::new(open_store(&from)?);
            let keys = from.shared_keys()?;
            let mut kernel = from.kernel(keys.first().cloned().unwrap_or_default());
            let spent = apply_overrides(&*store, &mut kernel)?;
            anyhow::Ok((store, keys, kernel, spent))
        });
        let (store, keys, mut kernel, spent) = opened.await??;
        if !serving {
            kernel.peers.clear();
        }
        // The service and the transports take their shares of the one that belongs to the process.
        Budget::default().set_limit(config.memory_budget());
        let transports = Transports::new(config.federation.allow_plaintext_loopback, &kernel.shared_key);
        let durability = match config.node.durability {
            DurabilityName::Sync => Durability::Sync,
            DurabilityName::Relaxed => Durability::Relaxed,
        };
        let on_failure = match config.node.replay_failure {
            ReplayFailure::Halt => OnFailure::Halt,
            ReplayFailure::Quarantine => OnFailure::Quarantine,
        };
        let cortex = Cortex::builder(store.clone())
            .name(config.node.name.as_str())
            .config(kernel)
            .transport(transports.https.clone())
            .transport(transports.quic.clone())
            .durability(durability)
            .max_append_bytes(config.node.max_append_bytes);
        let cortex = config.replayers.add_to(cortex, LatestBySubject { on_failure }).start().await?;
        cortex.service().set_keys(&keys);
        let node = Self {
            config: RwLock::new(Arc::new(config)),
            cortex,
            store,
            transports,
            servers: Mutex::default(),
            serving,
            started_at: Timestamp::now(),
            reloads: Mutex::default(),
            changing: tokio::sync::Mutex::default(),
        };
        if serving {
            node.forget_overrides(&spent).await?;
        }
        Ok(Arc::new(node))
    }

    /// Reads the store on a thread that may block: a slow disk must not hold up other tasks.
    pub async fn reading<T: Send + 'static>(
        self: &Arc<Self>,
        read: impl FnOnce(&Self) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let node = Arc::clone(self);
        tokio::task::spawn_blocking(move || read(&node)).await?
    }

    /// Begins to answer peers, where the configuration says so.
    pub async fn listen(&self) -> Result<()> {
        let servers = Servers::start(&self.config(), self.cortex.service()).await?;
        servers.tell();
        *locked(&self.servers) = Some(servers);
        Ok(())
    }

    /// Stops answering peers, pulling and writing.
    pub async fn stop(&self) {
        let servers = locked(&self.servers).take();
        if let Some(servers) = servers {
            servers.shutdown().await;
        }
        self.cortex.stop().await;
    }

    pub fn config(&self) -> Arc<NodeConfig> {
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn set_config(&self, config: NodeConfig) {
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
    }

    pub const fn cortex(&self) -> &Cortex {
        &self.cortex
    }

    pub const fn store(&self) -> &Arc<RocksStore> {
        &self.store
    }

    pub const fn transports(&self) -> &Transports {
        &self.transports
    }

    pub(crate) const fn is_serving(&self) -> bool {
        self.serving
    }

    pub const fn started_at(&self) -> Timestamp {
        self.started_at
    }

    /// Held by a caller that changes what the node does.
    pub async fn changing(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.changing.lock().await
    }

    pub fn reloads(&self) -> Reloads {
        locked(&self.reloads).clone()
    }

    /// Notes how a reload went: why it was refused, if it was.
    pub(crate) fn note_reload(&self, refused: Option<String>) {
        let mut reloads = locked(&self.reloads);
        reloads.last = Some(refused.is_none());
        if refused.is_none() {
            reloads.succeeded = Some(Timestamp::now());
        }
        reloads.refused = refused;
    }

    /// The replayer of this name, or the node's own.
    pub fn replayer(&self, name: Option<&str>) -> Result<&ReplayHandle> {
        let name = name.unwrap_or(latest::NAME);
        self.cortex.replayer(name).with_context(|| {
            let names: Vec<_> = self.cortex.replayers().iter().map(ReplayHandle::name).collect();
            format!("there is no replayer `{name}`; this node has: {}", names.join(", "))
        })
    }

    /// Bytes of what is kept outside of the log since forks and repairs; unknown if the store does not report it.
    pub fn evidence_bytes(&self) -> Option<u64> {
        let sizes = self.store.sizes().ok()??;
        sizes.families.iter().find(|(family, _)| family == "evidence").map(|(_, bytes)| *bytes)
    }

    /// How much each server put on the wire.
    pub(crate) fn wire_sent(&self) -> Vec<(&'static str, u64)> {
        locked(&self.servers).as_ref().map(Servers::wire_sent).unwrap_or_default()
    }

    /// The certificate that is shown, in DER form.
    fn certificate(&self) -> Option<Vec<u8>> {
        locked(&self.servers).as_ref().and_then(Servers::certificate)
    }

    /// Until when the certificate that is shown holds, in seconds since 1970.
    pub fn certificate_until(&self) -> Option<i64> {
        expiry::until(&self.certificate()?)
    }

    /// The day on which the certificate that is shown ends.
    pub(crate) fn certificate_day(&self) -> Option<String> {
        Some(jiff::Timestamp::from_second(self.certificate_until()?).ok()?.strftime("%F").to_string())
    }

    /// Whether peers are answered: a server listens, and the mode is not one that refuses.
    pub fn answers_peers(&self) -> bool {
        self.cortex.service().mode().serves() && locked(&self.servers).as_ref().is_some_and(Servers::any)
    }

    /// Whether the certificate that is shown holds now.
    pub fn certificate_holds(&self) -> Option<bool> {
        Some(expiry::holds(&self.certificate()?))
    }

    /// That the certificate which is shown ends soon, or expired.
    pub fn certificate_trouble(&self) -> Option<String> {
        let (shown, files) = (self.certificate()?, self.config().tls_files()?);
        expiry::trouble(&files.cert, &shown, jiff::Timestamp::now())
    }

    /// That a list of revoked client certificates is outdated, or will be soon.
    pub fn client_list_trouble(&self) -> Option<String> {
        let file = self.config().tls_files()?.clients?.crl?;
        let period = locked(&self.servers).as_ref().and_then(Servers::list_period)?;
        expiry::list_trouble(&file, period, jiff::Timestamp::now())
    }

    /// Loads files of TLS that changed; this reads files.
    pub(crate) fn refresh_certificates(&self) -> Result<Refreshed> {
        locked(&self.servers).as_ref().map_or(Ok(Refreshed::default()), Servers::refresh_certificates)
    }

    /// Forgets what commands said and the file says by now as well, or of peers that it does not name.
    pub(crate) async fn forget_overrides(&self, keys: &[String]) -> Result<()> {
        for key in keys {
            self.cortex.state().delete(key).await?;
        }
        Ok(())
    }

    pub fn peers(&self) -> Result<Vec<PeerState>> {
        if self.serving { Ok(self.cortex.syncer().peers()) } else { self.idle_peers() }
    }

    /// Peers as they are kept, while nothing is pulled.
    fn idle_peers(&self) -> Result<Vec<PeerState>> {
        let (state, config) = (self.cortex.state(), self.config());
        let peers = config.federation.peers.iter().map(|peer| {
            let mut known = state.peer_state(&peer.name, &peer.endpoint)?;
            known.mode = peer.mode;
            known.phase = antiphon_kernel::state::Phase::Paused;
            Ok(known)
        });
        peers.collect()
    }
}

fn open_store(config: &NodeConfig) -> Result<RocksStore> {
    must_be_the_owner(&config.data_dir())?;
    data_dir::must_not_be_cut_short(&config.data_dir())?;
    Ok(RocksStore::open_with(config.data_dir(), Create::Never)?)
}
