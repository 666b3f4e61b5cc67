//! Marks: the ends of all groups with their seals, and how each origin begins. They are the values of the family `marks`.
//!
//! A value has some ends of one origin's groups, under the counter of the first of them. The inception of an origin is under counter 0.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::entry::damaged;
use super::segments::stored_seq;
use crate::codec::{GroupEnd, decode_group_ends, encode_group_ends};
use crate::event::EventBytes;
use crate::ids::Origin;
use crate::store::{Batch, Family, KeyRange, Store, StoreError, keys};

/// The most ends of groups in one value.
const MAX_ENDS: usize = 64;

/// Gathers the ends of groups, and puts each value into a batch once it is full.
#[derive(Debug, Default)]
pub(super) struct MarkWriter {
    ends: BTreeMap<Origin, Vec<GroupEnd>>,
    bytes: usize,
}

impl MarkWriter {
    /// Adds the end of a group. The ends of one origin come in order.
    pub(super) fn push(&mut self, origin: Origin, end: GroupEnd, to: &mut Batch) {
        let ends = self.ends.entry(origin).or_default();
        ends.push(end);
        self.bytes += size_of::<GroupEnd>();
        if ends.len() == MAX_ENDS {
            self.bytes -= MAX_ENDS * size_of::<GroupEnd>();
            put_ends(origin, ends, to);
            ends.clear();
        }
    }

    /// Puts what is left into a batch.
    pub(super) fn finish(&mut self, to: &mut Batch) {
        std::mem::take(&mut self.ends).iter().for_each(|(&origin, ends)| put_ends(origin, ends, to));
        self.bytes = 0;
    }

    /// Returns the size in bytes of what no batch has yet, about.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }
}

fn put_ends(origin: Origin, ends: &[GroupEnd], to: &mut Batch) {
    if let Some(first) = ends.first() {
        to.put(Family::Marks, &keys::mark(origin, first.counter), &encode_group_ends(ends));
    }
}

/// Adds to a batch how an origin begins.
pub(super) fn put_inception(origin: Origin, inception: &[u8], to: &mut Batch) {
    to.put(Family::Marks, &keys::mark(origin, 0), inception);
}

/// Reads how an origin begins; `None` if nothing of it was ever held.
pub(super) fn read_inception(store: &dyn Store, origin: Origin) -> Result<Option<EventBytes>, StoreError> {
    Ok(store.get(Family::Marks, &keys::mark(origin, 0))?.map(EventBytes::from))
}

/// Visits the ends of an origin's groups from a counter on, in order, until one breaks.
pub(super) fn ends_from(
    store: &dyn Store,
    origin: Origin,
    from: u64,
    visit: &mut dyn FnMut(GroupEnd) -> ControlFlow<()>,
) -> Result<(), StoreError> {
    let (begin, prefix) = (keys::mark(origin, from.max(1)), keys::marks_of(origin));
    let mut fault = None;
    store.scan_floor(Family::Marks, KeyRange { from: &begin, prefix: &prefix }, &mut |key, value| {
        match keys::mark_of(key) {
            // The value before is the inception.
            Some((_, 0)) => return ControlFlow::Continue(()),
            Some(_) => {}
            None => {
                fault = Some(not_a_mark());
                return ControlFlow::Break(());
            }
        }
        match decode_group_ends(value) {
            Ok(ends) => ends.into_iter().filter(|end| end.counter >= from).try_for_each(&mut *visit),
            Err(error) => {
                fault = Some(damaged(Family::Marks, &error));
                ControlFlow::Break(())
            }
        }
    })?;
    fault.map_or(Ok(()), Err)
}

/// Returns the counter at which the group begins that has an origin's event at this counter, or that follows on the origin's last
/// event. It reads two values, however large the group is.
pub(super) fn group_start(store: &dyn Store, origin: Origin, counter: u64) -> Result<u64, StoreError> {
    if counter <= 1 || stored_seq(store, origin, counter - 1)?.is_none() {
        return Ok(counter.max(1));
    }
    Ok(last_end_before(store, origin, counter)? + 1)
}

/// Returns the counter of the last end of a group before this counter; 0 if there is none.
fn last_end_before(store: &dyn Store, origin: Origin, counter: u64) -> Result<u64, StoreError> {
    // It is in the value at or before that counter, since the value after that one begins with a later end.
    let (begin, prefix) = (keys::mark(origin, counter.saturating_sub(1)), keys::marks_of(origin));
    let (mut found, mut fault) = (0, None);
    store.scan_floor(Family::Marks, KeyRange { from: &begin, prefix: &prefix }, &mut |key, value| {
        match keys::mark_of(key) {
            // The value before is the inception.
            Some((_, 0)) => {}
            Some(_) => match decode_group_ends(value) {
                Ok(ends) => found = ends.iter().map(|end| end.counter).filter(|&end| end < counter).max().unwrap_or(0),
                Err(error) => fault = Some(damaged(Family::Marks, &error)),
            },
            None => fault = Some(not_a_mark()),
        }
        ControlFlow::Break(())
    })?;
    fault.map_or(Ok(found), Err)
}

/// Reads the end of the group that ends with this event; `None` if none does.
pub(super) fn read_end(store: &dyn Store, origin: Origin, counter: u64) -> Result<Option<GroupEnd>, StoreError> {
    let mut found = None;
    ends_from(store, origin, counter, &mut |end| {
        found = (end.counter == counter).then_some(end);
        ControlFlow::Break(())
    })?;
    Ok(found)
}

/// Reads the ends of these groups, each named by the counter of its last event. One that is missing is damage.
pub(super) fn read_ends(store: &dyn Store, groups: &[(Origin, u64)]) -> Result<Vec<GroupEnd>, StoreError> {
    let mut order: Vec<_> = groups.iter().enumerate().map(|(at, group)| (*group, at)).collect();
    order.sort_unstable();
    let mut found = vec![None; groups.len()];
    for run in order.chunk_by(|((one, _), _), ((other, _), _)| one == other) {
        let (mut wanted, (origin, first)) = (run.iter().peekable(), run[0].0);
        ends_from(store, origin, first, &mut |end| {
            if let Some((_, at)) = wanted.next_if(|((_, counter), _)| *counter == end.counter) {
                found[*at] = Some(end);
            }
            match wanted.peek() {
                Some(((_, counter), _)) if *counter > end.counter => ControlFlow::Continue(()),
                _ => ControlFlow::Break(()),
            }
        })?;
    }
    let end = |(end, (origin, counter)): (Option<_>, &(Origin, u64))| end.ok_or_else(|| no_seal(*origin, *counter));
    found.into_iter().zip(groups).map(end).collect()
}

/// Adds to a batch that an origin has no group any more that ends at this counter or later.
pub(super) fn cut_marks(store: &dyn Store, origin: Origin, from: u64, to: &mut Batch) -> Result<(), StoreError> {
    let (begin, prefix) = (keys::mark(origin, from), keys::marks_of(origin));
    let (mut fault, mut kept) = (None, Vec::new());
    store.scan_floor(Family::Marks, KeyRange { from: &begin, prefix: &prefix }, &mut |key, value| {
        match keys::mark_of(key) {
            Some((_, 0)) => return ControlFlow::Continue(()),
            Some((_, first)) if first < from => match decode_group_ends(value) {
                Ok(ends) => kept.extend(ends.into_iter().filter(|end| end.counter < from)),
                Err(error) => fault = Some(damaged(Family::Marks, &error)),
            },
            Some(_) => {}
            None => fault = Some(not_a_mark()),
        }
        to.delete(Family::Marks, key);
        if fault.is_none() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    put_ends(origin, &kept, to);
    fault.map_or(Ok(()), Err)
}

pub(super) fn no_seal(origin: Origin, counter: u64) -> StoreError {
    StoreError::corrupt(format!("family `marks`: the seal of {origin}:{counter} is missing"))
}

pub(super) fn no_inception(origin: Origin) -> StoreError {
    StoreError::corrupt(format!("family `marks`: the inception of {origin} is missing"))
}

pub(super) fn not_a_mark() -> StoreError {
    StoreError::corrupt("family `marks`: a key is not an origin and a counter")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::VClock;
    use crate::digest::Digest;
    use crate::identity::{Signature, clock_hash};
    use crate::ids::{CortexId, Epoch};
    use crate::store::Durability;
    use crate::testing::MemoryStore;

    #[test]
    fn the_end_before_any_counter_is_found_whichever_values_it_is_in() {
        let (store, origin) = (MemoryStore::new(), Origin::new(CortexId::from_bytes([7; 16]), Epoch::new(1)));
        let other = Origin::new(CortexId::from_bytes([7; 16]), Epoch::new(2));
        // Values of one end, of a few, and full ones; the groups have from one to nine events.
        let (mut ends, mut counter) = (Vec::new(), 0);
        for commit in [1_u64, 3, 64, 65, 1, 200] {
            let (mut writer, mut batch) = (MarkWriter::default(), Batch::new());
            for n in 0..commit {
                counter += 1 + n % 9;
                ends.push(counter);
                let (digest, clock) = (Digest::of(b"any"), clock_hash(&VClock::new()));
                let end = GroupEnd { counter, digest, clock, seal: Signature::from_bytes([0; 64]) };
                writer.push(origin, end, &mut batch);
                writer.push(other, GroupEnd { counter: counter + 1, ..end }, &mut batch);
            }
            put_inception(origin, b"inception", &mut batch);
            writer.finish(&mut batch);
            store.commit(&batch, Durability::Sync).unwrap();
        }
        for counter in 0..=counter + 5 {
            let expected = ends.iter().copied().filter(|&end| end < counter).max().unwrap_or(0);
            assert_eq!(last_end_before(&store, origin, counter).unwrap(), expected, "before {counter}");
        }
    }
}
