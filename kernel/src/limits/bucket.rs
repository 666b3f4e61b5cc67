//! A token bucket that may be overdrawn: what an answer costs is known once it is made. Pure: time is passed in.
//!
//! The bucket itself is the crate `governor`'s, an implementation of the generic cell rate algorithm. It grants or refuses. What it
//! does not grant at once is owed here, and is paid as the bucket fills, so an answer larger than the bucket is no exception.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::StateInformationMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use tokio::time::Instant;

/// The most units a second. The limiter counts whole nanoseconds a unit: with 100 of them the rate is off by at most 1 %.
const MAX_UNITS: u64 = 10_000_000;
const SECOND: u64 = 1_000_000_000;
/// The most that is owed, in seconds of the rate. So a caller is refused for an hour at most.
const MAX_OWED: u64 = 3_600;

/// The time that the bucket is asked at: nanoseconds since it was made.
#[derive(Debug, Clone, Default)]
struct AskedAt(Arc<AtomicU64>);

impl Clock for AskedAt {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        self.0.load(Ordering::Relaxed).into()
    }
}

type Limiter = RateLimiter<NotKeyed, InMemoryState, AskedAt, StateInformationMiddleware>;

/// A rate, with one second of it in advance.
#[derive(Debug)]
pub(super) struct Bucket {
    limiter: Limiter,
    asked_at: AskedAt,
    made: Instant,
    /// How much one cell of the limiter is.
    unit: u64,
    /// How much the bucket holds.
    capacity: u64,
    /// The time of one cell.
    period: Duration,
    /// What was charged and not granted yet. Less than a unit of it makes no caller wait.
    owed: u64,
}

impl Bucket {
    /// A full bucket for this much a second; at least 1.
    pub(super) fn per_second(rate: u64, now: Instant) -> Self {
        let unit = rate.div_ceil(MAX_UNITS).max(1);
        let units = u32::try_from(rate / unit).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN);
        let (quota, asked_at) = (Quota::per_second(units), AskedAt::default());
        let limiter = RateLimiter::direct_with_clock(quota, asked_at.clone()).with_middleware();
        let (capacity, period) = (unit * u64::from(units.get()), quota.replenish_interval());
        Self { limiter, asked_at, made: now, unit, capacity, period, owed: 0 }
    }

    /// How much it holds: what is charged at once should not be more.
    pub(super) const fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Charges what was used.
    pub(super) fn charge(&mut self, amount: u64, now: Instant) {
        self.pay(now);
        self.owed = self.owed.saturating_add(amount).min(self.capacity.saturating_mul(MAX_OWED));
        self.pay(now);
    }

    /// How long until nothing is owed any more, if nothing else is charged.
    pub(super) fn wait(&mut self, now: Instant) -> Duration {
        let first = self.pay(now);
        let more = u64::try_from(self.period.as_nanos()).unwrap_or(SECOND);
        let more = more.saturating_mul((self.owed / self.unit).saturating_sub(1));
        first.saturating_add(Duration::from_nanos(more))
    }

    /// Pays what is owed as far as the bucket filled since it was asked last, and returns how long the next unit takes.
    fn pay(&mut self, now: Instant) -> Duration {
        let now = u64::try_from(now.saturating_duration_since(self.made).as_nanos()).unwrap_or(u64::MAX);
        loop {
            let wait = self.pay_from_bucket();
            let at = self.asked_at.0.load(Ordering::Relaxed);
            if at >= now {
                return wait;
            }
            // The bucket holds one second. What it would have spilled meanwhile was owed.
            let next = if self.owed < self.unit { now } else { now.min(at.saturating_add(SECOND / 2)) };
            self.asked_at.0.store(next, Ordering::Relaxed);
        }
    }

    fn pay_from_bucket(&mut self) -> Duration {
        while self.owed >= self.unit {
            match self.limiter.check() {
                Ok(state) => {
                    self.owed -= self.unit;
                    let rest = u64::from(state.remaining_burst_capacity()).min(self.owed / self.unit);
                    let rest = u32::try_from(rest).ok().and_then(NonZeroU32::new);
                    if let Some(rest) = rest.filter(|rest| matches!(self.limiter.check_n(*rest), Ok(Ok(_)))) {
                        self.owed -= self.unit * u64::from(rest.get());
                    }
                }
                Err(until) => return until.wait_time_from(self.asked_at.now()),
            }
        }
        Duration::ZERO
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How much is used in this time by a caller that uses `amount` whenever nothing is owed.
    fn used(rate: u64, amount: u64, time: Duration) -> u64 {
        let began = Instant::now();
        let (mut bucket, mut now, mut used) = (Bucket::per_second(rate, began), began, 0);
        while now < began + time {
            bucket.charge(amount, now);
            used += amount;
            now += bucket.wait(now);
            assert!(bucket.wait(now).is_zero(), "{rate}: the wait was too short");
        }
        used
    }

    #[test]
    fn the_rate_is_kept_whatever_is_charged_at_once() {
        let time = Duration::from_secs(100);
        for rate in [1, 3, 1_000, 123_457, 10_000_001, 100 << 20, 10 << 30] {
            for amount in [1, rate / 7 + 1, rate, 3 * rate + 1] {
                if rate / amount > 5_000 {
                    continue;
                }
                let used = used(rate, amount, time) as f64 / rate as f64;
                // One second in advance, and the last amount is used whole.
                let most = 101.0 * 1.01 + amount as f64 / rate as f64;
                assert!((99.0..=most).contains(&used), "{amount} at once of {rate} a second: {used} seconds' worth");
            }
        }
    }

    #[test]
    fn what_is_more_than_the_bucket_is_owed_and_paid_while_no_caller_looks() {
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        let mut bucket = Bucket::per_second(100, began);
        bucket.charge(10_100, began);
        assert_eq!(bucket.wait(began).as_secs(), 100);
        assert_eq!(bucket.wait(at(60)).as_secs(), 40);
        assert!(bucket.wait(at(99)) > Duration::ZERO);
        assert_eq!(bucket.wait(at(100)), Duration::ZERO);
        // An hour in which nothing is used fills the bucket, and no more than that.
        bucket.charge(200, at(3_700));
        assert_eq!(bucket.wait(at(3_700)).as_secs(), 1);
        bucket.charge(u64::MAX, at(3_701));
        assert_eq!(bucket.wait(at(3_701)).as_secs(), MAX_OWED);
    }

    #[test]
    fn amounts_below_a_unit_add_up() {
        let began = Instant::now();
        let mut bucket = Bucket::per_second(1 << 30, began);
        assert!(bucket.unit > 100);
        for _ in 0..2 * bucket.capacity() / 100 {
            bucket.charge(100, began);
        }
        let wait = bucket.wait(began).as_millis();
        assert!((980..=1_020).contains(&wait), "{wait} ms");
    }
}
