//! Events that are kept outside of the log: those that left it when forks were resolved, resolution by resolution, each with
//! the sequence number that it had, first those that did not come back since; then those that wait behind a hole since a
//! repair, with sequence number zero.

use std::ops::ControlFlow;

use super::bounded::Bounded;
use super::entry::{LogEntry, damaged};
use super::rejoin::{Waiting, decode_waiting};
use crate::codec::decode_log_entry;
use crate::cursor::Seq;
use crate::store::{Family, KeyRange, Store, StoreError, keys};
use crate::time::Timestamp;

/// Which event outside of the log is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutsideKey(Vec<u8>);

/// Events outside of the log after the first `skip`, at most `max_events` and, but for the first, `max_bytes`.
///
/// # Errors
/// [`StoreError`].
pub fn events_beside(
    store: &dyn Store,
    skip: usize,
    max_events: usize,
    max_bytes: usize,
) -> Result<Vec<LogEntry>, StoreError> {
    let mut found = Vec::new();
    visit(store, &mut Page { skip, max_events, max_bytes, taken: 0 }, &mut |_, seq, joined, record| {
        if let Bounded::Whole(entry) = Bounded::copy(seq, None, joined, record, usize::MAX) {
            found.push(entry);
        }
    })?;
    Ok(found)
}

/// The same events as [`events_beside`], without their records.
///
/// # Errors
/// [`StoreError`].
pub fn keys_outside(
    store: &dyn Store,
    skip: usize,
    max_events: usize,
    max_bytes: usize,
) -> Result<Vec<OutsideKey>, StoreError> {
    let mut found = Vec::new();
    let mut page = Page { skip, max_events, max_bytes, taken: 0 };
    visit(store, &mut page, &mut |key, _, _, _| found.push(OutsideKey(key.to_vec())))?;
    Ok(found)
}

/// One event outside of the log, with at most `max_bytes` of its record; `None` if it is not there any more.
///
/// # Errors
/// [`StoreError`].
pub fn event_outside(
    store: &dyn Store,
    key: &OutsideKey,
    max_bytes: usize,
) -> Result<Option<Bounded<LogEntry>>, StoreError> {
    let mut found = Ok(None);
    store.scan(Family::Evidence, KeyRange::prefix(&key.0), &mut |at, value| {
        if at == key.0 {
            let entry = decode(at, value);
            found = entry.map(|(seq, joined, record)| Some(Bounded::copy(seq, None, joined, record, max_bytes)));
        }
        ControlFlow::Break(())
    })?;
    found
}

struct Page {
    skip: usize,
    max_events: usize,
    max_bytes: usize,
    taken: usize,
}

impl Page {
    /// Whether a record of this size is on the page; counts it if so.
    fn takes(&mut self, bytes: usize) -> bool {
        if self.taken >= self.max_events || self.taken > 0 && bytes > self.max_bytes {
            // What comes after it is not on the page either.
            self.max_events = 0;
            return false;
        }
        self.max_bytes = self.max_bytes.saturating_sub(bytes);
        self.taken += 1;
        true
    }
}

/// What is called with the key, the sequence number, the time it joined, and the record of each event.
type Visitor<'a> = dyn FnMut(&[u8], Seq, Timestamp, &[u8]) + 'a;

fn visit(store: &dyn Store, page: &mut Page, take: &mut Visitor<'_>) -> Result<(), StoreError> {
    for prefix in [keys::SET_ASIDE, keys::CAME_BACK, keys::WAITING] {
        let mut fault = None;
        store.scan(Family::Evidence, KeyRange::prefix(prefix), &mut |key, value| {
            match decode(key, value) {
                Ok(_) if page.skip > 0 => {
                    page.skip -= 1;
                    return ControlFlow::Continue(());
                }
                Ok((seq, joined, record)) if page.takes(record.len()) => {
                    take(key, seq, joined, record);
                    return ControlFlow::Continue(());
                }
                Ok(_) => {}
                Err(error) => fault = Some(error),
            }
            ControlFlow::Break(())
        })?;
        fault.map_or(Ok(()), Err)?;
    }
    Ok(())
}

fn decode<'a>(key: &[u8], value: &'a [u8]) -> Result<(Seq, Timestamp, &'a [u8]), StoreError> {
    let no_place = || StoreError::corrupt("family `evidence`: a key is no place");
    if key.starts_with(keys::WAITING) {
        keys::place_of_waiting(key).ok_or_else(no_place)?;
        let Waiting { joined, record, .. } = decode_waiting(value)?;
        return Ok((Seq::ZERO, joined, record));
    }
    let seq = keys::place_of_set_aside(key).ok_or_else(no_place)?;
    let (joined, record) = decode_log_entry(value).map_err(|error| damaged(Family::Evidence, &error))?;
    Ok((seq, joined, record))
}
