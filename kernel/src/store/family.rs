//! The families of keys. One list, here; a store creates all of them.

use std::fmt;

use crate::error_code::ErrorCode;

/// The kernel's own families, by name.
pub const KERNEL_FAMILIES: [Family<'static>; 10] = [
    Family::Log,
    Family::Dots,
    Family::Marks,
    Family::Clocks,
    Family::Cursors,
    Family::Pins,
    Family::Health,
    Family::Replay,
    Family::Evidence,
    Family::Meta,
];

/// A family of keys (a column family, a table, a tree).
///
/// ```
/// use antiphon_kernel::Family;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let notes = Family::user("notes")?;
/// assert_eq!(notes.name(), "notes");
/// // The name of a family of the kernel's own.
/// assert!(Family::user("log").is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family<'a> {
    /// Seq of the first entry of a segment → entries: time each joined, event record.
    Log,
    /// (origin, counter of its first event in a segment) → where those events are, digest before them.
    Dots,
    /// (origin, counter of the first of some ends of groups) → those ends, each with its digest and seal; (origin, 0) → the origin's
    /// inception.
    Marks,
    /// origin → counter, digest, last id, last full clock, what the chain begins with.
    Clocks,
    /// peer → cursor, last seen.
    Cursors,
    /// peer → pinned identity.
    Pins,
    /// peer → health.
    Health,
    /// replayer → position and clocks there.
    Replay,
    /// What a fork set aside.
    Evidence,
    /// Format, identity, epoch, newest id, and an application's own state.
    Meta,
    /// A family of the embedder's, by name.
    User(&'a str),
}

/// A name that cannot be an embedder's family.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` cannot name a family: use 1 to 64 of a-z 0-9 . _ - and none of the kernel's names")]
pub struct InvalidFamily(String);

impl InvalidFamily {
    /// The stable code of this failure.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        ErrorCode::StoreFamilyName
    }
}

impl<'a> Family<'a> {
    /// Its name in the store.
    #[must_use]
    pub const fn name(&self) -> &'a str {
        match self {
            Self::Log => "log",
            Self::Dots => "dots",
            Self::Marks => "marks",
            Self::Clocks => "clocks",
            Self::Cursors => "cursors",
            Self::Pins => "pins",
            Self::Health => "health",
            Self::Replay => "replay",
            Self::Evidence => "evidence",
            Self::Meta => "meta",
            Self::User(name) => name,
        }
    }

    /// An embedder's family of this name.
    ///
    /// # Errors
    /// [`InvalidFamily`] for a name that is not `[a-z0-9._-]{1,64}`, or is `default` or a kernel family's.
    pub fn user(name: &'a str) -> Result<Self, InvalidFamily> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-');
        let taken = name == "default" || KERNEL_FAMILIES.iter().any(|f| f.name() == name);
        if name.is_empty() || name.len() > 64 || taken || !name.bytes().all(allowed) {
            return Err(InvalidFamily(name.chars().take(80).collect()));
        }
        Ok(Self::User(name))
    }
}

impl fmt::Display for Family<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_embedders_family_cannot_shadow_the_kernels() {
        for bad in ["log", "meta", "default", "", "Upper", "a/b", &"x".repeat(65)] {
            assert!(Family::user(bad).is_err(), "{bad}");
        }
        assert_eq!(Family::user("view").unwrap().name(), "view");
    }
}
