//! Epochs, origins and dots: the coordinates of an event in causality.

use std::fmt;
use std::str::FromStr;

use super::CortexId;

/// The largest counter a dot may carry: below 2^63, so that differences of counters fit a signed word.
pub const MAX_COUNTER: u64 = (1 << 63) - 1;

/// One incarnation of a cortex: 64 random bits, minted at `init`, at every restore, at a detected rollback or copy, and
/// at a fork's resolution. An old epoch is never written to again (the idea is Riak's actor epochs and Syncthing's
/// IndexID).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(u64);

impl Epoch {
    /// The epoch with these bits; callers draw them at random.
    #[must_use]
    pub const fn new(bits: u64) -> Self {
        Self(bits)
    }

    /// The 64 bits.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Epoch({self})")
    }
}

impl FromStr for Epoch {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u64::from_str_radix(text, 16).map(Self)
    }
}

/// The only thing that may extend a chain of events: a cortex in one of its epochs.
///
/// Laid out as three words, so that comparing two sorted clocks is a run over plain integers. The derived order is the
/// order of [`Origin::to_bytes`].
///
/// ```
/// use antiphon_kernel::ids::Epoch;
/// use antiphon_kernel::{CortexId, Origin};
///
/// let origin = Origin::new(CortexId::from_bytes([7; 16]), Epoch::new(1));
/// assert_eq!(origin.cortex(), CortexId::from_bytes([7; 16]));
/// assert_eq!(Origin::from_bytes(origin.to_bytes()), origin);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    cortex_high: u64,
    cortex_low: u64,
    epoch: u64,
}

impl Origin {
    /// The origin of `cortex` in `epoch`.
    #[must_use]
    pub const fn new(cortex: CortexId, epoch: Epoch) -> Self {
        let bits = u128::from_be_bytes(cortex.to_bytes());
        Self { cortex_high: (bits >> 64) as u64, cortex_low: bits as u64, epoch: epoch.0 }
    }

    /// Whose events these are.
    #[must_use]
    pub const fn cortex(self) -> CortexId {
        let bits = ((self.cortex_high as u128) << 64) | self.cortex_low as u128;
        CortexId::from_bytes(bits.to_be_bytes())
    }

    /// In which of its incarnations.
    #[must_use]
    pub const fn epoch(self) -> Epoch {
        Epoch(self.epoch)
    }

    /// 24 bytes: the cortex's 16, then the epoch's 8, big-endian; byte order is origin order.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 24] {
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&self.cortex_high.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.cortex_low.to_be_bytes());
        bytes[16..].copy_from_slice(&self.epoch.to_be_bytes());
        bytes
    }

    /// The inverse of [`Origin::to_bytes`].
    #[must_use]
    pub fn from_bytes(bytes: [u8; 24]) -> Self {
        let word = |at: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&bytes[at..at + 8]);
            u64::from_be_bytes(word)
        };
        Self { cortex_high: word(0), cortex_low: word(8), epoch: word(16) }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.cortex(), self.epoch())
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Origin({self})")
    }
}

/// Who wrote an event, and as which of their events: 1, 2, 3, … without gaps.
///
/// ```
/// use antiphon_kernel::ids::Epoch;
/// use antiphon_kernel::{CortexId, Dot, Origin};
///
/// let origin = Origin::new(CortexId::from_bytes([7; 16]), Epoch::new(1));
/// let first = Dot::new(origin, 1).expect("a chain begins at 1");
/// assert_eq!((first.origin(), first.counter()), (origin, 1));
/// assert_eq!(Dot::new(origin, 0), None);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dot {
    origin: Origin,
    counter: u64,
}

impl Dot {
    /// The dot, or `None` unless `counter` is in `1..=MAX_COUNTER`.
    #[must_use]
    pub const fn new(origin: Origin, counter: u64) -> Option<Self> {
        if counter == 0 || counter > MAX_COUNTER {
            return None;
        }
        Some(Self { origin, counter })
    }

    /// The chain it belongs to.
    #[must_use]
    pub const fn origin(self) -> Origin {
        self.origin
    }

    /// Its counter in that chain, from 1.
    #[must_use]
    pub const fn counter(self) -> u64 {
        self.counter
    }

    /// Returns whether a dot is the next one of the same chain.
    #[must_use]
    pub(crate) fn precedes(self, next: Self) -> bool {
        self.origin == next.origin && self.counter + 1 == next.counter
    }
}

impl fmt::Display for Dot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.origin, self.counter)
    }
}

impl fmt::Debug for Dot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dot({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_order_is_origin_order() {
        let of = |cortex: u128, epoch| Origin::new(CortexId::from_bytes(cortex.to_be_bytes()), Epoch::new(epoch));
        let mut origins = [of(2, 1), of(1 << 100, 0), of(1, 9), of(1, 2)];
        origins.sort();
        let mut bytes: Vec<_> = origins.iter().map(|o| o.to_bytes()).collect();
        let sorted = bytes.clone();
        bytes.sort_unstable();
        assert_eq!(bytes, sorted);
        for origin in origins {
            assert_eq!(Origin::from_bytes(origin.to_bytes()), origin);
            assert_eq!(Origin::new(origin.cortex(), origin.epoch()), origin);
        }
    }

    #[test]
    fn a_counter_is_at_least_one_and_below_two_to_the_63() {
        let origin = Origin::new(CortexId::from_bytes([1; 16]), Epoch::new(7));
        assert!(Dot::new(origin, 0).is_none());
        assert!(Dot::new(origin, MAX_COUNTER).is_some());
        assert!(Dot::new(origin, MAX_COUNTER + 1).is_none());
    }

    #[test]
    fn an_epoch_reads_back_from_its_text() {
        let epoch = Epoch::new(0x00ab);
        assert_eq!(epoch.to_string(), "00000000000000ab");
        assert_eq!(epoch.to_string().parse::<Epoch>().unwrap(), epoch);
    }
}
