//! A cortex without threads or sockets: its log, pulled by hand.

use std::sync::Arc;

use antiphon_kernel::clock::VClock;
use antiphon_kernel::config::{Config, PeerConfig};
use antiphon_kernel::cortex::Cortex;
use antiphon_kernel::event::Draft;
use antiphon_kernel::ids::{CortexId, Epoch, LogId, Origin, PeerName};
use antiphon_kernel::internals::log::{
    ForkFinding, IngestError, Ingested, Log, LogOptions, Pin, SentQuery, put_pin, read_cursor, withhold_from,
};
use antiphon_kernel::internals::machine::{Inspection, OtherHistory};
use antiphon_kernel::internals::sync::inspection_request;
use antiphon_kernel::log::{Appended, LocalIdentity, LogReader};
use antiphon_kernel::protocol::{ChainHead, FetchReply, FetchRequest, Heads, Known, Refusal, RequestId, Scope};
use antiphon_kernel::store::{Batch, Durability, Store};
pub(crate) use antiphon_kernel::testing::until;
use antiphon_kernel::testing::{LOG, MemoryNetwork, MemoryStore, question, seeded_cortex};
use antiphon_kernel::time::Timestamp;

/// Entropy with a seed: xorshift64*, so that a failing run can be repeated.
#[derive(Clone)]
pub(crate) struct Entropy(u64);

impl Entropy {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() >> 33).unwrap() % n
    }

    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

pub(crate) fn cortex_id(n: usize) -> CortexId {
    seeded_cortex(u8::try_from(n + 1).unwrap())
}

pub(crate) fn peer_name(n: usize) -> PeerName {
    PeerName::new(&format!("peer-{n}")).unwrap()
}

pub(crate) struct Node {
    pub(crate) n: usize,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) log: Log,
    process: u64,
    requests: u64,
}

fn options(n: usize, process: u64, log: Option<LogId>) -> LogOptions {
    let mut entropy = Entropy::new((n as u64) << 32 | process);
    LogOptions {
        entropy: Box::new(move || u128::from(entropy.next()) << 64 | u128::from(entropy.next())),
        process: (n as u64) << 32 | process,
        log,
        ..LogOptions::default()
    }
}

impl Node {
    /// A new cortex that has every other of `peers` pinned.
    pub(crate) fn new(n: usize, peers: usize, store: Arc<dyn Store>) -> Self {
        Self::of(n, peers, store, Some(LOG))
    }

    /// The same, of no log yet.
    pub(crate) fn of_no_log(n: usize, peers: usize, store: Arc<dyn Store>) -> Self {
        Self::of(n, peers, store, None)
    }

    fn of(n: usize, peers: usize, store: Arc<dyn Store>, log_id: Option<LogId>) -> Self {
        let identity = LocalIdentity::new(cortex_id(n), Epoch::new(n as u64 + 100), format!("node-{n}"));
        Log::create(&*store, &identity).unwrap();
        let mut log = Log::open(Arc::clone(&store), options(n, 0, log_id)).unwrap();
        let mut pins = Batch::new();
        for other in (0..peers).filter(|&other| other != n) {
            put_pin(&mut pins, &peer_name(other), &Pin::of_id(cortex_id(other), Timestamp::from_micros(0)));
        }
        log.stage_state(&pins).unwrap();
        log.commit(Durability::Sync).unwrap();
        Self { n, store, log, process: 0, requests: 0 }
    }

    /// A cortex that exists already, over a store of its own.
    pub(crate) fn over(n: usize, store: Arc<dyn Store>) -> Self {
        let process = 1_000;
        let log = Log::open(Arc::clone(&store), options(n, process, Some(LOG))).unwrap();
        Self { n, store, log, process, requests: 0 }
    }

    /// The process died and starts again: nothing is left of what it had in memory.
    pub(crate) fn restart(&mut self) {
        self.process += 1;
        self.log = Log::open(Arc::clone(&self.store), options(self.n, self.process, None)).unwrap();
    }

    pub(crate) fn append(
        &mut self,
        subject: &str,
        context: &VClock,
        now: Timestamp,
        durability: Durability,
    ) -> Appended {
        let draft = Draft::new("test.happened", format!("{subject} at {now}")).subject(subject);
        let appended = self.log.append(&[draft], context, now).unwrap();
        self.log.commit(durability).unwrap();
        appended[0]
    }

    /// Asks another node, and returns what was asked with the answer.
    pub(crate) fn ask(&mut self, other: &Node, max_events: u32, by_clock: bool) -> (SentQuery, FetchReply) {
        let (asked, request) = self.question(other, max_events, by_clock);
        (asked, other.log.reader().answer(&request).unwrap())
    }

    pub(crate) fn question(&mut self, other: &Node, max_events: u32, by_clock: bool) -> (SentQuery, FetchRequest) {
        self.requests += 1;
        let view = self.log.reader();
        let request = RequestId { process: view.process(), number: self.requests };
        let after = if by_clock { None } else { read_cursor(&*self.store, &peer_name(other.n)).unwrap() };
        let asked = SentQuery {
            request,
            to: cortex_id(other.n),
            after,
            max_events,
            max_bytes: 1 << 20,
            scope: Scope::All,
            withhold: withhold_from(&*self.store, cortex_id(other.n)).unwrap(),
            held: Heads::default(),
            exclude: Vec::new(),
        };
        let request = FetchRequest {
            request,
            after,
            known: Known::Full(view.heads()),
            max_events,
            max_bytes: asked.max_bytes,
            withhold: asked.withhold.clone(),
            epoch: view.local().epoch,
            ..antiphon_kernel::testing::question(cortex_id(self.n), asked.to)
        };
        (asked, request)
    }

    /// Takes an answer and commits it.
    pub(crate) fn take(
        &mut self,
        from: usize,
        asked: &SentQuery,
        reply: &FetchReply,
        durability: Durability,
    ) -> Result<Option<Ingested>, IngestError> {
        let FetchReply::Batch(batch) = reply else { return Ok(None) };
        let ingested = self.log.ingest(&peer_name(from), asked, batch, Timestamp::from_micros(0))?;
        self.log.commit(durability).unwrap();
        // As the writer does after each commit.
        while self.log.rejoin(Timestamp::from_micros(0)).unwrap() > 0 {
            self.log.commit(durability).unwrap();
        }
        Ok(Some(ingested))
    }

    /// One poll: returns how many events were sent and how many were new.
    pub(crate) fn poll(&mut self, other: &Node, max_events: u32) -> (usize, usize) {
        let (mut asked, mut reply) = self.ask(other, max_events, false);
        if matches!(reply, FetchReply::Refused { .. }) {
            (asked, reply) = self.ask(other, max_events, true);
        }
        let FetchReply::Batch(batch) = &reply else { panic!("{reply:?}") };
        let sent = batch.events.len();
        let ingested = self.take(other.n, &asked, &reply, Durability::Sync).unwrap().unwrap();
        (sent, ingested.stored)
    }

    /// Everything that the other has and may give, as the syncer would take it: by cursor, by clock where that fails, and
    /// looking into forks. Returns how many events were new.
    pub(crate) fn pull(&mut self, other: &Node) -> Result<usize, IngestError> {
        let (mut stored, mut by_clock) = (0, false);
        for _ in 0..100 {
            let (asked, reply) = self.ask(other, 100, by_clock);
            let forked = match &reply {
                FetchReply::Refused { refusal: Refusal::CursorUnknown, .. } => {
                    by_clock = true;
                    continue;
                }
                FetchReply::Refused { refusal: Refusal::Fork { origin, counter, .. }, .. } => Some((*origin, *counter)),
                FetchReply::Refused { refusal: other, .. } => panic!("{other}"),
                FetchReply::Batch(_) => None,
            };
            let taken = match forked {
                Some((origin, counter)) => Err(IngestError::Fork { origin, counter }),
                None => self.take(other.n, &asked, &reply, Durability::Sync),
            };
            match taken {
                Ok(Some(Ingested { stored: 0, healed: 0, .. })) => return Ok(stored),
                Ok(ingested) => {
                    by_clock = ingested.is_some_and(|i| i.healed > 0);
                    stored += ingested.map_or(0, |i| i.stored);
                }
                Err(IngestError::Fork { origin, counter }) => self.inspect(other, origin, counter),
                Err(error) if error.is_hole() && !by_clock => by_clock = true,
                Err(error) => return Err(error),
            }
        }
        panic!("it goes on for ever")
    }

    fn inspect(&mut self, other: &Node, origin: Origin, counter: u64) {
        let mut inspection = Inspection::new(origin, counter);
        let found = loop {
            self.requests += 1;
            let request = RequestId { process: self.log.reader().process(), number: self.requests };
            let request = inspection_request(
                &self.log.reader(),
                &inspection,
                (cortex_id(other.n), antiphon_kernel::protocol::PROTOCOL_MAX),
                request,
            )
            .unwrap();
            let reply = other.log.reader().answer(&request).unwrap();
            if let Some(found) = inspection.answer(reply).unwrap() {
                break found;
            }
        };
        let OtherHistory { from, inception, records, seals } = found;
        let holder = cortex_id(other.n);
        let finding = ForkFinding { peer: peer_name(other.n), holder, origin, from, inception, records, seals };
        self.log.note_fork(&finding, Timestamp::from_micros(0)).unwrap();
        self.log.commit(Durability::Sync).unwrap();
    }

    pub(crate) fn digest(&self) -> String {
        self.log.reader().heads().fold().to_string()
    }
}

/// What a peer shows to prove that it holds another history of an origin from a counter on: the one in this log.
pub(crate) fn shown_fork(holder: usize, log: &LogReader, origin: Origin, from: u64) -> ForkFinding {
    let digest = log.chain_digest(origin, from - 1).unwrap().unwrap();
    let known = if from > 1 { vec![(origin, ChainHead { counter: from - 1, digest })] } else { vec![] };
    let (known, scope) = (Known::Full(Heads::new(known)), Scope::Origin(origin));
    let request = FetchRequest { known, scope, ..question(cortex_id(100), log.local().cortex_id) };
    let FetchReply::Batch(batch) = log.answer(&request).unwrap() else { panic!("it holds that history") };
    ForkFinding {
        peer: peer_name(holder),
        holder: cortex_id(holder),
        origin,
        from,
        inception: batch.inceptions.into_iter().next().map(|(_, inception)| inception),
        records: batch.events.into_iter().map(|(_, record)| record).collect(),
        seals: batch.seals.into_iter().zip(batch.clocks).collect(),
    }
}

/// Two different nodes of a list, the first to change.
pub(crate) fn two(nodes: &mut [Node], one: usize, other: usize) -> (&mut Node, &Node) {
    assert_ne!(one, other);
    if one < other {
        let (left, right) = nodes.split_at_mut(other);
        (&mut left[one], &right[0])
    } else {
        let (left, right) = nodes.split_at_mut(one);
        (&mut right[0], &left[other])
    }
}

/// A peer by the name that it has in a network in memory.
pub(crate) fn peer(name: &str) -> PeerConfig {
    let endpoint = format!("memory://{name}");
    PeerConfig::new(PeerName::new(name).unwrap(), endpoint)
}

/// A cortex that answers in a network in memory, under its own name.
pub(crate) async fn start(network: &MemoryNetwork, own: &str, config: Config) -> Cortex {
    let builder = Cortex::builder(Arc::new(MemoryStore::new())).log(LOG).name(own).config(config);
    let cortex = builder.transport(network.clone()).start().await.unwrap();
    network.serve(own, cortex.service().clone());
    cortex
}

/// Where the record begins in a segment of one entry: behind version, count, time and length.
pub(crate) fn record_in(segment: &[u8]) -> usize {
    assert_eq!(segment[1], 1, "it has one entry");
    let integer = |at: usize| match segment[at] {
        253 => 9,
        252 => 5,
        251 => 3,
        _ => 1,
    };
    let length = 2 + integer(2);
    length + integer(length)
}
