//! What an entry of the log is to a reader: an event, an event that cannot be read here, or a record of the system's own.
//!
//! Readers pass over records of the system's own, and get each other entry: one that cannot be read keeps none from being read.

use super::entry::LogEntry;
use crate::codec::{EventRef, RecordRef};
use crate::event::InvalidEvent;
use crate::store::{StoreError, Unreadable as _};

/// Why an event cannot be read here.
///
/// ```
/// use antiphon_kernel::log::Unread;
///
/// assert_eq!(Unread::Missing.as_str(), "missing");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Unread {
    /// It was erased.
    Erased,
    /// A part of it is missing here. Any node that has the part can bring it.
    Missing,
    /// A newer version wrote it.
    Newer,
}

impl Unread {
    /// Returns the value of `antiphonabsent` in CloudEvents.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Erased => "erased",
            Self::Missing => "missing",
            Self::Newer => "newer",
        }
    }
}

/// What an entry of the log is to a reader.
///
/// ```
/// use antiphon_kernel::log::EntryContent;
/// use antiphon_kernel::testing::MemoryStore;
/// use antiphon_kernel::{Cortex, Draft, Seq};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let cortex = Cortex::builder(MemoryStore::new()).name("alpha").start().await?;
/// cortex.append(Draft::new("note.written", "hello")).await?;
/// let entry = cortex.reader().entry(Seq::new(1))?.expect("one event was appended");
/// match entry.content()? {
///     EntryContent::Event(event) => assert_eq!(event.data, b"hello"),
///     EntryContent::Unread(record, why) => println!("{} is {}", record.dot, why.as_str()),
///     EntryContent::System(_) | _ => {}
/// }
/// cortex.stop().await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum EntryContent<'a> {
    /// An event of which every part is there.
    Event(EventRef<'a>),
    /// An event that cannot be read here: its routing part, and why.
    Unread(RecordRef<'a>, Unread),
    /// A record of the system's own.
    System(RecordRef<'a>),
}

impl<'a> EntryContent<'a> {
    /// Reads a record, in place.
    ///
    /// # Errors
    /// [`InvalidEvent`] if it is no record.
    pub(crate) fn of(bytes: &'a [u8]) -> Result<Self, InvalidEvent> {
        let record = RecordRef::decode(bytes)?;
        // Also one that a newer version wrote: what is the system's own stays that.
        if record.kind.is_system() {
            return Ok(Self::System(record));
        }
        match record.event() {
            Ok(event) => Ok(Self::Event(event)),
            Err(InvalidEvent::Absent { is_erased: true }) => Ok(Self::Unread(record, Unread::Erased)),
            Err(InvalidEvent::Absent { is_erased: false }) => Ok(Self::Unread(record, Unread::Missing)),
            Err(error) if error.is_newer() => Ok(Self::Unread(record, Unread::Newer)),
            Err(error) => Err(error),
        }
    }
}

impl LogEntry {
    /// Returns what the entry is to a reader, read in place.
    ///
    /// # Errors
    /// [`StoreError`] of kind `Corrupt` if the record was damaged after it was stored.
    pub fn content(&self) -> Result<EntryContent<'_>, StoreError> {
        EntryContent::of(&self.record).map_err(|fault| self.unreadable(&fault))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::VClock;
    use crate::codec::{Absence, EncodedDraft, encode_record, is_system};
    use crate::event::Draft;
    use crate::ids::{CortexId, Dot, Epoch, EventId, Origin};
    use crate::time::Timestamp;

    fn why(record: &[u8]) -> Option<Unread> {
        match EntryContent::of(record).unwrap() {
            EntryContent::Unread(_, why) => Some(why),
            EntryContent::Event(_) => None,
            EntryContent::System(_) => panic!("it is an event"),
        }
    }

    #[test]
    fn each_record_is_one_of_these() {
        let by = Dot::new(Origin::new(CortexId::from_bytes([7; 16]), Epoch::new(1)), 1).unwrap();
        let (id, time) = (EventId::from_parts(9, 9), Timestamp::from_micros(9_000));
        let record = encode_record(&Draft::new("t", "data"), &EncodedDraft { id, dot: by, deps: &VClock::new(), time });
        let less = |why| RecordRef::decode(&record).unwrap().without(Some(why), None);
        assert_eq!(why(&record), None);
        assert_eq!(why(&less(Absence::Missing)), Some(Unread::Missing));
        assert_eq!(why(&less(Absence::Erased { by })), Some(Unread::Erased));
        assert_eq!(why(&[&[3], &record[1..]].concat()), Some(Unread::Newer));
        assert_eq!(why(&[&[2, 9], &record[2..]].concat()), Some(Unread::Newer), "of a kind that is not known");
        // A record of the system's own has no attributes. That of a newer version may.
        let inception = [&[3, 1], &record[2..]].concat();
        assert!(matches!(EntryContent::of(&inception), Ok(EntryContent::System(_))));
        assert!(is_system(&inception) && !is_system(&record) && !is_system(&[200, 1]) && !is_system(&[]));
        assert!(EntryContent::of(&record[1..]).is_err());
    }
}
