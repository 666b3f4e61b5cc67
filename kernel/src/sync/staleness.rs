//! Whether what is believed of a peer is still borne out by what it says. Pure.
//!
//! Between two answers a peer counts as it did at the last one. A large answer on a slow road, and a silence that no transport
//! has noticed yet, look alike meanwhile: "live, lag 0" while nothing is heard is how operators are deceived.

use std::time::Duration;

use crate::machine::{Lag, Phase};

/// An answer that takes so much longer than it may be parked is overdue.
const GRACE: Duration = Duration::from_secs(10);

/// The answer that is waited for.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Staleness {
    due: Option<Duration>,
    is: bool,
}

impl Staleness {
    /// An answer was asked for that may be parked for so long.
    pub(super) fn asked(&mut self, now: Duration, wait: Duration) {
        *self = Self { due: Some(now + wait + GRACE), is: false };
    }

    /// It came, or is not waited for any more.
    pub(super) fn over(&mut self) {
        *self = Self::default();
    }

    /// When to look again.
    pub(super) const fn due(&self) -> Option<Duration> {
        self.due
    }

    /// The time has come.
    pub(super) fn look(&mut self, now: Duration) {
        if self.due.is_some_and(|due| due <= now) {
            *self = Self { due: None, is: true };
        }
    }

    /// How the peer is shown: one that is overdue is not caught up, as far as anybody knows, and a lag of nothing is none that
    /// is known. A lag of something is: at least so much.
    pub(super) fn shown(&self, phase: Phase, lag: Option<Lag>) -> (Phase, Option<Lag>) {
        match phase {
            Phase::Live if self.is => (Phase::CatchingUp, lag.filter(|lag| lag.events > 0)),
            Phase::CatchingUp if self.is => (phase, lag.filter(|lag| lag.events > 0)),
            _ => (phase, lag),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lag_of_nothing_is_unknown_while_an_answer_is_overdue_and_a_lag_of_something_stays() {
        let at = Duration::from_secs;
        let lag = |events| Some(Lag { events, behind: None });
        let mut overdue = Staleness::default();
        overdue.asked(at(100), at(30));
        assert_eq!(overdue.due(), Some(at(140)));
        overdue.look(at(139));
        assert_eq!(overdue.shown(Phase::Live, lag(0)), (Phase::Live, lag(0)));
        overdue.look(at(140));
        assert_eq!((overdue.due(), overdue.shown(Phase::Live, lag(0))), (None, (Phase::CatchingUp, None)));
        assert_eq!(overdue.shown(Phase::CatchingUp, lag(7)), (Phase::CatchingUp, lag(7)));
        assert_eq!(overdue.shown(Phase::BackingOff, None), (Phase::BackingOff, None));
        overdue.over();
        assert_eq!(overdue.shown(Phase::Live, lag(0)), (Phase::Live, lag(0)));
    }
}
