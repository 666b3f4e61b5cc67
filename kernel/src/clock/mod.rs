//! Vector clocks: for each origin, the highest counter held.

mod causality;
#[cfg(test)]
mod tests;

pub use causality::Causality;

pub(crate) mod internals {
    pub use super::causality::compare;
}

use std::fmt;
use std::sync::Arc;

use crate::error_code::ErrorCode;
use crate::ids::{Dot, MAX_COUNTER, Origin};

/// The most entries a clock may have, anywhere, by protocol.
pub const MAX_CLOCK_ENTRIES: usize = 1024;

/// Why a clock could not take an entry. The clock is unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClockError {
    /// It would have more entries than its bound. A clock is never truncated: an origin beyond the bound is refused.
    #[error("a clock of more than {limit} entries is refused")]
    TooManyEntries {
        /// The bound.
        limit: usize,
    },
    /// A counter outside `1..=MAX_COUNTER`.
    #[error("counter {counter} is outside 1..2^63")]
    CounterOutOfRange {
        /// The counter.
        counter: u64,
    },
    /// Entries given as sorted are not strictly increasing by origin.
    #[error("clock entries are not strictly increasing by origin")]
    NotSorted,
}

impl ClockError {
    /// The stable code of this failure.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::TooManyEntries { .. } => ErrorCode::ClockTooManyEntries,
            Self::CounterOutOfRange { .. } => ErrorCode::ClockCounterOutOfRange,
            Self::NotSorted => ErrorCode::ClockNotSorted,
        }
    }
}

/// A vector clock: sorted origins, each with the highest counter held, every counter in `1..=MAX_COUNTER`.
///
/// Laws, each with a test of its name: entries are strictly increasing by origin; `merge` is the least upper bound
/// (commutative, associative, idempotent); `compare` is antisymmetric and agrees with `merge`.
///
/// Origins and counters are two slices. Clocks that grew from one another share the slice of origins, so comparing them
/// is one pass over counters; the rest is a sorted merge walk. Counters below 2^63 make the sign of a difference the
/// answer of a comparison.
#[derive(Clone, Default)]
pub struct VClock {
    origins: Arc<[Origin]>,
    counters: Vec<u64>,
}

impl VClock {
    /// The empty clock: nothing held.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The clock of these entries.
    ///
    /// # Errors
    /// Unless origins are strictly increasing, counters in range, and entries at most [`MAX_CLOCK_ENTRIES`].
    pub fn from_sorted(entries: &[(Origin, u64)]) -> Result<Self, ClockError> {
        if entries.len() > MAX_CLOCK_ENTRIES {
            return Err(ClockError::TooManyEntries { limit: MAX_CLOCK_ENTRIES });
        }
        if !entries.is_sorted_by(|a, b| a.0 < b.0) {
            return Err(ClockError::NotSorted);
        }
        for &(_, counter) in entries {
            check_counter(counter)?;
        }
        Ok(Self::from_trusted(entries))
    }

    fn from_trusted(entries: &[(Origin, u64)]) -> Self {
        if entries.is_empty() {
            // Most causal deltas are: no allocation for them.
            return Self::default();
        }
        Self { origins: entries.iter().map(|e| e.0).collect(), counters: entries.iter().map(|e| e.1).collect() }
    }

    /// How many origins it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.counters.len()
    }

    /// Whether nothing is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counters.is_empty()
    }

    /// The highest counter held of `origin`; 0 if none.
    #[must_use]
    pub fn get(&self, origin: Origin) -> u64 {
        self.origins.binary_search(&origin).map_or(0, |at| self.counters[at])
    }

    /// Whether the event at `dot` is held.
    #[must_use]
    pub fn contains(&self, dot: Dot) -> bool {
        self.get(dot.origin()) >= dot.counter()
    }

    /// Entries in ascending order of origin.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (Origin, u64)> + '_ {
        self.origins.iter().copied().zip(self.counters.iter().copied())
    }

    /// Counts one more event of `origin` and returns its counter.
    ///
    /// # Errors
    /// [`ClockError::TooManyEntries`] for a new origin at [`MAX_CLOCK_ENTRIES`]; [`ClockError::CounterOutOfRange`]
    /// instead of wrapping around (the reference wrapped to 0).
    pub fn increment(&mut self, origin: Origin) -> Result<u64, ClockError> {
        let next = self.get(origin) + 1;
        self.raise(origin, next)?;
        Ok(next)
    }

    /// Raises one entry to `counter`, or leaves it if it is higher.
    ///
    /// # Errors
    /// As [`VClock::increment`].
    pub fn raise(&mut self, origin: Origin, counter: u64) -> Result<(), ClockError> {
        check_counter(counter)?;
        match self.origins.binary_search(&origin) {
            Ok(at) => self.counters[at] = self.counters[at].max(counter),
            Err(_) if self.len() >= MAX_CLOCK_ENTRIES => {
                return Err(ClockError::TooManyEntries { limit: MAX_CLOCK_ENTRIES });
            }
            Err(at) => {
                let (before, after) = self.origins.split_at(at);
                self.origins = before.iter().copied().chain([origin]).chain(after.iter().copied()).collect();
                self.counters.insert(at, counter);
            }
        }
        Ok(())
    }

    /// Takes the larger counter of each origin: the least upper bound of both.
    ///
    /// # Errors
    /// [`ClockError::TooManyEntries`] beyond [`MAX_CLOCK_ENTRIES`]; the clock is then unchanged.
    pub fn merge(&mut self, other: &Self) -> Result<(), ClockError> {
        self.merge_capped(other, MAX_CLOCK_ENTRIES)
    }

    /// [`VClock::merge`] under a smaller bound.
    ///
    /// # Errors
    /// [`ClockError::TooManyEntries`] if the result would have more than `limit` entries; the clock is then unchanged.
    pub fn merge_capped(&mut self, other: &Self, limit: usize) -> Result<(), ClockError> {
        if self.same_origins(other) {
            if self.len() > limit {
                return Err(ClockError::TooManyEntries { limit });
            }
            for (mine, theirs) in self.counters.iter_mut().zip(&other.counters) {
                *mine = (*mine).max(*theirs);
            }
            return Ok(());
        }
        let merged = self.union(other);
        if merged.len() > limit {
            return Err(ClockError::TooManyEntries { limit });
        }
        if merged.len() == self.len() {
            // Nothing new by name: keep the shared slice of origins.
            self.counters = merged.into_iter().map(|e| e.1).collect();
        } else {
            *self = Self::from_trusted(&merged);
        }
        Ok(())
    }

    fn union(&self, other: &Self) -> Vec<(Origin, u64)> {
        let mut merged = Vec::with_capacity(self.len().max(other.len()));
        let (mut mine, mut theirs) = (self.iter().peekable(), other.iter().peekable());
        loop {
            let next = match (mine.peek(), theirs.peek()) {
                (Some(a), Some(b)) if a.0 == b.0 => {
                    let entry = (a.0, a.1.max(b.1));
                    mine.next();
                    theirs.next();
                    Some(entry)
                }
                (Some(a), Some(b)) if a.0 < b.0 => mine.next(),
                (_, Some(_)) => theirs.next(),
                (_, None) => mine.next(),
            };
            match next {
                Some(entry) => merged.push(entry),
                None => return merged,
            }
        }
    }

    /// The entries of `self` that are higher than `earlier`'s: the causal delta that an event carries.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let raised: Vec<_> = self.iter().filter(|&(origin, counter)| counter > earlier.get(origin)).collect();
        Self::from_trusted(&raised)
    }

    /// This clock without the entry of `origin`.
    #[must_use]
    pub fn without(&self, origin: Origin) -> Self {
        if self.get(origin) == 0 {
            return self.clone();
        }
        let rest: Vec<_> = self.iter().filter(|e| e.0 != origin).collect();
        Self::from_trusted(&rest)
    }

    /// The first entry of `self` that `held` does not cover, if any.
    #[must_use]
    pub fn first_beyond(&self, held: &Self) -> Option<(Origin, u64)> {
        self.iter().find(|&(origin, counter)| counter > held.get(origin))
    }

    fn same_origins(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.origins, &other.origins) || (self.len() == other.len() && *self.origins == *other.origins)
    }
}

fn check_counter(counter: u64) -> Result<(), ClockError> {
    if counter == 0 || counter > MAX_COUNTER {
        return Err(ClockError::CounterOutOfRange { counter });
    }
    Ok(())
}

impl PartialEq for VClock {
    fn eq(&self, other: &Self) -> bool {
        self.counters == other.counters && self.same_origins(other)
    }
}

impl Eq for VClock {}

impl PartialOrd for VClock {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        self.compare(other).into()
    }
}

impl fmt::Debug for VClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter().map(|(origin, counter)| (origin.to_string(), counter))).finish()
    }
}

impl fmt::Display for VClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (origin, counter)) in self.iter().enumerate() {
            let gap = if at == 0 { "" } else { " " };
            write!(f, "{gap}{origin}:{counter}")?;
        }
        Ok(())
    }
}
