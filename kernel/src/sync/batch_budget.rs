//! How much is asked for at once, and how long it is waited for. Pure.
//!
//! An answer counts when it is whole. On a road so slow that a large one is not whole within its deadline, it would be asked
//! for, cut off and asked for again for ever; so what was late is asked for in smaller parts. One event is no part of
//! anything: where it was late by itself, it is waited for longer, up to a bound.

use std::time::Duration;

use crate::protocol::{MAX_BATCH_BYTES, MAX_BATCH_EVENTS, MAX_RUN_BYTES};

/// Never less than this: an event that is larger travels alone, whatever is asked for.
const LEAST: u64 = 16 * 1024;
/// Little, for a quota that is nearly used up.
const LITTLE: u64 = 64 * 1024;
/// An answer that takes longer was too large for its road.
const SLOW: Duration = Duration::from_secs(10);
/// One that takes less leaves room for more.
const QUICK: Duration = Duration::from_secs(2);

/// How long an answer may take to be whole, beyond the time it may be parked.
const PATIENCE: Duration = Duration::from_secs(60);
/// The most. The largest event that there can be passes a road of five thousand bytes a second in that time.
const MOST_PATIENCE: Duration = Duration::from_secs(64 * 60);

/// The measure of the next answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BatchBudget {
    bytes: u64,
    patience: Duration,
    part: Part,
}

/// How much of what fits otherwise is asked for. A batch is taken whole or not at all: so that a quota is filled, less is asked for
/// where it has no room for all of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Part {
    #[default]
    All,
    /// Little.
    Little,
    /// One group.
    Group,
}

impl Default for BatchBudget {
    fn default() -> Self {
        Self { bytes: MAX_BATCH_BYTES, patience: PATIENCE, part: Part::All }
    }
}

impl BatchBudget {
    /// So many bytes of events may be in it.
    pub(super) fn bytes(self) -> u64 {
        match self.part {
            Part::All => self.bytes,
            Part::Little => self.bytes.min(LITTLE),
            Part::Group => 1,
        }
    }

    /// The most events.
    pub(super) const fn events(self) -> u32 {
        match self.part {
            Part::All | Part::Little => MAX_BATCH_EVENTS,
            Part::Group => 1,
        }
    }

    /// Whether less can be asked for than now.
    pub(super) fn may_narrow(self) -> bool {
        self.part != Part::Group
    }

    /// A quota has no room for all of an answer: less is asked for.
    pub(super) const fn narrow(&mut self) {
        self.part = match self.part {
            Part::All => Part::Little,
            Part::Little | Part::Group => Part::Group,
        };
    }

    /// What has no room is not asked for any more, or all of it had room.
    pub(super) const fn whole(&mut self) {
        self.part = Part::All;
    }

    /// So long it may take to be whole, beyond the time it may be parked.
    pub(super) const fn patience(self) -> Duration {
        self.patience
    }

    /// An answer began, and was not whole in time.
    pub(super) fn late(&mut self) {
        if self.bytes == LEAST {
            self.patience = (self.patience * 2).min(MOST_PATIENCE);
        }
        self.bytes = (self.bytes.min(MAX_RUN_BYTES) / 8).max(LEAST);
    }

    /// An answer of so many bytes came whole. Says whether less is to be asked for from now on: a run of answers that is open
    /// goes on in the old measure, and its next answer may be late.
    pub(super) fn came(&mut self, bytes: u64, took: Duration) -> bool {
        let before = self.bytes;
        if took > SLOW {
            self.bytes = (bytes.min(self.bytes) / 2).max(LEAST);
        } else if took < QUICK && bytes >= self.bytes / 2 {
            self.bytes = (self.bytes * 2).min(MAX_BATCH_BYTES);
            self.caught_up();
        }
        self.bytes < before
    }

    /// Nothing large is on its way: what is late from now on is noticed as soon as ever. An answer that is small and quick does
    /// not say so, since each contact begins with some.
    pub(super) fn caught_up(&mut self) {
        self.patience = PATIENCE;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::MAX_EVENT_BYTES;

    /// Found with a path of 8,000 bytes a second: an answer of a megabyte takes two minutes, and its deadline is one.
    #[test]
    fn every_road_comes_to_a_portion_that_fits_it_and_back() {
        let deadline = Duration::from_secs(60);
        for rate in [1_000, 8_000, 64_000, 1_000_000] {
            let mut batch_budget = BatchBudget::default();
            let mut late = 0;
            for _ in 0..20 {
                let bytes = batch_budget.bytes().min(MAX_RUN_BYTES);
                let took = Duration::from_millis(bytes * 1000 / rate);
                if took > deadline {
                    batch_budget.late();
                    late += 1;
                } else {
                    batch_budget.came(bytes, took);
                }
            }
            assert!(late <= 2, "{rate}: late {late} times");
            let took = batch_budget.bytes().min(MAX_RUN_BYTES) / rate;
            assert!(took < 20, "{rate}: settled on {took} s");
            for _ in 0..20 {
                batch_budget.came(batch_budget.bytes(), Duration::from_millis(5));
            }
            assert_eq!(batch_budget, BatchBudget::default(), "the path became good again");
        }
        let mut quiet = BatchBudget { bytes: LEAST, ..BatchBudget::default() };
        quiet.came(100, Duration::from_millis(5));
        assert_eq!(quiet.bytes, LEAST, "a small answer says little");
    }

    #[test]
    fn a_quota_without_room_for_an_answer_is_filled_by_smaller_ones() {
        let mut batch_budget = BatchBudget::default();
        let asks = |batch_budget: BatchBudget| (batch_budget.bytes(), batch_budget.events());
        let mut asked = vec![asks(batch_budget)];
        while batch_budget.may_narrow() {
            batch_budget.narrow();
            asked.push(asks(batch_budget));
        }
        assert_eq!(asked, [(MAX_BATCH_BYTES, MAX_BATCH_EVENTS), (LITTLE, MAX_BATCH_EVENTS), (1, 1)]);
        batch_budget.came(1, Duration::from_millis(5));
        batch_budget.caught_up();
        assert!(!batch_budget.may_narrow(), "one group is small, and says little");
        batch_budget.whole();
        assert_eq!(batch_budget, BatchBudget::default());
    }

    #[test]
    fn an_event_that_is_late_by_itself_is_waited_for_longer_up_to_a_bound_and_until_it_came() {
        let mut batch_budget = BatchBudget::default();
        let minutes = |batch_budget: BatchBudget| batch_budget.patience().as_secs() / 60;
        let mut waited = Vec::new();
        for _ in 0..12 {
            waited.push(minutes(batch_budget));
            batch_budget.late();
        }
        assert_eq!(waited, [1, 1, 1, 2, 4, 8, 16, 32, 64, 64, 64, 64], "smaller parts first, more time then");
        batch_budget.came(MAX_EVENT_BYTES as u64, Duration::from_secs(50 * 60));
        batch_budget.came(100, Duration::from_millis(5));
        assert_eq!(minutes(batch_budget), 64, "the next may be as large");
        let mut better = batch_budget;
        better.came(LEAST, Duration::from_secs(1));
        batch_budget.caught_up();
        assert_eq!((minutes(batch_budget), minutes(better)), (1, 1));
        assert!(MOST_PATIENCE.as_secs() * 5_000 > MAX_EVENT_BYTES as u64, "as said above");
    }
}
