use super::*;
use crate::event::{Draft, EventBytes, ExtensionRef, MAX_EXTENSIONS};
use crate::ids::{CortexId, Epoch};
use crate::time::Timestamp;

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

fn full() -> Draft {
    let mut draft = Draft::new("t", "payload").subject("s").tag("b").tag("a").json();
    draft.extensions.insert("traceparent".into(), "00".into());
    draft.extensions.insert("priority".into(), (-7).into());
    draft.extensions.insert("final".into(), true.into());
    draft
}

#[test]
fn a_record_reads_back_in_place() {
    let bytes = record(&full(), &[(origin(2), 3)]);
    let event = EventRef::decode(&bytes).unwrap();
    assert_eq!(event.time, Timestamp::from_micros(1_700_000_000_000_000));
    assert_eq!((event.event_type, event.subject, event.data), ("t", "s", &b"payload"[..]));
    assert_eq!(event.deps.get(origin(2)), 3);
    assert_eq!(event.tags, ["a", "b"]);
    let expected = [
        ("final", ExtensionRef::Boolean(true)),
        ("priority", ExtensionRef::Integer(-7)),
        ("traceparent", ExtensionRef::Text("00")),
    ];
    assert_eq!(event.extensions, expected);
    assert_eq!(EventRef::decode_dot(&bytes).unwrap(), (event.id, event.dot));
    let read = RecordRef::decode(&bytes).unwrap();
    assert_eq!((read.version, read.kind, read.ends_group, read.is_whole()), (2, RecordKind::Event, true, true));
}

/// A part that goes leaves every digest as it was, and the record says why it went.
#[test]
fn an_absent_part_leaves_the_digest() {
    let bytes = record(&full(), &[(origin(2), 3)]);
    let whole = RecordRef::decode(&bytes).unwrap();
    let digest = whole.digest_after(Digest::of(b"before"));
    let by = Dot::new(origin(3), 300).unwrap();
    let ways = [None, Some(Absence::Missing), Some(Absence::Erased { by })];
    for (attributes, body) in ways.into_iter().flat_map(|a| ways.map(|b| (a, b))) {
        let less = whole.without(attributes, body);
        let read = RecordRef::decode(&less).unwrap();
        assert_eq!(read.digest_after(Digest::of(b"before")), digest);
        assert_eq!((read.id, read.dot, read.deps.get(origin(2))), (whole.id, whole.dot, 3));
        assert_eq!(read.is_whole(), (attributes, body) == (None, None));
        let shown = |part: Part<'_>| match part {
            Part::There(_) => None,
            Part::Absent(absent) => Some(absent.why),
        };
        assert_eq!((shown(read.attributes), shown(read.body)), (attributes, body));
        // What is gone already cannot go for another reason.
        if attributes.is_some() && body.is_some() {
            assert_eq!(read.without(Some(Absence::Missing), Some(Absence::Missing)), less);
        }
        match read.event() {
            Ok(event) => assert_eq!(event.data, b"payload"),
            Err(InvalidEvent::Absent { is_erased }) => {
                assert_eq!(is_erased, attributes.or(body) == Some(Absence::Erased { by }));
            }
            Err(error) => panic!("{error}"),
        }
        for end in 0..less.len() {
            assert!(RecordRef::decode(&less[..end]).is_err(), "{end}");
        }
        assert!(RecordRef::decode(&[&less[..], &[0]].concat()).is_err());
    }
    let empty = record(&Draft::new("t", ""), &[]);
    let empty = RecordRef::decode(&empty).unwrap();
    assert!(RecordRef::decode(&empty.without(None, Some(Absence::Missing))).unwrap().is_whole(), "no bytes, no debt");
}

/// The attack that a checksum of 128 bits allowed: two records with one digest.
#[test]
fn every_changed_byte_changes_the_digest() {
    let bytes = record(&full(), &[(origin(2), 3)]);
    let digest = RecordRef::decode(&bytes).unwrap().digest_after(Digest::ZERO);
    let mut read = 0;
    for at in 0..bytes.len() {
        let mut other = bytes.to_vec();
        other[at] ^= 1;
        if let Ok(record) = RecordRef::decode(&other) {
            assert_ne!(record.digest_after(Digest::ZERO), digest, "byte {at}");
            read += 1;
        }
    }
    assert!(read > 40, "{read}");
}

#[test]
fn a_group_goes_on_where_the_bit_is_not_set() {
    let bytes = record(&full(), &[]);
    let on = encode::continue_group(&bytes);
    let (ends, goes_on) = (RecordRef::decode(&bytes).unwrap(), RecordRef::decode(&on).unwrap());
    assert_eq!((ends.ends_group, goes_on.ends_group), (true, false));
    assert_ne!(ends.digest_after(Digest::ZERO), goes_on.digest_after(Digest::ZERO));
    assert_eq!(bytes[FLAGS_AT + 1..], on[FLAGS_AT + 1..]);
}

/// A relay passes on what it cannot read.
#[test]
fn a_newer_version_is_read_as_far_as_its_routing_part() {
    let bytes = record(&full(), &[(origin(2), 3)]);
    let mut newer = bytes.to_vec();
    newer[0] = 3;
    // In a newer version these bytes may mean anything.
    let attributes = newer.len() - b"payload".len() - 5;
    newer[attributes] = 0xff;
    let read = RecordRef::decode(&newer).unwrap();
    assert_eq!((read.version, read.dot.counter(), read.deps.get(origin(2))), (3, 7, 3));
    assert_eq!(EventRef::decode(&newer).unwrap_err(), InvalidEvent::UnknownVersion { version: 3 });
    assert!(EventRef::decode(&newer).unwrap_err().is_newer());
    assert_eq!(EventRef::decode_dot(&newer).unwrap(), (read.id, read.dot));
    let mut kind = bytes.to_vec();
    kind[1] = 6;
    assert_eq!(RecordRef::decode(&kind).unwrap().kind, RecordKind::Unknown(6));
    assert_eq!(EventRef::decode(&kind).unwrap_err(), InvalidEvent::UnknownKind { kind: 6 });
    kind[1] = 1;
    assert!(RecordRef::decode(&kind).is_err(), "a record of the system's own has no attributes");
    kind[1] = 0;
    kind[2] |= 2;
    assert!(matches!(RecordRef::decode(&kind).unwrap_err(), InvalidEvent::Field { field: "flags", .. }));
}

#[test]
fn the_overhead_of_an_event_is_small() {
    let draft = Draft::new("order.placed", vec![0; 256]).subject("orders/4711");
    assert!(record(&draft, &[]).len() <= 256 + 84, "{}", record(&draft, &[]).len());
}

#[test]
fn every_truncation_and_every_extra_byte_is_invalid() {
    let bytes = record(&Draft::new("t", "payload").subject("s"), &[(origin(2), 3)]);
    for end in 0..bytes.len() {
        assert!(EventRef::decode(&bytes[..end]).is_err(), "{end}");
    }
    let longer = [&bytes[..], &[0]].concat();
    assert!(matches!(EventRef::decode(&longer), Err(InvalidEvent::Malformed { .. })));
    for (version, newer) in [(0, false), (1, false), (3, true), (18, true), (19, false), (255, false)] {
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

/// A record of exactly this size, with deps and extensions as given.
fn sized(bytes: usize, deps: &[(Origin, u64)], extensions: usize) -> EventBytes {
    let mut draft = Draft::new("t", vec![]);
    draft.extensions = (0..extensions).map(|n| (format!("x{n}"), "v".repeat(1024).into())).collect();
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
        data in 0_usize..5000, own in 0_usize..65, value in 0_usize..1025, deps in 0_usize..255, counter in 1_u64..1 << 63,
        offset in proptest::num::i64::ANY,
    ) {
        let mut draft = Draft::new("t", vec![1; data]).time(Timestamp::from_micros(offset));
        draft.extensions = (0..own).map(|n| (format!("x{n}"), "v".repeat(value).into())).collect();
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
