//! Wall-clock instants. They describe; they never order events.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Microseconds since 1970-01-01T00:00:00Z. Text form: RFC 3339 in UTC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

/// A text that is not an RFC 3339 time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an RFC 3339 time, such as 2026-11-23T09:30:00Z")]
pub struct InvalidTimestamp {
    text: String,
}

impl Timestamp {
    /// The instant this many microseconds after (or, negative, before) 1970.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since 1970.
    #[must_use]
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Milliseconds since 1970, never negative: the time part of a ULID.
    #[must_use]
    pub fn ulid_ms(self) -> u64 {
        u64::try_from(self.0 / 1000).unwrap_or(0)
    }

    /// The machine's wall clock. For the edges of the program only: decisions get their time as an argument.
    #[must_use]
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Self(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }

    /// How long after `earlier` this is; zero if it is not.
    #[must_use]
    pub fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// This instant moved forward.
    #[must_use]
    pub fn saturating_add(self, by: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(by.as_micros()).unwrap_or(i64::MAX)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(instant) => write!(f, "{instant}"),
            // Years beyond 9999 have no RFC 3339 form; an event may still claim one.
            Err(_) => write!(f, "{}us", self.0),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Timestamp({self})")
    }
}

impl FromStr for Timestamp {
    type Err = InvalidTimestamp;

    fn from_str(text: &str) -> Result<Self, InvalidTimestamp> {
        // A time without an offset is read as UTC: RFC 3339 wants one, and real producers leave it out.
        let utc = |_| text.parse::<jiff::civil::DateTime>().and_then(|t| t.to_zoned(jiff::tz::TimeZone::UTC));
        text.parse::<jiff::Timestamp>()
            .or_else(|e| utc(e).map(|zoned| zoned.timestamp()))
            .map(|instant| Self(instant.as_microsecond()))
            .map_err(|_| InvalidTimestamp { text: text.chars().take(64).collect() })
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// How far a clock that said `theirs` is ahead of ours in milliseconds, when its answer came after `took`. Where it was read
/// within that time is not known: what that may account for is left out.
#[must_use]
pub fn skew_ms(theirs: Timestamp, ours: Timestamp, took: Duration) -> i64 {
    let half = i64::try_from(took.as_micros() / 2).unwrap_or(i64::MAX);
    let apart = theirs.as_micros().saturating_sub(ours.as_micros()).saturating_add(half);
    apart.signum() * (apart.saturating_abs() - half).max(0) / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skew_leaves_out_what_the_road_may_account_for() {
        let at = |ms: i64| Timestamp::from_micros(ms * 1000);
        let took = Duration::from_millis(100);
        // Read in the middle of the road, clocks agree ...
        assert_eq!(skew_ms(at(950), at(1000), took), 0);
        // ... and at either end of it nothing is claimed.
        assert_eq!((skew_ms(at(900), at(1000), took), skew_ms(at(1000), at(1000), took)), (0, 0));
        assert_eq!(skew_ms(at(6000), at(1000), took), 5000);
        assert_eq!(skew_ms(at(1000), at(6000), took), -4900);
        assert_eq!(skew_ms(at(1000), at(1000), Duration::ZERO), 0);
    }

    #[test]
    fn text_is_rfc_3339() {
        let instant: Timestamp = "2026-11-23T09:30:00.25+01:00".parse().unwrap();
        assert_eq!(instant.to_string(), "2026-11-23T08:30:00.25Z");
        assert_eq!("2022-05-19T05:05:36".parse::<Timestamp>().unwrap().to_string(), "2022-05-19T05:05:36Z");
        assert!("yesterday".parse::<Timestamp>().is_err());
        assert_eq!(Timestamp::from_micros(i64::MAX).to_string(), "9223372036854775807us");
    }

    #[test]
    fn differences_saturate() {
        let (early, late) = (Timestamp::from_micros(-5), Timestamp::from_micros(10));
        assert_eq!(late.saturating_since(early), Duration::from_micros(15));
        assert_eq!(early.saturating_since(late), Duration::ZERO);
        assert_eq!(early.ulid_ms(), 0);
    }
}
