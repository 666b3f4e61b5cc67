//! How much is asked for at once. Pure.
//!
//! An answer counts when it is whole. On a road so slow that a large one is not whole within its deadline, it would be asked
//! for, cut off and asked for again for ever; so what was late is asked for in smaller parts.

use std::time::Duration;

use crate::protocol::{MAX_BATCH_BYTES, MAX_RUN_BYTES};

/// Never less than this: an event that is larger travels alone, and must come through whole whatever is asked for.
const LEAST: u64 = 16 * 1024;
/// An answer that takes longer was too large for its road.
const SLOW: Duration = Duration::from_secs(10);
/// One that takes less leaves room for more.
const QUICK: Duration = Duration::from_secs(2);

/// So many bytes of events may be in the next answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Portion(u64);

impl Default for Portion {
    fn default() -> Self {
        Self(MAX_BATCH_BYTES)
    }
}

impl Portion {
    pub(super) const fn bytes(self) -> u64 {
        self.0
    }

    /// An answer began, and was not whole in time.
    pub(super) fn late(&mut self) {
        self.0 = (self.0.min(MAX_RUN_BYTES) / 8).max(LEAST);
    }

    /// An answer of so many bytes came whole. Says whether less is to be asked for from now on: a run of answers that is open
    /// goes on in the old measure, and its next answer may be late.
    pub(super) fn came(&mut self, bytes: u64, took: Duration) -> bool {
        let before = self.0;
        if took > SLOW {
            self.0 = (bytes.min(self.0) / 2).max(LEAST);
        } else if took < QUICK && bytes >= self.0 / 2 {
            self.0 = (self.0 * 2).min(MAX_BATCH_BYTES);
        }
        self.0 < before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Found with a path of 8,000 bytes a second: an answer of a megabyte takes two minutes, and its deadline is one.
    #[test]
    fn every_road_comes_to_a_portion_that_fits_it_and_back() {
        let deadline = Duration::from_secs(60);
        for rate in [1_000, 8_000, 64_000, 1_000_000] {
            let mut portion = Portion::default();
            let mut late = 0;
            for _ in 0..20 {
                let bytes = portion.bytes().min(MAX_RUN_BYTES);
                let took = Duration::from_millis(bytes * 1000 / rate);
                if took > deadline {
                    portion.late();
                    late += 1;
                } else {
                    portion.came(bytes, took);
                }
            }
            assert!(late <= 2, "{rate}: late {late} times");
            let took = portion.bytes().min(MAX_RUN_BYTES) / rate;
            assert!(took < 20, "{rate}: settled on {took} s");
            for _ in 0..20 {
                portion.came(portion.bytes(), Duration::from_millis(5));
            }
            assert_eq!(portion, Portion::default(), "the road became good again");
        }
        let mut quiet = Portion(LEAST);
        quiet.came(100, Duration::from_millis(5));
        assert_eq!(quiet, Portion(LEAST), "a small answer says little");
    }
}
