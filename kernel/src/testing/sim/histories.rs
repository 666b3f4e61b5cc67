//! Where the histories of logs part: at a rollback, a restore, a lost tail and a copy. The simulator knows all of it; a log
//! knows what its epochs say.

use super::world::World;
use crate::log::{EpochChange, EpochEnd, read_epoch_change};

/// The history of one log, with what the log knows of it.
#[derive(Debug, Clone)]
pub(super) struct History {
    /// Its number, and no other history's.
    pub(super) number: usize,
    /// The earlier histories that it began in, oldest first.
    earlier: Vec<Earlier>,
    /// The last change of epoch that was looked at.
    change: Option<EpochChange>,
}

#[derive(Debug, Clone)]
struct Earlier {
    number: usize,
    /// A new epoch says that the log is not that history's any more.
    known: bool,
}

impl History {
    pub(super) const fn new(number: usize) -> Self {
        Self { number, earlier: Vec::new(), change: None }
    }

    /// Another history that begins in a state of this one.
    pub(super) fn part(&self, number: usize) -> Self {
        let mut parted = Self { number, ..self.clone() };
        parted.earlier.push(Earlier { number: self.number, known: false });
        parted
    }

    /// Whether the log knows how much of it is that of another history.
    pub(super) fn knows(&self, other: usize) -> bool {
        if self.number == other {
            return true;
        }
        let mut newest_first = self.earlier.iter().rev().take_while(|earlier| earlier.known);
        newest_first.any(|earlier| earlier.number == other)
    }
}

impl World {
    /// Looks whether a node has learned that its log went back or is a copy.
    pub(super) fn learn(&mut self, node: usize) -> Result<(), String> {
        let node = &mut self.nodes[node];
        let change = read_epoch_change(&*node.store).map_err(|error| error.to_string())?;
        if std::mem::replace(&mut node.history.change, change) == change {
            return Ok(());
        }
        let known = match change.map(|change| change.why) {
            Some(EpochEnd::Restored | EpochEnd::LostTail | EpochEnd::Copied) => true,
            // A peer that lies makes a node believe so, which then knows nothing of what it really lost.
            Some(EpochEnd::RolledBack | EpochEnd::Forked) => self.truth.liar.is_none(),
            _ => false,
        };
        if let Some(newest) = node.history.earlier.last_mut() {
            newest.known |= known;
        }
        Ok(())
    }

    /// The number of the next history.
    pub(super) fn next_history(&mut self) -> usize {
        self.histories += 1;
        self.histories
    }
}
