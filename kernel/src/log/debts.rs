//! Debts: events of the log of which a part is missing. They are kept by dot, since a dot names the same event on every node and
//! in each place that the log may give it.
//!
//! A debt is written with the event and removed with what fills it, each in one batch. An event that leaves the log takes its
//! debt along.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::entry::damaged;
use super::log_reader::LogReader;
use crate::codec::{decode_debt, encode_debt};
use crate::cursor::Seq;
use crate::ids::Dot;
use crate::store::{Batch, Family, KeyRange, Store, StoreError, keys};

/// How many fills are kept by sequence number. A replayer that is further behind looks at everything that it parked.
const RECENT: usize = 1024;

/// What other threads see of the debts.
pub(super) struct Debts {
    owed: watch::Sender<u64>,
    fills: watch::Sender<u64>,
    recent: Mutex<VecDeque<Seq>>,
}

impl Default for Debts {
    fn default() -> Self {
        Self { owed: watch::Sender::new(0), fills: watch::Sender::new(0), recent: Mutex::default() }
    }
}

impl Debts {
    fn recent(&self) -> MutexGuard<'_, VecDeque<Seq>> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The log was read: this number of events has a part missing. Sequence numbers may name other events than before.
    pub(super) fn begin(&self, owed: u64) {
        self.owed.send_replace(owed);
        self.recent().clear();
        self.fills.send_modify(|count| *count += 1);
    }

    /// Changes were committed: debts that were added, and events that have every part now.
    pub(super) fn changed(&self, added: u64, settled: Vec<Seq>) {
        let paid = settled.len() as u64;
        if added != paid {
            self.owed.send_modify(|owed| *owed = (*owed + added).saturating_sub(paid));
        }
        if settled.is_empty() {
            return;
        }
        let mut recent = self.recent();
        recent.extend(settled);
        let over = recent.len().saturating_sub(RECENT);
        recent.drain(..over);
        // Under the lock, so that the number and the list fit.
        self.fills.send_modify(|count| *count += paid);
    }
}

/// What was filled since some moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FilledSince {
    /// The number of this moment.
    pub(crate) now: u64,
    /// The sequence numbers; `None` where more was filled than is kept.
    pub(crate) seqs: Option<Vec<Seq>>,
}

impl LogReader {
    /// Returns how many events of the log have a part missing. Any node that has the part can bring it.
    #[must_use]
    pub fn owed(&self) -> u64 {
        *self.shared.debts.owed.borrow()
    }

    /// Changes with [`LogReader::owed`].
    pub(crate) fn watch_owed(&self) -> watch::Receiver<u64> {
        self.shared.debts.owed.subscribe()
    }

    /// Changes with each event that has every part again.
    pub(crate) fn watch_fills(&self) -> watch::Receiver<u64> {
        self.shared.debts.fills.subscribe()
    }

    /// Returns what was filled since the moment with this number.
    pub(crate) fn filled_since(&self, seen: u64) -> FilledSince {
        let recent = self.shared.debts.recent();
        let now = *self.shared.debts.fills.borrow();
        let count = usize::try_from(now.saturating_sub(seen)).unwrap_or(usize::MAX);
        let from = recent.len().checked_sub(count);
        FilledSince { now, seqs: from.map(|from| recent.iter().skip(from).copied().collect()) }
    }

    /// Whether a part of this event is noted as missing.
    pub(super) fn is_owed(&self, dot: Dot) -> Result<bool, StoreError> {
        Ok(self.store().get(Family::Evidence, &keys::debt(dot))?.is_some())
    }

    /// Returns up to `limit` events of which a part is missing, after one of them, in order of their dots.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn debts(&self, after: Option<Dot>, limit: usize) -> Result<Vec<Dot>, StoreError> {
        let (mut debts, mut fault) = (Vec::new(), None);
        let from = after.map_or_else(|| keys::DEBTS.to_vec(), keys::debt);
        let range = KeyRange { from: &from, prefix: keys::DEBTS };
        self.store().scan(Family::Evidence, range, &mut |key, value| {
            if debts.len() == limit {
                return ControlFlow::Break(());
            }
            match (keys::dot_of_debt(key), decode_debt(value)) {
                (Some(dot), Ok(())) => debts.extend((Some(dot) != after).then_some(dot)),
                (_, Err(error)) => fault = Some(damaged(Family::Evidence, &error)),
                (None, _) => fault = Some(StoreError::corrupt("family `evidence`: a debt names no event")),
            }
            if fault.is_none() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        fault.map_or(Ok(debts), Err)
    }
}

/// Adds to a batch that a part of an event is missing.
pub(super) fn put_debt(changes: &mut Batch, dot: Dot) {
    changes.put(Family::Evidence, &keys::debt(dot), &encode_debt());
}

/// Adds to a batch that none is missing, or that the event left the log.
pub(super) fn forget_debt(changes: &mut Batch, dot: Dot) {
    changes.delete(Family::Evidence, &keys::debt(dot));
}

/// Counts the debts in a store.
pub(super) fn count_debts(store: &dyn Store) -> Result<u64, StoreError> {
    let mut count = 0;
    store.scan(Family::Evidence, KeyRange::prefix(keys::DEBTS), &mut |_, _| {
        count += 1;
        ControlFlow::Continue(())
    })?;
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_filled_is_told_as_long_as_it_is_kept() {
        let debts = Debts::default();
        let since = |seen: u64| {
            let recent = debts.recent();
            let now = *debts.fills.borrow();
            (now, recent.len().checked_sub(usize::try_from(now - seen).unwrap()))
        };
        debts.begin(3);
        assert_eq!(since(1), (1, Some(0)), "nothing since the log was read");
        assert_eq!(since(0), (1, None), "before that, everything is looked at");
        debts.changed(2, vec![Seq::new(4), Seq::new(5)]);
        debts.changed(1, vec![Seq::new(7)]);
        assert_eq!((since(1), since(3)), ((4, Some(0)), (4, Some(2))));
        assert_eq!(*debts.owed.borrow(), 3);
        debts.changed(0, (0..2_000).map(Seq::new).collect());
        assert_eq!((since(4).1, since(2_000).1), (None, Some(RECENT - 4)));
        assert_eq!(*debts.owed.borrow(), 0, "never below nothing");
    }
}
