//! How often an idle peer is polled.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error_code::ErrorCode;

/// How often an idle peer is polled where configuration does not say.
pub const DEFAULT_INTERVAL: Duration = Duration::from_secs(30);

const MIN: Duration = Duration::from_millis(10);
const MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// A polling interval: 10 milliseconds to 24 hours. Text form: `30s`, `5m`, `1h 30m`, `500ms`.
///
/// ```
/// use std::time::Duration;
///
/// use antiphon_kernel::{Config, Interval};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let config = Config { interval: Some("5m".parse()?), ..Config::default() };
/// assert_eq!(config.interval.map(Interval::get), Some(Duration::from_secs(300)));
/// assert!(Interval::new(Duration::ZERO).is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval(Duration);

/// A text or duration that is not a polling interval.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an interval: write a number and a unit, 10ms to 24h, such as 30s, 5m or 500ms")]
pub struct InvalidInterval {
    text: String,
}

impl InvalidInterval {
    /// The stable code of this failure.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        ErrorCode::ValueInterval
    }
}

impl Interval {
    /// Checks and takes a duration.
    ///
    /// # Errors
    /// [`InvalidInterval`] outside 10 ms to 24 h.
    pub fn new(duration: Duration) -> Result<Self, InvalidInterval> {
        if (MIN..=MAX).contains(&duration) {
            return Ok(Self(duration));
        }
        Err(InvalidInterval { text: format!("{duration:?}") })
    }

    /// The duration.
    #[must_use]
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl FromStr for Interval {
    type Err = InvalidInterval;

    fn from_str(text: &str) -> Result<Self, InvalidInterval> {
        text.parse::<jiff::SignedDuration>()
            .ok()
            .and_then(|d| Duration::try_from(d).ok())
            .and_then(|d| Self::new(d).ok())
            .ok_or_else(|| InvalidInterval { text: text.chars().take(40).collect() })
    }
}

impl Serialize for Interval {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Interval {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_have_units_and_bounds() {
        assert_eq!("5m".parse::<Interval>().unwrap().get(), Duration::from_secs(300));
        assert_eq!("500ms".parse::<Interval>().unwrap().to_string(), "500ms");
        for bad in ["", "30", "soon", "-5s", "0s", "25h", "1ms"] {
            assert!(bad.parse::<Interval>().is_err(), "{bad:?}");
        }
    }
}
