//! Events that a Byzantine peer makes up, chained as they must be: the digest has no key, so it can continue any chain. It has the
//! keys of its own cortex alone. What it makes up in its own name is an event like any other; in the name of another cortex it can
//! give any inception and any seal, and none of that may be stored.

use std::collections::BTreeSet;
use std::rc::Rc;

use super::node::{cortex_id, keys_of};
use super::world::World;
use crate::clock::VClock;
use crate::codec::{EncodedDraft, RecordRef, encode_record};
use crate::cursor::Cursor;
use crate::event::{Draft, EventBytes};
use crate::identity::{Inception, Sealed, clock_hash};
use crate::ids::{Dot, Epoch, EventId, Origin};
use crate::log::SentQuery;
use crate::protocol::{ChainHead, EventBatch, FetchReply, Heads};
use crate::testing::LOG;

/// So many are made up in one run: each stays for ever, and every epoch takes room in all clocks.
const FORGED: u64 = 12;

/// A chain to go on with: its head, the id of its last event, and what that and those before it were.
struct Stem {
    origin: Origin,
    head: ChainHead,
    id: EventId,
    past: BTreeSet<u32>,
    /// The clock of its events that are made up.
    clock: VClock,
    /// How it begins, if no node had an event of it before.
    inception: Option<EventBytes>,
}

impl World {
    /// The batch with one or two events more: of an epoch that its cortex never had, or next on a chain as it is.
    pub(super) fn forge(
        &mut self,
        node: usize,
        client: usize,
        asked: &SentQuery,
        mut batch: EventBatch,
    ) -> Result<EventBatch, String> {
        let more = (asked.max_events as usize).saturating_sub(batch.events.len()).min(2);
        if more == 0 || batch.last != batch.head || self.byzantine.forged >= FORGED {
            return Ok(batch);
        }
        let stem = if self.entropy.one_in(2) { Some(self.new_stem(node, client)) } else { self.stem(node, client)? };
        let Some(mut stem) = stem else { return Ok(batch) };
        self.byzantine.forged += 1;
        self.found.forged += 1;
        let mut heads: Vec<_> = batch.heads.iter().filter(|(origin, _)| *origin != stem.origin).collect();
        for _ in 0..1 + self.entropy.index(more) {
            let record = self.next_of(node, &mut stem)?;
            let seq = batch.last.seq.next();
            batch.last = Cursor { epoch: batch.last.epoch, seq, last_event: stem.id };
            batch.events.push((seq, record));
            let (origin, ChainHead { counter, digest }) = (stem.origin, stem.head);
            let sealed = Sealed { origin, counter, digest, id: stem.id, clock: clock_hash(&stem.clock) };
            let seal = sealed.sign(&*keys_of(self.nodes[node].cortex)).map_err(|e| e.to_string())?;
            batch.seals.push(seal);
        }
        batch.head = batch.last;
        heads.push((stem.origin, stem.head));
        if let Some(inception) = stem.inception {
            batch.inceptions.push((stem.origin, inception));
            batch.inceptions.sort();
        }
        batch.heads = Heads::new(heads);
        self.say(|| format!("node {node} makes up {} up to {} for node {client}", stem.origin, stem.head.counter));
        Ok(batch)
    }

    /// Another last event than the one that is shown to an inspection, under a seal of the wrong key.
    pub(super) fn make_up_fork(&mut self, node: usize, mut reply: FetchReply) -> Result<FetchReply, String> {
        if !self.byzantine.is(node) || !self.entropy.one_in(3) {
            return Ok(reply);
        }
        let FetchReply::Batch(batch) = &mut reply else { return Ok(reply) };
        let Some((_, record)) = batch.events.last_mut() else { return Ok(reply) };
        let read = RecordRef::decode(record).map_err(|e| e.to_string())?;
        let (dot, id, deps) = (read.dot, read.id, read.deps.clone());
        if self.truth.byzantine_keys.contains(&dot.origin().cortex()) {
            return Ok(reply);
        }
        self.byzantine.lies += 1;
        let draft = Draft::new("test.forged", format!("another {}", self.entropy.next())).subject("s/0");
        *record = encode_record(&draft, &EncodedDraft { id, dot, deps: &deps, time: self.wall(0) });
        self.truth.forge(record, dot, Rc::default());
        Ok(reply)
    }

    /// An epoch that never was: of the asker, of another, or of the Byzantine peer itself. Certificates are public, so it can give any.
    fn new_stem(&mut self, node: usize, client: usize) -> Stem {
        let own = self.nodes[node].cortex;
        let whose = [self.nodes[client].cortex, 0, own][self.entropy.index(3)];
        let certified = if self.entropy.one_in(2) { whose } else { own };
        let origin = Origin::new(cortex_id(whose), Epoch::new(self.entropy.next()));
        let inception = Inception::new(LOG, origin.epoch(), keys_of(certified).statement(), None, 0);
        let time = u64::try_from(self.wall(client).as_micros() / 1_000).unwrap_or(0);
        Stem {
            origin,
            head: ChainHead { counter: 0, digest: inception.start().digest },
            id: EventId::from_parts(time, 0),
            past: BTreeSet::new(),
            clock: VClock::new(),
            inception: Some(inception.to_bytes().into()),
        }
    }

    /// A chain that the liar holds: the one that the asker writes now, if it does, or any.
    fn stem(&mut self, node: usize, client: usize) -> Result<Option<Stem>, String> {
        let Some(process) = &self.nodes[node].process else { return Ok(None) };
        let view = process.log.reader();
        let heads = view.heads();
        let own = self.nodes[client].process.as_ref().map(|process| process.log.reader().local().origin());
        let own = own.and_then(|own| heads.get(own).map(|head| (own, head)));
        let all: Vec<_> = heads.iter().filter(|(origin, _)| !self.byzantine.is_cortex(origin.cortex())).collect();
        let any = if all.is_empty() { None } else { Some(all[self.entropy.index(all.len())]) };
        let Some((origin, head)) = own.filter(|_| !self.entropy.one_in(4)).or(any) else { return Ok(None) };
        let Some((id, past)) = self.held_of(node, origin, head.counter)? else { return Ok(None) };
        Ok(Some(Stem { origin, head, id, past, clock: VClock::new(), inception: None }))
    }

    /// The id of an event that a node holds, and all that whoever writes on after it has seen, that one included.
    fn held_of(&self, node: usize, origin: Origin, counter: u64) -> Result<Option<(EventId, BTreeSet<u32>)>, String> {
        let Some(process) = &self.nodes[node].process else { return Ok(None) };
        let view = process.log.reader();
        let Some(dot) = Dot::new(origin, counter) else { return Ok(None) };
        let Some(stored) = view.dot(dot).map_err(|e| e.to_string())? else { return Ok(None) };
        let Some(entry) = view.entry(stored.seq).map_err(|e| e.to_string())? else { return Ok(None) };
        let id = entry.id().map_err(|e| e.to_string())?;
        let Some(content) = self.truth.content(&entry.record) else { return Ok(None) };
        let mut past = (*self.truth.contents[content as usize].past).clone();
        past.insert(content);
        Ok(Some((id, past)))
    }

    /// What it says to have seen beside its own chain: nothing, something that the liar holds, or what nobody has yet.
    fn cause(&mut self, node: usize, stem: &mut Stem) -> Result<VClock, String> {
        let mut deps = VClock::new();
        let heads = self.nodes[node].process.as_ref().map(|process| process.log.reader().heads()).unwrap_or_default();
        let others: Vec<_> = heads.iter().filter(|(origin, _)| *origin != stem.origin).collect();
        if others.is_empty() || self.entropy.one_in(2) {
            return Ok(deps);
        }
        let (origin, head) = others[self.entropy.index(others.len())];
        let mut counter = 1 + self.entropy.below(head.counter);
        if self.entropy.one_in(3) {
            counter = head.counter + 1 + self.entropy.below(5);
        } else if let Some((_, seen)) = self.held_of(node, origin, counter)? {
            stem.past.extend(seen);
        }
        deps.raise(origin, counter).map_err(|e| e.to_string())?;
        self.found.forged_causes += 1;
        Ok(deps)
    }

    fn next_of(&mut self, node: usize, stem: &mut Stem) -> Result<EventBytes, String> {
        let deps = self.cause(node, stem)?;
        stem.id = EventId::from_parts(stem.id.timestamp_ms() + 1, u128::from(self.entropy.next()));
        stem.head.counter += 1;
        let dot = Dot::new(stem.origin, stem.head.counter).ok_or("a counter out of range")?;
        stem.clock.merge(&deps).map_err(|e| e.to_string())?;
        let draft = Draft::new("test.forged", format!("made up {}", self.entropy.next())).subject("s/0");
        let time = self.wall(0);
        let record = encode_record(&draft, &EncodedDraft { id: stem.id, dot, deps: &deps, time });
        stem.head.digest = stem.head.digest.chain(&record).unwrap_or_default();
        let content = self.truth.forge(&record, dot, Rc::new(stem.past.clone()));
        stem.past.insert(content);
        Ok(record)
    }
}
