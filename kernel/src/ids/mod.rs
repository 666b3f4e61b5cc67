//! Who wrote what: cortexes, epochs, origins, dots and the names peers go by.

mod generator;
mod origin;
mod peer_name;

pub use generator::GeneratorError;
pub(crate) use generator::{IdGenerator, MAX_DRIFT_MS};
pub use origin::{Dot, Epoch, MAX_COUNTER, Origin};
pub use peer_name::{InvalidPeerName, PeerName};

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use ulid::Ulid;

use crate::error_code::ErrorCode;

/// A text that is not a ULID where one was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a ULID (26 characters of Crockford base 32, such as 01JD2Y7Q8M4T6V9X0Z1A3B5C7D)")]
pub struct InvalidUlid {
    text: String,
}

impl InvalidUlid {
    /// The stable code of this failure.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        ErrorCode::ValueUlid
    }
}

macro_rules! ulid_newtype {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Ulid);

        impl $name {
            /// The id made of these 16 big-endian bytes.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Ulid::from_bytes(bytes))
            }

            /// The id as 16 big-endian bytes; byte order is id order.
            #[must_use]
            pub const fn to_bytes(self) -> [u8; 16] {
                self.0.to_bytes()
            }

        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.0.array_to_str(&mut [0; 26]))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = InvalidUlid;

            fn from_str(text: &str) -> Result<Self, InvalidUlid> {
                Ulid::from_string(text)
                    .map(Self)
                    .map_err(|_| InvalidUlid { text: text.chars().take(64).collect() })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?
                    .parse()
                    .map_err(serde::de::Error::custom)
            }
        }
    };
}

/// What an id has whose first 48 bits are a time.
macro_rules! timed {
    ($name:ident) => {
        impl $name {
            /// The id with this time (milliseconds since 1970, 48 bits are kept) and these 80 random bits.
            #[must_use]
            pub const fn from_parts(timestamp_ms: u64, random: u128) -> Self {
                Self(Ulid::from_parts(timestamp_ms, random))
            }

            /// Milliseconds since 1970 as the id claims them. Never trusted for order.
            #[must_use]
            pub const fn timestamp_ms(self) -> u64 {
                self.0.timestamp_ms()
            }
        }
    };
}

timed!(CortexId);
timed!(EventId);

ulid_newtype! {
    /// The identity of one replica. It stays the same across restarts, moves and restores; its [`Epoch`] does not.
    ///
    /// ```
    /// use antiphon_kernel::CortexId;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let id: CortexId = "01M842DYPH0VSACH9W4H0K0B7S".parse()?;
    /// assert_eq!(CortexId::from_bytes(id.to_bytes()), id);
    /// # Ok(())
    /// # }
    /// ```
    CortexId
}

ulid_newtype! {
    /// The id of one event: a ULID, strictly increasing per origin. It identifies; it never orders a log.
    ///
    /// ```
    /// use antiphon_kernel::EventId;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let id = EventId::from_parts(1_700_000_000_000, 42);
    /// assert_eq!(id.timestamp_ms(), 1_700_000_000_000);
    /// assert_eq!(id.to_string().parse::<EventId>()?, id);
    /// # Ok(())
    /// # }
    /// ```
    EventId
}

ulid_newtype! {
    /// The identity of one replicated log: 16 random bytes. Cortexes exchange events only with cortexes of the same log.
    ///
    /// Its text is 26 characters of Crockford base 32, as that of a [`CortexId`]. Its bytes hold no time.
    ///
    /// ```
    /// use antiphon_kernel::LogId;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let log: LogId = "5ZRM1XBM2J7QDG6Y0K4V8W9ETH".parse()?;
    /// assert_eq!(log.to_string().parse::<LogId>()?, log);
    /// # Ok(())
    /// # }
    /// ```
    LogId
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ulid_survives_text_and_bytes() {
        let id = EventId::from_parts(1_700_000_000_000, 42);
        assert_eq!(id.to_string().parse::<EventId>().unwrap(), id);
        assert_eq!(EventId::from_bytes(id.to_bytes()), id);
        assert_eq!(id.timestamp_ms(), 1_700_000_000_000);
    }

    #[test]
    fn a_bad_ulid_says_what_one_looks_like() {
        let error = "not-a-ulid".parse::<CortexId>().unwrap_err();
        assert!(error.to_string().contains("Crockford"), "{error}");
    }
}
