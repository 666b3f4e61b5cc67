//! How two clocks stand to each other.

use std::cmp::Ordering;

use super::VClock;

/// The causal relation of a first clock to a second one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Causality {
    /// The first happened before the second.
    Before,
    /// The same history.
    Equal,
    /// The second happened before the first.
    After,
    /// Neither saw the other: a potential conflict.
    Concurrent,
}

impl Causality {
    const fn of(some_less: bool, some_greater: bool) -> Self {
        match (some_less, some_greater) {
            (false, false) => Self::Equal,
            (true, false) => Self::Before,
            (false, true) => Self::After,
            (true, true) => Self::Concurrent,
        }
    }

    /// The relation seen from the other side.
    #[must_use]
    pub const fn reverse(self) -> Self {
        match self {
            Self::Before => Self::After,
            Self::After => Self::Before,
            same => same,
        }
    }
}

impl From<Causality> for Option<Ordering> {
    fn from(causality: Causality) -> Self {
        match causality {
            Causality::Before => Some(Ordering::Less),
            Causality::Equal => Some(Ordering::Equal),
            Causality::After => Some(Ordering::Greater),
            Causality::Concurrent => None,
        }
    }
}

/// The reference's three values: −1 if `a` happened before `b`, +1 if `b` before `a`, 0 otherwise.
///
/// Zero means equal *or* concurrent, as it did there; [`VClock::compare`] keeps the two apart.
#[must_use]
pub fn compare(a: &VClock, b: &VClock) -> i8 {
    match a.compare(b) {
        Causality::Before => -1,
        Causality::Equal | Causality::Concurrent => 0,
        Causality::After => 1,
    }
}

impl VClock {
    /// How `self` relates to `other`.
    #[must_use]
    pub fn compare(&self, other: &Self) -> Causality {
        if self.same_origins(other) {
            compare_counters(&self.counters, &other.counters)
        } else {
            self.compare_merging(other)
        }
    }

    fn compare_merging(&self, other: &Self) -> Causality {
        let (mut less, mut greater) = (false, false);
        let (mut mine, mut theirs) = (0, 0);
        while mine < self.len() && theirs < other.len() {
            match self.origins[mine].cmp(&other.origins[theirs]) {
                Ordering::Less => {
                    greater = true;
                    mine += 1;
                }
                Ordering::Greater => {
                    less = true;
                    theirs += 1;
                }
                Ordering::Equal => {
                    less |= self.counters[mine] < other.counters[theirs];
                    greater |= self.counters[mine] > other.counters[theirs];
                    mine += 1;
                    theirs += 1;
                }
            }
            if less && greater {
                return Causality::Concurrent;
            }
        }
        Causality::of(less || theirs < other.len(), greater || mine < self.len())
    }
}

/// One pass without branches: counters are below 2^63, so the top bit of a difference shows which is smaller.
fn compare_counters(mine: &[u64], theirs: &[u64]) -> Causality {
    let (mut less, mut greater) = (0_u64, 0_u64);
    for (a, b) in mine.iter().zip(theirs) {
        less |= a.wrapping_sub(*b);
        greater |= b.wrapping_sub(*a);
    }
    Causality::of(less >> 63 == 1, greater >> 63 == 1)
}
