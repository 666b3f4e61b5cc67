//! The event record, version 2, in three parts: *routing* says what a log and a relay need, *attributes* are the event's header,
//! the *body* is its data.
//!
//! The layout of routing is the same in all versions from 2 on. So a node stores, chains, serves and relays a record whose
//! attributes only a newer version can read. An absent part leaves its hash, so the chain's digests stay what they are.

mod attributes;
mod encode;
mod event_ref;
mod kind;
mod part;

pub use encode::{EncodedDraft, encode_record};
pub(crate) use encode::{check_attributes, continue_group, encode_in_group};
pub use event_ref::EventRef;
pub use kind::RecordKind;
pub use part::{Absence, AbsentPart, Part};

use super::encoding::{decode_prefix, fields};
use super::{Entries, entries_from};
use crate::clock::VClock;
use crate::digest::Digest;
use crate::event::{InvalidEvent, MAX_ATTRIBUTES_BYTES, MAX_EVENT_BYTES, check_deps};
use crate::ids::{Dot, EventId, Origin};
use crate::store::{Unreadable, is_newer};

/// The version of records that this build writes.
const VERSION: u8 = 2;
/// In `flags`: the record is the last one of its group.
const ENDS_GROUP: u8 = 1;
/// Where `flags` is in a record: after version and kind.
const FLAGS_AT: usize = 2;

fields! {
    struct Routing {
        kind: u8,
        flags: u8,
        id: [u8; 16],
        origin: [u8; 24],
        counter: u64,
        deps: Entries,
        attributes_bytes: u64,
        body_bytes: u64,
    }
}

/// A record as a log and a relay read it: its routing part, and the other parts as bytes. Read in place.
#[derive(Debug, Clone)]
pub struct RecordRef<'a> {
    /// The version of the record. The layout of the attributes depends on it.
    pub version: u8,
    /// What the record is.
    pub kind: RecordKind,
    /// Whether the record is the last one of its group.
    pub ends_group: bool,
    /// The record's id.
    pub id: EventId,
    /// Who wrote it, and as which of their records.
    pub dot: Dot,
    /// The causal delta: entries that changed since the origin's previous record.
    pub deps: VClock,
    /// The header's attributes.
    pub attributes: Part<'a>,
    /// The data.
    pub body: Part<'a>,
    /// What the digest covers of the routing part: from the version to the lengths.
    routing: &'a [u8],
}

fn malformed(reason: impl Into<String>) -> InvalidEvent {
    InvalidEvent::Malformed { reason: reason.into() }
}

const fn field(field: &'static str, rule: &'static str) -> InvalidEvent {
    InvalidEvent::Field { field, rule }
}

/// Checks the version byte and returns it with the bytes after it.
fn version_of(bytes: &[u8]) -> Result<(u8, &[u8]), InvalidEvent> {
    let (&version, body) = bytes.split_first().ok_or_else(|| malformed("it is empty"))?;
    if version != VERSION && !is_newer(version, VERSION) {
        return Err(InvalidEvent::UnknownVersion { version });
    }
    Ok((version, body))
}

fn dot_of(origin: [u8; 24], counter: u64) -> Result<Dot, InvalidEvent> {
    Dot::new(Origin::from_bytes(origin), counter).ok_or_else(|| field("counter", "is outside 1..2^63"))
}

impl<'a> RecordRef<'a> {
    /// Reads a record and checks everything that its bytes alone decide, as far as this build can read it: what a newer version
    /// wrote is checked in its routing part only.
    ///
    /// # Errors
    /// [`InvalidEvent`], naming the field and its rule. Allocates for the causal delta only, never more than the record's own
    /// size.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, InvalidEvent> {
        if bytes.len() > MAX_EVENT_BYTES {
            return Err(InvalidEvent::TooLarge { bytes: bytes.len() });
        }
        let (version, body) = version_of(bytes)?;
        let (routing, after) = decode_prefix::<Routing>(body).map_err(|e| malformed(e.to_string()))?;
        let hashed = &bytes[..bytes.len() - after.len()];
        if routing.flags & !ENDS_GROUP != 0 {
            return Err(field("flags", "has a bit that is not known"));
        }
        let full = (hashed.len() as u64).saturating_add(routing.attributes_bytes).saturating_add(routing.body_bytes);
        if full.saturating_add(1) > MAX_EVENT_BYTES as u64 {
            return Err(InvalidEvent::TooLarge { bytes: usize::try_from(full).unwrap_or(usize::MAX) });
        }
        if routing.attributes_bytes > MAX_ATTRIBUTES_BYTES as u64 {
            return Err(field("attributes", "are longer than 131072 bytes"));
        }
        let dot = dot_of(routing.origin, routing.counter)?;
        let deps = entries_from(routing.deps);
        check_deps(dot.origin(), &deps)?;
        let (attributes, body) = part::read(after, routing.attributes_bytes, routing.body_bytes)?;
        let record = Self {
            version,
            kind: RecordKind::from_number(routing.kind),
            ends_group: routing.flags & ENDS_GROUP != 0,
            id: EventId::from_bytes(routing.id),
            dot,
            deps: VClock::from_sorted(&deps)?,
            attributes,
            body,
            routing: hashed,
        };
        record.check()?;
        Ok(record)
    }

    /// Checks what a record of this version must be beyond its routing part.
    fn check(&self) -> Result<(), InvalidEvent> {
        if self.version != VERSION {
            return Ok(());
        }
        match (self.kind, self.attributes, self.body) {
            (RecordKind::Event, Part::There(bytes), _) => attributes::check(bytes),
            (RecordKind::Event | RecordKind::Unknown(_), ..) => Ok(()),
            (_, Part::There([]), Part::There(_)) => Ok(()),
            _ => Err(field("kind", "of the system's own has attributes, or an absent body")),
        }
    }

    /// Returns the chain digest at this record, from the digest at the previous one.
    #[must_use]
    pub fn digest_after(&self, previous: Digest) -> Digest {
        previous.after(self.routing, &self.attributes.hash(), &self.body.hash())
    }

    /// Returns whether every part is there.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        matches!((self.attributes, self.body), (Part::There(_), Part::There(_)))
    }

    /// Returns whether a part is missing: it is absent, and no statement erased it.
    #[must_use]
    pub const fn is_missing(&self) -> bool {
        self.attributes.is_missing() || self.body.is_missing()
    }

    /// Returns the bytes of the routing part.
    pub(crate) const fn routing(&self) -> &'a [u8] {
        self.routing
    }

    /// Returns whether two records are the same, whichever of their parts are there.
    #[must_use]
    pub(crate) fn is_same(&self, other: &RecordRef<'_>) -> bool {
        self.routing == other.routing
            && self.attributes.hash() == other.attributes.hash()
            && self.body.hash() == other.body.hash()
    }

    /// Returns the record as an event.
    ///
    /// # Errors
    /// [`InvalidEvent::UnknownVersion`] or [`InvalidEvent::UnknownKind`] if a newer version wrote it, [`InvalidEvent::NotAnEvent`]
    /// for a record of the system's own, [`InvalidEvent::Absent`] if a part is absent.
    pub fn event(&self) -> Result<EventRef<'a>, InvalidEvent> {
        EventRef::of(self)
    }
}

/// Returns whether bytes are a record of the system's own, by its first two bytes: readers pass over it.
pub(crate) fn is_system(bytes: &[u8]) -> bool {
    matches!(*bytes, [version, kind, ..]
        if (version == VERSION || is_newer(version, VERSION)) && RecordKind::from_number(kind).is_system())
}

/// The front of a record: what a scan needs of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Front {
    pub(crate) id: EventId,
    pub(crate) dot: Dot,
    pub(crate) ends_group: bool,
}

impl Front {
    /// Reads the front of a record. For records that were checked when they were stored.
    ///
    /// # Errors
    /// [`InvalidEvent`] where not even that decodes.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, InvalidEvent> {
        type Fields = ((u8, u8), [u8; 16], [u8; 24], u64);
        let (_, body) = version_of(bytes)?;
        let (((_, flags), id, origin, counter), _) =
            decode_prefix::<Fields>(body).map_err(|e| malformed(e.to_string()))?;
        let (id, dot) = (EventId::from_bytes(id), dot_of(origin, counter)?);
        Ok(Self { id, dot, ends_group: flags & ENDS_GROUP != 0 })
    }
}

impl Digest {
    /// Returns the digest at a record that follows on this one in its chain.
    ///
    /// # Errors
    /// [`InvalidEvent`] if the bytes are no record.
    pub fn chain(self, record: &[u8]) -> Result<Self, InvalidEvent> {
        Ok(RecordRef::decode(record)?.digest_after(self))
    }
}

impl Unreadable for InvalidEvent {
    fn is_newer(&self) -> bool {
        match *self {
            Self::UnknownVersion { version } => is_newer(version, VERSION),
            Self::UnknownKind { .. } => true,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests;
