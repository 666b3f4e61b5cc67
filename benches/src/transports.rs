//! What joins two cortexes: memory, HTTPS or QUIC on loopback, with TLS and a shared key.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use antiphon_https::{HttpsOptions, HttpsServer, HttpsTransport, ServerOptions};
use antiphon_kernel::config::{Config, PeerConfig, SharedKey};
use antiphon_kernel::cortex::{Cortex, CortexBuilder};
use antiphon_kernel::service::Service;
use antiphon_kernel::store::Store;
use antiphon_kernel::testing::MemoryNetwork;
use antiphon_kernel::transport::Transport;
use antiphon_quic::{QuicOptions, QuicServer, QuicServerOptions, QuicTransport};

use crate::certificates::Certificates;
use crate::logs::peer;

/// The transports that are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Medium {
    /// Through the wire format and no socket.
    Memory,
    /// One answer a question.
    Https,
    /// The live tail.
    Quic,
}

impl Medium {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Memory, Self::Https, Self::Quic];

    /// Its name in the name of a bench.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Https => "https",
            Self::Quic => "quic",
        }
    }
}

/// The key that both sides hold.
///
/// # Panics
/// Never: it is long enough.
#[must_use]
pub fn key() -> SharedKey {
    SharedKey::new("bench-0123456789abcdef0123456789abcdef").expect("the key is long enough")
}

enum Server {
    Memory(MemoryNetwork),
    Https(HttpsServer),
    Quic(QuicServer),
}

/// A cortex that answers over a transport.
pub struct Opened {
    server: Server,
    certificates: Certificates,
}

impl Opened {
    /// Lets a cortex answer. Must be called within a tokio runtime.
    ///
    /// # Panics
    /// Where loopback cannot be listened on.
    pub async fn start(medium: Medium, service: &Service) -> Self {
        let certificates = Certificates::new();
        let (addr, service) = (SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), service.clone());
        let server = match medium {
            Medium::Memory => {
                let network = MemoryNetwork::new();
                network.serve("writer", service);
                Server::Memory(network)
            }
            Medium::Https => {
                let (tls, limits) = (Some(certificates.server()), antiphon_https::Limits::default());
                let options = ServerOptions { addr, tls, names: Vec::new(), keyed: true, allow_open: false, limits };
                Server::Https(HttpsServer::start(options, service).await.expect("loopback has a free port"))
            }
            Medium::Quic => {
                let (tls, limits) = (certificates.server(), antiphon_quic::Limits::default());
                let options = QuicServerOptions { addr, tls: Some(tls), shared_key: key(), allow_open: false, limits };
                Server::Quic(QuicServer::start(options, service).await.expect("loopback has a free port"))
            }
        };
        Self { server, certificates }
    }

    /// The cortex that answers, as a peer.
    #[must_use]
    pub fn peer(&self) -> PeerConfig {
        let endpoint = match &self.server {
            Server::Memory(_) => "memory://writer".to_owned(),
            Server::Https(server) => format!("https://{}", server.local_addr()),
            Server::Quic(server) => format!("quic://{}", server.local_addr()),
        };
        PeerConfig { ca: Some(self.certificates.ca()), ..PeerConfig::new(peer(), endpoint) }
    }

    /// A transport that dials it.
    #[must_use]
    pub fn transport(&self) -> Arc<dyn Transport> {
        let shared_key = key();
        match &self.server {
            Server::Memory(network) => Arc::new(network.with_key(shared_key)),
            Server::Https(_) => {
                Arc::new(HttpsTransport::new(HttpsOptions { shared_key, allow_plaintext_loopback: false }))
            }
            Server::Quic(_) => Arc::new(QuicTransport::new(QuicOptions { shared_key })),
        }
    }

    /// A cortex that pulls by this transport, to be started.
    pub fn puller(&self, store: Arc<dyn Store>) -> CortexBuilder {
        let config = Config { peers: vec![self.peer()], shared_key: key(), ..Config::default() };
        Cortex::builder(store).name("puller").config(config).transport(self.transport())
    }
}
