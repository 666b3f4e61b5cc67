//! A record as an event.

use super::Front;
use super::attributes::{self, Attributes};
use super::{Absence, Part, RecordKind, RecordRef, VERSION};
use crate::clock::VClock;
use crate::event::{ExtensionRef, InvalidEvent};
use crate::ids::{Dot, EventId};
use crate::time::Timestamp;

/// A valid event of which every part is there, read in place. Absent texts are empty.
#[derive(Debug, Clone)]
pub struct EventRef<'a> {
    /// The event's id.
    pub id: EventId,
    /// Who wrote it, and as which of their events.
    pub dot: Dot,
    /// The causal delta: entries that changed since the origin's previous event.
    pub deps: VClock,
    /// When it happened, as its writer says.
    pub time: Timestamp,
    /// CloudEvents `type`.
    pub event_type: &'a str,
    /// CloudEvents `subject`, or empty.
    pub subject: &'a str,
    /// CloudEvents `datacontenttype`, or empty.
    pub datacontenttype: &'a str,
    /// Tags, sorted.
    pub tags: Vec<&'a str>,
    /// Extension attributes, sorted by name.
    pub extensions: Vec<(&'a str, ExtensionRef<'a>)>,
    /// The payload.
    pub data: &'a [u8],
}

impl<'a> EventRef<'a> {
    /// Reads a record as an event and checks everything that its bytes alone decide.
    ///
    /// # Errors
    /// [`InvalidEvent`], naming the field and its rule, or why the record is no event that can be read here. Allocates for the
    /// causal delta, tags and extensions only, never more than the record's own size.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, InvalidEvent> {
        RecordRef::decode(bytes)?.event()
    }

    /// Reads only who wrote a record: its id and dot. For records that were checked when they were stored.
    ///
    /// # Errors
    /// [`InvalidEvent`] where not even that decodes.
    pub fn decode_dot(bytes: &[u8]) -> Result<(EventId, Dot), InvalidEvent> {
        Front::decode(bytes).map(|front| (front.id, front.dot))
    }

    pub(super) fn of(record: &RecordRef<'a>) -> Result<Self, InvalidEvent> {
        if record.version != VERSION {
            return Err(InvalidEvent::UnknownVersion { version: record.version });
        }
        match record.kind {
            RecordKind::Event => {}
            RecordKind::Unknown(kind) => return Err(InvalidEvent::UnknownKind { kind }),
            kind => return Err(InvalidEvent::NotAnEvent { kind }),
        }
        let (attributes, data) = match (record.attributes, record.body) {
            (Part::There(attributes), Part::There(body)) => (attributes, body),
            (Part::Absent(absent), _) | (_, Part::Absent(absent)) => {
                return Err(InvalidEvent::Absent { is_erased: matches!(absent.why, Absence::Erased { .. }) });
            }
        };
        let Attributes { time_offset, event_type, subject, datacontenttype, tags, extensions } =
            attributes::read(attributes)?;
        Ok(Self {
            id: record.id,
            dot: record.dot,
            deps: record.deps.clone(),
            time: Timestamp::from_micros(id_micros(record.id).wrapping_add(time_offset)),
            event_type,
            subject,
            datacontenttype,
            tags: tags.0,
            extensions: extensions.0,
            data,
        })
    }
}

/// The time in an id, in microseconds. 48 bits of milliseconds fit with room to spare.
pub(super) fn id_micros(id: EventId) -> i64 {
    i64::try_from(id.timestamp_ms()).unwrap_or(i64::MAX / 1000) * 1000
}
