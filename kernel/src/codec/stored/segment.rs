//! Values of `log` and `dots`: segments, and where an origin's events of one segment are.
//!
//! A segment has no checksum of its own. A store checks its blocks, the lengths must add up to the value's size, and the digest
//! chains cover every record. A checksum would only find again what these find, and the time an entry joined serves lag alone.

use super::super::encoding::{Encode, decode_prefix};
use super::StoredError;
use crate::cursor::Seq;
use crate::digest::{DIGEST_ALGORITHM, Digest};
use crate::event::EventBytes;
use crate::time::Timestamp;

/// The version of the values of `log` and `dots`.
const VERSION: u8 = 2;
/// The most entries of a segment.
const MAX_SEGMENT_ENTRIES: usize = 256;
/// The most bytes of records in a segment of several entries. A larger record is a segment alone.
const MAX_SEGMENT_BYTES: usize = 64 * 1024;

/// Entries that become one segment. The records are shared, not copied.
#[derive(Debug, Default)]
pub(crate) struct SegmentBuilder {
    /// Of each entry: microseconds since the previous one, and length of its record.
    table: Vec<u8>,
    last: i64,
    records: Vec<EventBytes>,
    bytes: usize,
}

impl SegmentBuilder {
    /// Returns whether a record of this many bytes fits behind the entries that are there.
    pub(crate) const fn takes(&self, bytes: usize) -> bool {
        self.records.is_empty() || self.records.len() < MAX_SEGMENT_ENTRIES && self.bytes + bytes <= MAX_SEGMENT_BYTES
    }

    /// Adds an entry. The caller asked whether it fits.
    pub(crate) fn push(&mut self, joined: Timestamp, record: EventBytes) {
        let micros = joined.as_micros();
        (micros.wrapping_sub(self.last), record.len() as u64).encode(&mut self.table);
        self.last = micros;
        self.bytes += record.len();
        self.records.push(record);
    }

    /// Returns the number of entries.
    pub(crate) const fn len(&self) -> usize {
        self.records.len()
    }

    /// Returns the size in bytes, about.
    pub(crate) const fn bytes(&self) -> usize {
        self.table.len() + self.bytes
    }

    /// Hands the pieces of the value to `put`, and begins again without entries.
    pub(crate) fn finish(&mut self, put: impl FnOnce(&[&[u8]])) {
        let mut head = Vec::with_capacity(4);
        (VERSION, self.records.len() as u64).encode(&mut head);
        let mut parts: Vec<&[u8]> = Vec::with_capacity(self.records.len() + 2);
        parts.extend([&head[..], &self.table]);
        parts.extend(self.records.iter().map(|record| &record[..]));
        put(&parts);
        self.table.clear();
        self.records.clear();
        (self.last, self.bytes) = (0, 0);
    }
}

/// A segment as it is stored, read in place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SegmentRef<'a> {
    count: usize,
    table: &'a [u8],
    records: &'a [u8],
}

impl<'a> SegmentRef<'a> {
    /// Reads a value of `log`. Looks at the table only.
    pub(crate) fn decode(bytes: &'a [u8]) -> Result<Self, StoredError> {
        const WHAT: &str = "segment of the log";
        let fault = |why: &str| StoredError::new(WHAT, why);
        let body = versioned(WHAT, bytes)?;
        let malformed = |error: super::super::encoding::DecodeError| StoredError::new(WHAT, error.to_string());
        let (count, table): (u64, _) = decode_prefix(body).map_err(malformed)?;
        let count = usize::try_from(count).ok().filter(|count| (1..=MAX_SEGMENT_ENTRIES).contains(count));
        let count = count.ok_or_else(|| fault("it has no entries, or more than 256"))?;
        let (mut rest, mut sum) = (table, 0_u64);
        for _ in 0..count {
            let ((_, length), after): ((i64, u64), _) = decode_prefix(rest).map_err(malformed)?;
            sum = sum.saturating_add(length);
            rest = after;
        }
        if sum != rest.len() as u64 {
            return Err(fault("its records have not the lengths that it names"));
        }
        if count > 1 && rest.len() > MAX_SEGMENT_BYTES {
            return Err(fault("it has several entries and more than 64 KiB"));
        }
        Ok(Self { count, table: &table[..table.len() - rest.len()], records: rest })
    }

    /// Returns the number of entries, at least 1.
    pub(crate) const fn len(&self) -> usize {
        self.count
    }

    /// Returns the entries in order: when each joined, and its record.
    pub(crate) fn iter(&self) -> Entries<'a> {
        Entries { table: self.table, records: self.records, joined: 0 }
    }
}

/// The entries of a segment.
#[derive(Debug, Clone)]
pub(crate) struct Entries<'a> {
    table: &'a [u8],
    records: &'a [u8],
    joined: i64,
}

impl<'a> Iterator for Entries<'a> {
    type Item = (Timestamp, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        // The table was checked against the records, so both end together.
        let ((since, length), table): ((i64, u64), _) = decode_prefix(self.table).ok()?;
        let (record, records) = self.records.split_at_checked(usize::try_from(length).ok()?)?;
        self.joined = self.joined.wrapping_add(since);
        (self.table, self.records) = (table, records);
        Some((Timestamp::from_micros(self.joined), record))
    }
}

/// The events of one origin in one segment: their counters follow on one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentRun {
    /// The sequence number of the segment's first entry.
    pub(crate) segment: Seq,
    /// How many entries of the segment come before the first of them.
    pub(crate) place: u16,
    /// How many they are, at least 1.
    pub(crate) count: u16,
    /// The digest of the origin's chain before the first of them.
    pub(crate) before: Digest,
}

pub(crate) fn encode_run(run: &SegmentRun) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(48);
    let at = (run.segment.get(), run.place, run.count);
    (VERSION, at, DIGEST_ALGORITHM, run.before.to_bytes()).encode(&mut bytes);
    bytes
}

pub(crate) fn decode_run(bytes: &[u8]) -> Result<SegmentRun, StoredError> {
    const WHAT: &str = "dot";
    type Wire = ((u64, u16, u16), u8, [u8; 32]);
    let ((segment, place, count), algorithm, before): Wire = super::read_body(WHAT, versioned(WHAT, bytes)?)?;
    if algorithm != DIGEST_ALGORITHM {
        return Err(StoredError::unknown(WHAT, "digest algorithm", algorithm, DIGEST_ALGORITHM));
    }
    if count == 0 || usize::from(place) + usize::from(count) > MAX_SEGMENT_ENTRIES {
        return Err(StoredError::new(WHAT, "it names entries that no segment has"));
    }
    Ok(SegmentRun { segment: Seq::new(segment), place, count, before: Digest::from_bytes(before) })
}

fn versioned<'a>(what: &'static str, bytes: &'a [u8]) -> Result<&'a [u8], StoredError> {
    match bytes.split_first() {
        Some((&VERSION, body)) => Ok(body),
        Some((&version, _)) => Err(StoredError::unknown(what, "version", version, VERSION)),
        None => Err(StoredError::new(what, "it is empty")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::Unreadable as _;

    fn value(entries: &[(i64, Vec<u8>)]) -> Vec<u8> {
        let mut builder = SegmentBuilder::default();
        for (joined, record) in entries {
            assert!(builder.takes(record.len()));
            builder.push(Timestamp::from_micros(*joined), EventBytes::copy_from_slice(record));
        }
        let mut value = Vec::new();
        builder.finish(|parts| value = parts.concat());
        assert_eq!((builder.len(), builder.bytes()), (0, 0));
        value
    }

    fn entries(value: &[u8]) -> Vec<(i64, Vec<u8>)> {
        let segment = SegmentRef::decode(value).unwrap();
        let entries: Vec<_> = segment.iter().map(|(joined, record)| (joined.as_micros(), record.to_vec())).collect();
        assert_eq!(entries.len(), segment.len());
        entries
    }

    proptest! {
        #[test]
        fn entries_come_back(
            written in prop::collection::vec((any::<i64>(), prop::collection::vec(any::<u8>(), 0..200)), 1..=256),
        ) {
            prop_assert_eq!(entries(&value(&written)), written);
        }
    }

    #[test]
    fn every_truncation_and_every_extra_byte_is_refused() {
        let good = value(&[(5, b"first".to_vec()), (5, vec![7; 300]), (9, b"third".to_vec())]);
        for end in 0..good.len() {
            assert!(SegmentRef::decode(&good[..end]).is_err(), "{end} of {}", good.len());
        }
        assert!(SegmentRef::decode(&[&good[..], &[0]].concat()).is_err());
    }

    #[test]
    fn a_flipped_bit_of_a_count_or_a_length_is_refused() {
        let good = value(&[(5, vec![1; 40]), (5, vec![2; 300]), (5, vec![3; 9])]);
        // Version and count; then the first entry's time and length; then two entries of times that do not change.
        assert_eq!(good[..2], [2, 3]);
        for (byte, what) in [(0, "version"), (1, "count"), (3, "length"), (6, "length, second byte"), (9, "length")] {
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[byte] ^= 1 << bit;
                assert!(SegmentRef::decode(&bad).is_err(), "bit {bit} of the {what}");
            }
        }
    }

    #[test]
    fn bounds_are_kept_by_both_sides() {
        let mut builder = SegmentBuilder::default();
        assert!(builder.takes(16 << 20), "a large record is a segment alone");
        builder.push(Timestamp::from_micros(1), EventBytes::from(vec![0; MAX_SEGMENT_BYTES - 1]));
        assert!(builder.takes(1) && !builder.takes(2));
        let mut large = Vec::new();
        builder.finish(|parts| large = parts.concat());
        assert_eq!(SegmentRef::decode(&large).unwrap().len(), 1);
        for _ in 0..MAX_SEGMENT_ENTRIES {
            assert!(builder.takes(0));
            builder.push(Timestamp::from_micros(1), EventBytes::new());
        }
        assert!(!builder.takes(0));
        // What the builder never makes.
        let more = [&[2, 251, 1, 1][..], &[0, 0].repeat(257)].concat();
        assert!(SegmentRef::decode(&more).is_err(), "257 entries");
        assert!(SegmentRef::decode(&[2, 0]).is_err(), "no entries");
        let two = [&[2, 2, 0, 252, 0, 0, 1, 0, 0, 1][..], &vec![0; (1 << 16) + 1]].concat();
        assert!(SegmentRef::decode(&two).is_err(), "more than 64 KiB in two entries");
        let huge = [&[2, 2][..], &[0, 253, 255, 255, 255, 255, 255, 255, 255, 255].repeat(2)].concat();
        assert!(SegmentRef::decode(&huge).is_err(), "lengths whose sum does not fit");
    }

    #[test]
    fn a_run_reads_back_and_names_entries_that_a_segment_can_have() {
        let run = SegmentRun { segment: Seq::new(300), place: 255, count: 1, before: Digest::of(b"x") };
        assert_eq!(decode_run(&encode_run(&run)).unwrap(), run);
        for (place, count) in [(0, 0), (0, 257), (255, 2), (u16::MAX, u16::MAX)] {
            assert!(decode_run(&encode_run(&SegmentRun { place, count, ..run })).is_err(), "{place}, {count}");
        }
        let good = encode_run(&SegmentRun { segment: Seq::new(1), place: 0, ..run });
        for end in 0..good.len() {
            assert!(decode_run(&good[..end]).is_err());
        }
        let mut newer = good.clone();
        newer[4] = 9;
        assert!(decode_run(&newer).unwrap_err().to_string().contains("algorithm 9"));
        assert!(decode_run(&newer).unwrap_err().is_newer());
        newer = good;
        newer[0] = 3;
        assert!(decode_run(&newer).unwrap_err().is_newer());
    }
}
