//! `antiphon bench`: two nodes in one process, so that one clock times both; their stores are RocksDB, and between them are
//! real sockets with TLS.

pub(crate) mod catchup;
pub(crate) mod depth;
pub(crate) mod idle;
pub(crate) mod latency;
mod limit;
pub(crate) mod mesh;
pub(crate) mod replay;
pub(crate) mod replicate;
pub(crate) mod side;
pub(crate) mod throughput;
mod usage;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use antiphon_https::{HttpsOptions, HttpsServer, HttpsTransport, ServerOptions};
use antiphon_kernel::config::{Config, PeerConfig, PeerMode, SharedKey};
use antiphon_kernel::cortex::{Cortex, CortexBuilder};
use antiphon_kernel::ids::PeerName;
use antiphon_kernel::service::Service;
use antiphon_kernel::store::Durability;
use antiphon_kernel::transport::Transport;
use antiphon_quic::{QuicOptions, QuicServer, QuicServerOptions, QuicTransport, TlsFiles};
use antiphon_storage::{Create, RocksStore};
use anyhow::{Context as _, Result};
use comfy_table::Table;
use comfy_table::presets;
use serde_json::Value;
use tempfile::TempDir;

use crate::cli::Scheme;
use crate::commands::new_key;
use crate::dev_certs;

impl Scheme {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Quic => "quic",
            Self::Https => "https",
        }
    }
}

/// Where the stores and certificates of a bench stand, and what joins its nodes.
struct Bench {
    /// Removed with it, unless it is another process's.
    dir: Root,
    key: SharedKey,
}

enum Root {
    Own(TempDir),
    Other(PathBuf),
}

/// The name of both nodes' certificate.
const NODE: &str = "bench";
/// Where the side of a bench in another process finds the key.
const KEY: &str = "ANTIPHON_SHARED_KEY";

impl Bench {
    fn new(dir: Option<&Path>) -> Result<Self> {
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
    fn join(root: &Path) -> Result<Self> {
        let key = std::env::var(KEY).context("a side of a bench is given its key")?;
        Ok(Self { dir: Root::Other(root.to_owned()), key: SharedKey::new(&key)? })
    }

    fn path(&self) -> &Path {
        match &self.dir {
            Root::Own(dir) => dir.path(),
            Root::Other(dir) => dir,
        }
    }

    fn key(&self) -> &str {
        self.key.expose()
    }

    fn cert(&self, file: &str) -> PathBuf {
        self.path().join("certs").join(file)
    }

    fn transports(&self) -> Vec<Arc<dyn Transport>> {
        let (quic, https) = (self.key.clone(), self.key.clone());
        vec![
            Arc::new(QuicTransport::new(QuicOptions { shared_key: quic })),
            Arc::new(HttpsTransport::new(HttpsOptions { shared_key: https, allow_plaintext_loopback: false })),
        ]
    }

    /// A node over a store of its own.
    fn node(&self, name: &str, peers: Vec<PeerConfig>, durability: Durability) -> Result<CortexBuilder> {
        let store = RocksStore::open(self.path().join(name), Create::IfMissing)?;
        let config = Config { peers, shared_key: self.key.clone(), ..Config::default() };
        let (quic, https) = (self.key.clone(), self.key.clone());
        Ok(Cortex::builder(Arc::new(store))
            .name(name)
            .config(config)
            .durability(durability)
            .transport(QuicTransport::new(QuicOptions { shared_key: quic }))
            .transport(HttpsTransport::new(HttpsOptions { shared_key: https, allow_plaintext_loopback: false })))
    }

    fn peer(&self, scheme: Scheme, addr: SocketAddr) -> Result<PeerConfig> {
        self.peer_named("server", scheme, addr)
    }

    fn peer_named(&self, name: &str, scheme: Scheme, addr: SocketAddr) -> Result<PeerConfig> {
        let endpoint = format!("{}://{addr}", scheme.as_str());
        Ok(PeerConfig { name: PeerName::new(name)?, endpoint, ca: Some(self.cert("ca.pem")), mode: PeerMode::Sync })
    }

    async fn serve(&self, scheme: Scheme, service: &Service) -> Result<Server> {
        let tls = TlsFiles { cert: self.cert(&format!("{NODE}.pem")), key: self.cert(&format!("{NODE}.key")) };
        let (addr, service) = (SocketAddr::from(([127, 0, 0, 1], 0)), service.clone());
        Ok(match scheme {
            Scheme::Quic => {
                let (shared_key, limits) = (self.key.clone(), antiphon_quic::Limits::default());
                let options = QuicServerOptions { addr, tls, shared_key, allow_open: false, limits };
                Server::Quic(QuicServer::start(options, service).await?)
            }
            Scheme::Https => {
                let limits = antiphon_https::Limits::default();
                let options = ServerOptions { addr, tls: Some(tls), keyed: true, allow_open: false, limits };
                Server::Https(HttpsServer::start(options, service).await?)
            }
        })
    }
}

/// Stops when dropped.
enum Server {
    Quic(QuicServer),
    Https(HttpsServer),
}

impl Server {
    const fn addr(&self) -> SocketAddr {
        match self {
            Self::Quic(server) => server.local_addr(),
            Self::Https(server) => server.local_addr(),
        }
    }

    /// Stops in order, and says how much it put on the wire.
    async fn shutdown(self) -> u64 {
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

/// Prints rows for people, in a form that documents take too, or for programs.
fn print(header: &[&str], rows: &[Vec<Value>], json: bool) -> Result<()> {
    if json {
        for row in rows {
            let object: serde_json::Map<_, _> =
                header.iter().map(|name| (*name).to_owned()).zip(row.iter().cloned()).collect();
            crate::commands::show::line(&Value::Object(object).to_string())?;
        }
        return Ok(());
    }
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(header);
    for row in rows {
        table.add_row(row.iter().map(|cell| cell.as_str().map_or_else(|| cell.to_string(), ToOwned::to_owned)));
    }
    crate::commands::show::line(&table.to_string())
}

/// A figure as it is shown: no more digits than it is worth.
fn rounded(value: f64, digits: i32) -> Value {
    let scale = 10_f64.powi(digits);
    serde_json::json!((value * scale).round() / scale)
}
