//! When the next question is asked. Pure.
//!
//! A peer that parks questions used up the time already, and is asked at once. One that answers early, pushes in vain or says
//! that it has more and sends nothing must not be asked in a loop.

use std::time::Duration;

use super::action::Source;
use super::progress::Brought;

/// More pushes than this within the window, none of which brings anything, are a flood: they wait in the transport.
pub(super) const FLOOD: u32 = 16;
pub(super) const FLOOD_WINDOW: Duration = Duration::from_secs(1);
/// The window doubles with each flood in a row, at most this often.
const MAX_FLOODS: u32 = 5;
/// After an answer that came before its time and brought nothing a peer is asked again after this, then after twice that,
/// and so on up to the interval.
const EARLY: Duration = Duration::from_secs(1);
/// That is doubled at most this often.
const MAX_EARLY: u32 = 12;
/// A peer that has more and sends nothing of it is asked this often.
pub(super) const NO_PROGRESS: Duration = Duration::from_secs(1);

/// A wait for a quota that is longer ends the run that is open: its server gives up an answer that is not read for 30 s.
pub(super) const RUN_WAITS: Duration = Duration::from_secs(10);

/// A question that waits for the peer's quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PutOff {
    pub(super) new_request: bool,
    pub(super) wait: Duration,
}

/// When to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    Now,
    At(Duration),
}

/// How fast a peer answers, and how much of that is in vain. Times are monotonic.
#[derive(Debug, Default)]
pub(super) struct Pace {
    asked_at: Duration,
    /// Whether the open question may be parked.
    parked: bool,
    /// Whether the last answer was pushed.
    pushed: bool,
    /// How many answers in a row came early and brought nothing.
    early: u32,
    /// The start of the window, and how many answers in it brought no new event.
    empty: (Duration, u32),
    /// How many windows in a row were flooded.
    floods: u32,
    /// Until when the peer has used up its quota.
    quota_until: Duration,
}

impl Pace {
    pub(super) const fn asked(&mut self, now: Duration, wait: Duration) {
        (self.asked_at, self.parked) = (now, !wait.is_zero());
    }

    pub(super) const fn set_quota_until(&mut self, until: Duration) {
        self.quota_until = until;
    }

    /// Until when a question waits for the peer's quota, and how it is asked then.
    pub(super) fn put_off(&self, now: Duration, new_request: bool, wait: Duration) -> Option<(Duration, PutOff)> {
        let waits = self.quota_until.checked_sub(now).filter(|waits| !waits.is_zero())?;
        let new_request = new_request || waits > RUN_WAITS;
        Some((self.quota_until, PutOff { new_request, wait }))
    }

    pub(super) fn answered(&mut self, source: Source) {
        self.pushed = source == Source::Pushed;
    }

    /// When to ask after an answer that brought this.
    pub(super) fn after(&mut self, brought: Brought, caught_up: bool, now: Duration, interval: Duration) -> When {
        match brought {
            Brought::Events => {
                (self.empty, self.floods, self.early) = ((now, 0), 0, 0);
                When::Now
            }
            Brought::Reach => {
                self.early = 0;
                self.after_push(now, interval)
            }
            // An honest peer parks the next question, and any other is soon found out.
            Brought::Nothing => self.after_push(now, interval),
            Brought::Quiet if self.pushed => self.after_push(now, interval),
            Brought::Quiet => self.after_quiet(caught_up, now, interval),
        }
    }

    fn after_quiet(&mut self, caught_up: bool, now: Duration, interval: Duration) -> When {
        let pace = if caught_up { interval } else { interval.min(NO_PROGRESS) };
        let next = self.asked_at.saturating_add(pace);
        if !self.parked || next <= now {
            self.early = 0;
            return When::Now;
        }
        // A peer that is about to stop answers early as well, and may be back at once. Asked soon, it is found to be gone, or
        // back.
        let soon = now.saturating_add(EARLY.saturating_mul(1 << self.early));
        self.early = (self.early + 1).min(MAX_EARLY);
        When::At(if caught_up { next.min(soon) } else { next })
    }

    /// When to take the next push after one that brought no new event.
    pub(super) fn after_push(&mut self, now: Duration, interval: Duration) -> When {
        let window = FLOOD_WINDOW.saturating_mul(1 << self.floods).min(interval.max(FLOOD_WINDOW));
        let until = self.empty.0.saturating_add(window);
        if now >= until {
            self.floods = if self.empty.1 > FLOOD { (self.floods + 1).min(MAX_FLOODS) } else { 0 };
            self.empty = (now, 0);
        }
        self.empty.1 += 1;
        if self.empty.1 > FLOOD { When::At(until) } else { When::Now }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(30);

    #[test]
    fn an_early_answer_is_followed_by_ever_longer_waits_up_to_the_interval() {
        let mut pace = Pace::default();
        let mut now = Duration::ZERO;
        for seconds in [1, 2, 4, 8, 16, 30, 30] {
            pace.asked(now, INTERVAL);
            let next = now + Duration::from_secs(seconds);
            assert_eq!(pace.after(Brought::Quiet, true, now, INTERVAL), When::At(next));
            now = next;
        }
        pace.asked(now, INTERVAL);
        assert_eq!(
            pace.after(Brought::Quiet, true, now + INTERVAL, INTERVAL),
            When::Now,
            "a parked question took its time"
        );
        pace.asked(now, Duration::ZERO);
        assert_eq!(pace.after(Brought::Quiet, true, now, INTERVAL), When::Now, "it was not to be parked");
    }

    #[test]
    fn floods_wait_longer_each_time_and_new_events_end_them() {
        let mut pace = Pace::default();
        let mut now = Duration::ZERO;
        for seconds in [1, 2, 4] {
            for _ in 0..FLOOD {
                assert_eq!(pace.after(Brought::Nothing, true, now, INTERVAL), When::Now);
            }
            let until = now + Duration::from_secs(seconds);
            assert_eq!(pace.after(Brought::Reach, true, now, INTERVAL), When::At(until));
            now = until;
        }
        assert_eq!(pace.after(Brought::Events, true, now, INTERVAL), When::Now);
        assert_eq!(pace.after_push(now, INTERVAL), When::Now);
    }
}
