//! What two cortexes say to each other. How it stands in bytes: [`crate::codec`]; in words: `docs/protocol.md`.

mod base64_text;
mod refusal;
mod spoken;

pub use refusal::Refusal;
pub use spoken::{PROTOCOL_MAX, PROTOCOL_MIN, Protocols};

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::VClock;
use crate::codec::Room;
use crate::cursor::{Cursor, Seq};
use crate::digest::Digest;
use crate::event::EventBytes;
use crate::identity::{ClockHash, Signature};
use crate::ids::{CortexId, Epoch, EventId, LogId, Origin};
use crate::time::Timestamp;

/// The most events in one batch.
pub const MAX_BATCH_EVENTS: u32 = 4096;
/// The most bytes of events in one batch; one larger event travels alone.
pub const MAX_BATCH_BYTES: u64 = 8 * 1024 * 1024;
/// The most events of one group.
pub const MAX_GROUP_EVENTS: usize = MAX_BATCH_EVENTS as usize;
/// The most bytes of records of one group.
pub const MAX_GROUP_BYTES: usize = 16 * 1024 * 1024;
/// The longest a server parks a poll.
pub const MAX_WAIT: Duration = Duration::from_secs(60);
/// The most cortexes that one question may exclude.
pub const MAX_EXCLUDED: usize = 1024;
/// The most bytes of events in one batch of a run: small enough that the next one is on its way while this one is stored.
pub const MAX_RUN_BYTES: u64 = 1024 * 1024;
/// How long events of a cortex that the asker pulls itself are held back: they arrive there by the shorter road.
pub(crate) const DIRECT_GRACE: Duration = Duration::from_secs(1);
/// The longest a live tail is silent: a heartbeat comes at least this often.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(10);

/// One origin's chain as somebody holds it: its highest counter and the digest there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChainHead {
    /// The highest counter.
    pub counter: u64,
    /// The digest of the chain up to there.
    pub digest: Digest,
}

/// Chain heads by origin, strictly increasing by origin.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Heads(Vec<(Origin, ChainHead)>);

impl Heads {
    /// The heads, sorted here; where an origin stands twice, one of them.
    #[must_use]
    pub fn new(mut heads: Vec<(Origin, ChainHead)>) -> Self {
        heads.sort_unstable_by_key(|h| h.0);
        heads.dedup_by_key(|h| h.0);
        Self(heads)
    }

    /// The head of one origin's chain.
    #[must_use]
    pub fn get(&self, origin: Origin) -> Option<ChainHead> {
        self.0.binary_search_by_key(&origin, |h| h.0).ok().map(|at| self.0[at].1)
    }

    /// The highest counter of one origin; 0 if none.
    #[must_use]
    pub fn counter(&self, origin: Origin) -> u64 {
        self.get(origin).map_or(0, |head| head.counter)
    }

    /// All, in order of origin.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (Origin, ChainHead)> + '_ {
        self.0.iter().copied()
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All heads folded into one digest.
    #[must_use]
    pub fn fold(&self) -> Digest {
        crate::digest::fold_heads(self.iter().map(|(o, h)| (o, h.counter, h.digest)))
    }
}

/// Who a cortex is and how far its log reaches; comes before any event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Its id, which a first contact pins.
    pub cortex_id: CortexId,
    /// The name it gives itself; decoration.
    pub name: String,
    /// The oldest protocol it speaks.
    pub protocol_min: u16,
    /// The newest protocol it speaks.
    pub protocol_max: u16,
    /// The version of its software; decoration.
    pub version: String,
    /// The log that it belongs to; none while it holds no event and was given none.
    #[serde(default)]
    pub log: Option<LogId>,
    /// Its log's incarnation.
    #[serde(with = "text")]
    pub epoch: Epoch,
    /// The newest durable entry of its log.
    #[serde(with = "text")]
    pub head: Cursor,
    /// The last sequence number of which its log holds no event any more; 0 while it holds all.
    #[serde(default, with = "number")]
    pub floor: Seq,
    /// When that entry joined, on its clock.
    pub head_time: Timestamp,
    /// What its clock says now. For people: nothing is decided by it.
    pub time: Timestamp,
    /// All chain heads folded into one digest: equal where the same events are held.
    #[serde(with = "text")]
    pub digest: Digest,
    /// Its key statement, in bytes. It is not verified yet: `KeyStatement::from_bytes` does that, and its cortex must be this one.
    #[serde(with = "base64_text")]
    pub statement: Vec<u8>,
    /// What a newer version may add.
    #[serde(default, skip_serializing_if = "Room::is_empty")]
    pub room: Room,
}

impl Identity {
    /// The protocols that it speaks.
    #[must_use]
    pub const fn protocols(&self) -> Protocols {
        Protocols::of(self.protocol_min, self.protocol_max)
    }
}

/// Sequence numbers as numbers.
mod number {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::cursor::Seq;
    use crate::ids::MAX_COUNTER;

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    pub(super) fn serialize<S: Serializer>(seq: &Seq, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(seq.get())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Seq, D::Error> {
        let seq = u64::deserialize(deserializer)?;
        let within = (seq <= MAX_COUNTER).then_some(Seq::new(seq));
        within.ok_or_else(|| serde::de::Error::custom("a sequence number is out of range"))
    }
}

/// Values that read and write as text.
mod text {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<T: Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(super) fn deserialize<'de, T: FromStr<Err: Display>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<T, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Which process asked, and as its how-manieth request: an answer is applied only by the process that asked for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestId {
    /// Random bits drawn when the asking log was opened.
    pub process: u64,
    /// Counts up within it.
    pub number: u64,
}

/// What the asking side durably holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// All of its chain heads.
    Full(Heads),
    /// The same as last time on this connection, named by [`Heads::fold`]. A stateless request never sends this.
    Unchanged(Digest),
}

/// How far an answer goes. A transport may ask for less than it was asked to, and a server may end a run early: the next
/// question goes on from the cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Delivery {
    /// One batch.
    #[default]
    Once,
    /// Batch after batch until the asker has caught up. With nothing to send it parks like one batch does.
    CatchUp,
    /// Batch after batch, and then whatever becomes durable: the live tail. It ends with its connection.
    Live,
}

/// Of whom events are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scope {
    /// Of everybody.
    #[default]
    All,
    /// Of one cortex, in all of its epochs.
    Cortex(CortexId),
    /// Of one origin.
    Origin(Origin),
}

impl Scope {
    /// Whether this origin's events are asked for.
    #[must_use]
    pub fn covers(&self, origin: Origin) -> bool {
        match *self {
            Self::All => true,
            Self::Cortex(cortex) => origin.cortex() == cortex,
            Self::Origin(one) => origin == one,
        }
    }
}

/// "Give me what follows."
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchRequest {
    /// Echoed by the answer.
    pub request: RequestId,
    /// Who asks.
    pub from: CortexId,
    /// The epoch that the asker appends under.
    pub epoch: Epoch,
    /// Whom; another cortex refuses.
    pub to: CortexId,
    /// The log that the asker belongs to; a cortex of another log refuses.
    pub log: Option<LogId>,
    /// The protocol spoken.
    pub protocol: u16,
    /// The durable cursor into the answering log, or none to go by `known`.
    pub after: Option<Cursor>,
    /// What the asker durably holds.
    pub known: Known,
    /// Cortexes that the asker pulls live itself: while it waits, their events are held back for a second.
    pub direct: Vec<CortexId>,
    /// The most events to send.
    pub max_events: u32,
    /// The most bytes of events to send; one larger event travels alone.
    pub max_bytes: u64,
    /// How long to park when there is nothing new, to the millisecond.
    pub wait: Duration,
    /// How far the answer goes.
    pub delivery: Delivery,
    /// Whose events. Sequence numbers of others' are passed over unseen, so such an answer moves no cursor.
    pub scope: Scope,
    /// Where the two histories were found to differ, with the asker's digest there: from these counters on, and of what
    /// depends on them, nothing is sent. Everything else flows.
    pub withhold: Heads,
    /// Cortexes of whose events nothing is sent, nor of what depends on them; at most [`MAX_EXCLUDED`].
    pub exclude: Vec<CortexId>,
    /// The hash of a filter, in 32 bytes. No filter is known yet, so a question that names one is refused.
    pub filter: Option<[u8; 32]>,
    /// A clock that the asker never falls below again. Not used yet.
    pub safe: Option<VClock>,
    /// What a newer version may add.
    pub room: Room,
}

/// "I hold more by now": refreshes `known` and `direct` of a question that is still open, so that nobody is sent what
/// arrived by another road meanwhile. Losing one costs a transfer, never an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refresh {
    /// The question.
    pub request: RequestId,
    /// Who asked it.
    pub from: CortexId,
    /// The chain heads that moved since the question or the last refresh; durable knowledge only.
    pub known: Heads,
    /// Instead of the question's.
    pub direct: Vec<CortexId>,
    /// What a newer version may add.
    pub room: Room,
}

/// How far a log reaches, said while nothing moves: so that lag is known and not guessed from silence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heartbeat {
    /// Whose log.
    pub from: CortexId,
    /// Its newest durable entry.
    pub head: Cursor,
    /// The last sequence number of which it holds no event any more; 0 while it holds all.
    pub floor: Seq,
    /// When the newest entry joined, on the server's clock.
    pub head_time: Timestamp,
    /// What a newer version may add.
    pub room: Room,
}

/// What a server sends on a run of answers.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "most of them are batches")]
pub enum Pushed {
    /// A batch, or the refusal that ends the run.
    Reply(FetchReply),
    /// How far its log reaches.
    Heartbeat(Heartbeat),
}

/// The first message of a connection: it asks for proof of who answers, and says nothing of who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connect {
    /// The oldest protocol that the asker speaks.
    pub protocol_min: u16,
    /// The newest protocol that the asker speaks.
    pub protocol_max: u16,
    /// Random bytes that the proof must cover.
    pub nonce: [u8; 32],
    /// What a newer version may add.
    pub room: Room,
}

/// Who answers, with a signature: see [`crate::proof`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// The oldest protocol that the server speaks.
    pub protocol_min: u16,
    /// The newest protocol that the server speaks.
    pub protocol_max: u16,
    /// The cortex that answers.
    pub from: CortexId,
    /// Bytes that the asker's own proof must cover. They hold for a minute.
    pub nonce: [u8; 32],
    /// Its key statement, in bytes; not verified yet.
    pub statement: Vec<u8>,
    /// The working key's signature.
    pub signature: Signature,
    /// What a newer version may add.
    pub room: Room,
}

/// Who asks, with a signature and proof of the shared key: see [`crate::proof`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// The oldest protocol that the asker speaks.
    pub protocol_min: u16,
    /// The newest protocol that the asker speaks.
    pub protocol_max: u16,
    /// The nonce of the [`Connect`] before.
    pub connect: [u8; 32],
    /// The nonce of the [`Proof`] that it answers.
    pub nonce: [u8; 32],
    /// The working key's signature.
    pub signature: Signature,
    /// The proof that the asker has the shared key; none in open mode.
    pub key: Option<[u8; 32]>,
    /// Who asks.
    pub from: CortexId,
    /// The log that it belongs to; none while it holds no event and was given none.
    pub log: Option<LogId>,
    /// The name it gives itself; decoration.
    pub name: String,
    /// The version of its software; decoration.
    pub version: String,
    /// Its key statement, in bytes; not verified yet.
    pub statement: Vec<u8>,
    /// What a newer version may add.
    pub room: Room,
}

/// The end of the server's chain of the asker's current origin. An answer has it where it is beyond what the asker holds. The seal is the
/// asker's own, so it proves to the asker that its store was set back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnHead {
    /// The asker's current origin.
    pub origin: Origin,
    /// The counter of the last event that the server holds of it. A group ends there.
    pub counter: u64,
    /// The digest of the chain there.
    pub digest: Digest,
    /// The id of that event.
    pub id: EventId,
    /// The hash of its full clock.
    pub clock: ClockHash,
    /// The seal of all this.
    pub seal: Signature,
}

/// A run of a log: everything in `prev..=last` that the asker did not know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventBatch {
    /// The request it answers.
    pub request: RequestId,
    /// As how-manieth answer to it, from 0: where a question goes by the clock, only the first may begin anywhere.
    pub part: u64,
    /// Who answers.
    pub from: CortexId,
    /// The log that it belongs to; there if events are.
    pub log: Option<LogId>,
    /// Where the run begins: the asker's cursor, or the sequence number before which nothing is missing.
    pub prev: Cursor,
    /// Where it ends; entries in between that are not in `events` were known to the asker.
    pub last: Cursor,
    /// When `last` joined the log, on the server's clock.
    pub last_time: Timestamp,
    /// The newest durable entry of the log.
    pub head: Cursor,
    /// When that joined, on the server's clock: lag in seconds is the difference of the two.
    pub head_time: Timestamp,
    /// The events, in order of the log.
    pub events: Vec<(Seq, EventBytes)>,
    /// Chain heads to compare: of each origin in `events` as of its last event there, and of each origin of which the
    /// asker holds more than the server.
    pub heads: Heads,
    /// How the origins begin of which the first event is in `events`, by origin.
    pub inceptions: Vec<(Origin, EventBytes)>,
    /// The seals of the groups in `events`, in the same order.
    pub seals: Vec<Signature>,
    /// The hashes of the full clocks that were sealed, if the question was about one origin: so a seal can be verified without the
    /// events before its group.
    pub clocks: Vec<ClockHash>,
    /// How far the asker's current origin reaches here, if that is beyond what the asker holds.
    pub own: Option<Box<OwnHead>>,
    /// What a newer version may add.
    pub room: Room,
}

/// What a fetch ends in, where a peer answered at all.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "most of them are batches")]
pub enum FetchReply {
    /// Events, or the news that there are none.
    Batch(EventBatch),
    /// No events.
    Refused {
        /// Why.
        refusal: Refusal,
        /// How far the asker's current origin reaches here, if that is beyond what the asker holds.
        own: Option<Box<OwnHead>>,
    },
}

impl FetchReply {
    /// A refusal that says nothing else.
    #[must_use]
    pub const fn refused(refusal: Refusal) -> Self {
        Self::Refused { refusal, own: None }
    }

    /// How far the asker's current origin reaches at the server, if that is beyond what the asker holds.
    #[must_use]
    pub fn own(&self) -> Option<&OwnHead> {
        let (Self::Batch(EventBatch { own, .. }) | Self::Refused { own, .. }) = self;
        own.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_strictly_increasing_by_origin() {
        let of = |n: u8| Origin::new(CortexId::from_bytes([n; 16]), Epoch::new(1));
        let head = |counter| ChainHead { counter, digest: Digest::ZERO };
        let heads = Heads::new(vec![(of(2), head(5)), (of(1), head(3)), (of(2), head(5))]);
        assert_eq!(heads.len(), 2);
        assert!(!heads.is_empty());
        assert_eq!((heads.counter(of(2)), heads.counter(of(9))), (5, 0));
        assert_ne!(heads.fold(), Heads::default().fold());
    }

    #[test]
    fn an_identity_is_plain_json() {
        let identity = Identity {
            cortex_id: CortexId::from_bytes([1; 16]),
            name: "alpha".into(),
            protocol_min: 2,
            protocol_max: 2,
            version: "0.1.0".into(),
            log: Some(LogId::from_bytes([9; 16])),
            epoch: Epoch::new(7),
            head: Cursor::start(Epoch::new(7)),
            floor: Seq::ZERO,
            head_time: Timestamp::from_micros(0),
            time: Timestamp::from_micros(0),
            digest: Digest::ZERO,
            statement: vec![1, 2, 3],
            room: Room::default(),
        };
        let json = serde_json::to_string(&identity).unwrap();
        assert!(json.contains(r#""epoch":"0000000000000007""#) && !json.contains("room"), "{json}");
        assert!(json.contains(r#""statement":"AQID""#), "{json}");
        assert_eq!(serde_json::from_str::<Identity>(&json).unwrap(), identity);
        let added = Identity { room: Room::default().with(6, b"six"), ..identity };
        let json = serde_json::to_string(&added).unwrap();
        assert!(json.contains(r#""room":[[6,"736978"]]"#), "{json}");
        assert_eq!(serde_json::from_str::<Identity>(&json).unwrap(), added);
    }
}
