//! A peer that lies. As a server: holes, other orders, forged cursors and heads, claims without proof, old answers told
//! again; and lies that hold together, of which [`super::forging`] and [`super::equivocation`] make their parts. As a
//! client: what it does not hold. Of itself: another name, another place, another epoch.

use super::entropy::Entropy;
use super::equivocation::Face;
use super::wasting::Waste;
use super::world::World;
use crate::cursor::{Cursor, Seq};
use crate::digest::Digest;
use crate::identity::{Sealed, Signature};
use crate::ids::{CortexId, Epoch, Origin};
use crate::log::SentQuery;
use crate::proof::Identified;
use crate::protocol::{
    ChainHead, EventBatch, FetchReply, FetchRequest, Heads, Heartbeat, Identity, Known, OwnHead, Refusal,
};
use crate::testing::{seeded_cortex, seeded_keys};

/// Which node lies, if any, and what it said before.
#[derive(Default)]
pub(super) struct Byzantine {
    node: Option<usize>,
    /// Which one lied before it repented.
    once: Option<usize>,
    said: Vec<FetchReply>,
    /// The other history that it shows one of its askers.
    pub(super) face: Option<Face>,
    /// How many events it made up in the name of others.
    pub(super) forged: u64,
    pub(super) lies: u64,
    /// Whether it continues more chains than can be named.
    floods: bool,
    /// How it wastes its askers' time.
    pub(super) waste: Option<Waste>,
}

impl Byzantine {
    /// The last node lies, in this way as well.
    pub(super) fn flooding(nodes: usize) -> Self {
        Self { node: Some(nodes - 1), once: Some(nodes - 1), floods: true, ..Self::default() }
    }

    /// In every third run the last node lies.
    pub(super) fn new(nodes: usize, entropy: &mut Entropy) -> Self {
        let node = (nodes > 2 && entropy.one_in(3)).then_some(nodes - 1);
        let waste = node.and_then(|_| Waste::drawn(entropy));
        Self { node, once: node, waste, ..Self::default() }
    }

    /// Whether it continues more chains than can be named: then nodes ask for as many events at once.
    pub(super) const fn floods(&self) -> bool {
        self.floods
    }

    pub(super) fn is(&self, node: usize) -> bool {
        self.node == Some(node)
    }

    /// Whether it does or did.
    pub(super) fn ever_was(&self, node: usize) -> bool {
        self.once == Some(node)
    }

    pub(super) fn is_cortex(&self, cortex: CortexId) -> bool {
        self.node.is_some_and(|node| super::node::cortex_id(node) == cortex)
    }

    /// It repents. Which one?
    pub(super) fn stop(&mut self) -> Option<usize> {
        self.face = None;
        self.node.take()
    }
}

impl World {
    /// What a node says instead of an answer.
    pub(super) fn lie(
        &mut self,
        node: usize,
        client: usize,
        asked: &SentQuery,
        reply: FetchReply,
    ) -> Result<Vec<FetchReply>, String> {
        if !self.byzantine.is(node) {
            return Ok(vec![reply]);
        }
        let mut reply = self.show_face(node, client, reply)?;
        if !self.byzantine.floods
            && let Some(wasted) = self.waste(node, asked, &reply)
        {
            return Ok(vec![wasted]);
        }
        if self.byzantine.floods
            && let FetchReply::Batch(batch) = reply
        {
            reply = FetchReply::Batch(self.flood(client, asked, batch)?);
        }
        let old = self.entropy.index(self.byzantine.said.len() + 1);
        let repeated = self.byzantine.said.get(old).cloned();
        if self.byzantine.said.len() < 20 {
            self.byzantine.said.push(reply.clone());
        }
        if !self.entropy.one_in(3) {
            return Ok(vec![reply]);
        }
        self.byzantine.lies += 1;
        // Which lie it is takes no randomness: other lies are what they were before there was this one.
        if self.byzantine.lies.is_multiple_of(4) {
            self.claim_own(client, &mut reply);
        }
        let FetchReply::Batch(batch) = reply else { return Ok(vec![reply]) };
        Ok(match (self.entropy.below(7), repeated) {
            (0, Some(repeated)) => vec![repeated, FetchReply::Batch(batch)],
            (1, _) => {
                let (origin, counter) = batch
                    .heads
                    .iter()
                    .next()
                    .map_or((Origin::new(batch.from, Epoch::new(1)), 1), |(origin, head)| (origin, head.counter));
                vec![FetchReply::refused(Refusal::Fork { origin, counter, digest: Digest::of(b"a lie") })]
            }
            (2 | 3, _) => vec![FetchReply::Batch(self.forge(node, client, asked, batch)?)],
            _ => vec![FetchReply::Batch(twist(batch, &mut self.entropy))],
        })
    }

    /// Says that the client's own origin reaches further than it does, with a seal by another key.
    fn claim_own(&mut self, client: usize, reply: &mut FetchReply) {
        let Some(process) = self.process(client) else { return };
        let view = process.log.reader();
        let origin = view.local().origin();
        let (counter, digest) = (view.heads().counter(origin) + 3, made_up_digest());
        let (id, clock) = (crate::ids::EventId::from_parts(counter, 0), [0; 32]);
        let Ok(seal) = (Sealed { origin, counter, digest, id, clock }).sign(&*seeded_keys(99)) else { return };
        let (FetchReply::Batch(EventBatch { own, .. }) | FetchReply::Refused { own, .. }) = reply;
        *own = Some(Box::new(OwnHead { origin, counter, digest, id, clock, seal }));
    }

    /// What a node asks instead: it claims to hold what it does not, under cursors and forks that never were. Says whether it
    /// does: what it is told then it must not take, or its own log would be none, and it is to be honest one day.
    pub(super) fn ask_falsely(&mut self, node: usize, request: &mut FetchRequest) -> bool {
        if !self.byzantine.is(node) || !self.entropy.one_in(4) {
            return false;
        }
        self.byzantine.lies += 1;
        let Known::Full(known) = &request.known else { return true };
        match self.entropy.below(6) {
            0 => request.known = Known::Full(inflated(known, &mut self.entropy)),
            1 => request.known = Known::Full(Heads::default()),
            2 => {
                let other = known.iter().map(|(origin, head)| {
                    (origin, ChainHead { counter: 1 + head.counter / 2, digest: Digest::of(b"another history") })
                });
                request.known = Known::Full(Heads::new(other.collect()));
            }
            3 => {
                let epoch = request.after.map_or(Epoch::new(4711), |after| after.epoch);
                let (seq, last_event) = (Seq::new(self.entropy.below(500)), crate::ids::EventId::from_bytes([7; 16]));
                request.after = Some(Cursor { epoch, seq, last_event });
            }
            4 => request.withhold = inflated(known, &mut self.entropy),
            _ => (request.max_events, request.max_bytes) = (u32::MAX, u64::MAX),
        }
        true
    }

    /// What it says to hold by now, of what it does not.
    pub(super) fn refresh_falsely(&mut self, node: usize, known: Heads) -> Heads {
        if !self.byzantine.is(node) || !self.entropy.one_in(4) {
            return known;
        }
        self.byzantine.lies += 1;
        if !self.entropy.one_in(4) {
            return inflated(&known, &mut self.entropy);
        }
        // As many origins as fit into one message, and others each time: more than anybody may hold.
        let cortex = CortexId::from_bytes([0xdd; 16]);
        let head = ChainHead { counter: 1, digest: Digest::of(b"nothing") };
        let origin = |_| (Origin::new(cortex, Epoch::new(self.entropy.next())), head);
        Heads::new((0..crate::clock::MAX_CLOCK_ENTRIES).map(origin).collect())
    }

    /// Who it says that it is. It proves what it has the keys of.
    pub(super) fn identify_falsely(&mut self, node: usize, mut identity: Identity) -> Identified {
        if !self.byzantine.is(node) || !self.entropy.one_in(4) {
            return Identified::trusted(identity);
        }
        self.byzantine.lies += 1;
        match self.entropy.below(6) {
            0 => {
                identity.cortex_id = CortexId::from_bytes([0xee; 16]);
                return Identified::claimed(identity);
            }
            // Another cortex, with its public statement.
            5 => {
                let other = self.entropy.below(4) as u8 + 1;
                identity.cortex_id = seeded_cortex(other);
                identity.statement = seeded_keys(other).statement().to_bytes();
                return Identified::claimed(identity);
            }
            1 => (identity.protocol_min, identity.protocol_max) = (900, 901),
            2 => identity.epoch = Epoch::new(self.entropy.next()),
            3 => identity.head.seq = Seq::new(identity.head.seq.get() + 1_000_000),
            _ => (identity.digest, identity.version) = (Digest::of(b"a lie"), "9".repeat(10_000)),
        }
        Identified::trusted(identity)
    }

    /// How far it says that its log reaches.
    pub(super) fn beat_falsely(&mut self, node: usize, mut heartbeat: Heartbeat) -> Heartbeat {
        if !self.byzantine.is(node) || !self.entropy.one_in(3) {
            return heartbeat;
        }
        self.byzantine.lies += 1;
        match self.entropy.below(3) {
            0 => heartbeat.from = CortexId::from_bytes([0xee; 16]),
            1 => heartbeat.head.epoch = Epoch::new(self.entropy.next()),
            _ => heartbeat.head.seq = Seq::new(heartbeat.head.seq.get() + 1_000_000),
        }
        heartbeat
    }
}

/// The digest of an own head that was made up.
pub(super) fn made_up_digest() -> Digest {
    Digest::of(b"an own head")
}

/// More of everything than there is, with digests of nothing, and something of an origin that nobody ever was.
fn inflated(known: &Heads, entropy: &mut Entropy) -> Heads {
    let more = |(origin, head): (Origin, ChainHead)| {
        (origin, ChainHead { counter: head.counter + 1 + entropy.below(1_000), digest: Digest::of(b"inflated") })
    };
    let mut heads: Vec<_> = known.iter().map(more).collect();
    let nobody = Origin::new(CortexId::from_bytes([0xee; 16]), Epoch::new(1));
    heads.push((nobody, ChainHead { counter: 5, digest: Digest::of(b"nobody") }));
    Heads::new(heads)
}

fn twist(mut batch: EventBatch, entropy: &mut Entropy) -> EventBatch {
    match entropy.below(12) {
        0 if !batch.events.is_empty() => {
            batch.events.remove(entropy.index(batch.events.len()));
        }
        1 if batch.events.len() > 1 => {
            let (_, first) = batch.events[0].clone();
            batch.events[0].1 = std::mem::replace(&mut batch.events[1].1, first);
        }
        2 => batch.last.epoch = Epoch::new(entropy.next()),
        3 => {
            for cursor in [&mut batch.prev, &mut batch.last, &mut batch.head] {
                cursor.epoch = Epoch::new(4711);
            }
        }
        4 => {
            let inflated = batch.heads.iter().map(|(origin, head)| {
                (origin, ChainHead { counter: head.counter + 1_000_000, digest: Digest::of(b"inflated") })
            });
            batch.heads = Heads::new(inflated.collect());
        }
        5 => batch.heads = Heads::default(),
        6 => {
            batch.last.seq = Seq::new(batch.last.seq.get() + 7);
            batch.head.seq = Seq::new(batch.head.seq.get() + 9);
        }
        7 => {
            if let Some((_, record)) = batch.events.first_mut() {
                let mut bytes = record.to_vec();
                let at = entropy.index(bytes.len());
                bytes[at] ^= 1 << entropy.below(8);
                *record = bytes.into();
            }
        }
        8 => batch.seals.truncate(batch.seals.len() / 2),
        9 => {
            if let Some(seal) = batch.seals.first_mut() {
                let mut bytes = seal.to_bytes();
                bytes[entropy.index(64)] ^= 1 << entropy.below(8);
                *seal = Signature::from_bytes(bytes);
            }
        }
        10 => {
            if let Some((_, inception)) = batch.inceptions.first_mut() {
                let mut bytes = inception.to_vec();
                let at = entropy.index(bytes.len());
                bytes[at] ^= 1 << entropy.below(8);
                *inception = bytes.into();
            }
        }
        _ => batch.from = CortexId::from_bytes([0xee; 16]),
    }
    batch
}
