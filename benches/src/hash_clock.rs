//! A vector clock as anybody would write it first: a hash map. To compare with, not to use.

use std::collections::HashMap;

use antiphon_kernel::clock::{Causality, VClock};
use antiphon_kernel::ids::Origin;

/// The highest counter of each origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HashClock(HashMap<Origin, u64>);

impl From<&VClock> for HashClock {
    fn from(clock: &VClock) -> Self {
        Self(clock.iter().collect())
    }
}

impl HashClock {
    /// How this clock stands to another.
    #[must_use]
    pub fn compare(&self, other: &Self) -> Causality {
        match (self.exceeds(other), other.exceeds(self)) {
            (false, false) => Causality::Equal,
            (false, true) => Causality::Before,
            (true, false) => Causality::After,
            (true, true) => Causality::Concurrent,
        }
    }

    /// Whether it holds anything that the other one lacks.
    fn exceeds(&self, other: &Self) -> bool {
        self.0.iter().any(|(origin, &counter)| other.0.get(origin).is_none_or(|&held| held < counter))
    }

    /// Takes over what the other one holds more.
    pub fn merge(&mut self, other: &Self) {
        for (&origin, &counter) in &other.0 {
            let held = self.0.entry(origin).or_insert(0);
            *held = counter.max(*held);
        }
    }
}
