//! Reads of one event that copy no more than a bound: how large a record is shows only once it is found.

use std::ops::ControlFlow;

use bytes::Bytes;

use super::entry::LogEntry;
use super::log_reader::LogReader;
use crate::cursor::Seq;
use crate::ids::{Epoch, EventId};
use crate::store::StoreError;
use crate::time::Timestamp;

/// What a read with a bound found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bounded<T> {
    /// The event: its record is within the bound.
    Whole(T),
    /// The number of bytes of a record that is larger than the bound; it was not copied.
    Larger(usize),
}

impl Bounded<LogEntry> {
    /// A copy of an entry, if its record has at most `max_bytes`.
    pub(super) fn copy(seq: Seq, epoch: Option<Epoch>, joined: Timestamp, record: &[u8], max_bytes: usize) -> Self {
        match record.len() {
            size if size > max_bytes => Self::Larger(size),
            _ => Self::Whole(LogEntry { seq, epoch, joined, record: Bytes::copy_from_slice(record) }),
        }
    }
}

impl LogReader {
    /// [`LogReader::entry`] with at most `max_bytes` of a record.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) fn entry_within(&self, seq: Seq, max_bytes: usize) -> Result<Option<Bounded<LogEntry>>, StoreError> {
        self.in_place(|| self.entry_within_there(seq, max_bytes))
    }

    /// The event with this id, with at most `max_bytes` of its record; `None` if it is not held.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn find_within(&self, id: EventId, max_bytes: usize) -> Result<Option<Bounded<LogEntry>>, StoreError> {
        self.in_place(|| match self.find_there(id)? {
            Some(seq) => self.entry_within_there(seq, max_bytes),
            None => Ok(None),
        })
    }

    fn entry_within_there(&self, seq: Seq, max_bytes: usize) -> Result<Option<Bounded<LogEntry>>, StoreError> {
        if seq == Seq::ZERO || seq > self.visible() {
            return Ok(None);
        }
        let (epoch, mut found) = (Some(self.local().epoch), None);
        self.scan(seq.prev(), seq, &mut |seq, joined, record| {
            found = Some(Bounded::copy(seq, epoch, joined, record, max_bytes));
            ControlFlow::Break(())
        })?;
        Ok(found)
    }
}
