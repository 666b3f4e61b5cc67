//! The event record, version 1: a version byte, then the header, then the payload as the last field, so that a reader
//! of the header never touches the payload.

use super::encoding::{Encode, decode_prefix, fields};
use super::{Capped, Entries, entries_from, entries_of};
use crate::clock::VClock;
use crate::event::{
    Draft, EventBytes, InvalidEvent, MAX_EVENT_BYTES, MAX_EXTENSIONS, check_deps, check_extensions, check_texts,
};
use crate::ids::{Dot, EventId, Origin};
use crate::store::{Unreadable, is_newer};
use crate::time::Timestamp;

const VERSION: u8 = 1;

fields! {
    struct Record<'a> {
        id: [u8; 16],
        origin: [u8; 24],
        counter: u64,
        deps: Entries,
        /// Microseconds after the time in `id`: small where the event is appended as it happens.
        time_offset: i64,
        event_type: &'a str,
        subject: &'a str,
        datacontenttype: &'a str,
        extensions: Capped<(&'a str, &'a str), MAX_EXTENSIONS>,
        signature: &'a [u8],
        data: &'a [u8],
    }
}

/// A valid event record, read in place. Absent texts are empty.
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
    /// Extension attributes, sorted by name.
    pub extensions: Vec<(&'a str, &'a str)>,
    /// The payload.
    pub data: &'a [u8],
}

impl<'a> EventRef<'a> {
    /// Reads a record and checks everything that its bytes alone decide.
    ///
    /// # Errors
    /// [`InvalidEvent`], naming the field and its rule. Allocates for the causal delta and extensions only, never more
    /// than the record's own size.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, InvalidEvent> {
        if bytes.len() > MAX_EVENT_BYTES {
            return Err(InvalidEvent::TooLarge { bytes: bytes.len() });
        }
        let malformed = |reason: String| InvalidEvent::Malformed { reason };
        let (&version, body) = bytes.split_first().ok_or_else(|| malformed("it is empty".to_owned()))?;
        if version != VERSION {
            return Err(InvalidEvent::UnknownVersion { version });
        }
        let (record, after) = decode_prefix::<Record<'a>>(body).map_err(|e| malformed(e.to_string()))?;
        if !after.is_empty() {
            return Err(malformed(format!("{} bytes follow it", after.len())));
        }
        let id = EventId::from_bytes(record.id);
        let origin = Origin::from_bytes(record.origin);
        let dot = Dot::new(origin, record.counter)
            .ok_or(InvalidEvent::Field { field: "counter", rule: "is outside 1..2^63" })?;
        let deps = entries_from(record.deps);
        check_deps(origin, &deps)?;
        check_texts(record.event_type, record.subject, record.datacontenttype)?;
        check_extensions(record.extensions.0.iter().copied())?;
        if !record.signature.is_empty() {
            return Err(InvalidEvent::Field { field: "signature", rule: "must be empty: no version defines one yet" });
        }
        Ok(Self {
            id,
            dot,
            deps: VClock::from_sorted(&deps)?,
            time: Timestamp::from_micros(id_micros(id).wrapping_add(record.time_offset)),
            event_type: record.event_type,
            subject: record.subject,
            datacontenttype: record.datacontenttype,
            extensions: record.extensions.0,
            data: record.data,
        })
    }

    /// Reads only who wrote a record: its id and dot. For records that were checked when they were stored.
    ///
    /// # Errors
    /// [`InvalidEvent`] where not even that decodes.
    pub fn decode_dot(bytes: &[u8]) -> Result<(EventId, Dot), InvalidEvent> {
        let malformed = |reason: &str| InvalidEvent::Malformed { reason: reason.to_owned() };
        let (&version, body) = bytes.split_first().ok_or_else(|| malformed("it is empty"))?;
        if version != VERSION {
            return Err(InvalidEvent::UnknownVersion { version });
        }
        let ((id, origin, counter), _): (([u8; 16], [u8; 24], u64), _) =
            decode_prefix(body).map_err(|e| malformed(&e.to_string()))?;
        let dot =
            Dot::new(Origin::from_bytes(origin), counter).ok_or_else(|| malformed("its counter is out of range"))?;
        Ok((EventId::from_bytes(id), dot))
    }
}

impl Unreadable for InvalidEvent {
    fn is_newer(&self) -> bool {
        matches!(*self, Self::UnknownVersion { version } if is_newer(version, VERSION))
    }
}

/// The time in an id, in microseconds. 48 bits of milliseconds fit with room to spare.
fn id_micros(id: EventId) -> i64 {
    i64::try_from(id.timestamp_ms()).unwrap_or(i64::MAX / 1000) * 1000
}

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

/// Encodes a checked draft: the one place where an event's bytes are made.
#[must_use]
pub fn encode_record(draft: &Draft, assigned: &EncodedDraft<'_>) -> EventBytes {
    let record = Record {
        id: assigned.id.to_bytes(),
        origin: assigned.dot.origin().to_bytes(),
        counter: assigned.dot.counter(),
        deps: entries_of(assigned.deps),
        time_offset: draft.time.unwrap_or(assigned.time).as_micros().wrapping_sub(id_micros(assigned.id)),
        event_type: &draft.event_type,
        subject: draft.subject.as_deref().unwrap_or_default(),
        datacontenttype: draft.datacontenttype.as_deref().unwrap_or_default(),
        extensions: Capped(draft.extensions.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect()),
        signature: &[],
        data: &draft.data,
    };
    let mut bytes = Vec::with_capacity(128 + draft.data.len());
    bytes.push(VERSION);
    record.encode(&mut bytes);
    bytes.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{CortexId, Epoch};

    fn origin(n: u8) -> Origin {
        Origin::new(CortexId::from_bytes([n; 16]), Epoch::new(u64::from(n)))
    }

    fn record(draft: &Draft, deps: &[(Origin, u64)]) -> EventBytes {
        encode_record(
            draft,
            &EncodedDraft {
                id: EventId::from_parts(1_700_000_000_000, 5),
                dot: Dot::new(origin(1), 7).unwrap(),
                deps: &VClock::from_sorted(deps).unwrap(),
                time: Timestamp::from_micros(1_700_000_000_000_000),
            },
        )
    }

    #[test]
    fn a_record_reads_back_in_place() {
        let mut draft = Draft::new("t", "payload").subject("s").json();
        draft.extensions.insert("traceparent".into(), "00".into());
        let bytes = record(&draft, &[(origin(2), 3)]);
        let view = EventRef::decode(&bytes).unwrap();
        assert_eq!(view.time, Timestamp::from_micros(1_700_000_000_000_000));
        assert_eq!((view.event_type, view.subject, view.data), ("t", "s", &b"payload"[..]));
        assert_eq!(view.deps.get(origin(2)), 3);
        assert_eq!(view.extensions, [("traceparent", "00")]);
        assert_eq!(EventRef::decode_dot(&bytes).unwrap(), (view.id, view.dot));
    }

    #[test]
    fn the_overhead_of_an_event_is_small() {
        let draft = Draft::new("order.placed", vec![0; 256]).subject("orders/4711");
        assert!(record(&draft, &[]).len() <= 256 + 78, "{}", record(&draft, &[]).len());
    }

    #[test]
    fn every_truncation_and_every_extra_byte_is_invalid() {
        let bytes = record(&Draft::new("t", "payload").subject("s"), &[(origin(2), 3)]);
        for end in 0..bytes.len() {
            assert!(EventRef::decode(&bytes[..end]).is_err(), "{end}");
        }
        let longer = [&bytes[..], &[0]].concat();
        assert!(matches!(EventRef::decode(&longer), Err(InvalidEvent::Malformed { .. })));
        let newer = [&[2], &bytes[1..]].concat();
        assert_eq!(EventRef::decode(&newer).unwrap_err(), InvalidEvent::UnknownVersion { version: 2 });
        assert!(EventRef::decode_dot(&newer).is_err());
        for (version, newer) in [(0, false), (2, true), (17, true), (18, false), (255, false)] {
            let fault = EventRef::decode(&[&[version], &bytes[1..]].concat()).unwrap_err();
            assert_eq!(fault.is_newer(), newer, "version {version}");
        }
        assert!(EventRef::decode_dot(&[]).is_err());
    }

    #[test]
    fn deps_of_its_own_origin_are_invalid() {
        let bytes = record(&Draft::new("t", ""), &[(origin(1), 3)]);
        assert_eq!(EventRef::decode(&bytes).unwrap_err(), InvalidEvent::OwnOriginInDeps { origin: origin(1) });
    }

    #[test]
    fn a_signature_is_invalid_while_nothing_defines_one() {
        let mut bytes = record(&Draft::new("t", "d"), &[]).to_vec();
        let length = bytes.len();
        // The last three bytes are the length of the signature, that of the data, and the data.
        assert_eq!(bytes[length - 3..], [0, 1, b'd']);
        bytes.splice(length - 3..length - 2, [2, 7, 7]);
        let refused = EventRef::decode(&bytes).unwrap_err();
        assert!(matches!(refused, InvalidEvent::Field { field: "signature", .. }), "{refused}");
    }

    /// A record of exactly this size, with deps and extensions as given.
    fn sized(bytes: usize, deps: &[(Origin, u64)], extensions: usize) -> EventBytes {
        let mut draft = Draft::new("t", vec![]);
        draft.extensions = (0..extensions).map(|n| (format!("x{n}"), "v".repeat(4096))).collect();
        let mut data = bytes.saturating_sub(record(&draft, deps).len());
        loop {
            draft.data = vec![7; data].into();
            let made = record(&draft, deps);
            if made.len() <= bytes {
                return made;
            }
            // The length of the data takes more bytes than that of none.
            data -= made.len() - bytes;
        }
    }

    /// Records were acknowledged and unreadable where a decoder's limit counted a length of one byte as eight.
    #[test]
    fn each_record_within_the_bound_reads_back_whatever_it_is_made_of() {
        let deps: Vec<_> = (2..200).map(|n| (origin(n), u64::MAX >> 1)).collect();
        for (deps, extensions) in [(&deps[..0], 0), (&deps[..1], 1), (&deps[..], 0), (&deps[..], MAX_EXTENSIONS)] {
            for below in [0, 1, 7, 56, 57, 58, 1000, 5000] {
                let bytes = sized(MAX_EVENT_BYTES - below, deps, extensions);
                assert_eq!(bytes.len(), MAX_EVENT_BYTES - below);
                let view = EventRef::decode(&bytes).unwrap_or_else(|error| panic!("{below} below: {error}"));
                assert_eq!((view.deps.len(), view.extensions.len()), (deps.len(), extensions));
            }
            let over = sized(MAX_EVENT_BYTES + 1, deps, extensions);
            let refused = EventRef::decode(&over).unwrap_err();
            assert_eq!(refused, InvalidEvent::TooLarge { bytes: MAX_EVENT_BYTES + 1 });
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_encoded_decodes(
            data in 0_usize..5000, own in 0_usize..33, value in 0_usize..4097, deps in 0_usize..255, counter in 1_u64..1 << 63,
            offset in proptest::num::i64::ANY,
        ) {
            let mut draft = Draft::new("t", vec![1; data]).time(Timestamp::from_micros(offset));
            draft.extensions = (0..own).map(|n| (format!("x{n}"), "v".repeat(value))).collect();
            let deps: Vec<_> = (2..).take(deps.min(253)).map(|n| (origin(n), counter)).collect();
            let bytes = record(&draft, &deps);
            let view = EventRef::decode(&bytes).unwrap();
            proptest::prop_assert_eq!(view.time, Timestamp::from_micros(offset));
            proptest::prop_assert_eq!((view.data.len(), view.extensions.len(), view.deps.len()), (data, own, deps.len()));
        }
    }

    #[test]
    fn an_oversized_record_is_refused_before_it_is_read() {
        let huge = vec![1; MAX_EVENT_BYTES + 1];
        assert!(matches!(EventRef::decode(&huge), Err(InvalidEvent::TooLarge { .. })));
    }
}
