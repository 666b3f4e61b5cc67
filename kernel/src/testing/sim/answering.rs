//! What arrives at a node, and what it answers.

use std::collections::BTreeMap;

use super::invariants;
use super::network::{MILLI, SECOND};
use super::node::Open;
use super::world::{Packet, What, World};
use crate::codec::EventRef;
use crate::codec::Room;
use crate::cursor::Seq;
use crate::ids::CortexId;
use crate::log::{AskerHead, SentQuery};
use crate::protocol::{Delivery, FetchReply, FetchRequest, Heads, Heartbeat, Known, Refresh, Refusal};

/// Batches of a live run that are sent at one go.
const BURST: usize = 4;
/// How many answers to a process may arrive after its end.
const KEPT_ANSWERS: usize = 3;

impl World {
    pub(super) fn send(&mut self, from: usize, to: usize, packet: Packet) {
        if matches!(packet, Packet::Answer { .. }) {
            let kept = self.answers.entry(to).or_default();
            kept.truncate(KEPT_ANSWERS - 1);
            kept.push_front(packet.clone());
        }
        for delay in self.network.deliveries(from, to, &mut self.entropy) {
            self.after(delay, What::Arrives { to, packet: Box::new(packet.clone()) });
        }
    }

    /// A process came up: an answer to the one before it may still be on its way.
    pub(super) fn answers_outlive(&mut self, node: usize) {
        let Some(kept) = self.answers.remove(&node).filter(|_| self.stormy && self.entropy.one_in(2)) else { return };
        for packet in kept {
            let delay = self.entropy.between(MILLI, SECOND);
            self.after(delay, What::Arrives { to: node, packet: Box::new(packet) });
        }
    }

    pub(super) fn arrive(&mut self, to: usize, packet: Packet) -> Result<(), String> {
        match packet {
            Packet::Identify { client, run, cortex, number } => {
                let now = self.clock(to).wall;
                let Some(process) = self.process(to) else { return Ok(()) };
                let identity = process.log.reader().identity(now);
                invariants::advertised(self, to, &Heads::default(), Some(identity.head))?;
                let identity = self.identify_falsely(to, identity);
                self.send(to, client, Packet::Identity { run, cortex, number, identity: Box::new(identity) });
            }
            Packet::Identity { run, cortex, number, identity } if self.alive(to, run) => {
                let (now, entropy) = (self.clock(to), self.entropy.next());
                if let Some(pull) = self.pull(to, cortex).filter(|pull| pull.waiting == Some(number)) {
                    pull.waiting = None;
                    pull.machine.handle_identity(now, number, Ok(*identity), entropy);
                }
                self.act(to, cortex)?;
            }
            Packet::Question { client, run, cortex, asked, request } => {
                let mut request = request;
                self.see_face(to, client, &mut request)?;
                self.question(to, client, run, cortex, asked, &request)?;
            }
            Packet::Answer { run, cortex, asked, reply } => self.answer(to, run, cortex, &asked, *reply)?,
            Packet::Heartbeat { run, cortex, asked, heartbeat } if self.alive(to, run) => {
                let (now, entropy) = (self.clock(to), self.entropy.next());
                if let Some(pull) = self.pull(to, cortex)
                    && let Some(number) = pull.waiting
                    && pull.question.as_ref().is_some_and(|q| q.answered && q.asked.request == asked.request)
                {
                    pull.waiting = None;
                    pull.machine.handle_heartbeat(now, number, &heartbeat, entropy);
                }
                self.act(to, cortex)?;
            }
            Packet::Refresh { client, mut refresh } => {
                refresh.known = self.see_heads(to, client, &refresh.known)?;
                self.refreshed(to, &refresh)?;
                self.serve(to)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// A cortex said that it holds this: the node notes what is so.
    pub(super) fn acknowledge(&mut self, node: usize, holder: CortexId, heads: &Heads) -> Result<(), String> {
        let Some(process) = self.process(node) else { return Ok(()) };
        match process.log.reader().acknowledge(holder, heads) {
            Ok(noted) => {
                self.found.acknowledged += noted.len() as u64;
                invariants::acknowledged(self, node, holder, &noted)
            }
            Err(error) => self.expect_damage(node, &error),
        }
    }

    /// The asker holds more by now. One that says more than anybody may is not listened to any longer, as in the service.
    fn refreshed(&mut self, node: usize, refresh: &Refresh) -> Result<(), String> {
        let Some(process) = self.process(node) else { return Ok(()) };
        let held = process.log.reader().heads().len();
        let (mut large, mut said) = (Ok(()), Vec::new());
        process.open.retain_mut(|open| {
            if open.asked.request != refresh.request {
                return true;
            }
            let taken = open.asking.refresh(refresh).is_ok();
            said.extend(taken.then(|| open.asking.said()));
            if let Some(own) = &mut open.own {
                own.refresh(&refresh.known);
            }
            if taken && large.is_ok() {
                large = invariants::asking(node, &open.asking, held);
            }
            if let Some(advertised) = &mut open.advertised {
                for (origin, head) in refresh.known.iter() {
                    let counter = advertised.entry(origin).or_insert(0);
                    *counter = head.counter.max(*counter);
                }
            }
            taken
        });
        large?;
        said.iter().try_for_each(|(holder, said)| self.acknowledge(node, *holder, said))
    }

    pub(super) fn question(
        &mut self,
        node: usize,
        client: usize,
        run: u64,
        cortex: usize,
        asked: SentQuery,
        request: &FetchRequest,
    ) -> Result<(), String> {
        // Whoever asks is alive.
        let (now, asker) = (self.clock(node), self.nodes[client].cortex);
        if let Some(pull) = self.pull(node, asker) {
            pull.machine.heard(now);
            self.act(node, asker)?;
        }
        let until = self.now + u64::try_from(request.wait.as_micros()).unwrap_or(0);
        let (own, asker) = (invariants::Own::of(request), AskerHead::of(request));
        let Some(process) = self.process(node) else { return Ok(()) };
        let opened = match process.log.reader().ask(request) {
            Ok(opened) => opened,
            Err(error) => {
                self.expect_damage(node, &error)?;
                Err(Refusal::Internal)
            }
        };
        match opened {
            Ok(asking) => {
                let (holder, said) = asking.said();
                self.acknowledge(node, holder, &said)?;
                let advertised = match &request.known {
                    Known::Full(known) if request.withhold.is_empty() => {
                        Some(known.iter().map(|(origin, head)| (origin, head.counter)).collect::<BTreeMap<_, _>>())
                    }
                    _ => None,
                };
                let Some(process) = self.process(node) else { return Ok(()) };
                // A client has one question open at a time; what it forgot is forgotten here.
                process.open.retain(|open| open.client != client);
                let (delivery, most) = (request.delivery, (request.max_events, request.max_bytes));
                process.open.push(Open {
                    client,
                    asked,
                    asking,
                    most,
                    advertised,
                    delivery,
                    until,
                    begun: false,
                    own,
                    asker,
                });
                let run = self.nodes[node].run;
                self.at(until, What::Serve { node, run });
                self.serve(node)
            }
            Err(refusal) => {
                let reply = self.refusal(node, asker, refusal)?;
                invariants::served(self, node, None, &reply)?;
                invariants::shows_lost(self, node, own, &reply)?;
                let reply = Box::new(self.show_face(node, client, reply)?);
                self.send(node, client, Packet::Answer { run, cortex, asked, reply });
                Ok(())
            }
        }
    }

    fn refusal(&mut self, node: usize, asker: Option<AskerHead>, refusal: Refusal) -> Result<FetchReply, String> {
        let Some(process) = self.process(node) else { return Ok(FetchReply::refused(refusal)) };
        process.log.reader().refuse(asker, refusal).or_else(|error| {
            self.expect_damage(node, &error)?;
            Ok(FetchReply::refused(Refusal::Internal))
        })
    }

    /// Sends what there is to send on every open question.
    pub(super) fn serve(&mut self, node: usize) -> Result<(), String> {
        let (now, own) = (self.now, self.nodes[node].cortex);
        let Some(process) = self.nodes[node].process.as_mut() else { return Ok(()) };
        let view = process.log.reader();
        let mut out = Vec::new();
        let mut fault = None;
        process.open.retain_mut(|open| {
            for _ in 0..BURST {
                let found = match view.next_batch(&mut open.asking, None) {
                    Ok(Ok(found)) => found,
                    Ok(Err(refusal)) => {
                        let refused = view.refuse(open.asker, refusal);
                        let reply = refused.unwrap_or_else(|error| {
                            fault = Some(error);
                            FetchReply::refused(Refusal::Internal)
                        });
                        out.push((open.client, open.asked.clone(), None, reply, open.own));
                        return false;
                    }
                    Err(error) => {
                        let reply = FetchReply::refused(Refusal::Internal);
                        out.push((open.client, open.asked.clone(), None, reply, None));
                        fault = Some(error);
                        return false;
                    }
                };
                let batch = found.batch;
                let live = open.delivery == Delivery::Live;
                let quiet = batch.events.is_empty() && batch.last == batch.head && batch.heads.is_empty();
                if quiet && batch.own.is_none() && (if live { open.begun } else { now < open.until }) {
                    return true;
                }
                let own = open.own.filter(|_| !std::mem::replace(&mut open.begun, true));
                open.asking.sent(&batch);
                let advertised = open.advertised.clone();
                let most = open.most;
                for (_, record) in &batch.events {
                    if let (Ok((_, dot)), Some(advertised)) = (EventRef::decode_dot(record), &mut open.advertised) {
                        advertised.insert(dot.origin(), dot.counter());
                    }
                }
                out.push((
                    open.client,
                    open.asked.clone(),
                    Some((most, open.asked.scope, advertised)),
                    FetchReply::Batch(batch),
                    own,
                ));
                if !live {
                    return false;
                }
            }
            true
        });
        if let Some(fault) = fault {
            self.expect_damage(node, &fault)?;
        }
        for (client, asked, advertised, reply, of_asker) in out {
            invariants::served(self, node, advertised.as_ref(), &reply)?;
            invariants::shows_lost(self, node, of_asker, &reply)?;
            if let FetchReply::Batch(batch) = &reply {
                self.nodes[node].issued.insert((client, batch.last));
            }
            let run = self.nodes[client].run;
            for reply in self.lie(node, client, &asked, reply)? {
                let (asked, reply) = (asked.clone(), Box::new(self.relayed(node, reply)));
                self.send(node, client, Packet::Answer { run, cortex: own, asked, reply });
            }
        }
        Ok(())
    }

    pub(super) fn answer(
        &mut self,
        node: usize,
        run: u64,
        cortex: usize,
        asked: &SentQuery,
        reply: FetchReply,
    ) -> Result<(), String> {
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
            && self.entropy.one_in(2)
        {
            self.found.late_answers += 1;
            let _ = self.take(node, cortex, asked, batch)?;
        }
        Ok(())
    }

    pub(super) fn heartbeats(&mut self, node: usize) -> Result<(), String> {
        let run = self.nodes[node].run;
        self.after(10 * SECOND, What::Heartbeats { node, run });
        let cortex = self.nodes[node].cortex;
        let Some(process) = self.process(node) else { return Ok(()) };
        let view = process.log.reader();
        let (head, head_time, from) = (view.head_cursor(), view.head().time, view.local().cortex_id);
        let open: Vec<_> = process.open.iter().filter(|o| o.delivery == Delivery::Live).collect();
        let to: Vec<_> = open.iter().map(|open| (open.client, open.asked.clone())).collect();
        invariants::advertised(self, node, &Heads::default(), Some(head))?;
        for (client, asked) in to {
            let run = self.nodes[client].run;
            let heartbeat =
                self.beat_falsely(node, Heartbeat { from, head, floor: Seq::ZERO, head_time, room: Room::default() });
            self.send(node, client, Packet::Heartbeat { run, cortex, asked, heartbeat });
        }
        Ok(())
    }
}
