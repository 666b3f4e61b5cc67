//! The sparse index: one entry an origin and segment. An event is found by the last entry at or before its counter, and by
//! looking through that segment.
//!
//! One event costs a few seeks and at most one segment: 256 records to look at, and 64 KiB or one record to hash. A digest that is
//! computed from records counts only if the digest at the end of that segment agrees.

use std::ops::ControlFlow;

use super::{chained, dot_at, not_there, read_segment};
use crate::codec::{SegmentRef, SegmentRun, StoredDot, decode_run, decode_tip};
use crate::cursor::Seq;
use crate::digest::Digest;
use crate::ids::{EventId, Origin};
use crate::log::entry::{damaged, missing};
use crate::store::{Family, KeyRange, Store, StoreError, keys};

/// The events of an origin in one segment, from a counter on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::log) struct Run {
    pub(in crate::log) origin: Origin,
    /// The counter of the first of them.
    pub(in crate::log) first: u64,
    pub(in crate::log) at: SegmentRun,
}

impl Run {
    /// The counter of the last of them.
    pub(in crate::log) fn last(&self) -> u64 {
        self.first.saturating_add(u64::from(self.at.count) - 1)
    }

    /// Visits its records, each with its sequence number, its counter and its id, until one breaks.
    fn visit(
        &self,
        segment: SegmentRef<'_>,
        mut visit: impl FnMut(Seq, u64, EventId, &[u8]) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let place = usize::from(self.at.place);
        let mut counter = self.first;
        for (at, (_, record)) in segment.iter().enumerate().skip(place) {
            let seq = Seq::new(self.at.segment.get().saturating_add(at as u64));
            let (id, dot) = dot_at(seq, record)?;
            if dot.origin() != self.origin {
                continue;
            }
            if dot.counter() != counter {
                return Err(not_there(format_args!("{}:{counter}", self.origin)));
            }
            if visit(seq, counter, id, record).is_break() || counter == self.last() {
                return Ok(());
            }
            counter += 1;
        }
        Err(not_there(format_args!("{}:{counter}", self.origin)))
    }

    /// Reads its segment.
    fn read<T>(
        &self,
        store: &dyn Store,
        read: impl FnOnce(SegmentRef<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let found = read_segment(store, self.at.segment, read)?;
        found.ok_or_else(|| not_there(format_args!("{}:{}", self.origin, self.first)))
    }

    /// Returns the digest of the chain at one of its counters, from the records. `end` is what it is known to be at the last one:
    /// a record that is not as it was written must not look like another history.
    fn digest(&self, segment: SegmentRef<'_>, counter: u64, end: Digest) -> Result<Digest, StoreError> {
        let (mut digest, mut found) = (self.at.before, Digest::ZERO);
        self.visit(segment, |_, at, _, record| {
            digest = chained(digest, record);
            if at == counter {
                found = digest;
            }
            ControlFlow::Continue(())
        })?;
        if digest == end { Ok(found) } else { Err(altered(self)) }
    }
}

/// What a record says is not what was digested when it was stored.
fn altered(run: &Run) -> StoreError {
    let (first, last, origin) = (run.first, run.last(), run.origin);
    StoreError::corrupt(format!(
        "family `log`: a record of {origin}:{first} to {last} is not the one that was digested"
    ))
}

/// Checks the records of the newest segment's runs against the digests that their chains have at the end.
pub(in crate::log) fn check_ends(store: &dyn Store, newest: Seq, ends: &[(Run, Digest)]) -> Result<(), StoreError> {
    if ends.is_empty() {
        return Ok(());
    }
    let read = read_segment(store, newest, |segment| {
        ends.iter().try_for_each(|(run, end)| run.digest(segment, run.last(), *end).map(drop))
    })?;
    read.ok_or_else(|| not_there(format_args!("entry {newest}")))
}

/// Returns the index entry at exactly this counter.
pub(in crate::log) fn stored_run_at(store: &dyn Store, origin: Origin, first: u64) -> Result<Option<Run>, StoreError> {
    let value = store.get(Family::Dots, &keys::dot(origin, first))?;
    value.map(|value| run(origin, first, &value)).transpose()
}

/// Returns the last index entry of an origin.
pub(in crate::log) fn last_run(store: &dyn Store, origin: Origin) -> Result<Option<Run>, StoreError> {
    let Some((key, value)) = store.last(Family::Dots, &keys::dots_of(origin))? else { return Ok(None) };
    let (origin, first) = keys::dot_of(&key).ok_or_else(not_a_dot)?;
    run(origin, first, &value).map(Some)
}

/// Visits all index entries, by origin and counter.
pub(in crate::log) fn runs_in_order(
    store: &dyn Store,
    visit: &mut dyn FnMut(Result<Run, StoreError>),
) -> Result<(), StoreError> {
    store.scan(Family::Dots, KeyRange::prefix(&[]), &mut |key, value| {
        let of = keys::dot_of(key).ok_or_else(not_a_dot);
        visit(of.and_then(|(origin, first)| run(origin, first, value)));
        ControlFlow::Continue(())
    })
}

/// Returns the last index entry of an origin at or before a counter.
fn run_before(store: &dyn Store, origin: Origin, counter: u64) -> Result<Option<Run>, StoreError> {
    let (from, prefix) = (keys::dot(origin, counter), keys::dots_of(origin));
    let mut found = Ok(None);
    store.scan_floor(Family::Dots, KeyRange { from: &from, prefix: &prefix }, &mut |key, value| {
        found = match keys::dot_of(key) {
            Some((_, first)) if first > counter => Ok(None),
            Some((_, first)) => run(origin, first, value).map(Some),
            None => Err(not_a_dot()),
        };
        ControlFlow::Break(())
    })?;
    found
}

fn run_with(store: &dyn Store, origin: Origin, counter: u64) -> Result<Option<Run>, StoreError> {
    Ok(run_before(store, origin, counter)?.filter(|run| counter <= run.last()))
}

fn run(origin: Origin, first: u64, value: &[u8]) -> Result<Run, StoreError> {
    let at = decode_run(value).map_err(|error| damaged(Family::Dots, &error))?;
    Ok(Run { origin, first, at })
}

fn not_a_dot() -> StoreError {
    StoreError::corrupt("family `dots`: a key is not an origin and a counter")
}

/// Returns the digest of a chain at the last event of a run: the digest before the next run, or the chain's tip.
fn digest_after(store: &dyn Store, run: &Run) -> Result<Digest, StoreError> {
    let next = run.last().saturating_add(1);
    loop {
        if let Some(next) = stored_run_at(store, run.origin, next)? {
            return Ok(next.at.before);
        }
        match stored_tip(store, run.origin)? {
            Some((counter, digest)) if counter == run.last() => return Ok(digest),
            // Events were added between the two reads, or the index has a hole.
            Some((counter, _)) if counter > run.last() && stored_run_at(store, run.origin, next)?.is_some() => {}
            _ => return Err(missing(run.origin, next)),
        }
    }
}

/// Returns the last counter of a chain, and the digest there.
fn stored_tip(store: &dyn Store, origin: Origin) -> Result<Option<(u64, Digest)>, StoreError> {
    let (key, mut tip) = (keys::chain(origin), None);
    // In place: the rest of the value is as long as there are origins.
    store.scan(Family::Clocks, KeyRange::prefix(&key), &mut |_, value| {
        tip = Some(decode_tip(value));
        ControlFlow::Break(())
    })?;
    tip.transpose().map_err(|error| damaged(Family::Clocks, &error))
}

/// Reads the sequence number and the chain digest of an event; `None` if it is not held.
pub(in crate::log) fn stored_dot(
    store: &dyn Store,
    origin: Origin,
    counter: u64,
) -> Result<Option<StoredDot>, StoreError> {
    let Some(seq) = stored_seq(store, origin, counter)? else { return Ok(None) };
    let digest = stored_digest(store, origin, counter)?.ok_or_else(|| missing(origin, counter))?;
    Ok(Some(StoredDot { seq, digest }))
}

/// Reads the sequence number of an event, and hashes nothing; `None` if it is not held.
pub(in crate::log) fn stored_seq(store: &dyn Store, origin: Origin, counter: u64) -> Result<Option<Seq>, StoreError> {
    let Some(run) = run_with(store, origin, counter)? else { return Ok(None) };
    if counter == run.first {
        return Ok(Some(Seq::new(run.at.segment.get().saturating_add(u64::from(run.at.place)))));
    }
    let mut found = None;
    run.read(store, |segment| {
        run.visit(segment, |seq, at, _, _| {
            found = (at == counter).then_some(seq);
            if found.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
    })?;
    Ok(found)
}

/// Reads the digest of a chain at a counter; `None` if it is not held.
pub(in crate::log) fn stored_digest(
    store: &dyn Store,
    origin: Origin,
    counter: u64,
) -> Result<Option<Digest>, StoreError> {
    Ok(stored_digests(store, &[(origin, counter)])?.pop().flatten())
}

/// Reads the digests of several chains, each at a counter; `None` for those that are not held. Each segment is read once.
pub(in crate::log) fn stored_digests(
    store: &dyn Store,
    wanted: &[(Origin, u64)],
) -> Result<Vec<Option<Digest>>, StoreError> {
    let mut digests = vec![None; wanted.len()];
    let mut reads = Vec::new();
    for (at, &(origin, counter)) in wanted.iter().enumerate() {
        // The digest before the next event is the one at this event, and then there is nothing to hash.
        match run_before(store, origin, counter.saturating_add(1))? {
            Some(run) if run.first == counter.saturating_add(1) => digests[at] = Some(run.at.before),
            Some(run) if counter == run.last() => digests[at] = Some(digest_after(store, &run)?),
            Some(run) if counter < run.last() => reads.push((run, counter, digest_after(store, &run)?, at)),
            _ => {}
        }
    }
    reads.sort_unstable_by_key(|(run, ..)| run.at.segment);
    for reads in reads.chunk_by(|(one, ..), (other, ..)| one.at.segment == other.at.segment) {
        reads[0].0.read(store, |segment| {
            for (run, counter, end, at) in reads {
                digests[*at] = Some(run.digest(segment, *counter, *end)?);
            }
            Ok(())
        })?;
    }
    Ok(digests)
}

/// Returns the sequence number of an id in one chain, up to a counter. Ids increase along it, so it is halved, by segments.
pub(in crate::log) fn find_id(
    store: &dyn Store,
    origin: Origin,
    last: u64,
    id: EventId,
) -> Result<Option<Seq>, StoreError> {
    let (mut low, mut high) = (1, last);
    while low <= high {
        let middle = low + (high - low) / 2;
        let run = run_with(store, origin, middle)?.ok_or_else(|| missing(origin, middle))?;
        let (mut first, mut newest, mut found) = (None, None, None);
        run.read(store, |segment| {
            run.visit(segment, |seq, _, at, _| {
                first.get_or_insert(at);
                newest = Some(at);
                found = (at == id).then_some(seq);
                if found.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })
        })?;
        if found.is_some() {
            return Ok(found);
        }
        if first.is_some_and(|first| id < first) {
            high = run.first - 1;
        } else if newest.is_some_and(|newest| id > newest) {
            low = run.last() + 1;
        } else {
            return Ok(None);
        }
    }
    Ok(None)
}
