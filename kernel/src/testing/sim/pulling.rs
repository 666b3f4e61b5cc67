//! What a node does about its peers: it carries out what the machines want, and gives their answers to the log.

use std::collections::VecDeque;
use std::time::Duration;

use super::invariants;
use super::network::SECOND;
use super::node::{Pull, Question, cortex_id, peer_name};
use super::world::{DEADLINE, Packet, What, World};
use crate::codec::Room;
use crate::health::ErrorCategory;
use crate::ids::CortexId;
use crate::internals::sync::inspection_request;
use crate::log::LogState as _;
use crate::log::{Ahead, ForkFinding, IngestError, NotAFork, Pin, SentQuery, put_pin, read_cursor, withhold_from};
use crate::machine::{Action, IngestOutcome, Inspected, Inspection, OtherHistory, Source};
use crate::protocol::{Delivery, EventBatch, FetchReply, FetchRequest, Known, OwnHead, PROTOCOL_MAX, Scope};
use crate::store::Batch;
use crate::testing::LOG;

impl World {
    pub(super) fn act(&mut self, node: usize, peer: usize) -> Result<(), String> {
        let mut count = 0;
        while let Some(action) = self.pull(node, peer).and_then(|pull| pull.machine.poll_action()) {
            count += 1;
            invariants::actions(node, count)?;
            let run = self.nodes[node].run;
            match action {
                Action::Identify { number } => {
                    if let Some(pull) = self.pull(node, peer) {
                        (pull.question, pull.waiting) = (None, Some(number));
                    }
                    self.send(node, self.address[peer], Packet::Identify { client: node, run, cortex: peer, number });
                    self.after(DEADLINE, What::Deadline { node, run, peer, number });
                }
                Action::Pin { cortex_id, root, statement } => {
                    invariants::pinned(peer, cortex_id)?;
                    let mut changes = Batch::new();
                    let pin = Pin { cortex_id, root: Some(root), statement, since: self.wall(node) };
                    put_pin(&mut changes, &peer_name(peer), &pin);
                    self.commit_now(node, &changes);
                }
                Action::Fetch { number, to, by_clock, new_request, own, wait } => {
                    self.fetch(node, peer, number, to, by_clock, new_request, own, wait)?
                }
                Action::Ingest { number, batch } => self.ingest(node, peer, number, &batch)?,
                Action::Inspect { number, to, origin, counter } => {
                    let outcome = self.inspect(node, peer, to, Inspection::new(origin, counter))?;
                    let (now, entropy) = (self.clock(node), self.entropy.next());
                    if let Some(pull) = self.pull(node, peer) {
                        pull.question = None;
                        pull.machine.handle_inspected(now, number, outcome, entropy);
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
    pub(super) fn fetch(
        &mut self,
        node: usize,
        peer: usize,
        number: u64,
        to: CortexId,
        by_clock: bool,
        new_request: bool,
        own: bool,
        wait: Duration,
    ) -> Result<(), String> {
        let store = std::sync::Arc::clone(&self.nodes[node].store);
        let (run, now) = (self.nodes[node].run, self.now);
        let goes_on = |pull: &Pull| pull.live && !new_request && pull.question.as_ref().is_some_and(|q| q.answered);
        if !self.pull(node, peer).is_some_and(|pull| goes_on(pull)) {
            // What a new question says is held must be so durably: it is not asked before the disk has it.
            self.settle(node)?;
        }
        let cursor = read_cursor(&*store, &peer_name(peer)).expect("memory reads").filter(|_| !by_clock && !own);
        let scope = if own { Scope::Cortex(cortex_id(self.nodes[node].cortex)) } else { Scope::All };
        let few = 1 + u32::try_from(self.entropy.below(6)).unwrap_or(1);
        let (max_events, max_bytes) = if self.byzantine.floods() { (100, 1 << 16) } else { (few, 4096) };
        let Some(process) = self.nodes[node].process.as_mut() else { return Ok(()) };
        let request = process.request_id();
        let (known, epoch) = (process.log.reader().heads(), process.log.reader().local().epoch);
        let Some(pull) = process.pulls.get_mut(&peer) else { return Ok(()) };
        pull.waiting = Some(number);
        let patience = DEADLINE + u64::try_from(wait.as_micros()).unwrap_or(0);
        if let Some(question) = pull.question.as_mut().filter(|q| pull.live && q.answered && !new_request) {
            question.asked.after = cursor;
            let run_deadline = patience + 20 * SECOND;
            self.after(run_deadline, What::Deadline { node, run, peer, number });
            self.after(0, What::Deliver { node, run, peer });
            return Ok(());
        }
        let delivery = if pull.live && !own { Delivery::Live } else { Delivery::Once };
        let withhold = withhold_from(&*store, to).expect("memory reads");
        let asked = SentQuery {
            request,
            to,
            after: cursor,
            max_events,
            max_bytes,
            scope,
            withhold,
            held: known.clone(),
            exclude: Vec::new(),
        };
        pull.question = Some(Question { asked: asked.clone(), answered: false, inbox: VecDeque::new() });
        invariants::asked(node, now, &mut pull.in_vain)?;
        let mut request = FetchRequest {
            request,
            from: cortex_id(self.nodes[node].cortex),
            epoch,
            to,
            log: Some(LOG),
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
            exclude: Vec::new(),
            filter: None,
            safe: None,
            room: Room::default(),
        };
        invariants::asks(self, node, &request)?;
        if self.ask_falsely(node, &mut request)
            && let Some(pull) = self.pull(node, peer)
        {
            pull.question = None;
        }
        let packet = Packet::Question { client: node, run, cortex: peer, asked, request: Box::new(request) };
        self.send(node, self.address[peer], packet);
        self.after(patience, What::Deadline { node, run, peer, number });
        Ok(())
    }

    /// The next answer goes to the machine, if it waits for one.
    pub(super) fn deliver(&mut self, node: usize, peer: usize) -> Result<(), String> {
        let (now, entropy) = (self.clock(node), self.entropy.next());
        let Some(pull) = self.pull(node, peer) else { return Ok(()) };
        let (Some(_), Some(question)) = (pull.waiting, pull.question.as_mut()) else { return Ok(()) };
        let Some(reply) = question.inbox.pop_front() else { return Ok(()) };
        if let Some(own) = reply.own() {
            self.note_own_head(node, peer, own)?;
        }
        let Some(pull) = self.pull(node, peer) else { return Ok(()) };
        let (Some(number), Some(question)) = (pull.waiting, pull.question.as_mut()) else { return Ok(()) };
        let source = if question.answered { Source::Pushed } else { Source::Asked };
        question.answered = true;
        pull.asked = Some(question.asked.clone());
        pull.waiting = None;
        if !pull.live || question.asked.scope != Scope::All || matches!(reply, FetchReply::Refused { .. }) {
            pull.question = None;
        }
        pull.machine.handle_reply(now, number, source, Ok(reply), entropy);
        self.act(node, peer)
    }

    /// A peer says how far it holds the node's own origin.
    fn note_own_head(&mut self, node: usize, peer: usize, head: &OwnHead) -> Result<(), String> {
        let now = self.wall(node);
        let Some(process) = self.process(node) else { return Ok(()) };
        let before = process.log.identity().epoch;
        if let Err(error) = process.log.note_own_head(&peer_name(peer), head, now) {
            return self.expect_damage(node, &error);
        }
        if !self.commit(node)? {
            return Ok(());
        }
        self.found.own_heads += 1;
        invariants::noted_lost(self, node, head, before)
    }

    /// Events left the log: what peers were told is not true any more.
    pub(super) fn ask_again(&mut self, node: usize) -> Result<(), String> {
        let now = self.clock(node);
        let peers: Vec<_> = self.process(node).map(|p| p.pulls.keys().copied().collect()).unwrap_or_default();
        for peer in peers {
            if let Some(pull) = self.pull(node, peer) {
                pull.question = None;
                pull.machine.ask_again(now);
            }
            self.act(node, peer)?;
        }
        Ok(())
    }

    /// The connection breaks.
    pub(super) fn disconnect(&mut self, node: usize, peer: usize) {
        let (now, entropy) = (self.clock(node), self.entropy.next());
        let Some(pull) = self.pull(node, peer) else { return };
        pull.question = None;
        if let Some(number) = pull.waiting.take() {
            let broken = ErrorCategory::Reset;
            pull.machine.handle_identity(now, number, Err(broken), entropy);
            pull.machine.handle_reply(now, number, Source::Asked, Err(broken), entropy);
        }
        let _ = self.act(node, peer);
    }

    pub(super) fn ingest(&mut self, node: usize, peer: usize, number: u64, batch: &EventBatch) -> Result<(), String> {
        let (now, entropy) = (self.clock(node), self.entropy.next());
        let asked = self.pull(node, peer).and_then(|pull| pull.asked.take());
        let taken = match asked {
            Some(asked) => self.take(node, peer, &asked, batch)?,
            None => Err(IngestOutcome::NotAsked),
        };
        // The machine hears of it once it is visible; the disk is at work then.
        let (Ok(outcome) | Err(outcome)) = taken;
        if let Some(pull) = self.pull(node, peer) {
            pull.machine.handle_ingested(now, number, outcome, entropy);
        }
        Ok(())
    }

    /// Gives a batch to the log and commits it, not yet durably.
    pub(super) fn take(
        &mut self,
        node: usize,
        peer: usize,
        asked: &SentQuery,
        batch: &EventBatch,
    ) -> Result<Result<IngestOutcome, IngestOutcome>, String> {
        let now = self.wall(node);
        if self.byzantine.is(self.address[peer]) {
            batch.events.iter().for_each(|(_, record)| self.truth.bring(node, record));
        }
        let looks_ahead = self.seed.is_multiple_of(2);
        let Some(process) = self.process(node) else { return Ok(Err(IngestOutcome::NotAsked)) };
        let ahead = match process.pulls.get_mut(&peer).filter(|_| looks_ahead) {
            Some(pull) => pull.lookahead.compute(&process.log.reader(), batch),
            None => Ahead::default(),
        };
        let taken = process.log.ingest_computed(&peer_name(peer), asked, (batch, &ahead), now);
        self.say(|| {
            let asked = format!("after {:?} withhold {:?}", asked.after.map(|c| c.seq.get()), asked.withhold);
            let (prev, last, events) = (batch.prev.seq, batch.last.seq, batch.events.len());
            let outcome = taken.as_ref().map_or_else(|e| e.to_string(), |i| format!("{i:?}"));
            format!("node {node} takes of {peer}: {prev}..{last}, {events} events, asked {asked}: {outcome}")
        });
        Ok(match taken {
            Ok(ingested) => {
                self.found.ingested += ingested.stored as u64;
                if let Some(pull) = self.pull(node, peer).filter(|_| ingested.stored > 0) {
                    pull.in_vain = (0, 0);
                }
                self.found.healed += ingested.healed as u64;
                if self.commit(node)? {
                    self.acknowledge(node, asked.to, &batch.heads)?;
                    Ok(IngestOutcome::Done(ingested))
                } else {
                    Err(IngestOutcome::Failed(ErrorCategory::Store))
                }
            }
            Err(IngestError::NotAsked) => {
                self.found.not_asked += 1;
                Err(IngestOutcome::NotAsked)
            }
            Err(IngestError::Gap { .. } | IngestError::OtherQuestion { .. }) => Err(IngestOutcome::Gap),
            Err(IngestError::Fork { origin, counter }) => Err(IngestOutcome::Fork(origin, counter)),
            Err(error) if error.is_hole() => {
                // What it showed of our own may have been taken note of.
                self.commit(node)?;
                Err(IngestOutcome::Hole)
            }
            Err(error) => {
                if let IngestError::Store(error) = &error {
                    self.expect_damage(node, error)?;
                }
                self.found.refused += 1;
                Err(IngestOutcome::Failed(error.category()))
            }
        })
    }

    /// Carried out at once, against the peer as it is now: what it takes long over is tested elsewhere.
    pub(super) fn inspect(
        &mut self,
        node: usize,
        peer: usize,
        to: CortexId,
        mut inspection: Inspection,
    ) -> Result<Result<Inspected, ErrorCategory>, String> {
        let server = self.address[peer];
        let reachable = self.network.is_open(node, server) && self.network.is_open(server, node);
        if !reachable || !self.nodes[server].is_up() {
            return Ok(Err(ErrorCategory::Timeout));
        }
        for _ in 0..70 {
            let Some(process) = self.process(node) else { return Ok(Err(ErrorCategory::Store)) };
            let request = process.request_id();
            let mut request = match inspection_request(&process.log.reader(), &inspection, (to, PROTOCOL_MAX), request)
            {
                Ok(request) => request,
                Err(error) => return self.expect_damage(node, &error).map(|()| Err(ErrorCategory::Store)),
            };
            self.see_face(server, node, &mut request)?;
            let Some(process) = self.process(server) else { return Ok(Err(ErrorCategory::Timeout)) };
            let reply = match process.log.reader().answer(&request) {
                Ok(reply) => self.show_face(server, node, reply)?,
                Err(error) => return self.expect_damage(server, &error).map(|()| Err(ErrorCategory::Unexpected)),
            };
            let reply = self.make_up_fork(server, reply)?;
            match inspection.answer(reply) {
                Err(failure) => return Ok(Err(failure.category)),
                Ok(None) => {}
                Ok(Some(OtherHistory { from, inception, records, seals })) => {
                    let origin = inspection.origin();
                    let peer = peer_name(peer);
                    let finding = ForkFinding { peer, holder: to, origin, from, inception, records, seals };
                    return self.note(node, &finding);
                }
            }
        }
        Ok(Err(ErrorCategory::Protocol))
    }

    fn note(&mut self, node: usize, finding: &ForkFinding) -> Result<Result<Inspected, ErrorCategory>, String> {
        let now = self.wall(node);
        let Some(process) = self.process(node) else { return Ok(Err(ErrorCategory::Store)) };
        let noted = process.log.note_fork(finding, now);
        self.say(|| format!("node {node} finds with {}: {noted:?}", finding.peer));
        Ok(match noted {
            Ok(noted) => {
                invariants::both_were_written(self, node, finding)?;
                self.found.forks += 1;
                self.commit(node)?.then(|| Inspected::from_fork(&noted)).ok_or(ErrorCategory::Store)
            }
            Err(NotAFork::Over { .. }) => self.commit(node)?.then_some(Inspected::News).ok_or(ErrorCategory::Store),
            Err(NotAFork::Unproven { .. }) => Err(ErrorCategory::Fork),
            Err(NotAFork::TooMany { .. }) => Err(ErrorCategory::TooManyForks),
            Err(NotAFork::Store(error)) => {
                self.expect_damage(node, &error)?;
                Err(ErrorCategory::Store)
            }
        })
    }
}
