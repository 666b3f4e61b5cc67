//! Making records: from drafts, and from other records with a part absent.

use super::event_ref::id_micros;
use super::{Absence, AbsentPart, ENDS_GROUP, FLAGS_AT, Part, RecordKind, RecordRef, Routing, VERSION, attributes};
use crate::clock::VClock;
use crate::codec::encoding::Encode as _;
use crate::codec::entries_of;
use crate::event::{Draft, EventBytes, InvalidEvent};
use crate::ids::{Dot, EventId};
use crate::time::Timestamp;

/// What the log assigns to a draft to make a record of it.
#[derive(Debug, Clone)]
pub struct EncodedDraft<'a> {
    /// The event's id.
    pub id: EventId,
    /// Its dot.
    pub dot: Dot,
    /// Its causal delta.
    pub deps: &'a VClock,
    /// Its time, where the draft has none.
    pub time: Timestamp,
}

/// Encodes a checked draft as the last record of its group.
#[must_use]
pub fn encode_record(draft: &Draft, assigned: &EncodedDraft<'_>) -> EventBytes {
    encode_in_group(draft, assigned, true)
}

/// Encodes a checked draft, as the last record of its group or an earlier one. An event's bytes are made here and nowhere else.
#[must_use]
pub(crate) fn encode_in_group(draft: &Draft, assigned: &EncodedDraft<'_>, ends_group: bool) -> EventBytes {
    let time_offset = draft.time.unwrap_or(assigned.time).as_micros().wrapping_sub(id_micros(assigned.id));
    let attributes = attributes::encode(draft, time_offset);
    let flags = if ends_group { ENDS_GROUP } else { 0 };
    encode((RecordKind::Event, flags), assigned, Part::There(&attributes), Part::There(&draft.data))
}

fn encode(
    (kind, flags): (RecordKind, u8),
    assigned: &EncodedDraft<'_>,
    attributes: Part<'_>,
    body: Part<'_>,
) -> EventBytes {
    let routing = Routing {
        kind: kind.number(),
        flags,
        id: assigned.id.to_bytes(),
        origin: assigned.dot.origin().to_bytes(),
        counter: assigned.dot.counter(),
        deps: entries_of(assigned.deps),
        attributes_bytes: attributes.full_bytes(),
        body_bytes: body.full_bytes(),
    };
    let full = attributes.full_bytes() + body.full_bytes();
    let mut bytes = Vec::with_capacity(128 + usize::try_from(full).unwrap_or(0));
    bytes.push(VERSION);
    routing.encode(&mut bytes);
    put_parts(&mut bytes, attributes, body);
    bytes.into()
}

fn put_parts(record: &mut Vec<u8>, attributes: Part<'_>, body: Part<'_>) {
    record.push(attributes.presence() | body.presence() << 2);
    attributes.put(record);
    body.put(record);
}

impl RecordRef<'_> {
    /// Returns the record without the parts that are named, in the form that leaves every digest as it is. A part that has no
    /// bytes, or is absent for another reason, stays as it is.
    #[must_use]
    pub fn without(&self, attributes: Option<Absence>, body: Option<Absence>) -> EventBytes {
        self.with_parts(absent(self.attributes, attributes), absent(self.body, body))
    }

    /// Returns the record with these parts in place of its own.
    pub(crate) fn with_parts(&self, attributes: Part<'_>, body: Part<'_>) -> EventBytes {
        let mut record = self.routing.to_vec();
        put_parts(&mut record, attributes, body);
        record.into()
    }
}

/// Returns the part as absent for this reason.
fn absent(part: Part<'_>, why: Option<Absence>) -> Part<'_> {
    match (part, why) {
        (Part::There(bytes @ [_, ..]), Some(why)) => {
            Part::Absent(AbsentPart { hash: part.hash(), bytes: bytes.len() as u64, why })
        }
        _ => part,
    }
}

/// Checks a draft's size beyond the bounds of its fields.
///
/// # Errors
/// [`InvalidEvent::Field`] if all attributes together are too long.
pub(crate) fn check_attributes(draft: &Draft) -> Result<(), InvalidEvent> {
    attributes::check_size(&attributes::encode(draft, i64::MAX))
}

/// Returns the record with its group continuing after it: what ended a group when it was made does not any more.
#[must_use]
pub(crate) fn continue_group(record: &EventBytes) -> EventBytes {
    let mut bytes = record.to_vec();
    if let Some(flags) = bytes.get_mut(FLAGS_AT) {
        *flags &= !ENDS_GROUP;
    }
    bytes.into()
}
