//! The directory, key, certificates and nodes of one bench.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use antiphon_https::{HttpsOptions, HttpsServer, HttpsTransport, ServerOptions};
use antiphon_kernel::config::{Config, PeerConfig, SharedKey};
use antiphon_kernel::cortex::{Cortex, CortexBuilder};
use antiphon_kernel::ids::PeerName;
use antiphon_kernel::service::Service;
use antiphon_kernel::store::Durability;
use antiphon_kernel::transport::Transport;
use antiphon_node::{dev_certs, new_key};
use antiphon_quic::{QuicOptions, QuicServer, QuicServerOptions, QuicTransport, TlsFiles};
use antiphon_storage::{Create, RocksStore};
use anyhow::{Context as _, Result};
use tempfile::TempDir;

use crate::cli::Scheme;

impl Scheme {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Quic => "quic",
            Self::Https => "https",
        }
    }
}

/// Where the stores and certificates of a bench stand, and what joins its nodes.
pub(crate) struct Bench {
    /// Removed with it, unless it is another process's.
    dir: Root,
    pub(crate) key: SharedKey,
}

enum Root {
    Own(TempDir),
    Other(PathBuf),
}

/// The name of both nodes' certificate.
const NODE: &str = "bench";
/// Where the side of a bench in another process finds the key.
pub(crate) const KEY: &str = "ANTIPHON_SHARED_KEY";

impl Bench {
    pub(crate) fn new(dir: Option<&Path>) -> Result<Self> {
        let dir = match dir {
            Some(dir) => TempDir::new_in(dir),
            None => TempDir::new(),
        };
        let dir = dir.context("no temporary directory could be made")?;
        let name = PeerName::new(NODE)?;
        dev_certs::write(&dir.path().join("certs"), &[name], &[])?;
        Ok(Self { dir: Root::Own(dir), key: SharedKey::new(&new_key()?)? })
    }

    /// One that another process made.
    pub(crate) fn join(root: &Path) -> Result<Self> {
        let key = std::env::var(KEY).context("a side of a bench is given its key")?;
        Ok(Self { dir: Root::Other(root.to_owned()), key: SharedKey::new(&key)? })
    }

    pub(crate) fn path(&self) -> &Path {
        match &self.dir {
            Root::Own(dir) => dir.path(),
            Root::Other(dir) => dir,
        }
    }

    pub(crate) fn key(&self) -> &str {
        self.key.expose()
    }

    pub(crate) fn cert(&self, file: &str) -> PathBuf {
        self.path().join("certs").join(file)
    }

    pub(crate) fn transports(&self) -> Vec<Arc<dyn Transport>> {
        let (quic, https) = (self.key.clone(), self.key.clone());
        vec![
            Arc::new(QuicTransport::new(QuicOptions { shared_key: quic })),
            Arc::new(HttpsTransport::new(HttpsOptions { shared_key: https, allow_plaintext_loopback: false })),
        ]
    }

    /// A node over a store of its own.
    pub(crate) fn node(&self, name: &str, peers: Vec<PeerConfig>, durability: Durability) -> Result<CortexBuilder> {
        let store = RocksStore::open_with(self.path().join(name), Create::IfMissing)?;
        let config = Config { peers, shared_key: self.key.clone(), ..Config::default() };
        let (quic, https) = (self.key.clone(), self.key.clone());
        Ok(Cortex::builder(Arc::new(store))
            .name(name)
            .log(antiphon_kernel::testing::LOG)
            .config(config)
            .durability(durability)
            .transport(QuicTransport::new(QuicOptions { shared_key: quic }))
            .transport(HttpsTransport::new(HttpsOptions { shared_key: https, allow_plaintext_loopback: false })))
    }

    pub(crate) fn peer(&self, scheme: Scheme, addr: SocketAddr) -> Result<PeerConfig> {
        self.peer_named("server", scheme, addr)
    }

    pub(crate) fn peer_named(&self, name: &str, scheme: Scheme, addr: SocketAddr) -> Result<PeerConfig> {
        let endpoint = format!("{}://{addr}", scheme.as_str());
        Ok(PeerConfig { ca: Some(self.cert("ca.pem")), ..PeerConfig::new(PeerName::new(name)?, endpoint) })
    }

    pub(crate) async fn serve(&self, scheme: Scheme, service: &Service) -> Result<Server> {
        let tls = TlsFiles::new(self.cert(&format!("{NODE}.pem")), self.cert(&format!("{NODE}.key")));
        let (addr, service) = (SocketAddr::from(([127, 0, 0, 1], 0)), service.clone());
        Ok(match scheme {
            Scheme::Quic => {
                let (shared_key, limits) = (self.key.clone(), antiphon_quic::Limits::default());
                let options = QuicServerOptions { addr, tls: Some(tls), shared_key, allow_open: false, limits };
                Server::Quic(QuicServer::start(options, service).await?)
            }
            Scheme::Https => {
                let limits = antiphon_https::Limits::default();
                let options =
                    ServerOptions { addr, tls: Some(tls), names: Vec::new(), keyed: true, allow_open: false, limits };
                Server::Https(HttpsServer::start(options, service).await?)
            }
        })
    }
}

/// Stops when dropped.
pub(crate) enum Server {
    Quic(QuicServer),
    Https(HttpsServer),
}

impl Server {
    pub(crate) const fn addr(&self) -> SocketAddr {
        match self {
            Self::Quic(server) => server.local_addr(),
            Self::Https(server) => server.local_addr(),
        }
    }

    /// Stops in order, and says how much it put on the wire.
    pub(crate) async fn shutdown(self) -> u64 {
        match self {
            Self::Quic(server) => {
                let sent = server.sent_bytes();
                server.shutdown().await;
                sent.get()
            }
            Self::Https(server) => {
                let sent = server.sent_bytes();
                server.shutdown().await;
                sent.get()
            }
        }
    }
}
