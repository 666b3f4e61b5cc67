//! What is logged about a peer's failures, and how loudly. Pure.
//!
//! A peer that stops in order refuses questions as busy, and then cannot be reached until it is back. That is no reason for an
//! operator to act. If it stays away for longer than [`AWAY`], it is.

use std::time::Duration;

use crate::error_code::ErrorCode;
use crate::health::ErrorCategory;
use crate::machine::News;

/// A peer that stopped in order may be away for this long, as while it is restarted.
pub(super) const AWAY: Duration = Duration::from_secs(60);

/// What is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Notice {
    /// Nothing.
    Silent,
    /// In full, as information: the peer takes no questions, and neither side has a fault.
    Busy,
    /// In short, as information: the peer stopped in order, and cannot be reached.
    Stopped,
    /// In full, as a warning, with the remedy.
    Explained,
    /// In short, as information: the failure is known.
    Brief,
    /// The peer is back.
    Recovered,
}

/// What was logged about a peer, for what comes next.
#[derive(Debug, Default)]
pub(super) struct Notices {
    /// Whether the failure was explained, while it lasts.
    is_explained: bool,
    /// The code that was logged with that. A failure that may pass has none at first.
    code: Option<ErrorCode>,
    /// Since when the peer takes no questions or cannot be reached, by its own notice.
    stopped: Option<Duration>,
}

/// Whether a peer that has stopped fails like this.
const fn is_absence(category: ErrorCategory) -> bool {
    matches!(
        category,
        ErrorCategory::Busy
            | ErrorCategory::ConnectionRefused
            | ErrorCategory::Timeout
            | ErrorCategory::Dns
            | ErrorCategory::Reset
            | ErrorCategory::Eof
    )
}

impl Notices {
    /// Takes what became of an exchange, and the code of a failure that an operator must act on.
    pub(super) fn take(&mut self, now: Duration, news: News, code: Option<ErrorCode>) -> Notice {
        let (category, is_new) = match news {
            News::Failed(category) => (category, true),
            News::StillFailing(category) => (category, false),
            News::Recovered | News::None => {
                *self = Self::default();
                return if news == News::Recovered { Notice::Recovered } else { Notice::Silent };
            }
        };
        if category == ErrorCategory::Busy {
            self.stopped.get_or_insert(now);
        } else if !is_absence(category) {
            self.stopped = None;
        }
        if self.stopped.is_some_and(|since| now.saturating_sub(since) < AWAY) {
            // It is explained once this lasts too long.
            (self.is_explained, self.code) = (false, None);
            return match category {
                _ if !is_new => Notice::Brief,
                ErrorCategory::Busy => Notice::Busy,
                _ => Notice::Stopped,
            };
        }
        // A failure that may pass is explained again once it lasts: it has a code then.
        let explained = (std::mem::replace(&mut self.is_explained, true), std::mem::replace(&mut self.code, code));
        if is_new || explained != (true, code) { Notice::Explained } else { Notice::Brief }
    }

    /// When a peer that stopped and is not back must be reported.
    pub(super) fn due(&self) -> Option<Duration> {
        self.stopped.filter(|_| !self.is_explained).map(|since| since + AWAY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn take(notices: &mut Notices, second: u64, news: News) -> Notice {
        let code = match news {
            News::Failed(category) | News::StillFailing(category) => Some(category.code()),
            News::Recovered | News::None => None,
        };
        notices.take(at(second), news, code)
    }

    #[test]
    fn a_peer_that_stopped_in_order_is_reported_once_it_stays_away() {
        use ErrorCategory::{Busy, ConnectionRefused, Timeout};
        use News::{Failed, Recovered, StillFailing};
        // Over HTTPS the next connection is refused; over QUIC it is not answered.
        for absent in [ConnectionRefused, Timeout] {
            let mut notices = Notices::default();
            assert_eq!(take(&mut notices, 10, Failed(Busy)), Notice::Busy);
            assert_eq!(notices.due(), Some(at(70)));
            assert_eq!(take(&mut notices, 11, Failed(absent)), Notice::Stopped);
            assert_eq!(take(&mut notices, 69, StillFailing(absent)), Notice::Brief);
            assert_eq!(take(&mut notices, 70, StillFailing(absent)), Notice::Explained);
            assert_eq!(notices.due(), None);
            assert_eq!(take(&mut notices, 90, StillFailing(absent)), Notice::Brief, "once");
            assert_eq!(take(&mut notices, 95, Recovered), Notice::Recovered);
            assert_eq!(take(&mut notices, 96, Failed(absent)), Notice::Explained, "it did not say that it stops");
        }
    }

    #[test]
    fn a_peer_that_comes_back_is_not_reported_and_one_that_refuses_is_at_once() {
        use ErrorCategory::{Auth, Busy, ConnectionRefused};
        use News::{Failed, Recovered};
        let mut notices = Notices::default();
        take(&mut notices, 10, Failed(Busy));
        take(&mut notices, 11, Failed(ConnectionRefused));
        assert_eq!(take(&mut notices, 20, Recovered), Notice::Recovered);
        assert_eq!(notices.due(), None);
        take(&mut notices, 30, Failed(Busy));
        assert_eq!(take(&mut notices, 31, Failed(Auth)), Notice::Explained);
        assert_eq!(notices.due(), None);
        assert_eq!(take(&mut notices, 32, Failed(ConnectionRefused)), Notice::Explained, "it had answered since");
    }

    #[test]
    fn a_peer_that_stays_full_is_reported() {
        let mut notices = Notices::default();
        take(&mut notices, 0, News::Failed(ErrorCategory::Busy));
        assert_eq!(take(&mut notices, 59, News::StillFailing(ErrorCategory::Busy)), Notice::Brief);
        assert_eq!(take(&mut notices, 60, News::StillFailing(ErrorCategory::Busy)), Notice::Explained);
    }

    #[test]
    fn a_failure_that_may_pass_is_explained_again_once_it_lasts() {
        let mut notices = Notices::default();
        let failed = News::Failed(ErrorCategory::Fork);
        let lasts = Some(ErrorCategory::Fork.code());
        assert_eq!(notices.take(at(0), failed, None), Notice::Explained);
        assert_eq!(notices.take(at(1), News::StillFailing(ErrorCategory::Fork), None), Notice::Brief);
        assert_eq!(notices.take(at(9), News::StillFailing(ErrorCategory::Fork), lasts), Notice::Explained);
        assert_eq!(notices.take(at(10), News::None, None), Notice::Silent);
    }
}
