//! Positions in a log.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error_code::ErrorCode;
use crate::ids::{Epoch, EventId};

/// A sequence number: a position in one cortex's local log, 1, 2, 3, … without gaps; 0 is before the first.
///
/// ```
/// use antiphon_kernel::Seq;
///
/// assert_eq!(Seq::ZERO.next(), Seq::new(1));
/// assert_eq!(Seq::new(7).prev().get(), 6);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Seq(u64);

impl Seq {
    /// Before the first entry.
    pub const ZERO: Self = Self(0);

    /// The sequence number of this value.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Its value.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The next one. The greatest value stays: no event has it.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The previous one; zero stays.
    #[must_use]
    pub const fn prev(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Seq({})", self.0)
    }
}

/// How far one log has been read, by a peer or by any other reader: the log's epoch, the sequence number, and the ULID of the
/// event there as witness. Without epoch and witness, a sequence number means other events after a restore or a repair.
///
/// The sequence number is the *sender's* append position, never an event id: an event with an older ULID that reaches the log
/// late is still after every cursor. Zero has the all-zero witness.
///
/// ```
/// use antiphon_kernel::{Cursor, Seq};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let cursor: Cursor = "00000000000000a1-7-01M842DYPH0VSACH9W4H0K0B7S".parse()?;
/// assert_eq!(cursor.seq, Seq::new(7));
/// assert_eq!(cursor.to_string().parse(), Ok(cursor));
/// // A sequence number alone does not say of which history it is.
/// assert!("7".parse::<Cursor>().is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cursor {
    /// The incarnation of the log; a cursor into another one is unknown to its owner.
    pub epoch: Epoch,
    /// The last sequence number read.
    pub seq: Seq,
    /// The id of the event there.
    pub last_event: EventId,
}

impl Cursor {
    /// Before the first entry of the log with this epoch.
    #[must_use]
    pub const fn start(epoch: Epoch) -> Self {
        Self { epoch, seq: Seq::ZERO, last_event: EventId::from_bytes([0; 16]) }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.epoch, self.seq, self.last_event)
    }
}

impl fmt::Debug for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cursor({self})")
    }
}

/// A text that is not a cursor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidCursor {
    /// A number alone says nothing of the history that it counts in.
    #[error(
        "`{0}` is a number alone, which means other events after a restore or a repair; give the `antiphoncursor` of an event"
    )]
    Number(String),
    /// Anything else.
    #[error(
        "`{0}` is not a cursor (epoch, sequence number and event id, joined by `-`); give the `antiphoncursor` of an event"
    )]
    Form(String),
}

impl InvalidCursor {
    /// The stable code of this failure.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Number(_) => ErrorCode::ValueCursorNumber,
            Self::Form(_) => ErrorCode::ValueCursor,
        }
    }
}

impl FromStr for Cursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        let parse = || {
            let mut parts = text.splitn(3, '-');
            Some(Self {
                epoch: parts.next()?.parse().ok()?,
                seq: Seq(parts.next()?.parse().ok()?),
                last_event: parts.next()?.parse().ok()?,
            })
        };
        parse().ok_or_else(|| {
            let shown: String = text.chars().take(80).collect();
            let number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            if number { InvalidCursor::Number(shown) } else { InvalidCursor::Form(shown) }
        })
    }
}

impl Serialize for Cursor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cursor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_from_its_text() {
        let cursor = Cursor { epoch: Epoch::new(0xfeed), seq: Seq::new(12), last_event: EventId::from_parts(1, 2) };
        assert_eq!(cursor.to_string().parse::<Cursor>().unwrap(), cursor);
        assert_eq!("12".parse::<Cursor>(), Err(InvalidCursor::Number("12".to_owned())));
        for text in ["", "x-1-01JD2Y7Q8M4T6V9X0Z1A3B5C7D", "-12", "feed-1", "feed--1-01JD2Y7Q8M4T6V9X0Z1A3B5C7D"] {
            assert_eq!(text.parse::<Cursor>(), Err(InvalidCursor::Form(text.to_owned())));
        }
    }
}
