//! Whether a peer is shown as slowed by its quota here. Pure.

use std::time::Duration;

/// A peer that did not wait for this long is not slowed any more: it waits now and then, and must not be shown in turns as slowed and
/// as not.
const CALM: Duration = Duration::from_secs(10);

/// When a peer last waited for its quota.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slowed {
    until: Option<Duration>,
}

impl Slowed {
    /// It waits now.
    pub(super) fn waits(&mut self, now: Duration) {
        self.until = Some(now + CALM);
    }

    /// When to look again.
    pub(super) const fn due(&self) -> Option<Duration> {
        self.until
    }

    /// The time may have come.
    pub(super) fn look(&mut self, now: Duration) {
        self.until = self.until.filter(|until| now < *until);
    }

    /// Whether it is slowed.
    pub(super) const fn is(&self) -> bool {
        self.until.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_slowed_until_it_did_not_wait_for_ten_seconds() {
        let at = Duration::from_secs;
        let mut slowed = Slowed::default();
        slowed.look(at(1));
        assert!(!slowed.is());
        slowed.waits(at(1));
        slowed.waits(at(5));
        assert_eq!((slowed.is(), slowed.due()), (true, Some(at(15))));
        slowed.look(at(14));
        assert!(slowed.is());
        slowed.look(at(15));
        assert_eq!((slowed.is(), slowed.due()), (false, None));
    }
}
