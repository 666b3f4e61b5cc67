//! A node that answers over QUIC, and links to it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use antiphon_kernel::codec::{FRAME_HEADER_BYTES, FrameHeader, Message, decode, encode};
use antiphon_kernel::config::{FederationMode, PeerConfig, SharedKey};
use antiphon_kernel::event::Draft;
use antiphon_kernel::health::ErrorCategory;
use antiphon_kernel::ids::{Epoch, PeerName};
use antiphon_kernel::internals::log::{Log, LogOptions};
use antiphon_kernel::log::{CausalContext, LocalIdentity, LogHandle};
use antiphon_kernel::proof::{Channel, Introduction};
use antiphon_kernel::protocol::{Delivery, EventBatch, FetchReply, FetchRequest, Hello, Pushed};
use antiphon_kernel::service::Service;
use antiphon_kernel::store::{Durability, Store};
use antiphon_kernel::testing::{MemoryStore, seeded_cortex, seeded_identity};
use antiphon_kernel::transport::{Link, Tail, Transport, TransportError};
use antiphon_quic::{Limits, QuicOptions, QuicServer, QuicServerOptions, QuicTransport, TlsFiles};
use quinn::{Connection, RecvStream, SendStream};

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
    let options = QuicServerOptions { addr, tls: Some(tls), shared_key: key(), allow_open: false, limits };
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
    seeded_identity(1, "alpha")
}

pub(crate) fn question(delivery: Delivery) -> FetchRequest {
    let plain = antiphon_kernel::testing::question(own().cortex_id, seeded_cortex(7));
    FetchRequest { max_events: 100, max_bytes: 1024 * 1024, delivery, ..plain }
}

/// The messages of a greeting on a connection, by hand.
pub(crate) struct Greeting {
    pub(crate) send: SendStream,
    pub(crate) receive: RecvStream,
}

impl Greeting {
    pub(crate) async fn begin(connection: &Connection) -> Self {
        let (send, receive) = connection.open_bi().await.unwrap();
        Self { send, receive }
    }

    pub(crate) async fn say(&mut self, message: &Message) {
        // Who was shown the door reads why.
        let _ = self.send.write_all(&encode(message)).await;
    }

    pub(crate) async fn hear(&mut self) -> Message {
        let mut frame = vec![0; FRAME_HEADER_BYTES];
        self.receive.read_exact(&mut frame).await.unwrap();
        let length = FrameHeader::parse(&frame).unwrap().body_len();
        frame.resize(FRAME_HEADER_BYTES + length, 0);
        self.receive.read_exact(&mut frame[FRAME_HEADER_BYTES..]).await.unwrap();
        decode(&frame.into()).unwrap()
    }

    /// The hello that lets `own` in.
    pub(crate) async fn hello(&mut self, connection: &Connection, own: &LocalIdentity, key: SharedKey) -> Hello {
        let introduction = Introduction::new(own, &peer("quic://x:1", None), key);
        let connect = introduction.connect();
        self.say(&Message::Connect(connect.clone())).await;
        let Message::Proof(proof) = self.hear().await else { panic!("a proof was due") };
        introduction.hello(&connect, &proof, Channel::Tls(&channel(connection))).await.unwrap().0
    }
}

/// What both ends of a connection have in common.
pub(crate) fn channel(connection: &Connection) -> [u8; 32] {
    let mut channel = [0; 32];
    connection.export_keying_material(&mut channel, b"EXPORTER-Channel-Binding", b"").unwrap();
    channel
}

pub(crate) fn peer(endpoint: impl Into<String>, ca: Option<&Path>) -> PeerConfig {
    PeerConfig { ca: ca.map(ToOwned::to_owned), ..PeerConfig::new(PeerName::new("bravo").unwrap(), endpoint.into()) }
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
