//! Where groups begin.

use super::{missing_entry, read_segment, segment_of, stored_seq};
use crate::codec::Front;
use crate::cursor::Seq;
use crate::ids::Origin;
use crate::log::entry::record_at;
use crate::store::{Store, StoreError};

/// Returns the counter at which the group begins that has an origin's event at this counter, or that follows on the origin's last
/// event. A group is in one piece, so its segments are read from its end on, each once, and nothing is hashed.
pub(in crate::log) fn group_start(store: &dyn Store, origin: Origin, counter: u64) -> Result<u64, StoreError> {
    let mut start = counter.max(1);
    let Some(mut seq) = stored_seq(store, origin, start - 1)? else { return Ok(start) };
    while seq > Seq::ZERO {
        let first = segment_of(store, seq)?.ok_or_else(|| missing_entry(seq))?;
        let count = usize::try_from(seq.get() - first.get() + 1).unwrap_or(usize::MAX);
        let fronts = read_segment(store, first, |segment| {
            let fronts = (first.get()..)
                .zip(segment.iter().take(count))
                .map(|(seq, (_, record))| Front::decode(record).map_err(|fault| record_at(Seq::new(seq), &fault)));
            fronts.collect::<Result<Vec<_>, _>>()
        })?;
        for front in fronts.ok_or_else(|| missing_entry(seq))?.iter().rev() {
            if front.ends_group || front.dot.origin() != origin {
                return Ok(start);
            }
            start = front.dot.counter();
        }
        seq = first.prev();
    }
    Ok(start)
}
