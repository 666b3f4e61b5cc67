//! A node that answers over QUIC, and links to it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use antiphon_kernel::config::{FederationMode, PeerConfig, PeerMode, SharedKey};
use antiphon_kernel::event::Draft;
use antiphon_kernel::health::ErrorCategory;
use antiphon_kernel::ids::{Epoch, PeerName};
use antiphon_kernel::internals::log::{Log, LogOptions};
use antiphon_kernel::log::{CausalContext, LocalIdentity, LogHandle};
use antiphon_kernel::protocol::{Delivery, EventBatch, FetchReply, FetchRequest, Hello, Pushed};
use antiphon_kernel::service::Service;
use antiphon_kernel::store::{Durability, Store};
use antiphon_kernel::testing::{MemoryStore, seeded_cortex, seeded_keys};
use antiphon_kernel::transport::{Link, Tail, Transport, TransportError};
use antiphon_quic::{Limits, QuicOptions, QuicServer, QuicServerOptions, QuicTransport, TlsFiles};

use crate::certificates::Authority;

/// If it turns up in any text, a key leaked.
pub(crate) const KEY: &str = "canary-0123456789abcdef0123456789abcdef";
/// Far more than anything here takes; a test that waits this long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn key() -> SharedKey {
    SharedKey::new(KEY).unwrap()
}

pub(crate) struct Node {
    pub(crate) log: LogHandle,
    pub(crate) service: Service,
    pub(crate) authority: Authority,
    pub(crate) server: QuicServer,
}

pub(crate) fn service() -> (LogHandle, Service) {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let identity = LocalIdentity::new(seeded_cortex(7), Epoch::new(3), "bravo".to_owned());
    Log::create(&*store, &identity).unwrap();
    let log = LogHandle::start(Log::open(store, LogOptions::default()).unwrap(), Durability::Sync).unwrap();
    let service = Service::new(log.reader().clone(), key(), FederationMode::Sync);
    (log, service)
}

pub(crate) async fn serve(service: &Service, tls: TlsFiles, addr: SocketAddr, limits: Limits) -> QuicServer {
    let options = QuicServerOptions { addr, tls, shared_key: key(), allow_open: false, limits };
    QuicServer::start(options, service.clone()).await.unwrap()
}

pub(crate) async fn node_with(limits: Limits) -> Node {
    let (log, service) = service();
    let authority = Authority::new();
    let server = serve(&service, authority.issue("127.0.0.1"), "127.0.0.1:0".parse().unwrap(), limits).await;
    Node { log, service, authority, server }
}

pub(crate) async fn node() -> Node {
    node_with(Limits::default()).await
}

impl Node {
    pub(crate) fn addr(&self) -> SocketAddr {
        self.server.local_addr()
    }

    pub(crate) fn link(&self) -> Box<dyn Link> {
        link(&transport(key()), self.addr(), &self.authority.ca())
    }

    pub(crate) async fn append(&self, count: usize) {
        // Groups of one event: an answer may end after each.
        for n in 0..count {
            let draft = Draft::new("note", format!(r#"{{"n":{n}}}"#)).json();
            self.log.append(vec![draft], CausalContext::default()).await.unwrap();
        }
    }
}

pub(crate) fn own() -> LocalIdentity {
    LocalIdentity {
        statement: Some(seeded_keys(1).statement().clone().into()),
        ..LocalIdentity::new(seeded_cortex(1), Epoch::new(1), "alpha".to_owned())
    }
}

pub(crate) fn question(delivery: Delivery) -> FetchRequest {
    let plain = antiphon_kernel::testing::question(own().cortex_id, seeded_cortex(7));
    FetchRequest { max_events: 100, max_bytes: 1024 * 1024, delivery, ..plain }
}

pub(crate) fn hello() -> Hello {
    let own = own();
    let statement = own.statement_bytes();
    Hello {
        protocol_min: 2,
        protocol_max: 2,
        log: None,
        room: antiphon_kernel::codec::Room::default(),
        key: key(),
        from: own.cortex_id,
        name: own.name,
        version: "0".into(),
        statement,
    }
}

pub(crate) fn peer(endpoint: impl Into<String>, ca: Option<&Path>) -> PeerConfig {
    PeerConfig {
        name: PeerName::new("bravo").unwrap(),
        endpoint: endpoint.into(),
        ca: ca.map(ToOwned::to_owned),
        cortex: None,
        mode: PeerMode::Sync,
    }
}

pub(crate) fn transport(shared_key: SharedKey) -> QuicTransport {
    QuicTransport::new(QuicOptions { shared_key })
}

pub(crate) fn link(transport: &QuicTransport, addr: SocketAddr, ca: &Path) -> Box<dyn Link> {
    transport.link(&peer(format!("quic://{addr}"), Some(ca)), &own()).unwrap()
}

/// The next batch of a run; heartbeats in between are passed over.
pub(crate) async fn batch(tail: &mut Box<dyn Tail>) -> EventBatch {
    loop {
        match tail.next(PATIENCE).await.unwrap() {
            Some(Pushed::Reply(FetchReply::Batch(batch))) => return batch,
            Some(Pushed::Heartbeat(_)) => {}
            other => panic!("a batch was due, not {other:?}"),
        }
    }
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
