//! Wall-clock instants. They describe; they never order events.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use jiff::Span;
use jiff::civil::{Date, date};

use crate::error_code::ErrorCode;

/// Microseconds since 1970-01-01T00:00:00Z. Text form: RFC 3339 in UTC.
///
/// ```
/// use std::time::Duration;
///
/// use antiphon_kernel::Timestamp;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let time: Timestamp = "2026-11-23T09:30:00Z".parse()?;
/// assert_eq!(time.saturating_add(Duration::from_secs(1)).to_string(), "2026-11-23T09:30:01Z");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

/// A text that is not an RFC 3339 time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not an RFC 3339 time of the years 0000 to 9999 in UTC, such as 2026-11-23T09:30:00Z; seconds end at 59"
)]
pub struct InvalidTimestamp {
    text: String,
}

impl InvalidTimestamp {
    /// The stable code of this failure.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        ErrorCode::ValueTimestamp
    }
}

const DAY: i64 = 86_400_000_000;
const EPOCH: Date = date(1970, 1, 1);

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
        #[cfg(any(test, feature = "testing"))]
        if let Some(now) = crate::simulated::now() {
            return now;
        }
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Self(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }

    /// The instant that an RFC 3339 text names, and whether the text says no more than that: false where it has digits below
    /// a microsecond, an offset other than zero, or none at all (UTC is meant then).
    ///
    /// # Errors
    /// [`InvalidTimestamp`], for leap seconds and for years before 0000 and after 9999 in UTC as well.
    pub(crate) fn parse_rfc3339(text: &str) -> Result<(Self, bool), InvalidTimestamp> {
        parse(text).map(|(micros, exact)| (Self(micros), exact)).filter(|(time, _)| time.civil().is_some()).ok_or_else(
            || InvalidTimestamp { text: text.chars().take(64).collect::<String>().escape_debug().to_string() },
        )
    }

    /// This instant as RFC 3339 in UTC; `None` before the year 0000 and after 9999, which have no such form.
    #[must_use]
    pub(crate) fn to_rfc3339(self) -> Option<String> {
        let day = self.civil()?;
        let micros = self.0.rem_euclid(DAY);
        let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
        let (year, month, day) = (day.year(), day.month(), day.day());
        let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        let mut text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
        if fraction > 0 {
            text.push_str(format!(".{fraction:06}").trim_end_matches('0'));
        }
        text.push('Z');
        Some(text)
    }

    /// Its day in UTC, in the years that RFC 3339 can name.
    fn civil(self) -> Option<Date> {
        let days = Span::new().try_days(self.0.div_euclid(DAY)).ok()?;
        EPOCH.checked_add(days).ok().filter(|day| day.year() >= 0)
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
        match self.to_rfc3339() {
            Some(text) => f.write_str(&text),
            // Other years have no RFC 3339 form; an event may still claim one.
            None => write!(f, "{}us", self.0),
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
        Self::parse_rfc3339(text).map(|(time, _)| time)
    }
}

/// The instant of a text, and whether the text says no more than that.
fn parse(text: &str) -> Option<(i64, bool)> {
    let bytes = text.as_bytes();
    if bytes.len() < 19 || !text.is_ascii() {
        return None;
    }
    let number = |from: usize, to: usize| {
        let digits = text.get(from..to).filter(|t| t.bytes().all(|b| b.is_ascii_digit()))?;
        digits.parse::<i64>().ok()
    };
    let marks = [(4, b"-"), (7, b"-"), (13, b":"), (16, b":")];
    if marks.iter().any(|&(at, mark)| bytes[at] != mark[0]) || !b"Tt ".contains(&bytes[10]) {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let day = Date::new(i16::try_from(year).ok()?, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok()?;
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let (fraction, zone) = match text[19..].strip_prefix('.') {
        Some(rest) => rest.split_at(rest.bytes().take_while(u8::is_ascii_digit).count()),
        None => ("0", &text[19..]),
    };
    if fraction.is_empty() {
        return None;
    }
    let (kept, cut) = fraction.split_at(fraction.len().min(6));
    let micros = format!("{kept:0<6}").parse::<i64>().ok()?;
    let (offset, zoned) = offset(zone)?;
    let days = i64::from(EPOCH.until(day).ok()?.get_days());
    let seconds = hour * 3600 + minute * 60 + second - offset;
    let exact = zoned && offset == 0 && cut.bytes().all(|digit| digit == b'0');
    Some((days * DAY + seconds * 1_000_000 + micros, exact))
}

/// The seconds east of UTC that a zone says, and whether it says any: without one UTC is meant, as real producers do.
fn offset(zone: &str) -> Option<(i64, bool)> {
    let sign = match zone.bytes().next() {
        None => return Some((0, false)),
        Some(b'Z' | b'z') if zone.len() == 1 => return Some((0, true)),
        Some(b'+') => 1,
        Some(b'-') => -1,
        Some(_) => return None,
    };
    let (hours, minutes) = zone[1..].split_once(':')?;
    let two =
        |text: &str| (text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse::<i64>().ok())?;
    let (hours, minutes) = (two(hours)?, two(minutes)?);
    (hours < 24 && minutes < 60).then_some((sign * (hours * 3600 + minutes * 60), true))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_rfc_3339() {
        let read = |text: &str| Timestamp::parse_rfc3339(text).map(|(time, exact)| (time.to_string(), exact)).unwrap();
        for (text, same, exact) in [
            ("2026-11-23T09:30:00Z", "2026-11-23T09:30:00Z", true),
            ("2026-11-23t09:30:00.250000z", "2026-11-23T09:30:00.25Z", true),
            ("2026-11-23T09:30:00.1234560Z", "2026-11-23T09:30:00.123456Z", true),
            ("2026-11-23T09:30:00.123456+00:00", "2026-11-23T09:30:00.123456Z", true),
            ("2026-11-23T09:30:00.1234567Z", "2026-11-23T09:30:00.123456Z", false),
            ("2026-11-23T09:30:00.123456789Z", "2026-11-23T09:30:00.123456Z", false),
            ("2026-11-23T09:30:00.25+01:00", "2026-11-23T08:30:00.25Z", false),
            ("2026-11-23T23:30:00-02:30", "2026-11-24T02:00:00Z", false),
            ("2022-05-19T05:05:36", "2022-05-19T05:05:36Z", false),
            ("1969-12-31T23:59:59.999999999Z", "1969-12-31T23:59:59.999999Z", false),
            ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z", true),
            ("0000-01-01T00:00:00Z", "0000-01-01T00:00:00Z", true),
            ("2024-02-29T12:00:00Z", "2024-02-29T12:00:00Z", true),
        ] {
            assert_eq!(read(text), (same.to_owned(), exact), "{text}");
        }
        assert_eq!("1970-01-01T00:00:01.000002Z".parse(), Ok(Timestamp::from_micros(1_000_002)));
    }

    #[test]
    fn what_is_no_rfc_3339_is_neither_read_nor_printed_as_such() {
        for text in [
            "yesterday",
            "",
            "2026-11-23",
            "2026-11-23T09:30Z",
            "2026-02-29T09:30:00Z",
            "2026-11-23T24:00:00Z",
            "2026-11-23T23:59:60Z",
            "2026-11-23T09:30:00.Z",
            "2026-11-23T09:30:00,5Z",
            "2026-11-23T09:30:00+1:00",
            "2026-11-23T09:30:00+24:00",
            "2026-11-23T09:30:00ZZ",
            "2026-11-23T09:30:00+01:00[Europe/Berlin]",
            "20261123T093000Z",
            "-009999-01-02T01:59:59Z",
            "+12026-11-23T09:30:00Z",
            "9999-12-31T23:59:59-01:00",
            "0000-01-01T00:00:00+01:00",
            "２０２６-11-23T09:30:00Z",
        ] {
            assert!(text.parse::<Timestamp>().is_err(), "{text}");
        }
        let beyond = "9999-12-31T23:59:59.999999Z".parse::<Timestamp>().unwrap().as_micros() + 1;
        let before = "0000-01-01T00:00:00Z".parse::<Timestamp>().unwrap().as_micros() - 1;
        for micros in [beyond, before, i64::MAX, i64::MIN] {
            let time = Timestamp::from_micros(micros);
            assert_eq!((time.to_rfc3339(), time.to_string()), (None, format!("{micros}us")));
        }
    }

    #[test]
    fn differences_saturate() {
        let (early, late) = (Timestamp::from_micros(-5), Timestamp::from_micros(10));
        assert_eq!(late.saturating_since(early), Duration::from_micros(15));
        assert_eq!(early.saturating_since(late), Duration::ZERO);
        assert_eq!(early.ulid_ms(), 0);
    }
}
