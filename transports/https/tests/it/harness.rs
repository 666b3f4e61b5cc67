//! A small node to talk to, and what every failure is held to.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use antiphon_https::{HttpsOptions, HttpsServer, HttpsTransport, Limits, ServerOptions, TlsFiles};
use antiphon_kernel::config::{FederationMode, PeerConfig, SharedKey};
use antiphon_kernel::event::Draft;
use antiphon_kernel::health::ErrorCategory;
use antiphon_kernel::ids::{Epoch, PeerName};
use antiphon_kernel::internals::log::{Log, LogOptions};
use antiphon_kernel::log::{CausalContext, LocalIdentity, LogHandle};
use antiphon_kernel::protocol::FetchRequest;
use antiphon_kernel::service::Service;
use antiphon_kernel::store::{Durability, Store};
use antiphon_kernel::testing::{MemoryStore, seeded_cortex, seeded_identity};
use antiphon_kernel::transport::{Link, Transport, TransportError};

/// If it turns up in any text, a key leaked.
pub(crate) const KEY: &str = "canary-0123456789abcdef0123456789abcdef";
pub(crate) const FRAME: &str = "application/vnd.antiphon.frame";
/// Far more than anything here takes; a test that waits this long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn key() -> SharedKey {
    SharedKey::new(KEY).unwrap()
}

pub(crate) struct Node {
    pub(crate) log: LogHandle,
    pub(crate) service: Service,
    pub(crate) server: HttpsServer,
}

pub(crate) fn service(key: SharedKey) -> (LogHandle, Service) {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let identity = LocalIdentity::new(seeded_cortex(7), Epoch::new(3), "bravo".to_owned());
    Log::create(&*store, &identity).unwrap();
    let log = LogHandle::start(Log::open(store, LogOptions::default()).unwrap(), Durability::Sync).unwrap();
    let service = Service::new(log.reader().clone(), key, FederationMode::Sync);
    (log, service)
}

pub(crate) async fn node_with(tls: Option<TlsFiles>, limits: Limits) -> Node {
    let (log, service) = service(key());
    let options = ServerOptions {
        addr: "127.0.0.1:0".parse().unwrap(),
        tls,
        names: Vec::new(),
        keyed: true,
        allow_open: false,
        limits,
    };
    let server = HttpsServer::start(options, service.clone()).await.unwrap();
    Node { log, service, server }
}

pub(crate) async fn node() -> Node {
    node_with(None, Limits::default()).await
}

impl Node {
    pub(crate) fn addr(&self) -> SocketAddr {
        self.server.local_addr()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr())
    }

    pub(crate) async fn append(&self, count: usize) {
        let drafts = (0..count).map(|n| Draft::new("note", format!(r#"{{"n":{n}}}"#)).json()).collect();
        self.log.append(drafts, CausalContext::default()).await.unwrap();
    }

    pub(crate) fn question(&self, wait: Duration) -> FetchRequest {
        FetchRequest { to: self.service.identity().cortex_id, ..question(wait) }
    }
}

pub(crate) fn question(wait: Duration) -> FetchRequest {
    let plain = antiphon_kernel::testing::question(own().cortex_id, seeded_cortex(7));
    FetchRequest { max_events: 100, max_bytes: 1024 * 1024, wait, ..plain }
}

/// Who asks.
pub(crate) fn own() -> LocalIdentity {
    seeded_identity(1, "alpha")
}

pub(crate) fn peer(endpoint: impl Into<String>, ca: Option<&std::path::Path>) -> PeerConfig {
    PeerConfig { ca: ca.map(ToOwned::to_owned), ..PeerConfig::new(PeerName::new("bravo").unwrap(), endpoint.into()) }
}

pub(crate) fn transport(shared_key: SharedKey) -> HttpsTransport {
    HttpsTransport::new(HttpsOptions { shared_key, allow_plaintext_loopback: true })
}

pub(crate) fn link_to(addr: SocketAddr) -> Box<dyn Link> {
    transport(key()).link(&peer(format!("http://{addr}"), None), &own()).unwrap()
}

/// Holds a failure to its category, and to silence about the key.
#[track_caller]
pub(crate) fn fails<T>(result: Result<T, TransportError>, category: ErrorCategory) -> TransportError {
    let Err(error) = result else { panic!("it worked, where {category} was due") };
    assert_eq!(error.category(), category, "{error}");
    for text in [error.detail().to_owned(), error.to_string(), format!("{error:?}")] {
        assert!(!text.contains(KEY) && !text.contains("canary"), "the key leaked: {text}");
    }
    error
}

/// Waits for something with a deadline instead of for a while.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it did not happen in time")
}
