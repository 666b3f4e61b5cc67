//! The world: virtual time, a queue of what is to happen, and what each thing does. One thread, no clock but its own.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::time::Duration;

use super::Found;
use super::byzantine::Byzantine;
use super::chance::Chance;
use super::invariants;
use super::network::{MILLI, Micros, Network, SECOND};
use super::node::{Ack, INTERVAL, Node, Open, Process, Pull, Question, cortex_id, peer_name};
use super::truth::Truth;
use crate::health::ErrorCategory;
use crate::log::{Asked, ForkFinding, IngestError, NotAFork, Pin, put_pin, read_cursor, withhold_from};
use crate::machine::{Action, IngestOutcome, Inspection, Now, Source};
use crate::protocol::{
    Delivery, EventBatch, FetchReply, FetchRequest, Heartbeat, Identity, Known, PROTOCOL_MAX, Refresh, Scope,
};
use crate::replay::ReplayStep;
use crate::store::{Batch, Durability};
use crate::sync::inspection_request;
use crate::time::Timestamp;

/// The wall clock when a run begins.
const EPOCH: i64 = 1_700_000_000_000_000;
/// How long an answer is waited for beyond what it may be parked.
const DEADLINE: Micros = 4 * SECOND;
/// Batches of a live run that are sent at one go.
const BURST: usize = 4;

/// What travels.
#[derive(Clone)]
pub(super) enum Packet {
    Identify { client: usize, run: u64, cortex: usize, number: u64 },
    Identity { run: u64, cortex: usize, number: u64, identity: Identity },
    Question { client: usize, run: u64, cortex: usize, asked: Asked, request: Box<FetchRequest> },
    Answer { run: u64, cortex: usize, asked: Asked, reply: Box<FetchReply> },
    Heartbeat { run: u64, cortex: usize, asked: Asked, heartbeat: Heartbeat },
    Refresh { refresh: Refresh },
}

pub(super) enum What {
    Arrives { to: usize, packet: Box<Packet> },
    Timer { node: usize, run: u64, peer: usize, token: u64 },
    Deadline { node: usize, run: u64, peer: usize, number: u64 },
    Deliver { node: usize, run: u64, peer: usize },
    Sync { node: usize, run: u64 },
    Replay { node: usize, run: u64 },
    Serve { node: usize, run: u64 },
    Heartbeats { node: usize, run: u64 },
    Write { node: usize },
    Fault,
    Start { node: usize },
}

pub(super) struct World {
    pub(super) seed: u64,
    pub(super) chance: Chance,
    pub(super) now: Micros,
    pub(super) steps: u64,
    pub(super) nodes: Vec<Node>,
    /// Which node answers at the address of a cortex.
    pub(super) address: Vec<usize>,
    pub(super) network: Network,
    pub(super) truth: Truth,
    pub(super) byzantine: Byzantine,
    pub(super) found: Found,
    /// Whether faults still happen.
    pub(super) stormy: bool,
    pub(super) trace: u64,
    /// Whether a person wants to read what happens.
    told: bool,
    queue: BinaryHeap<Reverse<(Micros, u64)>>,
    items: BTreeMap<u64, What>,
    next: u64,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let count = 2 + chance.index(3);
        let network = Network::new(&mut chance);
        let nodes: Vec<_> = (0..count).map(|index| Node::create(index, seed)).collect();
        let byzantine = Byzantine::new(count, &mut chance);
        let mut world = Self {
            seed,
            chance,
            now: 0,
            steps: 0,
            address: (0..count).collect(),
            nodes,
            network,
            truth: Truth::default(),
            byzantine,
            found: Found::default(),
            stormy: true,
            trace: 0,
            told: std::env::var_os("ANTIPHON_TRACE").is_some(),
            queue: BinaryHeap::new(),
            items: BTreeMap::new(),
            next: 0,
        };
        for node in 0..count {
            world.started(node);
            let at = world.chance.below(SECOND);
            world.at(at, What::Write { node });
        }
        world.at(SECOND, What::Fault);
        world
    }

    /// For whoever looks into a seed.
    pub(super) fn say(&self, what: impl FnOnce() -> String) {
        if self.told {
            eprintln!("{:>10.3} {:>6} {}", self.now as f64 / SECOND as f64, self.steps, what());
        }
    }

    pub(super) fn at(&mut self, time: Micros, what: What) {
        self.next += 1;
        self.queue.push(Reverse((time.max(self.now), self.next)));
        self.items.insert(self.next, what);
    }

    pub(super) fn after(&mut self, delay: Micros, what: What) {
        self.at(self.now + delay, what);
    }

    pub(super) fn wall(&self, node: usize) -> Timestamp {
        let time = i64::try_from(self.now).unwrap_or(i64::MAX);
        Timestamp::from_micros(EPOCH + time + self.nodes[node].skew)
    }

    fn clock(&self, node: usize) -> Now {
        Now { monotonic: Duration::from_micros(self.now), wall: self.wall(node) }
    }

    /// Lets everything happen until a time.
    ///
    /// # Errors
    /// The first invariant that does not hold.
    pub(super) fn run_until(&mut self, end: Micros) -> Result<(), String> {
        while let Some(&Reverse((time, number))) = self.queue.peek() {
            if time > end {
                break;
            }
            self.queue.pop();
            let Some(what) = self.items.remove(&number) else { continue };
            self.now = time;
            self.steps += 1;
            invariants::at_rest_sometimes(self.steps)?;
            let touched = self.happen(what)?;
            self.trace = self.trace.rotate_left(7) ^ time.wrapping_mul(0x9e37_79b9) ^ number;
            if let Some(node) = touched {
                invariants::check(self, node)?;
            }
        }
        self.now = end;
        Ok(())
    }

    fn alive(&self, node: usize, run: u64) -> bool {
        self.nodes[node].run == run && self.nodes[node].is_up()
    }

    pub(super) fn process(&mut self, node: usize) -> Option<&mut Process> {
        self.nodes[node].process.as_mut()
    }

    fn pull(&mut self, node: usize, peer: usize) -> Option<&mut Pull> {
        self.process(node)?.pulls.get_mut(&peer)
    }

    /// Does one thing, and says whose state it may have changed.
    fn happen(&mut self, what: What) -> Result<Option<usize>, String> {
        match what {
            What::Arrives { to, packet } => self.arrive(to, *packet)?,
            What::Timer { node, run, peer, token } if self.alive(node, run) => {
                let now = self.clock(node);
                if let Some(pull) = self.pull(node, peer) {
                    pull.machine.handle_timer(now, token);
                }
                self.act(node, peer)?;
                return Ok(Some(node));
            }
            What::Deadline { node, run, peer, number } if self.alive(node, run) => {
                let (now, chance) = (self.clock(node), self.chance.next());
                if let Some(pull) = self.pull(node, peer).filter(|pull| pull.waiting == Some(number)) {
                    pull.waiting = None;
                    pull.question = None;
                    pull.machine.handle_identity(now, number, Err(ErrorCategory::Timeout), chance);
                    pull.machine.handle_reply(now, number, Source::Asked, Err(ErrorCategory::Timeout), chance);
                }
                self.act(node, peer)?;
                return Ok(Some(node));
            }
            What::Deliver { node, run, peer } if self.alive(node, run) => {
                self.deliver(node, peer)?;
                return Ok(Some(node));
            }
            What::Sync { node, run } if self.alive(node, run) => {
                self.sync(node)?;
                return Ok(Some(node));
            }
            What::Replay { node, run } if self.alive(node, run) => {
                self.replay(node);
                return Ok(Some(node));
            }
            What::Serve { node, run } if self.alive(node, run) => self.serve(node)?,
            What::Heartbeats { node, run } if self.alive(node, run) => self.heartbeats(node),
            What::Write { node } if self.stormy => {
                let pause = self.chance.between(200 * MILLI, 4 * SECOND);
                self.after(pause, What::Write { node });
                self.write(node)?;
                return Ok(Some(node));
            }
            What::Fault if self.stormy => {
                let pause = self.chance.between(300 * MILLI, 3 * SECOND);
                self.after(pause, What::Fault);
                return self.fault();
            }
            What::Start { node } if !self.nodes[node].is_up() => {
                self.start(node)?;
                return Ok(Some(node));
            }
            _ => {}
        }
        Ok(None)
    }

    /// A node's process came up: it pulls every other cortex.
    pub(super) fn started(&mut self, node: usize) {
        let own = self.nodes[node].cortex;
        for cortex in (0..self.address.len()).filter(|&cortex| cortex != own) {
            let live = self.chance.one_in(2);
            self.nodes[node].pull_from(cortex, live).expect("memory reads");
            // An error here would be one of an invariant, and shows at the next step.
            let _ = self.act(node, cortex);
        }
        let run = self.nodes[node].run;
        self.after(MILLI, What::Replay { node, run });
        self.after(10 * SECOND, What::Heartbeats { node, run });
    }

    // What a machine wants.

    pub(super) fn act(&mut self, node: usize, peer: usize) -> Result<(), String> {
        while let Some(action) = self.pull(node, peer).and_then(|pull| pull.machine.poll_action()) {
            let run = self.nodes[node].run;
            match action {
                Action::Identify { number } => {
                    if let Some(pull) = self.pull(node, peer) {
                        (pull.question, pull.waiting) = (None, Some(number));
                    }
                    self.send(node, self.address[peer], Packet::Identify { client: node, run, cortex: peer, number });
                    self.after(DEADLINE, What::Deadline { node, run, peer, number });
                }
                Action::Pin { cortex_id } => {
                    let mut changes = Batch::new();
                    put_pin(&mut changes, &peer_name(peer), &Pin { cortex_id, since: self.wall(node) });
                    self.commit_now(node, &changes);
                }
                Action::Fetch { number, to, by_clock, anew, own, wait } => {
                    self.fetch(node, peer, number, to, by_clock, anew, own, wait)
                }
                Action::Ingest { number, batch } => self.ingest(node, peer, number, &batch)?,
                Action::Inspect { number, to, origin, counter } => {
                    let outcome = self.inspect(node, peer, to, Inspection::new(origin, counter));
                    let (now, chance) = (self.clock(node), self.chance.next());
                    if let Some(pull) = self.pull(node, peer) {
                        pull.question = None;
                        pull.machine.handle_inspected(now, number, outcome, chance);
                    }
                }
                Action::Timer { token, at } => {
                    let at = u64::try_from(at.as_micros()).unwrap_or(u64::MAX);
                    self.at(at, What::Timer { node, run, peer, token });
                }
                Action::Save { .. } => {}
            }
        }
        Ok(())
    }

    #[allow(clippy::too_many_arguments)]
    fn fetch(
        &mut self,
        node: usize,
        peer: usize,
        number: u64,
        to: crate::ids::CortexId,
        by_clock: bool,
        anew: bool,
        own: bool,
        wait: Duration,
    ) {
        let store = std::sync::Arc::clone(&self.nodes[node].store);
        let run = self.nodes[node].run;
        let cursor = read_cursor(&*store, &peer_name(peer)).expect("memory reads").filter(|_| !by_clock && !own);
        let scope = if own { Scope::Cortex(cortex_id(self.nodes[node].cortex)) } else { Scope::All };
        let max_events = 1 + u32::try_from(self.chance.below(6)).unwrap_or(1);
        let Some(process) = self.nodes[node].process.as_mut() else { return };
        let request = process.request_id();
        let known = process.log.view().heads();
        let Some(pull) = process.pulls.get_mut(&peer) else { return };
        pull.waiting = Some(number);
        let patience = DEADLINE + u64::try_from(wait.as_micros()).unwrap_or(0);
        if let Some(question) = pull.question.as_mut().filter(|q| pull.live && q.answered && !anew) {
            question.asked.after = cursor;
            let run_deadline = patience + 20 * SECOND;
            self.after(run_deadline, What::Deadline { node, run, peer, number });
            self.after(0, What::Deliver { node, run, peer });
            return;
        }
        let delivery = if pull.live && !own { Delivery::Live } else { Delivery::Once };
        let withhold = withhold_from(&*store, to).expect("memory reads");
        let asked = Asked { request, to, after: cursor, max_events, max_bytes: 4096, scope, withhold };
        pull.question = Some(Question { asked: asked.clone(), answered: false, inbox: VecDeque::new() });
        let request = FetchRequest {
            request,
            from: cortex_id(self.nodes[node].cortex),
            to,
            protocol: PROTOCOL_MAX,
            after: cursor,
            known: Known::Full(known),
            direct: Vec::new(),
            max_events,
            max_bytes: asked.max_bytes,
            wait,
            delivery,
            scope,
            withhold: asked.withhold.clone(),
        };
        let packet = Packet::Question { client: node, run, cortex: peer, asked, request: Box::new(request) };
        self.send(node, self.address[peer], packet);
        self.after(patience, What::Deadline { node, run, peer, number });
    }

    /// The next answer goes to the machine, if it waits for one.
    fn deliver(&mut self, node: usize, peer: usize) -> Result<(), String> {
        let (now, chance) = (self.clock(node), self.chance.next());
        let Some(pull) = self.pull(node, peer) else { return Ok(()) };
        let (Some(number), Some(question)) = (pull.waiting, pull.question.as_mut()) else { return Ok(()) };
        let Some(reply) = question.inbox.pop_front() else { return Ok(()) };
        let source = if question.answered { Source::Pushed } else { Source::Asked };
        question.answered = true;
        pull.asked = Some(question.asked.clone());
        pull.waiting = None;
        if !pull.live || question.asked.scope != Scope::All || matches!(reply, FetchReply::Refused(_)) {
            pull.question = None;
        }
        pull.machine.handle_reply(now, number, source, Ok(reply), chance);
        self.act(node, peer)
    }

    /// Events left the log: what peers were told is not true any more.
    pub(super) fn ask_anew(&mut self, node: usize) -> Result<(), String> {
        let now = self.clock(node);
        let peers: Vec<_> = self.process(node).map(|p| p.pulls.keys().copied().collect()).unwrap_or_default();
        for peer in peers {
            if let Some(pull) = self.pull(node, peer) {
                pull.question = None;
                pull.machine.ask_anew(now);
            }
            self.act(node, peer)?;
        }
        Ok(())
    }

    /// The connection breaks.
    pub(super) fn disconnect(&mut self, node: usize, peer: usize) {
        let (now, chance) = (self.clock(node), self.chance.next());
        let Some(pull) = self.pull(node, peer) else { return };
        pull.question = None;
        if let Some(number) = pull.waiting.take() {
            let broken = ErrorCategory::Reset;
            pull.machine.handle_identity(now, number, Err(broken), chance);
            pull.machine.handle_reply(now, number, Source::Asked, Err(broken), chance);
        }
        let _ = self.act(node, peer);
    }

    fn ingest(&mut self, node: usize, peer: usize, number: u64, batch: &EventBatch) -> Result<(), String> {
        let (now, chance) = (self.clock(node), self.chance.next());
        let asked = self.pull(node, peer).and_then(|pull| pull.asked.take());
        let taken = match asked {
            Some(asked) => self.take(node, peer, &asked, batch)?,
            None => Err(IngestOutcome::NotAsked),
        };
        match taken {
            // The machine hears of it once it is durable.
            Ok(outcome) => {
                if let Some(process) = self.process(node) {
                    process.acks.push(Ack::Ingested { peer, number, outcome });
                }
            }
            Err(outcome) => {
                if let Some(pull) = self.pull(node, peer) {
                    pull.machine.handle_ingested(now, number, outcome, chance);
                }
            }
        }
        Ok(())
    }

    /// Gives a batch to the log and commits it, not yet durably.
    fn take(
        &mut self,
        node: usize,
        peer: usize,
        asked: &Asked,
        batch: &EventBatch,
    ) -> Result<Result<IngestOutcome, IngestOutcome>, String> {
        let now = self.wall(node);
        let Some(process) = self.process(node) else { return Ok(Err(IngestOutcome::NotAsked)) };
        let taken = process.log.ingest(&peer_name(peer), asked, batch, now);
        self.say(|| {
            let asked = format!("after {:?} withhold {:?}", asked.after.map(|c| c.seq.get()), asked.withhold);
            let (prev, last, events) = (batch.prev.seq, batch.last.seq, batch.events.len());
            let outcome = taken.as_ref().map_or_else(|e| e.to_string(), |i| format!("{i:?}"));
            format!("node {node} takes of {peer}: {prev}..{last}, {events} events, asked {asked}: {outcome}")
        });
        Ok(match taken {
            Ok(ingested) => {
                self.found.ingested += ingested.stored as u64;
                self.found.healed += ingested.healed as u64;
                if self.commit(node) {
                    Ok(IngestOutcome::Done(ingested))
                } else {
                    Err(IngestOutcome::Failed(ErrorCategory::Store))
                }
            }
            Err(IngestError::NotAsked) => {
                self.found.not_asked += 1;
                Err(IngestOutcome::NotAsked)
            }
            Err(IngestError::Gap { .. }) => Err(IngestOutcome::Gap),
            Err(IngestError::Fork { origin, counter }) => Err(IngestOutcome::Fork(origin, counter)),
            Err(error) if error.is_hole() => {
                // What it showed of our own may have been taken note of.
                self.commit(node);
                Err(IngestOutcome::Hole)
            }
            Err(error) => {
                self.found.refused += 1;
                Err(IngestOutcome::Failed(error.category()))
            }
        })
    }

    /// Carried out at once, against the peer as it is now: what it takes long over is tested elsewhere.
    fn inspect(
        &mut self,
        node: usize,
        peer: usize,
        to: crate::ids::CortexId,
        mut inspection: Inspection,
    ) -> Result<(), ErrorCategory> {
        let server = self.address[peer];
        let reachable = self.network.is_open(node, server) && self.network.is_open(server, node);
        if !reachable || !self.nodes[server].is_up() {
            return Err(ErrorCategory::Timeout);
        }
        for _ in 0..70 {
            let Some(process) = self.process(node) else { return Err(ErrorCategory::Store) };
            let request = process.request_id();
            let request = inspection_request(&process.log.view(), &inspection, to, request).expect("memory reads");
            let Some(process) = self.process(server) else { return Err(ErrorCategory::Timeout) };
            let reply = process.log.view().answer(&request).map_err(|_| ErrorCategory::Unexpected)?;
            if let Some((from, records)) = inspection.answer(reply)? {
                let origin = inspection.origin();
                let finding = ForkFinding { peer: peer_name(peer), holder: to, origin, from, records };
                let now = self.wall(node);
                let Some(process) = self.process(node) else { return Err(ErrorCategory::Store) };
                let noted = process.log.note_fork(&finding, now);
                self.say(|| format!("node {node} finds with {peer}: {noted:?}"));
                return match noted {
                    Ok(_) => {
                        self.found.forks += 1;
                        if self.commit(node) { Ok(()) } else { Err(ErrorCategory::Store) }
                    }
                    Err(NotAFork::Unproven { .. } | NotAFork::TooMany { .. }) => Err(ErrorCategory::Fork),
                    Err(NotAFork::Store(_)) => Err(ErrorCategory::Store),
                };
            }
        }
        Err(ErrorCategory::Protocol)
    }

    // Writing.

    /// Commits what was staged, visible but not durable, and sees to the sync. False where the disk failed.
    pub(super) fn commit(&mut self, node: usize) -> bool {
        let fails = self.stormy && self.chance.one_in(80);
        let applied = self.chance.one_in(2);
        let delay = self.chance.between(1, 6 * MILLI);
        if fails {
            self.found.failed_writes += 1;
            self.nodes[node].store.fail_commits([applied]);
        }
        let Some(process) = self.nodes[node].process.as_mut() else { return false };
        let committed = process.log.commit(Durability::Relaxed);
        self.nodes[node].store.fail_commits([]);
        let run = self.nodes[node].run;
        if committed.is_ok() {
            self.after(delay, What::Sync { node, run });
            return true;
        }
        self.reopen(node);
        false
    }

    /// After a failed write the log is read again; what waited for the disk is in doubt.
    fn reopen(&mut self, node: usize) {
        let (now, chance) = (self.clock(node), self.chance.next());
        let Some(process) = self.nodes[node].process.as_mut() else { return };
        process.log.recover().expect("memory reopens");
        process.replay.load().expect("memory reads");
        process.seen.clear();
        let acks = std::mem::take(&mut process.acks);
        for ack in acks {
            if let Ack::Ingested { peer, number, .. } = ack
                && let Some(pull) = process.pulls.get_mut(&peer)
            {
                let failed = IngestOutcome::Failed(ErrorCategory::Store);
                pull.machine.handle_ingested(now, number, failed, chance);
            }
        }
        let peers: Vec<_> = process.pulls.keys().copied().collect();
        for peer in peers {
            let _ = self.act(node, peer);
        }
    }

    fn commit_now(&mut self, node: usize, changes: &Batch) {
        if let Some(process) = self.process(node)
            && process.log.stage_state(changes).is_ok()
        {
            process.log.commit(Durability::Sync).expect("memory commits");
        }
    }

    pub(super) fn sync(&mut self, node: usize) -> Result<(), String> {
        let (now, run) = (self.clock(node), self.nodes[node].run);
        let Some(process) = self.nodes[node].process.as_mut() else { return Ok(()) };
        if process.log.unsynced() || !process.acks.is_empty() {
            process.log.sync().map_err(|e| e.to_string())?;
        }
        let acks = std::mem::take(&mut process.acks);
        let mut peers = Vec::new();
        for ack in acks {
            match ack {
                Ack::Appended(content) => {
                    self.truth.durable(content)?;
                    self.nodes[node].safe.push(content);
                }
                Ack::Ingested { peer, number, outcome } => {
                    let chance = self.chance.next();
                    if let Some(pull) = self.pull(node, peer) {
                        pull.machine.handle_ingested(now, number, outcome, chance);
                    }
                    peers.push(peer);
                }
            }
        }
        for peer in peers {
            self.act(node, peer)?;
        }
        self.tell(node);
        self.after(0, What::Serve { node, run });
        self.after(MILLI, What::Replay { node, run });
        Ok(())
    }

    /// Says to some of those who are being asked what is held by now.
    fn tell(&mut self, node: usize) {
        let from = cortex_id(self.nodes[node].cortex);
        let peers: Vec<_> = self.process(node).map(|p| p.pulls.keys().copied().collect()).unwrap_or_default();
        for peer in peers {
            if self.chance.one_in(2) {
                continue;
            }
            let Some(process) = self.process(node) else { return };
            let known = process.log.view().heads();
            let Some(question) = process.pulls.get(&peer).and_then(|pull| pull.question.as_ref()) else { continue };
            let refresh = Refresh { request: question.asked.request, from, known, direct: Vec::new() };
            self.send(node, self.address[peer], Packet::Refresh { refresh });
        }
    }

    fn replay(&mut self, node: usize) {
        let run = self.nodes[node].run;
        // A replayer may hang for a while: only it waits.
        if self.stormy && self.chance.one_in(20) {
            let hang = self.chance.between(SECOND, 20 * SECOND);
            self.after(hang, What::Replay { node, run });
            return;
        }
        let Some(process) = self.process(node) else { return };
        match process.replay.step() {
            Ok(ReplayStep::CaughtUp) => {}
            Ok(ReplayStep::Replayed(_)) => self.after(MILLI, What::Replay { node, run }),
            Ok(ReplayStep::Failed { .. }) => {
                self.found.replay_failures += 1;
                self.after(200 * MILLI, What::Replay { node, run });
            }
            Err(_) => {
                process.replay.load().expect("memory reads");
                self.after(200 * MILLI, What::Replay { node, run });
            }
        }
    }

    // Answering.

    pub(super) fn send(&mut self, from: usize, to: usize, packet: Packet) {
        for delay in self.network.deliveries(from, to, &mut self.chance) {
            self.after(delay, What::Arrives { to, packet: Box::new(packet.clone()) });
        }
    }

    fn arrive(&mut self, to: usize, packet: Packet) -> Result<(), String> {
        match packet {
            Packet::Identify { client, run, cortex, number } => {
                let Some(process) = self.process(to) else { return Ok(()) };
                let identity = process.log.view().identity();
                self.send(to, client, Packet::Identity { run, cortex, number, identity });
            }
            Packet::Identity { run, cortex, number, identity } if self.alive(to, run) => {
                let (now, chance) = (self.clock(to), self.chance.next());
                if let Some(pull) = self.pull(to, cortex).filter(|pull| pull.waiting == Some(number)) {
                    pull.waiting = None;
                    pull.machine.handle_identity(now, number, Ok(identity), chance);
                }
                self.act(to, cortex)?;
            }
            Packet::Question { client, run, cortex, asked, request } => {
                self.question(to, client, run, cortex, asked, &request)?;
            }
            Packet::Answer { run, cortex, asked, reply } => self.answer(to, run, cortex, &asked, *reply)?,
            Packet::Heartbeat { run, cortex, asked, heartbeat } if self.alive(to, run) => {
                let (now, chance) = (self.clock(to), self.chance.next());
                if let Some(pull) = self.pull(to, cortex)
                    && let Some(number) = pull.waiting
                    && pull.question.as_ref().is_some_and(|q| q.answered && q.asked.request == asked.request)
                {
                    pull.waiting = None;
                    pull.machine.handle_heartbeat(now, number, &heartbeat, chance);
                }
                self.act(to, cortex)?;
            }
            Packet::Refresh { refresh } => {
                let Some(process) = self.process(to) else { return Ok(()) };
                for open in process.open.iter_mut().filter(|open| open.asked.request == refresh.request) {
                    let _ = open.asking.refresh(&refresh);
                }
                self.serve(to)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn question(
        &mut self,
        node: usize,
        client: usize,
        run: u64,
        cortex: usize,
        asked: Asked,
        request: &FetchRequest,
    ) -> Result<(), String> {
        let until = self.now + u64::try_from(request.wait.as_micros()).unwrap_or(0);
        let Some(process) = self.process(node) else { return Ok(()) };
        match process.log.view().ask(request).map_err(|e| format!("a question could not be read for: {e}"))? {
            Ok(asking) => {
                // A client has one question open at a time; what it forgot is forgotten here.
                process.open.retain(|open| open.client != client);
                let delivery = request.delivery;
                process.open.push(Open { client, asked, asking, delivery, until, begun: false });
                let run = self.nodes[node].run;
                self.at(until, What::Serve { node, run });
                self.serve(node)
            }
            Err(refusal) => {
                let reply = Box::new(FetchReply::Refused(refusal));
                self.send(node, client, Packet::Answer { run, cortex, asked, reply });
                Ok(())
            }
        }
    }

    /// Sends what there is to send on every open question.
    fn serve(&mut self, node: usize) -> Result<(), String> {
        let (now, own) = (self.now, self.nodes[node].cortex);
        let Some(process) = self.nodes[node].process.as_mut() else { return Ok(()) };
        let view = process.log.view();
        let mut out = Vec::new();
        let mut fault = None;
        process.open.retain_mut(|open| {
            for _ in 0..BURST {
                let found = match view.next_batch(&mut open.asking, None) {
                    Ok(Ok(found)) => found,
                    Ok(Err(refusal)) => {
                        out.push((open.client, open.asked.clone(), FetchReply::Refused(refusal)));
                        return false;
                    }
                    Err(error) => {
                        fault = Some(format!("a peer could not be answered: {error}"));
                        return false;
                    }
                };
                let batch = found.batch;
                let live = open.delivery == Delivery::Live;
                let quiet = batch.events.is_empty() && batch.last == batch.head && batch.heads.is_empty();
                if quiet && (if live { open.begun } else { now < open.until }) {
                    return true;
                }
                open.begun = true;
                open.asking.sent(&batch);
                out.push((open.client, open.asked.clone(), FetchReply::Batch(batch)));
                if !live {
                    return false;
                }
            }
            true
        });
        if let Some(fault) = fault {
            return Err(fault);
        }
        for (client, asked, reply) in out {
            invariants::served(self, node, &reply)?;
            if let FetchReply::Batch(batch) = &reply {
                self.nodes[node].issued.insert((client, batch.last));
            }
            let run = self.nodes[client].run;
            let replies =
                if self.byzantine.is(node) { self.byzantine.twist(reply, &mut self.chance) } else { vec![reply] };
            for reply in replies {
                let (asked, reply) = (asked.clone(), Box::new(reply));
                self.send(node, client, Packet::Answer { run, cortex: own, asked, reply });
            }
        }
        Ok(())
    }

    fn answer(&mut self, node: usize, run: u64, cortex: usize, asked: &Asked, reply: FetchReply) -> Result<(), String> {
        let mine = self.alive(node, run);
        if let Some(pull) = self.pull(node, cortex)
            && let Some(question) = pull.question.as_mut().filter(|q| mine && q.asked.request == asked.request)
            // Nobody buffers without end; what is dropped is asked for again.
            && question.inbox.len() < 16
        {
            question.inbox.push_back(reply);
            return self.deliver(node, cortex);
        }
        // Nobody waits for it any more: a driver that does not notice gives it to the log, which must.
        if let FetchReply::Batch(batch) = &reply
            && self.nodes[node].is_up()
            && self.chance.one_in(2)
        {
            self.found.late_answers += 1;
            let _ = self.take(node, cortex, asked, batch)?;
        }
        Ok(())
    }

    fn heartbeats(&mut self, node: usize) {
        let run = self.nodes[node].run;
        self.after(10 * SECOND, What::Heartbeats { node, run });
        let cortex = self.nodes[node].cortex;
        let Some(process) = self.process(node) else { return };
        let view = process.log.view();
        let (head, head_time, from) = (view.head_cursor(), view.head().time, view.local().cortex_id);
        let open: Vec<_> = process.open.iter().filter(|o| o.delivery == Delivery::Live).collect();
        let to: Vec<_> = open.iter().map(|open| (open.client, open.asked.clone())).collect();
        for (client, asked) in to {
            let run = self.nodes[client].run;
            let heartbeat = Heartbeat { from, head, head_time };
            self.send(node, client, Packet::Heartbeat { run, cortex, asked, heartbeat });
        }
    }

    /// The longest a peer may need to be asked again after all is well.
    pub(super) const fn patience() -> Micros {
        8 * (INTERVAL.as_secs() * SECOND)
    }
}
