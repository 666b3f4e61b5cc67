//! What a record is.

/// What a record is. Records of the system's own are stored, chained, served and sealed like events, and no reader or replayer
/// of an application sees them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RecordKind {
    /// An application's event.
    Event,
    /// The first record of an origin: which log and whose key it belongs to.
    Inception,
    /// A new working key of the origin's cortex.
    Key,
    /// The end of an origin.
    Close,
    /// The erasure of events.
    Erase,
    /// The revocation of a key.
    Revoke,
    /// A kind of a newer version.
    Unknown(u8),
}

impl RecordKind {
    /// Returns the kind that has this number.
    pub(super) const fn from_number(number: u8) -> Self {
        match number {
            0 => Self::Event,
            1 => Self::Inception,
            2 => Self::Key,
            3 => Self::Close,
            4 => Self::Erase,
            5 => Self::Revoke,
            other => Self::Unknown(other),
        }
    }

    /// Returns the number of the kind in a record.
    pub(super) const fn number(self) -> u8 {
        match self {
            Self::Event => 0,
            Self::Inception => 1,
            Self::Key => 2,
            Self::Close => 3,
            Self::Erase => 4,
            Self::Revoke => 5,
            Self::Unknown(number) => number,
        }
    }

    /// Returns whether readers and replayers pass over records of this kind. A kind that is not known is none of these: what it
    /// means for an application is not known.
    #[must_use]
    pub(crate) const fn is_system(self) -> bool {
        !matches!(self, Self::Event | Self::Unknown(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_is_one_kind() {
        for number in 0..=u8::MAX {
            assert_eq!(RecordKind::from_number(number).number(), number);
            assert_eq!(RecordKind::from_number(number).is_system(), (1..=5).contains(&number));
        }
    }
}
