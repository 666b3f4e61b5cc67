//! Segments: the values of the family `log`, each with consecutive entries of one commit.
//!
//! A segment is written again only if a missing part is filled or a fork is resolved, and none has entries of two commits. So what is stored loses its end by whole
//! segments. `dots` is the index of events by origin and counter, and `writer` turns entries into both.

mod dots;
#[cfg(test)]
mod tests;
mod writer;

use std::ops::ControlFlow;

use super::entry::{EntryVisitor, record_at};
use crate::codec::{EventRef, SegmentRef, StoredError};
use crate::cursor::Seq;
use crate::digest::Digest;
use crate::ids::{Dot, EventId};
use crate::store::{Family, KeyRange, Store, StoreError, StoreErrorKind, keys};

pub(super) use dots::{
    check_ends, find_id, last_run, runs_in_order, stored_digest, stored_digests, stored_dot, stored_run_at, stored_seq,
};
pub(super) use writer::{SegmentWriter, put_segment};

/// Returns the digest of a chain one event further along. A record that does not decode has none: zero is no event's, so what is
/// compared with it differs.
pub(super) fn chained(before: Digest, record: &[u8]) -> Digest {
    before.chain(record).unwrap_or(Digest::ZERO)
}

/// Returns the id and the dot of the record at a sequence number.
pub(super) fn dot_at(seq: Seq, record: &[u8]) -> Result<(EventId, Dot), StoreError> {
    EventRef::decode_dot(record).map_err(|fault| record_at(seq, &fault))
}

/// Visits the entries in `after+1..=until` in order. An entry that is missing is damage.
pub(super) fn scan_entries(
    store: &dyn Store,
    after: Seq,
    until: Seq,
    visit: &mut EntryVisitor<'_>,
) -> Result<(), StoreError> {
    let mut expected = after.next();
    if expected > until {
        return Ok(());
    }
    let (mut fault, mut stopped, mut begun) = (None, false, false);
    store.scan_floor(Family::Log, KeyRange::from(&keys::log(expected)), &mut |key, value| {
        let in_order = |first: &Seq| if begun { *first == expected } else { *first <= expected };
        let Some(first) = keys::seq_of_log(key).filter(in_order) else { return ControlFlow::Break(()) };
        begun = true;
        let segment = match SegmentRef::decode(value) {
            Ok(segment) => segment,
            Err(error) => {
                fault = Some((first, error));
                return ControlFlow::Break(());
            }
        };
        let before = usize::try_from(expected.get() - first.get()).unwrap_or(usize::MAX);
        for (joined, record) in segment.iter().skip(before) {
            if expected > until {
                return ControlFlow::Break(());
            }
            stopped = visit(expected, joined, record).is_break();
            expected = expected.next();
            if stopped {
                return ControlFlow::Break(());
            }
        }
        if expected > until { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    match fault {
        Some((first, error)) => Err(damaged_segment(store, first, &error)),
        None if !stopped && expected <= until => Err(missing_entry(expected)),
        None => Ok(()),
    }
}

/// Reads the segment whose first entry has this sequence number, in place; `None` if there is none.
pub(super) fn read_segment<T>(
    store: &dyn Store,
    first: Seq,
    read: impl FnOnce(SegmentRef<'_>) -> Result<T, StoreError>,
) -> Result<Option<T>, StoreError> {
    let (key, mut read, mut found, mut fault) = (keys::log(first), Some(read), None, None);
    store.scan(Family::Log, KeyRange::prefix(&key), &mut |_, value| {
        match (SegmentRef::decode(value), read.take()) {
            (Ok(segment), Some(read)) => found = Some(read(segment)),
            (Err(error), _) => fault = Some(error),
            (Ok(_), None) => {}
        }
        ControlFlow::Break(())
    })?;
    match fault {
        Some(error) => Err(damaged_segment(store, first, &error)),
        None => found.transpose(),
    }
}

/// Returns the sequence number of the first entry of the segment that holds `seq`; `None` if there is none.
pub(super) fn segment_of(store: &dyn Store, seq: Seq) -> Result<Option<Seq>, StoreError> {
    let mut found = None;
    store.scan_floor(Family::Log, KeyRange::from(&keys::log(seq)), &mut |key, _| {
        found = Some(keys::seq_of_log(key));
        ControlFlow::Break(())
    })?;
    found.map(|first| first.ok_or_else(not_a_seq)).transpose()
}

/// Returns the first sequence number of each segment, from the one that holds `seq` on.
pub(super) fn segments_from(store: &dyn Store, seq: Seq) -> Result<Vec<Seq>, StoreError> {
    let (mut firsts, mut fault) = (Vec::new(), None);
    store.scan_floor(Family::Log, KeyRange::from(&keys::log(seq)), &mut |key, _| match keys::seq_of_log(key) {
        Some(first) => {
            firsts.push(first);
            ControlFlow::Continue(())
        }
        None => {
            fault = Some(not_a_seq());
            ControlFlow::Break(())
        }
    })?;
    fault.map_or(Ok(firsts), Err)
}

pub(super) fn missing_entry(seq: Seq) -> StoreError {
    StoreError::corrupt(format!("family `log`: entry {seq} is missing"))
}

pub(super) fn not_a_seq() -> StoreError {
    StoreError::corrupt("family `log`: a key is not a sequence number")
}

/// Names a segment that does not decode by the entries that it held.
pub(super) fn damaged_segment(store: &dyn Store, first: Seq, fault: &StoredError) -> StoreError {
    let mut next = None;
    let range = keys::log(first.next());
    let read = store.scan(Family::Log, KeyRange::from(&range), &mut |key, _| {
        next = keys::seq_of_log(key);
        ControlFlow::Break(())
    });
    let entries = match (read, next) {
        (Ok(()), Some(next)) if next > first.next() => format!("entries {first} to {}", next.prev()),
        (Ok(()), Some(_)) => format!("entry {first}"),
        // How many entries the last segment had is not known any more.
        _ => format!("the entries from {first} on"),
    };
    StoreError::unreadable(format_args!("family `log`: {entries}"), fault)
}

/// What the index says is there, and the log does not have.
fn not_there(at: impl std::fmt::Display) -> StoreError {
    StoreError::new(StoreErrorKind::Corrupt, format!("family `log`: {at} is not where family `dots` says"))
}
