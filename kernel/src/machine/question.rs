//! What the next question asks for, and how often it is repeated. Pure.
//!
//! ```text
//!              own_first ──▶ all after the cursor ──▶ all after the cursor ...
//!   an answer that cannot be used:
//!     cursor unknown ──▶ by clock, at most MAX_REWRITTEN times
//!     hole           ──▶ by clock, once
//!     gap            ──▶ the same question, once
//! ```

use std::time::Duration;

/// A peer is believed this often before a success that its log was rewritten under our question.
pub const MAX_REWRITTEN: u8 = 8;

/// A question to the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Question {
    /// Leave the cursor out.
    pub(super) by_clock: bool,
    /// Only what this cortex wrote.
    pub(super) own: bool,
    /// How long the peer may park it.
    pub(super) wait: Duration,
}

/// What to do after an answer that could not be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeat {
    /// Ask at once, for the rest: what this cortex wrote depends on it.
    Rest,
    /// Ask; the answer counts as one that led nowhere.
    Again,
    /// Asking again cannot help.
    Useless,
}

/// The next question. It outlives a contact: a question that was due before a pause is due after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct NextQuestion {
    by_clock: bool,
    /// Whether the peer may hold more of what we wrote than we do. That is asked first, or an epoch that must not be
    /// extended is, for as long as it takes to read what comes before.
    own_first: bool,
    /// Whether the last question was a repetition, because its answer did not fit.
    repeated: bool,
    /// How often the peer said since the last success, when asked by clock, that its log was rewritten meanwhile.
    rewritten: u8,
}

impl NextQuestion {
    pub(super) const fn question(&self, wait: Duration) -> Question {
        let wait = if self.own_first { Duration::ZERO } else { wait };
        Question { by_clock: self.by_clock, own: self.own_first, wait }
    }

    pub(super) const fn is_own(&self) -> bool {
        self.own_first
    }

    /// A contact begins.
    pub(super) const fn connect(&mut self) {
        self.own_first = true;
    }

    /// The stored cursor was cleared.
    pub(super) const fn cursor_cleared(&mut self) {
        (self.by_clock, self.rewritten) = (false, 0);
    }

    /// The exchange failed, or an answer was stored: nothing is repeated.
    pub(super) const fn settle(&mut self) {
        (self.by_clock, self.repeated, self.rewritten) = (false, false, 0);
    }

    /// What the cursor passed is wanted again.
    pub(super) const fn by_clock(&mut self) {
        self.by_clock = true;
    }

    /// The answer was stored. Returns whether it was asked by clock.
    pub(super) const fn took(&mut self) -> bool {
        let by_clock = self.by_clock;
        self.settle();
        by_clock
    }

    /// An answer with what this cortex wrote was stored.
    pub(super) const fn took_own(&mut self, more: bool, healed: bool) {
        (self.own_first, self.by_clock) = (more, healed);
    }

    /// The peer does not know the cursor. Asked by clock, that means that its log was rewritten while it answered, or while
    /// the question was parked there: an operator may resolve one fork after another.
    pub(super) const fn cursor_unknown(&mut self) -> Repeat {
        if self.by_clock {
            if self.rewritten >= MAX_REWRITTEN {
                return Repeat::Useless;
            }
            self.rewritten += 1;
        }
        self.by_clock = true;
        Repeat::Again
    }

    /// The answer has a hole.
    pub(super) const fn hole(&mut self) -> Repeat {
        if self.own_first {
            // What we wrote and have lost had seen what we do not have. That comes first, in the peer's order.
            self.own_first = false;
            return Repeat::Rest;
        }
        if self.by_clock {
            return Repeat::Useless;
        }
        self.by_clock = true;
        Repeat::Again
    }

    /// The answer does not fit the question.
    pub(super) const fn unfit(&mut self) -> Repeat {
        if self.repeated {
            return Repeat::Useless;
        }
        self.repeated = true;
        Repeat::Again
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: Duration = Duration::from_secs(30);

    #[test]
    fn what_this_cortex_wrote_is_asked_first_and_never_parked() {
        let mut next = NextQuestion::default();
        next.connect();
        assert_eq!(next.question(WAIT), Question { by_clock: false, own: true, wait: Duration::ZERO });
        next.took_own(false, true);
        assert_eq!(next.question(WAIT), Question { by_clock: true, own: false, wait: WAIT });
        next.connect();
        assert_eq!((next.hole(), next.is_own()), (Repeat::Rest, false));
    }

    #[test]
    fn each_repetition_is_bounded_until_an_answer_is_stored() {
        let mut next = NextQuestion::default();
        assert_eq!([next.hole(), next.hole()], [Repeat::Again, Repeat::Useless]);
        assert!(next.took(), "it was asked by clock");
        assert!(!next.took());
        assert_eq!([next.unfit(), next.unfit()], [Repeat::Again, Repeat::Useless]);
        for _ in 0..=MAX_REWRITTEN {
            assert_eq!(next.cursor_unknown(), Repeat::Again);
        }
        assert_eq!(next.cursor_unknown(), Repeat::Useless);
        next.settle();
        assert_eq!(next, NextQuestion::default());
    }

    #[test]
    fn a_cleared_cursor_does_not_make_an_unfit_answer_unseen() {
        let mut next = NextQuestion::default();
        next.unfit();
        next.by_clock();
        next.cursor_cleared();
        assert!(!next.question(WAIT).by_clock);
        assert_eq!(next.unfit(), Repeat::Useless);
    }
}
