//! Two histories told to two askers: to one of them a liar shows, from some event of its own on, other events under the
//! same dots, with digests and heads that follow from them, in answers, in refusals, and when it is looked into.

use std::collections::BTreeSet;
use std::rc::Rc;

use super::node::keys_of;
use super::world::World;
use crate::clock::VClock;
use crate::codec::{EncodedDraft, EventRef, Front, encode_record};
use crate::cursor::Seq;
use crate::digest::Digest;
use crate::event::{Draft, EventBytes};
use crate::identity::{Sealed, Signature, clock_hash};
use crate::ids::{Dot, Origin};
use crate::log::LogReader;
use crate::protocol::{ChainHead, FetchReply, FetchRequest, Heads, Known, Refusal};

/// What one asker is shown instead.
pub(super) struct Face {
    client: usize,
    origin: Origin,
    from: u64,
    /// From there on, the events, the chain as of each, and its seal.
    shown: Vec<(EventBytes, Digest, Signature)>,
    before: Digest,
    /// The clock of its last event.
    clock: VClock,
    /// Contents that were made up, by those that they stand for.
    instead: std::collections::BTreeMap<u32, u32>,
}

impl Face {
    fn shows(&self, origin: Origin, counter: u64) -> Option<&(EventBytes, Digest, Signature)> {
        let at = counter.checked_sub(self.from).filter(|_| origin == self.origin)?;
        self.shown.get(usize::try_from(at).ok()?)
    }

    fn advertised(&self, origin: Origin, head: ChainHead) -> ChainHead {
        self.shows(origin, head.counter).map_or(head, |(_, digest, _)| ChainHead { digest: *digest, ..head })
    }

    /// What the liar's own log would be asked: its digest where the asker tells what it was shown, and one that it does not
    /// have where the asker tells that one.
    fn asked(&self, view: &LogReader, heads: &Heads) -> Result<Heads, String> {
        let mut asked = Vec::with_capacity(heads.len());
        for (origin, mut head) in heads.iter() {
            if let Some((_, shown, _)) = self.shows(origin, head.counter) {
                let own = view.chain_digest(origin, head.counter).map_err(|e| e.to_string())?;
                match own {
                    Some(own) if head.digest == *shown => head.digest = own,
                    Some(own) if head.digest == own => head.digest = Digest::of(b"what was not shown"),
                    _ => {}
                }
            }
            asked.push((origin, head));
        }
        Ok(Heads::new(asked))
    }
}

impl World {
    fn face_of(&self, node: usize, client: usize) -> Option<&Face> {
        self.byzantine.face.as_ref().filter(|face| face.client == client && self.byzantine.is(node))
    }

    /// What its own log is asked in the place of a question.
    pub(super) fn see_face(&self, node: usize, client: usize, request: &mut FetchRequest) -> Result<(), String> {
        let (Some(face), Some(process)) = (self.face_of(node, client), &self.nodes[node].process) else {
            return Ok(());
        };
        let view = process.log.reader();
        if let Known::Full(known) = &request.known {
            request.known = Known::Full(face.asked(&view, known)?);
        }
        request.withhold = face.asked(&view, &request.withhold)?;
        Ok(())
    }

    pub(super) fn see_heads(&self, node: usize, client: usize, heads: &Heads) -> Result<Heads, String> {
        match (self.face_of(node, client), &self.nodes[node].process) {
            (Some(face), Some(process)) => face.asked(&process.log.reader(), heads),
            _ => Ok(heads.clone()),
        }
    }

    /// What is answered in the place of its own log's answer. Now and then a face begins with it.
    pub(super) fn show_face(&mut self, node: usize, client: usize, reply: FetchReply) -> Result<FetchReply, String> {
        if !self.byzantine.is(node) {
            return Ok(reply);
        }
        self.begin_face(node, client, &reply)?;
        let Some(mut face) = self.byzantine.face.take() else { return Ok(reply) };
        let shown = if face.client == client { self.faced(node, &mut face, reply) } else { Ok(reply) };
        self.byzantine.face = Some(face);
        shown
    }

    fn begin_face(&mut self, node: usize, client: usize, reply: &FetchReply) -> Result<(), String> {
        let FetchReply::Batch(batch) = reply else { return Ok(()) };
        if self.byzantine.face.is_some() || !self.entropy.one_in(12) {
            return Ok(());
        }
        let Some(process) = &self.nodes[node].process else { return Ok(()) };
        let dots = batch.events.iter().filter_map(|(_, record)| EventRef::decode_dot(record).ok()).map(|(_, dot)| dot);
        let own = process.log.reader().local().origin();
        let Some(first) = dots.into_iter().find(|dot| dot.origin() == own) else { return Ok(()) };
        let before = process.log.reader().chain_digest(own, first.counter() - 1).map_err(|e| e.to_string())?;
        let Some(before) = before else { return Ok(()) };
        let mut clock = VClock::new();
        for entry in process.log.reader().entries(Seq::ZERO, usize::MAX, usize::MAX).map_err(|e| e.to_string())? {
            let record = entry.read().map_err(|e| e.to_string())?;
            if record.dot.origin() == own && record.dot.counter() < first.counter() {
                clock.merge(&record.deps).map_err(|e| e.to_string())?;
            }
        }
        self.say(|| format!("node {node} shows node {client} another history of {own} from {}", first.counter()));
        self.found.equivocations += 1;
        self.byzantine.lies += 1;
        let (shown, instead) = (Vec::new(), std::collections::BTreeMap::new());
        self.byzantine.face = Some(Face { client, origin: own, from: first.counter(), shown, before, clock, instead });
        Ok(())
    }

    fn faced(&mut self, node: usize, face: &mut Face, mut reply: FetchReply) -> Result<FetchReply, String> {
        self.extend(node, face)?;
        match &mut reply {
            FetchReply::Batch(batch) => {
                let mut seals = std::mem::take(&mut batch.seals).into_iter();
                for (_, record) in &mut batch.events {
                    let front = Front::decode(record).map_err(|e| e.to_string())?;
                    let seal = if front.ends_group { seals.next() } else { None };
                    match face.shows(front.dot.origin(), front.dot.counter()) {
                        Some((shown, _, seal)) => {
                            *record = shown.clone();
                            batch.seals.push(*seal);
                        }
                        None => batch.seals.extend(seal),
                    }
                }
                batch.heads = Heads::new(batch.heads.iter().map(|(o, head)| (o, face.advertised(o, head))).collect());
            }
            FetchReply::Refused { refusal: Refusal::Fork { origin, counter, digest }, .. } => {
                *digest = face.advertised(*origin, ChainHead { counter: *counter, digest: *digest }).digest;
            }
            FetchReply::Refused { .. } => {}
        }
        Ok(reply)
    }

    /// As long as its own chain is.
    fn extend(&mut self, node: usize, face: &mut Face) -> Result<(), String> {
        let Some(process) = &self.nodes[node].process else { return Ok(()) };
        let view = process.log.reader();
        let own = view.heads().counter(face.origin);
        while face.from + (face.shown.len() as u64) <= own {
            let counter = face.from + face.shown.len() as u64;
            let dot = Dot::new(face.origin, counter).ok_or("a counter out of range")?;
            let place = view.dot(dot).map_err(|e| e.to_string())?.ok_or("an event of its own is not there")?;
            let entry = view.entry(place.seq).map_err(|e| e.to_string())?.ok_or("a place is not there")?;
            // Without its parts it makes nothing up.
            let Ok(event) = entry.event() else { break };
            let draft = Draft::new("test.happened", "?".repeat(event.data.len())).subject(event.subject);
            let assigned = EncodedDraft { id: event.id, dot, deps: &event.deps, time: event.time };
            let record = encode_record(&draft, &assigned);
            let before = face.shown.last().map_or(face.before, |(_, digest, _)| *digest);
            let digest = before.chain(&record).unwrap_or_default();
            face.clock.merge(&event.deps).map_err(|e| e.to_string())?;
            let sealed = Sealed { origin: face.origin, counter, digest, id: event.id, clock: clock_hash(&face.clock) };
            let seal = sealed.sign(&*keys_of(self.nodes[node].cortex)).map_err(|e| e.to_string())?;
            if let Some(content) = self.truth.content(&entry.record) {
                let past = &self.truth.contents[content as usize].past;
                let past: BTreeSet<u32> = past.iter().map(|one| *face.instead.get(one).unwrap_or(one)).collect();
                face.instead.insert(content, self.truth.forge(&record, dot, Rc::new(past)));
            }
            face.shown.push((record.clone(), digest, seal));
        }
        Ok(())
    }
}
