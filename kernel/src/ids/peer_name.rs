//! The name this cortex's configuration gives to a peer.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error_code::ErrorCode;

/// A peer's name: 1 to 64 characters of `A-Z a-z 0-9 . _ -`, the first of them no `-`, so that it is never taken for an option.
///
/// Nothing else, because names stand in keys (`peer:<name>:last_event`), metric labels and log lines; the reference let
/// a peer called `a:last_event` reach into another one's state.
///
/// ```
/// use antiphon_kernel::PeerName;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// assert_eq!(PeerName::new("bravo")?.as_str(), "bravo");
/// assert!(PeerName::new("a:last_event").is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerName(Arc<str>);

/// A text that cannot name a peer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} cannot name a peer: use 1 to 64 of the characters A-Z a-z 0-9 . _ -, and no - at the beginning")]
pub struct InvalidPeerName {
    text: String,
}

impl InvalidPeerName {
    /// The stable code of this failure.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        ErrorCode::ValuePeerName
    }
}

impl PeerName {
    /// The longest name, in bytes.
    pub const MAX_LEN: usize = 64;

    /// Checks and takes a name.
    ///
    /// # Errors
    /// [`InvalidPeerName`] unless it matches `[A-Za-z0-9._][A-Za-z0-9._-]{0,63}`.
    pub fn new(name: &str) -> Result<Self, InvalidPeerName> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if name.is_empty() || name.len() > Self::MAX_LEN || name.starts_with('-') || !name.bytes().all(allowed) {
            return Err(InvalidPeerName { text: name.chars().take(80).collect() });
        }
        Ok(Self(name.into()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerName({})", self.0)
    }
}

impl FromStr for PeerName {
    type Err = InvalidPeerName;

    fn from_str(text: &str) -> Result<Self, InvalidPeerName> {
        Self::new(text)
    }
}

impl Serialize for PeerName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for PeerName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_are_refused() {
        let long = "x".repeat(65);
        for name in ["", "a:last_event", "a b", "a\r\nb", "a/b", "é", "a\0", "{x}", "-c", &long] {
            assert!(PeerName::new(name).is_err(), "{name:?}");
        }
        for name in ["a", "bravo-2.example_net", &"x".repeat(64)] {
            assert!(PeerName::new(name).is_ok(), "{name:?}");
        }
    }
}
