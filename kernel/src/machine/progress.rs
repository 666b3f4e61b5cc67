//! Whether a peer's answers lead anywhere. Pure.
//!
//! A peer that sends well-formed answers without an end in sight would otherwise be asked as fast as it answers, and be shown as
//! caught up. What counts is what cannot be made up: events that are new here, and a cursor that moves through events held here.

use crate::cursor::{Cursor, Seq};
use crate::log::Ingested;

/// So many answers in a row may lead nowhere. More than an honest peer gives whose log is rewritten under our question.
const MAX_FRUITLESS: u32 = 16;
/// So many after a failure for this reason, until one leads somewhere.
const LEFT_AFTER_FAILURE: u32 = 4;

/// What an answer brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Brought {
    /// New events.
    Events,
    /// The news that all up to a later sequence number is held here.
    Reach,
    /// Nothing, which is what a peer without news says.
    Quiet,
    /// Nothing, and it pretends otherwise.
    Nothing,
}

/// What the answers of one peer led to.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// The greatest sequence number that was read up to since the last new event.
    furthest: Seq,
    /// How many answers in a row led nowhere.
    fruitless: u32,
}

impl Progress {
    /// A batch was taken that begins at `prev` and ends at `last`.
    pub(super) fn took(&mut self, ingested: &Ingested, prev: Cursor, last: Cursor, by_clock: bool) -> Brought {
        let brought = if ingested.stored > 0 {
            self.furthest = last.seq;
            Brought::Events
        } else if last.seq > self.furthest && last != prev && ingested.most.is_none_or(|most| last.seq <= most) {
            self.furthest = last.seq;
            Brought::Reach
        } else if last == prev && ingested.known == 0 && !by_clock {
            Brought::Quiet
        } else {
            Brought::Nothing
        };
        match brought {
            // What heals a fork is bounded by the number of forks that are looked into.
            _ if ingested.healed > 0 => self.fruitless = 0,
            Brought::Nothing => self.led_nowhere(),
            Brought::Events | Brought::Reach | Brought::Quiet => self.fruitless = 0,
        }
        brought
    }

    /// An answer led to another question at once, and to nothing else.
    pub(super) const fn led_nowhere(&mut self) {
        self.fruitless = self.fruitless.saturating_add(1);
    }

    /// Whether to stop asking for now.
    pub(super) const fn is_exhausted(&self) -> bool {
        self.fruitless > MAX_FRUITLESS
    }

    /// The exchange failed for this reason.
    pub(super) const fn gave_up(&mut self) {
        self.fruitless = MAX_FRUITLESS - LEFT_AFTER_FAILURE;
    }
}
