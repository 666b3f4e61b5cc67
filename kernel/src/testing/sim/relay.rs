//! A relay that lacks parts: in some runs, one node serves some records without a part, and answers some questions for a missing
//! part with another one. And what all nodes do about that: they ask for what is missing.
//!
//! Its randomness is its own: a run without a relay is what it was before there were any.

use std::time::Duration;

use super::entropy::Entropy;
use super::network::SECOND;
use super::node::peer_name;
use super::world::{What, World};
use crate::codec::{Absence, Part, RecordRef};
use crate::event::EventBytes;
use crate::health::ErrorCategory;
use crate::ids::{CortexId, Dot};
use crate::internals::sync::{next_parts, part_request};
use crate::log::NotFilled;
use crate::machine::{PartsRound, Phase, part_of};
use crate::protocol::{FetchReply, PROTOCOL_MAX};

/// Which node is the relay, if any.
pub(super) struct Relay {
    node: Option<usize>,
    entropy: Entropy,
}

impl Relay {
    /// In every second run one of the nodes is.
    pub(super) fn new(nodes: usize, seed: u64) -> Self {
        let mut entropy = Entropy::new(seed ^ 0x7e1a_7000);
        let node = (nodes > 2 && entropy.one_in(2)).then(|| entropy.index(nodes));
        Self { node, entropy }
    }

    /// No node is.
    pub(super) fn none() -> Self {
        Self { node: None, entropy: Entropy::new(0) }
    }

    pub(super) const fn is_there(&self) -> bool {
        self.node.is_some()
    }

    /// The record without a part or two, now and then.
    fn thin(&mut self, record: &EventBytes) -> Option<EventBytes> {
        if !self.entropy.one_in(3) {
            return None;
        }
        let missing = |yes| if yes { Some(Absence::Missing) } else { None };
        let (attributes, body) = [(true, false), (false, true), (true, true)][self.entropy.index(3)];
        Some(RecordRef::decode(record).ok()?.without(missing(attributes), missing(body)))
    }

    /// The record with another body of the same length.
    fn other(&mut self, record: &EventBytes) -> Option<EventBytes> {
        let read = RecordRef::decode(record).ok()?;
        let Part::There(body @ [_, ..]) = read.body else { return None };
        let mut other = body.to_vec();
        let at = self.entropy.index(other.len());
        other[at] ^= 1;
        Some(read.with_parts(read.attributes, Part::There(&other)))
    }
}

impl World {
    /// What a node sends of a batch, if it is the relay.
    pub(super) fn relayed(&mut self, node: usize, mut reply: FetchReply) -> FetchReply {
        if self.relay.node != Some(node) || !self.stormy {
            return reply;
        }
        if let FetchReply::Batch(batch) = &mut reply {
            for (_, record) in &mut batch.events {
                if let Some(thin) = self.relay.thin(record) {
                    *record = thin;
                    self.found.thinned += 1;
                }
            }
        }
        reply
    }

    /// What a node answers to a question for a part, if it is the relay.
    fn relayed_part(&mut self, node: usize, mut reply: FetchReply) -> FetchReply {
        if self.relay.node == Some(node)
            && self.stormy
            && self.relay.entropy.one_in(3)
            && let FetchReply::Batch(batch) = &mut reply
        {
            for (_, record) in &mut batch.events {
                if let Some(other) = self.relay.other(record) {
                    *record = other;
                    self.found.other_parts += 1;
                }
            }
            return reply;
        }
        self.relayed(node, reply)
    }

    /// A node asks each peer that it is in contact with for what is missing, when that is due.
    pub(super) fn ask_for_parts(&mut self, node: usize) -> Result<(), String> {
        let run = self.nodes[node].run;
        self.after(SECOND, What::Parts { node, run });
        // Where the store lies, a record may not be the one whose parts are asked for.
        if self.nodes[node].store.lies() {
            return Ok(());
        }
        let now = Duration::from_micros(self.now);
        let Some(process) = self.process(node) else { return Ok(()) };
        let (owed, peers) = (process.log.reader().owed(), process.pulls.keys().copied().collect::<Vec<_>>());
        for peer in peers {
            let Some(pull) = self.pull(node, peer) else { continue };
            pull.parts.owes(now, owed);
            let in_contact = matches!(pull.machine.phase(), Phase::CatchingUp | Phase::Live);
            let (true, Some(to)) = (in_contact, pull.machine.peer()) else { continue };
            if pull.parts.due().is_none_or(|due| due > now) {
                continue;
            }
            let after = pull.parts.begin();
            let round = self.round(node, peer, to, after)?;
            let entropy = self.relay.entropy.next();
            if let Some(pull) = self.pull(node, peer) {
                pull.parts.ended(now, &round, entropy);
            }
        }
        Ok(())
    }

    /// Carried out at once, against the peer as it is now.
    fn round(&mut self, node: usize, peer: usize, to: CortexId, after: Option<Dot>) -> Result<PartsRound, String> {
        let failed = PartsRound { failed: true, ..PartsRound::default() };
        let Some(process) = self.process(node) else { return Ok(failed) };
        let (dots, last) = match next_parts(&process.log.reader(), to, after) {
            Ok(next) => next,
            Err(error) => return self.expect_damage(node, &error).map(|()| failed),
        };
        let mut round = PartsRound { last, ..PartsRound::default() };
        for dot in dots {
            match self.ask_for_part(node, peer, to, dot)? {
                Some(filled) => round.filled += usize::from(filled),
                None => return Ok(PartsRound { failed: true, ..round }),
            }
        }
        Ok(round)
    }

    /// Whether something was filled; `None` where the round breaks off.
    fn ask_for_part(&mut self, node: usize, peer: usize, to: CortexId, dot: Dot) -> Result<Option<bool>, String> {
        let server = self.address[peer];
        let reachable = self.network.is_open(node, server) && self.network.is_open(server, node);
        if !reachable || !self.nodes[server].is_up() {
            return Ok(None);
        }
        let Some(process) = self.process(node) else { return Ok(None) };
        let (request, view) = (process.request_id(), process.log.reader());
        let asked = view.dot(dot).and_then(|ours| Ok((ours, part_request(&view, dot, (to, PROTOCOL_MAX), request)?)));
        let (ours, mut request) = match asked {
            Ok((Some(ours), request)) => (ours.digest, request),
            // It left the log meanwhile.
            Ok((None, _)) => return Ok(Some(false)),
            Err(error) => return self.expect_damage(node, &error).map(|()| None),
        };
        self.see_face(server, node, &mut request)?;
        let Some(process) = self.process(server) else { return Ok(None) };
        let reply = match process.log.reader().answer(&request) {
            Ok(reply) => self.show_face(server, node, reply)?,
            Err(error) => return self.expect_damage(server, &error).map(|()| None),
        };
        let reply = self.relayed_part(server, reply);
        match part_of(reply, dot, ours) {
            Ok(Some(record)) => self.fill(node, peer, &record),
            Ok(None) => Ok(Some(false)),
            Err(_) => Ok(None),
        }
    }

    fn fill(&mut self, node: usize, peer: usize, record: &EventBytes) -> Result<Option<bool>, String> {
        let Some(process) = self.process(node) else { return Ok(None) };
        let filled = process.log.fill(record);
        self.say(|| format!("node {node} fills of {}: {filled:?}", peer_name(peer)));
        match filled {
            Ok(_) => {
                if !self.commit(node)? {
                    return Ok(None);
                }
                self.found.filled += 1;
                let run = self.nodes[node].run;
                self.after(0, What::Replay { node, run });
                Ok(Some(true))
            }
            Err(NotFilled::Store(error)) => self.expect_damage(node, &error).map(|()| None),
            Err(error) if error.is_breach() => {
                self.found.parts_refused += 1;
                let (now, entropy) = (self.clock(node), self.relay.entropy.next());
                if let Some(pull) = self.pull(node, peer) {
                    pull.question = None;
                    pull.machine.handle_part_failed(now, ErrorCategory::Protocol, entropy);
                }
                self.act(node, peer).map(|()| None)
            }
            Err(_) => Ok(Some(false)),
        }
    }
}
