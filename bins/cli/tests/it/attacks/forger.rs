//! A member with the shared key that writes events in the name of each cortex whose keys it has.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;

use antiphon_https::{HttpsOptions, HttpsServer, HttpsTransport, Limits, ServerOptions};
use antiphon_kernel::clock::VClock;
use antiphon_kernel::config::SharedKey;
use antiphon_kernel::cortex::{Cortex, Peer};
use antiphon_kernel::cursor::Cursor;
use antiphon_kernel::event::Draft;
use antiphon_kernel::identity::{KeyFiles, Signer};
use antiphon_kernel::ids::{CortexId, Epoch, EventId, Origin, PeerName};
use antiphon_kernel::internals::log::SentQuery;
use antiphon_kernel::protocol::{ChainHead, EventBatch, Heads, RequestId, Scope};
use antiphon_kernel::testing::{Author, MemoryStore, Written, answer_of};
use antiphon_kernel::time::Timestamp;
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::support::{KEY, Place, free_port, until};

/// An event in the name of the cortex that these keys are of.
pub(super) struct Forged {
    pub(super) keys: Arc<dyn Signer>,
    pub(super) epoch: Epoch,
    pub(super) id: EventId,
    pub(super) subject: &'static str,
    pub(super) data: &'static str,
}

/// A cortex that serves the events it was given, and pulls the peers it was given.
pub(super) struct Forger {
    runtime: Runtime,
    cortex: Cortex,
    server: HttpsServer,
    requests: u64,
}

pub(super) fn key() -> SharedKey {
    SharedKey::new(KEY).unwrap()
}

impl Forger {
    /// `pulls` names endpoints.
    pub(super) fn new(name: &str, pulls: &[(&str, u16)]) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (cortex, server) = runtime.block_on(async {
            let transport = HttpsTransport::new(HttpsOptions { shared_key: key(), allow_plaintext_loopback: true });
            let mut builder =
                Cortex::builder(Arc::new(MemoryStore::new())).name(name).shared_key(key()).transport(transport);
            for (peer, port) in pulls {
                builder = builder.peer(Peer::new(*peer, format!("http://127.0.0.1:{port}")));
            }
            let cortex = builder.start().await.unwrap();
            let addr = "127.0.0.1:0".parse().unwrap();
            let options = ServerOptions {
                addr,
                tls: None,
                names: Vec::new(),
                keyed: true,
                allow_open: false,
                limits: Limits::default(),
            };
            let server = HttpsServer::start(options, cortex.service().clone()).await.unwrap();
            // A pinned peer may bring any event.
            let source = PeerName::new("source").unwrap();
            cortex.state().set_peer_cortex_id(&source, source_id()).await.unwrap();
            (cortex, server)
        });
        Self { runtime, cortex, server, requests: 0 }
    }

    pub(super) fn port(&self) -> u16 {
        self.server.local_addr().port()
    }

    pub(super) fn head(&self, origin: Origin) -> Option<ChainHead> {
        self.cortex.reader().heads().get(origin)
    }

    pub(super) fn digest(&self) -> String {
        self.cortex.reader().heads().fold().to_string()
    }

    /// Waits until it holds so many events.
    pub(super) fn holds(&self, events: u64) {
        until("the forger pulled", || (self.cortex.reader().head().seq.get() == events).then_some(()));
    }

    /// Takes events into its log, each the next of its chain.
    pub(super) fn write(&mut self, events: &[Forged]) {
        let view = self.cortex.reader().clone();
        self.requests += 1;
        let request = RequestId { process: view.process(), number: 1 << 40 | self.requests };
        let (mut page, mut authors) = (Page::default(), BTreeMap::new());
        for event in events {
            let origin = Origin::new(event.keys.statement().cortex(), event.epoch);
            let author = authors.entry(origin).or_insert_with(|| match view.heads().get(origin) {
                Some(_) => Author::after(&view, origin, Arc::clone(&event.keys)),
                None => author(&event.keys, event.epoch),
            });
            let draft = Draft::new("forged", event.data).subject(event.subject).json();
            page.add(author, event.id, &draft);
        }
        let batch = page.batch(request, source_id(), Cursor::start(Epoch::new(7)));
        let source = PeerName::new("source").unwrap();
        let taken =
            self.runtime.block_on(self.cortex.log().ingest(source, asked(request, source_id()), batch)).unwrap();
        assert_eq!(taken.stored, events.len());
    }
}

impl Drop for Forger {
    fn drop(&mut self) {
        self.runtime.block_on(self.cortex.stop());
    }
}

/// The author of an epoch, with these keys.
pub(super) fn author(keys: &Arc<dyn Signer>, epoch: Epoch) -> Author {
    Author::with_keys(Arc::clone(keys), epoch, crate::support::log_id())
}

/// The keys of a node, as a thief of its files has them.
pub(super) fn keys_of(place: &Place) -> Arc<dyn Signer> {
    Arc::new(KeyFiles::of(place.dir.path().join("data")).load().unwrap().unwrap())
}

/// Events of any origins, as one answer brings them.
#[derive(Default)]
pub(super) struct Page(Vec<Written>);

impl Page {
    /// Adds the next event of an origin.
    pub(super) fn add(&mut self, author: &mut Author, id: EventId, draft: &Draft) {
        let time = Timestamp::from_micros(i64::try_from(id.timestamp_ms()).unwrap() * 1000);
        self.0.push(author.write(id, draft, &VClock::new(), time));
    }

    /// Returns the answer that brings these events after a cursor into the sender's log.
    pub(super) fn batch(self, request: RequestId, from: CortexId, prev: Cursor) -> EventBatch {
        EventBatch { log: Some(crate::support::log_id()), ..answer_of(&self.0, request, from, prev) }
    }
}

/// The question that such an answer answers, without limits that matter.
pub(super) fn asked(request: RequestId, to: CortexId) -> SentQuery {
    SentQuery {
        request,
        to,
        after: None,
        max_events: 4096,
        max_bytes: 1 << 30,
        scope: Scope::All,
        withhold: Heads::default(),
        held: Heads::default(),
        exclude: Vec::new(),
    }
}

pub(super) fn source_id() -> CortexId {
    CortexId::from_bytes([0xfe; 16])
}

/// An id of now.
pub(super) fn id(n: u64) -> EventId {
    EventId::from_parts(Timestamp::now().ulid_ms(), u128::from(n))
}

/// A node that pulls these, over plain HTTP on loopback, and its port. It has metrics as well, on the port after `metrics`.
pub(super) fn node(name: &str, port: u16, metrics: u16, peers: &[(&str, u16)]) -> Place {
    let peers: Vec<_> = peers
        .iter()
        .map(|(name, port)| format!("    - {{ name: {name}, endpoint: \"http://127.0.0.1:{port}\" }}\n"))
        .collect();
    let peers = if peers.is_empty() { "    []\n".to_owned() } else { peers.concat() };
    Place::new(&format!(
        "node: {{ name: {name}, data_dir: data }}\nlisten: {{ https: \"127.0.0.1:{port}\", metrics: \"127.0.0.1:{metrics}\" }}\nfederation:\n  \
         interval: 1s\n  allow_plaintext_loopback: true\n  peers:\n{peers}"
    ))
}

/// The origin that a node writes under now.
pub(super) fn origin(place: &Place) -> Origin {
    let status = place.json(&["status"]);
    let text = |key: &str| status[key].as_str().unwrap().to_owned();
    Origin::new(text("cortex_id").parse().unwrap(), text("epoch").parse().unwrap())
}

/// Two ports that are free.
pub(super) fn ports() -> (u16, u16) {
    (free_port(), free_port())
}

/// What a node's status says of one of its peers.
pub(super) fn peer<'a>(status: &'a Value, name: &str) -> &'a Value {
    status["peers"].as_array().unwrap().iter().find(|peer| peer["name"] == name).unwrap()
}

/// The metrics of a node, as text.
pub(super) fn scraped(port: u16) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}
