//! Event ids that strictly increase, whatever the wall clock does.

use super::EventId;

use crate::error_code::ErrorCode;

/// How far ids may run ahead of the wall clock before appending stops: 24 hours. A clock that was a day in the future
/// and was corrected should be noticed by a person, not hidden permanently.
pub(crate) const MAX_DRIFT_MS: u64 = 24 * 60 * 60 * 1000;

/// Why no id could be made. Nothing changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GeneratorError {
    /// The last id lies too far ahead of the wall clock.
    #[error("the wall clock is {behind_ms} ms behind the last event id: it was far ahead once and has been set back")]
    ClockFarBehind {
        /// By how many milliseconds.
        behind_ms: u64,
    },
}

impl GeneratorError {
    /// The stable code of this failure.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::ClockFarBehind { .. } => ErrorCode::AppendClockBehind,
        }
    }
}

/// Makes ULIDs that strictly increase per cortex, across restarts and backward steps of the clock.
///
/// The last id is a value of the log, handed in again at open: the reference restarted from the wall clock and lost its
/// own events to its peers. Where the clock did not advance, the last id plus a step is used, which carries over into the
/// time part when the 80 random bits overflow, so there is neither an overflow error nor a duplicate.
#[derive(Debug, Clone)]
pub(crate) struct IdGenerator {
    last: EventId,
}

impl IdGenerator {
    /// A generator whose next id is greater than `last`.
    #[must_use]
    pub(crate) const fn after(last: EventId) -> Self {
        Self { last }
    }

    /// The newest id made, or the one given at the start.
    #[must_use]
    pub(crate) const fn last(&self) -> EventId {
        self.last
    }

    /// Whether an id can be made at this wall clock.
    ///
    /// # Errors
    /// As [`IdGenerator::next`].
    pub(crate) fn check(&self, wall_ms: u64) -> Result<(), GeneratorError> {
        match self.last.timestamp_ms().checked_sub(wall_ms) {
            Some(behind_ms) if behind_ms > MAX_DRIFT_MS => Err(GeneratorError::ClockFarBehind { behind_ms }),
            _ => Ok(()),
        }
    }

    /// The next id for this wall clock (milliseconds since 1970) and these random bits.
    ///
    /// # Errors
    /// [`GeneratorError::ClockFarBehind`] when ids would run more than [`MAX_DRIFT_MS`] ahead of the clock.
    pub(crate) fn next(&mut self, wall_ms: u64, random: u128) -> Result<EventId, GeneratorError> {
        self.check(wall_ms)?;
        let last_ms = self.last.timestamp_ms();
        self.last = if wall_ms > last_ms {
            // The top random bit stays clear, so that thousands of ids fit into one millisecond before the time part moves.
            EventId::from_parts(wall_ms, random & (u128::MAX >> 49))
        } else {
            // A random step, not one: a log restored from a backup and one that lives on would otherwise name
            // different events by the same id while the clock is behind. 32 bits leave the time part where it is for
            // some 70 thousand ids a millisecond, and beyond that it moves, as above.
            let step = 1 + (random & u128::from(u32::MAX));
            EventId::from_bytes(u128::from_be_bytes(self.last.to_bytes()).wrapping_add(step).to_be_bytes())
        };
        Ok(self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_increase_when_the_clock_stands_or_steps_back() {
        let mut ids = IdGenerator::after(EventId::from_parts(5_000, 7));
        let mut last = ids.last();
        for wall in [5_000, 4_000, 6_000, 6_000, 10, 6_001] {
            let next = ids.next(wall, u128::MAX).unwrap();
            assert!(next > last, "{next} after {last} at {wall}");
            last = next;
        }
    }

    #[test]
    fn overflow_of_the_random_part_carries_into_the_time() {
        let full = EventId::from_parts(5_000, u128::MAX);
        let next = IdGenerator::after(full).next(5_000, 0).unwrap();
        assert!(next > full);
        assert_eq!(next.timestamp_ms(), 5_001);
    }

    #[test]
    fn a_clock_a_day_behind_is_an_error_and_changes_nothing() {
        let mut ids = IdGenerator::after(EventId::from_parts(MAX_DRIFT_MS + 2, 0));
        let before = ids.last();
        assert_eq!(ids.next(1, 0), Err(GeneratorError::ClockFarBehind { behind_ms: MAX_DRIFT_MS + 1 }));
        assert_eq!(ids.last(), before);
    }
}
