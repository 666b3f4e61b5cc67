//! A server over a log of its own, and a client that asks it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::{Running, TransportHarness, key};
use crate::config::{FederationMode, PeerConfig};
use crate::event::Draft;
use crate::ids::{CortexId, Epoch, PeerName};
use crate::log::{CausalContext, LocalIdentity, Log, LogHandle, LogOptions};
use crate::protocol::{Delivery, EventBatch, FetchReply, FetchRequest, Heads, Known, Pushed, RequestId};
use crate::service::Service;
use crate::store::{Durability, Store};
pub(super) use crate::testing::until;
use crate::testing::{LOG, MemoryStore, Tamper, seeded_cortex, seeded_identity};
use crate::transport::{Link, Tail, Transport};

/// Long enough for anything that is due at once, on a machine that is busy.
pub(super) const SOON: Duration = Duration::from_secs(20);

static NUMBER: AtomicU64 = AtomicU64::new(0);

const SERVER: u8 = 7;

pub(super) fn server_id() -> CortexId {
    seeded_cortex(SERVER)
}

/// Who asks.
pub(super) fn own() -> LocalIdentity {
    seeded_identity(1, "asker")
}

/// A log of its own, in memory, of the cortex with seeded keys of this number.
pub(super) fn log(number: u8) -> LogHandle {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let identity = LocalIdentity::new(seeded_cortex(number), Epoch::new(3), "server".to_owned());
    Log::create(&*store, &identity).expect("a store in memory takes an identity");
    let options = LogOptions { max_append_bytes: 17 << 20, log: Some(LOG), ..LogOptions::default() };
    let log = Log::open(store, options).expect("a store in memory opens");
    LogHandle::start(log, Durability::Sync).expect("a thread starts")
}

pub(super) fn name(what: &str) -> String {
    format!("{what}-{}", NUMBER.fetch_add(1, Ordering::Relaxed))
}

pub(super) fn peer(name: &str, running: &dyn Running) -> PeerConfig {
    let name = PeerName::new(name).expect("a name of letters, digits and dashes is one");
    PeerConfig { ca: running.ca(), ..PeerConfig::new(name, running.endpoint()) }
}

pub(super) struct Room {
    pub(super) log: LogHandle,
    pub(super) service: Service,
    pub(super) running: Box<dyn Running>,
    pub(super) transport: Arc<dyn Transport>,
}

impl Room {
    pub(super) async fn new(harness: &dyn TransportHarness) -> Self {
        let log = log(SERVER);
        let service = Service::new(log.reader().clone(), key(), FederationMode::Sync);
        Self::with(harness, log, service).await
    }

    /// With a server that lies.
    pub(super) async fn lying(harness: &dyn TransportHarness, tamper: Arc<dyn Tamper>) -> Self {
        let log = log(SERVER);
        let service = Service::tampered(log.reader().clone(), key(), FederationMode::Sync, tamper);
        Self::with(harness, log, service).await
    }

    async fn with(harness: &dyn TransportHarness, log: LogHandle, service: Service) -> Self {
        let running = harness.serve(&name("server"), service.clone()).await;
        Self { log, service, running, transport: harness.transport() }
    }

    pub(super) fn peer(&self) -> PeerConfig {
        peer("server", &*self.running)
    }

    pub(super) fn link(&self) -> Box<dyn Link> {
        self.transport.link(&self.peer(), &own()).expect("a link to a server that answers")
    }

    pub(super) async fn append(&self, count: usize) {
        for _ in 0..count {
            self.append_bytes(20).await;
        }
    }

    pub(super) async fn append_bytes(&self, bytes: usize) {
        let draft = Draft::new("test.happened", vec![7_u8; bytes]);
        self.log.append(vec![draft], CausalContext::default()).await.expect("an append to memory");
    }

    pub(super) async fn stop(self) {
        self.service.close();
        self.running.stop().await;
        self.log.close().await;
    }
}

/// A question for everything, each time another one.
pub(super) fn question() -> FetchRequest {
    FetchRequest {
        request: RequestId { process: 1, number: NUMBER.fetch_add(1, Ordering::Relaxed) },
        ..crate::testing::question(own().cortex_id, server_id())
    }
}

/// The question that goes on where a batch ended.
pub(super) fn after(batch: &EventBatch) -> FetchRequest {
    FetchRequest { after: Some(batch.last), known: Known::Full(batch.heads.clone()), ..question() }
}

/// Holds an answer to its question, and to the server's own log.
pub(super) fn check(room: &Room, request: &FetchRequest, batch: &EventBatch) {
    assert_eq!(batch.request, request.request, "the answer belongs to another question");
    assert_eq!(batch.from, server_id(), "the answer is another cortex's");
    assert!(batch.events.len() <= request.max_events as usize, "more events than were asked for");
    let bytes: u64 = batch.events.iter().map(|event| event.1.len() as u64).sum();
    assert!(bytes <= request.max_bytes || batch.events.len() == 1, "more bytes than were asked for");
    let expected = room.log.reader().durable_entries(batch.prev.seq, usize::MAX, usize::MAX).expect("memory reads");
    let expected: Vec<_> = expected.into_iter().filter(|entry| entry.seq <= batch.last.seq).collect();
    let got: Vec<_> = batch.events.iter().map(|event| (event.0, &event.1)).collect();
    let want: Vec<_> = expected.iter().map(|entry| (entry.seq, &entry.record)).collect();
    assert_eq!(got, want, "the events are not those of the run that the batch claims to cover");
}

/// Holds a batch of a quiet log to the log's real end.
pub(super) fn check_head(room: &Room, batch: &EventBatch) {
    let head = room.log.reader().head();
    assert_eq!((batch.head.seq, batch.head_time), (head.seq, head.time), "the head is not the log's");
}

pub(super) async fn fetch(room: &Room, link: &dyn Link, request: &FetchRequest) -> EventBatch {
    match link.fetch(request, SOON).await {
        Ok(FetchReply::Batch(batch)) => {
            check(room, request, &batch);
            batch
        }
        other => panic!("a batch was due, not {other:?}"),
    }
}

/// Takes batch after batch, opening the next run where one ends, as the kernel does.
pub(super) struct Follower<'a> {
    room: &'a Room,
    link: Box<dyn Link>,
    tail: Option<Box<dyn Tail>>,
    request: FetchRequest,
    known: Heads,
    pub(super) at: u64,
}

impl<'a> Follower<'a> {
    pub(super) fn new(room: &'a Room) -> Self {
        Self { room, link: room.link(), tail: None, request: question(), known: Heads::default(), at: 0 }
    }

    /// Whether the transport brings runs at all.
    pub(super) async fn runs(room: &Room) -> bool {
        matches!(room.link().tail(&question(), SOON).await, Ok(Some(_)))
    }

    pub(super) fn limit(mut self, events: u32) -> Self {
        self.request.max_events = events;
        self
    }

    /// Gives the open run up, as after a failure.
    pub(super) fn drop_tail(&mut self) {
        self.tail = None;
    }

    fn known(&mut self, batch: &EventBatch) {
        let newer = batch.heads.iter();
        let older = self.known.iter().filter(|(origin, _)| batch.heads.get(*origin).is_none());
        self.known = Heads::new(older.chain(newer).collect());
        self.at = batch.last.seq.get();
        self.request.after = Some(batch.last);
    }

    pub(super) async fn next(&mut self) -> EventBatch {
        loop {
            if self.tail.is_none() {
                let wait = if self.at == 0 { Duration::ZERO } else { SOON / 2 };
                self.request = FetchRequest {
                    request: question().request,
                    known: Known::Full(self.known.clone()),
                    delivery: Delivery::Live,
                    wait,
                    ..self.request.clone()
                };
                self.tail = self.link.tail(&self.request, SOON).await.expect("a run");
            }
            let Some(tail) = &mut self.tail else { panic!("this transport brings no runs") };
            match tail.next(SOON).await {
                Ok(Some(Pushed::Reply(FetchReply::Batch(batch)))) => {
                    check(self.room, &self.request, &batch);
                    if let Some(at) = self.request.after {
                        assert_eq!(batch.prev, at, "the batch does not begin where the one before ended");
                    }
                    self.known(&batch);
                    return batch;
                }
                Ok(Some(Pushed::Heartbeat(heartbeat))) => {
                    assert_eq!(heartbeat.from, server_id(), "a heartbeat of another cortex");
                    assert!(heartbeat.head.seq <= self.room.log.reader().head().seq, "a heartbeat from the future");
                }
                Ok(None) => self.tail = None,
                other => panic!("a batch was due, not {other:?}"),
            }
        }
    }
}
