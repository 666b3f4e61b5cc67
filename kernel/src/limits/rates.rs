//! The rates of one party, each with its bucket.

use std::time::Duration;

use tokio::time::Instant;

use super::Limits;
use super::bucket::Bucket;

/// What something cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Cost {
    pub(crate) events: u64,
    /// Bytes of the events' records.
    pub(crate) bytes: u64,
    /// See [`Limits::work_per_second`].
    pub(crate) work: u64,
}

impl Cost {
    /// Events that were sent or received, and the bytes of their records.
    pub(crate) const fn of_events(events: u64, bytes: u64) -> Self {
        Self { events, bytes, work: 0 }
    }

    /// Entries that were read, and the bytes of their records.
    pub(crate) const fn of_reading(entries: u64, bytes: u64) -> Self {
        Self { events: 0, bytes: 0, work: entries.saturating_add(bytes / 1024) }
    }
}

/// The most that one answer should cost: what the buckets hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Allowance {
    pub(crate) events: u64,
    pub(crate) bytes: u64,
    pub(crate) work: u64,
}

impl Allowance {
    pub(crate) const UNBOUNDED: Self = Self { events: u64::MAX, bytes: u64::MAX, work: u64::MAX };

    /// What both allow.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            events: self.events.min(other.events),
            bytes: self.bytes.min(other.bytes),
            work: self.work.min(other.work),
        }
    }
}

/// The buckets of one party. Without a quota there is no bucket.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    events: Option<Bucket>,
    bytes: Option<Bucket>,
    work: Option<Bucket>,
}

impl Rates {
    fn new([events, bytes, work]: [Option<u64>; 3], times: u64, now: Instant) -> Self {
        let bucket = |rate: Option<u64>| rate.map(|rate| Bucket::per_second(rate.saturating_mul(times), now));
        Self { events: bucket(events), bytes: bucket(bytes), work: bucket(work) }
    }

    /// For what is served, `times` as much as these limits say.
    pub(crate) fn served(limits: &Limits, times: u64, now: Instant) -> Self {
        Self::new([limits.events_out_per_second, limits.bytes_out_per_second, limits.work_per_second], times, now)
    }

    /// For what is pulled.
    pub(crate) fn pulled(limits: &Limits, now: Instant) -> Self {
        Self::new([limits.events_in_per_second, limits.bytes_in_per_second, None], 1, now)
    }

    pub(crate) fn charge(&mut self, cost: Cost, now: Instant) {
        let Cost { events, bytes, work } = cost;
        for (bucket, amount) in [(&mut self.events, events), (&mut self.bytes, bytes), (&mut self.work, work)] {
            if let Some(bucket) = bucket.as_mut().filter(|_| amount > 0) {
                bucket.charge(amount, now);
            }
        }
    }

    /// How long until nothing is owed any more.
    pub(crate) fn wait(&mut self, now: Instant) -> Duration {
        let buckets = [&mut self.events, &mut self.bytes, &mut self.work];
        buckets.into_iter().flatten().map(|bucket| bucket.wait(now)).max().unwrap_or_default()
    }

    pub(crate) fn allowance(&self) -> Allowance {
        let most = |bucket: &Option<Bucket>| bucket.as_ref().map_or(u64::MAX, Bucket::capacity);
        Allowance { events: most(&self.events), bytes: most(&self.bytes), work: most(&self.work) }
    }

    /// Whether there is no quota.
    pub(crate) const fn is_unbounded(&self) -> bool {
        self.events.is_none() && self.bytes.is_none() && self.work.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bucket_that_owes_most_decides_and_absent_quotas_bound_nothing() {
        let now = Instant::now();
        let limits = Limits { events_out_per_second: Some(10), work_per_second: Some(1_000), ..Limits::default() };
        let mut rates = Rates::served(&limits, 1, now);
        assert_eq!(rates.allowance(), Allowance { events: 10, bytes: u64::MAX, work: 1_000 });
        rates.charge(Cost::of_events(20, 1 << 40), now);
        assert_eq!(rates.wait(now).as_secs(), 1);
        rates.charge(Cost::of_reading(1_000, 4_000 * 1_024), now);
        assert_eq!(rates.wait(now).as_secs(), 4, "5,000 of work, of which 1,000 were in advance");
        let mut twice = Rates::served(&limits, 2, now);
        twice.charge(Cost::of_events(20, 0), now);
        assert_eq!(twice.wait(now), Duration::ZERO);
        let mut none = Rates::pulled(&limits, now);
        none.charge(Cost { events: u64::MAX, bytes: u64::MAX, work: u64::MAX }, now);
        assert!(none.is_unbounded() && none.wait(now).is_zero() && none.allowance() == Allowance::UNBOUNDED);
    }
}
