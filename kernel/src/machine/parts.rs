//! When a peer is asked for missing parts, and what its answers mean. Pure.
//!
//! A *round* asks for some debts, one after another, in the order of their dots. The next round continues after it. At the end of
//! the list a *pass* is complete. Passes in which the peer had nothing are followed by pauses that double. So a peer that lacks
//! what is missing here costs little, and a long list is read to its end.

use std::time::Duration;

use super::backoff::backoff;
use crate::codec::EventRef;
use crate::digest::Digest;
use crate::event::EventBytes;
use crate::health::{ErrorCategory, Failure};
use crate::ids::Dot;
use crate::protocol::{ChainHead, FetchReply, Refusal};

/// The most events that one round asks for.
pub(crate) const MAX_ROUND: usize = 32;
/// Rounds of one pass are at least this far apart, unless the last one brought something.
const APART: Duration = Duration::from_secs(1);

/// What one round led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PartsRound {
    /// How many events got a part.
    pub filled: usize,
    /// The last event that was asked for, if more debts may follow it; `None` at the end of the list.
    pub last: Option<Dot>,
    /// Whether it broke off: the peer did not answer, or answered with what breaks the protocol.
    pub failed: bool,
}

/// When a peer is asked for missing parts: one question at a time, in rounds, with growing pauses where that is in vain.
#[derive(Debug, Default)]
pub struct PartsPace {
    owed: u64,
    asking: bool,
    due: Duration,
    /// Where the next round continues.
    after: Option<Dot>,
    /// Whether the pass brought something so far.
    brought: bool,
    /// How many passes or rounds in a row were in vain.
    in_vain: u32,
}

impl PartsPace {
    /// This number of events has a part missing. If it grew, the peer is asked soon.
    pub fn owes(&mut self, now: Duration, owed: u64) {
        if owed > std::mem::replace(&mut self.owed, owed) {
            self.in_vain = 0;
            self.due = self.due.min(now + APART);
        }
    }

    /// The peer may be able to bring more than before: it is asked soon, from the first debt on.
    pub(crate) fn begin_again(&mut self, now: Duration) {
        (self.after, self.in_vain) = (None, 0);
        self.due = self.due.min(now + APART);
    }

    /// Returns when the next round is due; `None` while one is under way, and while nothing is missing.
    #[must_use]
    pub const fn due(&self) -> Option<Duration> {
        if self.asking || self.owed == 0 { None } else { Some(self.due) }
    }

    /// A round begins. Returns the event after which it asks.
    pub const fn begin(&mut self) -> Option<Dot> {
        self.asking = true;
        self.after
    }

    /// The round ended. `entropy` is 64 random bits.
    pub fn ended(&mut self, now: Duration, round: &PartsRound, entropy: u64) {
        self.asking = false;
        self.brought |= round.filled > 0;
        if round.failed {
            // The same events are asked for again.
            self.in_vain = self.in_vain.saturating_add(1);
            self.due = now + backoff(self.in_vain, entropy).max(APART);
            return;
        }
        self.after = round.last;
        if round.last.is_some() {
            self.due = if round.filled > 0 { now } else { now + APART };
            return;
        }
        self.in_vain = if std::mem::take(&mut self.brought) { 0 } else { self.in_vain.saturating_add(1) };
        self.due = now + backoff(self.in_vain, entropy).max(APART);
    }
}

/// Returns the record that an answer brings of an event, or `None` if the peer does not bring it, or says that its history is
/// another one there: `ours` is the digest of our chain at the event.
///
/// # Errors
/// [`Failure`] if the peer answers no such question now.
pub fn part_of(reply: FetchReply, dot: Dot, ours: Digest) -> Result<Option<EventBytes>, Failure> {
    // The answer has the rest of the event's group too, and its head is then another event's.
    let differs = |head: ChainHead| head.counter == dot.counter() && head.digest != ours;
    match reply {
        // Pulling finds out where it begins to differ.
        FetchReply::Batch(batch) if batch.heads.get(dot.origin()).is_some_and(differs) => Ok(None),
        FetchReply::Batch(batch) => {
            let is_it = |record: &EventBytes| EventRef::decode_dot(record).is_ok_and(|(_, other)| other == dot);
            Ok(batch.events.into_iter().map(|(_, record)| record).find(is_it))
        }
        // Or its log is rewritten just now, and the next round may bring the part.
        FetchReply::Refused { refusal: Refusal::Fork { .. } | Refusal::CursorUnknown, .. } => Ok(None),
        FetchReply::Refused { refusal, .. } => Err(Failure::from(&refusal)),
    }
}

/// Returns whether a failure is the peer's breach of the protocol, and no matter of reaching it.
#[must_use]
pub const fn is_breach(failure: &Failure) -> bool {
    matches!(failure.category, ErrorCategory::Protocol)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{CortexId, Epoch, Origin};

    const SECOND: Duration = Duration::from_secs(1);

    fn dot(counter: u64) -> Dot {
        Dot::new(Origin::new(CortexId::from_bytes([1; 16]), Epoch::new(1)), counter).unwrap()
    }

    /// A round that ended at the end of the list, or after an event.
    fn round(filled: usize, last: Option<u64>) -> PartsRound {
        PartsRound { filled, last: last.map(dot), failed: false }
    }

    /// Lets a round begin when it is due, and end in this way. Returns when it began, and after which event it asked.
    fn run(pace: &mut PartsPace, ended: &PartsRound) -> (Duration, Option<Dot>) {
        let at = pace.due().expect("a round is due");
        let after = pace.begin();
        assert_eq!(pace.due(), None, "one at a time");
        pace.ended(at, ended, u64::MAX / 3);
        (at, after)
    }

    #[test]
    fn nothing_is_asked_while_nothing_is_missing() {
        let mut pace = PartsPace::default();
        assert_eq!(pace.due(), None);
        pace.owes(5 * SECOND, 3);
        assert_eq!(pace.due(), Some(Duration::ZERO));
        pace.owes(5 * SECOND, 0);
        assert_eq!(pace.due(), None);
    }

    #[test]
    fn rounds_read_the_list_to_its_end_and_begin_again() {
        let mut pace = PartsPace::default();
        pace.owes(Duration::ZERO, 100);
        assert_eq!(run(&mut pace, &round(0, Some(32))), (Duration::ZERO, None));
        assert_eq!(run(&mut pace, &round(1, Some(64))), (SECOND, Some(dot(32))));
        // It brings something, so it is asked on at once.
        assert_eq!(run(&mut pace, &round(0, Some(96))), (SECOND, Some(dot(64))));
        assert_eq!(run(&mut pace, &round(0, None)), (2 * SECOND, Some(dot(96))));
        let (at, after) = run(&mut pace, &round(0, None));
        assert_eq!((at, after), (3 * SECOND, None), "the pass was not in vain");
    }

    #[test]
    fn passes_in_vain_are_ever_further_apart_until_more_is_missing() {
        let mut pace = PartsPace::default();
        pace.owes(Duration::ZERO, 1);
        let mut last = Duration::ZERO;
        for n in 0..4_000_u64 {
            let at = pace.due().unwrap();
            pace.begin();
            pace.ended(at, &round(0, None), n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            assert!(pace.due().unwrap() >= at + APART);
            last = at;
        }
        assert!(last > Duration::from_secs(4_000 * 100), "most of the pauses are minutes: {last:?}");
        pace.owes(last, 2);
        assert!(pace.due().unwrap() <= last + APART);
        pace.begin();
        pace.ended(last, &PartsRound { failed: true, ..PartsRound::default() }, u64::MAX);
        assert!(pace.due().unwrap() >= last + APART, "also after a failure");
    }

    #[test]
    fn a_round_that_failed_is_repeated() {
        let mut pace = PartsPace::default();
        pace.owes(Duration::ZERO, 9);
        run(&mut pace, &round(0, Some(3)));
        run(&mut pace, &PartsRound { failed: true, ..PartsRound::default() });
        assert_eq!(pace.begin(), Some(dot(3)));
    }

    #[test]
    fn a_refusal_for_another_history_is_no_failure() {
        let (origin, digest) = (dot(1).origin(), Digest::ZERO);
        let fork = Refusal::Fork { origin, counter: 1, digest };
        assert_eq!(part_of(FetchReply::refused(fork), dot(1), digest), Ok(None));
        assert!(part_of(FetchReply::refused(Refusal::Busy), dot(1), digest).is_err());
    }
}
