//! One entry of the log, and the newest one.

use std::ops::ControlFlow;

use super::content::EntryContent;
use crate::codec::{EventRef, RecordRef, StoredError};
use crate::cursor::{Cursor, Seq};
use crate::event::{CloudEventText, EventBytes, InvalidEvent};
use crate::ids::{Epoch, EventId, Origin};
use crate::store::{Family, StoreError};
use crate::time::Timestamp;

/// The newest entry of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogHead {
    /// Its sequence number; zero in an empty log.
    pub seq: Seq,
    /// The id of the event there; all zero in an empty log.
    pub last_event: EventId,
    /// When it joined.
    pub time: Timestamp,
}

impl LogHead {
    /// The head of an empty log.
    pub(crate) const EMPTY: Self =
        Self { seq: Seq::ZERO, last_event: EventId::from_bytes([0; 16]), time: Timestamp::from_micros(0) };
}

/// One entry of the log as it is stored.
///
/// ```
/// use antiphon_kernel::testing::MemoryStore;
/// use antiphon_kernel::{Cortex, Draft, Seq};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let cortex = Cortex::builder(MemoryStore::new()).name("alpha").start().await?;
/// cortex.append(Draft::new("note.written", "hello")).await?;
/// let entry = cortex.reader().entry(Seq::new(1))?.expect("one event was appended");
/// assert_eq!(entry.event()?.data, b"hello");
/// cortex.stop().await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// Its sequence number in this log.
    pub seq: Seq,
    /// The epoch of the log that the sequence number is of; `None` for an event that is kept outside of the log.
    pub epoch: Option<Epoch>,
    /// When it joined, on this cortex's clock.
    pub joined: Timestamp,
    /// The event's record.
    pub record: EventBytes,
}

impl LogEntry {
    /// Returns the event, read in place.
    ///
    /// # Errors
    /// [`StoreError`] of kind `Corrupt` if the record was damaged after it was stored, `NewerFormat` if a newer version wrote
    /// it.
    pub fn event(&self) -> Result<EventRef<'_>, StoreError> {
        EventRef::decode(&self.record).map_err(|fault| self.unreadable(&fault))
    }

    /// Returns the record, whatever its kind, read in place.
    ///
    /// # Errors
    /// As [`LogEntry::event`].
    pub fn read(&self) -> Result<RecordRef<'_>, StoreError> {
        RecordRef::decode(&self.record).map_err(|fault| self.unreadable(&fault))
    }

    /// Returns the event's id.
    ///
    /// # Errors
    /// As [`LogEntry::event`].
    pub fn id(&self) -> Result<EventId, StoreError> {
        Ok(EventRef::decode_dot(&self.record).map_err(|fault| self.unreadable(&fault))?.0)
    }

    pub(super) fn unreadable(&self, fault: &InvalidEvent) -> StoreError {
        match self.epoch {
            Some(_) => record_at(self.seq, fault),
            None => StoreError::unreadable("family `evidence`: an event that was set aside", fault),
        }
    }

    /// Returns the cursor at this entry: a reader that has it continues with the next one. `None` for an event outside of the
    /// log.
    ///
    /// # Errors
    /// As [`LogEntry::event`].
    pub fn cursor(&self) -> Result<Option<Cursor>, StoreError> {
        let id = self.id()?;
        Ok(self.epoch.map(|epoch| Cursor { epoch, seq: self.seq, last_event: id }))
    }

    /// Returns the event as CloudEvents JSON without what this log knows of it: equal wherever the event is held whole. An event
    /// that cannot be read here is shown as what its routing part says, with `antiphonabsent`.
    ///
    /// # Errors
    /// [`StoreError`] of kind `Corrupt` if the record was damaged after it was stored, or is one of the system's own.
    pub fn to_cloud_event_alone(&self) -> Result<CloudEventText<EventBytes>, StoreError> {
        self.text(None)
    }

    /// Returns the event as CloudEvents JSON, with its cursor as `antiphoncursor`, made a piece at a time. An event that cannot be
    /// read here is shown as what its routing part says, with `antiphonabsent`.
    ///
    /// # Errors
    /// As [`LogEntry::to_cloud_event_alone`].
    pub fn to_cloud_event(&self) -> Result<CloudEventText<EventBytes>, StoreError> {
        Ok(self.text(Some((self.seq, self.joined)))?.with_cursor(self.cursor()?))
    }

    fn text(&self, there: Option<(Seq, Timestamp)>) -> Result<CloudEventText<EventBytes>, StoreError> {
        Ok(match self.content()? {
            EntryContent::Event(event) => CloudEventText::owned(there, &event, &self.record),
            EntryContent::Unread(record, why) => CloudEventText::unread(there, &record, why),
            EntryContent::System(record) => {
                return Err(self.unreadable(&InvalidEvent::NotAnEvent { kind: record.kind }));
            }
        })
    }
}

/// What a scan of the log calls with each sequence number, the time its entry joined, and its record.
pub(crate) type EntryVisitor<'a> = dyn FnMut(Seq, Timestamp, &[u8]) -> ControlFlow<()> + 'a;

pub(super) fn damaged(family: Family<'_>, fault: &StoredError) -> StoreError {
    StoreError::unreadable(format_args!("family `{family}`"), fault)
}

pub(crate) fn record_at(seq: Seq, fault: &InvalidEvent) -> StoreError {
    StoreError::unreadable(format_args!("family `log`: the record at place {seq}"), fault)
}

/// What the chain says is there, and the index does not have.
pub(super) fn missing(origin: Origin, counter: u64) -> StoreError {
    StoreError::corrupt(format!("family `dots`: {origin}:{counter} is missing"))
}
