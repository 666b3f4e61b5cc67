//! The protocols that a build speaks, and which of them two sides have in common.

/// The oldest protocol this build speaks.
pub const PROTOCOL_MIN: u16 = 2;
/// The newest protocol this build speaks.
pub const PROTOCOL_MAX: u16 = 2;

/// A range of protocols that one side speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Protocols {
    min: u16,
    max: u16,
}

impl Protocols {
    /// The protocols that this build speaks.
    pub const SPOKEN: Self = Self { min: PROTOCOL_MIN, max: PROTOCOL_MAX };

    /// A range that a peer names.
    #[must_use]
    pub const fn of(min: u16, max: u16) -> Self {
        Self { min, max }
    }

    /// The oldest protocol.
    #[must_use]
    pub const fn min(self) -> u16 {
        self.min
    }

    /// The newest protocol.
    #[must_use]
    pub const fn max(self) -> u16 {
        self.max
    }

    /// Whether a protocol is spoken.
    #[must_use]
    pub const fn has(self, protocol: u16) -> bool {
        self.min <= protocol && protocol <= self.max
    }

    /// The newest protocol that both sides speak, if there is one.
    #[must_use]
    pub fn common(self, other: Self) -> Option<u16> {
        let newest = self.max.min(other.max);
        (self.has(newest) && other.has(newest)).then_some(newest)
    }
}

impl Default for Protocols {
    fn default() -> Self {
        Self::SPOKEN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_protocol_of_both_is_spoken() {
        let of = Protocols::of;
        assert_eq!(of(2, 2).common(of(2, 3)), Some(2));
        assert_eq!(of(2, 3).common(of(1, 9)), Some(3));
        assert_eq!(of(2, 2).common(of(3, 3)), None);
        assert_eq!(of(2, 2).common(of(3, 2)), None, "no range at all");
        assert_eq!(of(5, 1).common(of(1, 5)), None);
    }
}
