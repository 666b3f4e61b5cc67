//! How long to wait after failures.

use std::time::Duration;

/// The longest delay after a first failure.
pub const BACKOFF_BASE: Duration = Duration::from_secs(1);
/// The longest delay at all.
pub const BACKOFF_MAX: Duration = Duration::from_secs(300);
/// The shortest delay: full jitter may draw zero, and a peer that fails at once must not be asked in a loop.
const FLOOR: Duration = Duration::from_millis(50);

/// The delay after this many failures in a row: drawn from zero to a bound that doubles up to [`BACKOFF_MAX`] (full
/// jitter, so that a restarted peer is not met by all its clients at once). `entropy` is 64 random bits.
#[must_use]
pub(super) fn backoff(failures: u32, entropy: u64) -> Duration {
    let bound = BACKOFF_BASE.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(BACKOFF_MAX);
    let micros = u64::try_from(bound.as_micros()).unwrap_or(u64::MAX);
    Duration::from_micros(entropy % micros.saturating_add(1)).max(FLOOR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_doubles_up_to_five_minutes() {
        let largest =
            |failures| (0..2000_u64).map(|n| backoff(failures, n.wrapping_mul(0x9e37_79b9_7f4a_7c15))).max().unwrap();
        assert!(largest(1) <= BACKOFF_BASE);
        assert!(largest(3) <= BACKOFF_BASE * 4 && largest(3) > BACKOFF_BASE * 3);
        assert!(largest(u32::MAX) <= BACKOFF_MAX && largest(u32::MAX) > BACKOFF_MAX / 2);
        assert_eq!(backoff(1, 0), FLOOR);
    }
}
