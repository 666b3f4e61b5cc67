//! Readers of the log: pages after a cursor, and the log as a stream. A cursor leads on only where it belongs to this history.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use bytes::Bytes;
use futures_util::stream::{self, Stream};

use super::entry::LogEntry;
use super::lineage::Lineage;
use super::log_reader::LogReader;
use crate::blocking::blocking;
use crate::codec::is_system;
use crate::cursor::{Cursor, Seq};
use crate::error_code::ErrorCode;
use crate::ids::{Epoch, EventId};
use crate::mutant::{self, Mutant};
use crate::store::{StoreError, StoreErrorKind};
use crate::time::Timestamp;

const FOLLOW_PAGE: usize = 256;
const FOLLOW_BYTES: usize = 1024 * 1024;

/// The part of a log's history that decides about a cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct History {
    /// The log's epoch.
    pub epoch: Epoch,
    /// The newest durable entry.
    pub head: Seq,
    /// The last sequence number up to which the log is that of the cursor's own epoch, where that is an earlier one; `None` for
    /// an epoch that the log does not know.
    pub shared: Option<Seq>,
}

/// Why a cursor does not belong to a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Mismatch {
    /// The epoch is of another node, of a history that this log does not go back to, or too old.
    #[error("this log does not know its epoch")]
    Epoch,
    /// The log changed at or before the cursor's sequence number when a later epoch began.
    #[error("the log was changed after place {shared} since")]
    Changed {
        /// The last sequence number that is unchanged.
        shared: Seq,
    },
    /// The log is shorter.
    #[error("it is beyond the newest event, at place {head}")]
    Beyond {
        /// The newest durable entry.
        head: Seq,
    },
    /// Another event is at the cursor's sequence number.
    #[error("another event is at its place")]
    Witness,
}

impl Mismatch {
    /// The stable code of this failure.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Epoch => ErrorCode::ReadUnknownEpoch,
            Self::Changed { .. } => ErrorCode::ReadChanged,
            Self::Beyond { .. } => ErrorCode::ReadBeyond,
            Self::Witness => ErrorCode::ReadOtherEvent,
        }
    }
}

impl Mismatch {
    /// The sequence number after which reading misses nothing: everything before is known to be the same history.
    #[must_use]
    pub const fn resume(self) -> Seq {
        match self {
            Self::Changed { shared } => shared,
            Self::Epoch | Self::Beyond { .. } | Self::Witness => Seq::ZERO,
        }
    }
}

/// Decides whether a reader's cursor belongs to a history. `there` is the event at the cursor's sequence number, if there is one.
///
/// # Errors
/// [`Mismatch`] says why it does not.
pub fn belongs(cursor: &Cursor, history: &History, there: Option<EventId>) -> Result<(), Mismatch> {
    if mutant::is(Mutant::CursorWithoutWitness) || *cursor == Cursor::start(cursor.epoch) {
        // Nothing was read, so nothing can be missed.
        return Ok(());
    }
    if cursor.epoch == history.epoch {
        if cursor.seq > history.head {
            return Err(Mismatch::Beyond { head: history.head });
        }
    } else {
        let shared = history.shared.ok_or(Mismatch::Epoch)?;
        if cursor.seq > shared {
            return Err(Mismatch::Changed { shared });
        }
    }
    if there == Some(cursor.last_event) { Ok(()) } else { Err(Mismatch::Witness) }
}

/// A reader's cursor that is of another history than this log's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "cursor {cursor} is of another history than this log's: {mismatch}; read on after {resume}, which may repeat events"
)]
pub struct CursorUnknown {
    /// The cursor.
    pub cursor: Cursor,
    /// Why it is unknown.
    pub mismatch: Mismatch,
    /// The cursor to read on after: events may come again. None is missed, unless this log was rolled back or copied without
    /// notice: see the promises in `docs/reliability.md`.
    pub resume: Cursor,
}

impl CursorUnknown {
    /// The stable code of this failure.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        self.mismatch.code()
    }
}

/// Why a reader got nothing.
///
/// ```
/// use antiphon_kernel::ids::Epoch;
/// use antiphon_kernel::testing::MemoryStore;
/// use antiphon_kernel::{Cortex, Cursor, ReadError, Seq};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let cortex = Cortex::builder(MemoryStore::new()).name("alpha").start().await?;
/// let elsewhere = Cursor { seq: Seq::new(7), ..Cursor::start(Epoch::new(1)) };
/// let Err(ReadError::CursorUnknown(unknown)) = cortex.reader().page(Some(&elsewhere), 10, 64 * 1024) else {
///     panic!("the cursor is of another history");
/// };
/// // To continue there repeats events, and misses none.
/// assert_eq!(unknown.resume.seq, Seq::ZERO);
/// cortex.stop().await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The cursor is of another history.
    #[error(transparent)]
    CursorUnknown(#[from] CursorUnknown),
    /// The log could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ReadError {
    /// The stable code of this failure.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::CursorUnknown(error) => error.code(),
            Self::Store(error) => error.code(),
        }
    }
}

/// Durable entries after a cursor. Records of the system's own are not among them, so their sequence numbers may have gaps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPage {
    /// The entries, in order.
    pub entries: Vec<LogEntry>,
    /// The cursor to read on after.
    pub next: Cursor,
    /// The cursor at the newest durable entry.
    pub head: Cursor,
}

/// What a reader's scan of the log calls with each epoch and sequence number, the time it joined, and its record.
type PlacedVisitor<'a> = dyn FnMut(Epoch, Seq, Timestamp, &[u8]) -> ControlFlow<()> + 'a;

impl LogReader {
    /// Reads up to `limit` durable entries after a cursor (without one, from the beginning), and no more than `max_bytes` of
    /// records beyond the first. Passes over records of the system's own. [`LogEntry::content`] says what an entry is. Waits while the log is being rewritten; this blocks.
    ///
    /// # Errors
    /// [`ReadError::CursorUnknown`] for a cursor of another history.
    pub fn page(&self, after: Option<&Cursor>, limit: usize, max_bytes: usize) -> Result<LogPage, ReadError> {
        self.in_place(|| {
            let head = self.head_cursor();
            let next = match self.resume_at(after, head)? {
                Ok(next) => next,
                Err(unknown) => return Ok(Err(unknown)),
            };
            let (entries, last) = self.shown_until(next.seq, head, limit, max_bytes)?;
            Ok(Ok(LogPage { entries, next: last.unwrap_or(next), head }))
        })?
        .map_err(ReadError::from)
    }

    /// The entries after a sequence number that readers get, and the cursor at the last one that was looked at, if there was one.
    fn shown_until(
        &self,
        after: Seq,
        head: Cursor,
        limit: usize,
        max_bytes: usize,
    ) -> Result<(Vec<LogEntry>, Option<Cursor>), StoreError> {
        let (mut entries, mut bytes, mut last) = (Vec::new(), 0, Ok(None));
        self.scan(after, head.seq, &mut |seq, joined, record| {
            let passed = is_system(record);
            bytes += if passed { 0 } else { record.len() };
            if entries.len() >= limit || bytes > max_bytes && !entries.is_empty() {
                return ControlFlow::Break(());
            }
            let record = Bytes::copy_from_slice(record);
            let entry = LogEntry { seq, epoch: Some(head.epoch), joined, record };
            last = self.cursor_of(&entry, head.epoch).map(Some);
            entries.extend((!passed).then_some(entry));
            if last.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        Ok((entries, last?))
    }

    /// Visits the durable entries after a cursor in order, without a copy of their records, with the epoch that their sequence
    /// numbers are of. Returns where that began, and the cursor at the newest durable entry.
    pub(crate) fn visit_after(
        &self,
        after: Option<&Cursor>,
        visit: &mut PlacedVisitor<'_>,
    ) -> Result<(Cursor, Cursor), ReadError> {
        self.in_place(|| {
            let head = self.head_cursor();
            let from = match self.resume_at(after, head)? {
                Ok(from) => from,
                Err(unknown) => return Ok(Err(unknown)),
            };
            self.scan(from.seq, head.seq, &mut |seq, joined, record| visit(head.epoch, seq, joined, record))?;
            Ok(Ok((from, head)))
        })?
        .map_err(ReadError::from)
    }

    /// The same position as a cursor of the current epoch.
    ///
    /// # Errors
    /// As [`LogReader::page`].
    pub fn resume(&self, after: &Cursor) -> Result<Cursor, ReadError> {
        self.in_place(|| self.resume_at(Some(after), self.head_cursor()))?.map_err(ReadError::from)
    }

    fn resume_at(&self, after: Option<&Cursor>, head: Cursor) -> Result<Result<Cursor, CursorUnknown>, StoreError> {
        let Some(cursor) = after else { return Ok(Ok(Cursor::start(head.epoch))) };
        let mut shared = None;
        if cursor.epoch != head.epoch {
            // A change of epoch that is not durable yet can only make this less.
            shared = Lineage::read(&**self.store())?.shared(cursor.epoch).map(|seq| seq.min(head.seq));
        }
        let history = History { epoch: head.epoch, head: head.seq, shared };
        let at = |seq: Seq| match self.entries_until(seq.prev(), seq, 1, usize::MAX)?.first() {
            Some(entry) if seq > Seq::ZERO => self.cursor_of(entry, head.epoch),
            _ => Ok(Cursor::start(head.epoch)),
        };
        let known = if cursor.epoch == head.epoch { head.seq } else { shared.unwrap_or_default() };
        let there = if cursor.seq <= known { Some(at(cursor.seq)?.last_event) } else { None };
        match belongs(cursor, &history, there) {
            Ok(()) => Ok(Ok(Cursor { epoch: head.epoch, ..*cursor })),
            Err(mismatch) => Ok(Err(CursorUnknown { cursor: *cursor, mismatch, resume: at(mismatch.resume())? })),
        }
    }

    fn cursor_of(&self, entry: &LogEntry, epoch: Epoch) -> Result<Cursor, StoreError> {
        Ok(Cursor { epoch, seq: entry.seq, last_event: entry.id()? })
    }

    /// The durable entries after a cursor (without one, from the beginning), and then those to come, one by one, for as long as
    /// the log is open somewhere. An error is the last item: [`ReadError::CursorUnknown`] where the log was changed before the
    /// sequence number that was reached, by a fork that was resolved or a disk that lost its end.
    ///
    /// The store is read a page at a time, on a thread that may block. Must be polled within a tokio runtime.
    pub fn follow(&self, after: Option<Cursor>) -> impl Stream<Item = Result<LogEntry, ReadError>> + Send + use<> {
        let state = (self.clone(), self.watch_durable(), after, VecDeque::new(), false);
        stream::unfold(state, move |(view, mut durable, mut at, mut page, failed)| async move {
            if failed {
                return None;
            }
            loop {
                if let Some(entry) = page.pop_front() {
                    return Some((Ok(entry), (view, durable, at, page, false)));
                }
                // Before it is read: what comes meanwhile is a change.
                durable.borrow_and_update();
                let reader = view.clone();
                match blocking(move || reader.page(at.as_ref(), FOLLOW_PAGE, FOLLOW_BYTES)).await {
                    Ok(read) => {
                        at = Some(read.next);
                        page.extend(read.entries);
                        if page.is_empty() && read.next.seq < read.head.seq {
                            // There were records of the system's own, and more after them.
                            continue;
                        }
                    }
                    Err(error) => return Some((Err(error), (view, durable, at, page, true))),
                }
                if page.is_empty() {
                    durable.changed().await.ok()?;
                }
            }
        })
    }

    /// How many times sequence numbers came to mean other events, once they do not move at present.
    pub(crate) fn settled_rewrites(&self) -> u64 {
        let _stay = self.shared.stay();
        self.rewrites()
    }

    /// Reads while every sequence number means the same event: waits while the log is being rewritten, and keeps that waiting.
    /// While the store has to be opened again after a failed write, what looks like damage is that failure.
    pub(super) fn in_place<T>(&self, read: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
        let _stay = self.shared.stay();
        read().map_err(|error| match self.shared.failed_with() {
            Some(why) if error.kind() == StoreErrorKind::Corrupt => StoreError::new(
                why.kind(),
                format!("a write failed, and the log is not read until the store is open again: {}", why.detail()),
            ),
            _ => error,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor(epoch: u64, seq: u64, id: u128) -> Cursor {
        Cursor { epoch: Epoch::new(epoch), seq: Seq::new(seq), last_event: EventId::from_parts(1, id) }
    }

    fn history(shared: Option<u64>) -> History {
        History { epoch: Epoch::new(2), head: Seq::new(9), shared: shared.map(Seq::new) }
    }

    /// `there` is the event that this log has at the cursor's sequence number.
    fn decide(cursor: &Cursor, shared: Option<u64>, there: Option<u128>) -> Result<(), Mismatch> {
        belongs(cursor, &history(shared), there.map(|id| EventId::from_parts(1, id)))
    }

    #[test]
    fn a_cursor_of_this_epoch_belongs_where_its_event_is_at_its_place() {
        assert_eq!(decide(&cursor(2, 6, 66), None, Some(66)), Ok(()));
        assert_eq!(decide(&cursor(2, 9, 99), None, Some(99)), Ok(()), "the head itself");
        assert_eq!(decide(&cursor(2, 6, 66), None, Some(67)), Err(Mismatch::Witness), "set back unnoticed");
        assert_eq!(decide(&cursor(2, 10, 1), None, None), Err(Mismatch::Beyond { head: Seq::new(9) }));
        assert_eq!(decide(&cursor(2, u64::MAX, 1), None, None), Err(Mismatch::Beyond { head: Seq::new(9) }));
    }

    #[test]
    fn a_cursor_of_an_earlier_epoch_belongs_as_far_as_the_log_is_unchanged() {
        // Restored from a backup of six, repaired behind six, resolved at the seventh, or six left of a lost tail.
        assert_eq!(decide(&cursor(1, 6, 66), Some(6), Some(66)), Ok(()));
        assert_eq!(decide(&cursor(1, 1, 11), Some(6), Some(11)), Ok(()));
        let changed = Mismatch::Changed { shared: Seq::new(6) };
        assert_eq!(decide(&cursor(1, 7, 77), Some(6), Some(77)), Err(changed), "that it is there again proves nothing");
        assert_eq!(changed.resume(), Seq::new(6));
        assert_eq!(decide(&cursor(1, 6, 66), Some(6), Some(67)), Err(Mismatch::Witness));
        assert_eq!(Mismatch::Witness.resume(), Seq::ZERO);
    }

    #[test]
    fn a_cursor_of_an_unknown_epoch_does_not_belong() {
        assert_eq!(decide(&cursor(3, 6, 66), None, Some(66)), Err(Mismatch::Epoch), "another node's, or forgotten");
        assert_eq!(Mismatch::Epoch.resume(), Seq::ZERO);
    }

    #[test]
    fn who_has_read_nothing_misses_nothing() {
        for epoch in 1..=3 {
            assert_eq!(belongs(&Cursor::start(Epoch::new(epoch)), &history(None), None), Ok(()));
        }
        assert_eq!(decide(&cursor(3, 0, 5), None, None), Err(Mismatch::Epoch), "a witness at place zero is made up");
    }
}
