//! A member with the shared key that writes events in any name.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;

use antiphon_https::{HttpsOptions, HttpsServer, HttpsTransport, Limits, ServerOptions};
use antiphon_kernel::clock::VClock;
use antiphon_kernel::config::SharedKey;
use antiphon_kernel::cortex::{Cortex, Peer};
use antiphon_kernel::cursor::{Cursor, Seq};
use antiphon_kernel::digest::Digest;
use antiphon_kernel::event::{Draft, EventBytes};
use antiphon_kernel::ids::{CortexId, Dot, Epoch, EventId, Origin, PeerName};
use antiphon_kernel::internals::codec::{EncodedDraft, encode_record};
use antiphon_kernel::internals::log::SentQuery;
use antiphon_kernel::protocol::{ChainHead, EventBatch, Heads, RequestId, Scope};
use antiphon_kernel::testing::MemoryStore;
use antiphon_kernel::time::Timestamp;
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::support::{KEY, Place, free_port, until};

/// An event in another cortex's name.
pub(super) struct Forged {
    pub(super) origin: Origin,
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
            let options = ServerOptions { addr, tls: None, keyed: true, allow_open: false, limits: Limits::default() };
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
        let mut page = Page::default();
        for event in events {
            let draft = Draft::new("forged", event.data).subject(event.subject).json();
            page.add(event.origin, view.heads().get(event.origin), event.id, &draft);
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

/// Events of any origins, each the next of its chain, as one answer brings them.
#[derive(Default)]
pub(super) struct Page {
    records: Vec<EventBytes>,
    heads: BTreeMap<Origin, ChainHead>,
}

impl Page {
    /// Adds an event. `held` is the head of its chain before this page; `None` before the first event.
    pub(super) fn add(&mut self, origin: Origin, held: Option<ChainHead>, id: EventId, draft: &Draft) {
        let before = ChainHead { counter: 0, digest: Digest::ZERO };
        let head = self.heads.get(&origin).copied().or(held).unwrap_or(before);
        let dot = Dot::new(origin, head.counter + 1).unwrap();
        let time = Timestamp::from_micros(i64::try_from(id.timestamp_ms()).unwrap() * 1000);
        let record = encode_record(draft, &EncodedDraft { id, dot, deps: &VClock::new(), time });
        let digest = head.digest.chain(&record).unwrap();
        self.heads.insert(origin, ChainHead { counter: dot.counter(), digest });
        self.records.push(record);
    }

    /// Returns the answer that brings these events after a cursor into the sender's log.
    pub(super) fn batch(self, request: RequestId, from: CortexId, prev: Cursor) -> EventBatch {
        let seq = Seq::new(prev.seq.get() + self.records.len() as u64);
        let last =
            if seq == prev.seq { prev } else { Cursor { seq, last_event: EventId::from_bytes([7; 16]), ..prev } };
        EventBatch {
            request,
            part: 0,
            log: Some(crate::support::log_id()),
            room: antiphon_kernel::codec::Room::default(),
            from,
            prev,
            last,
            last_time: Timestamp::from_micros(0),
            head: last,
            head_time: Timestamp::from_micros(0),
            events: (prev.seq.get() + 1..).map(Seq::new).zip(self.records).collect(),
            heads: Heads::new(self.heads.into_iter().collect()),
        }
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
