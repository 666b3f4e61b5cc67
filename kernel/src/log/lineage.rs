//! How much of this log is the log of earlier epochs: whether a reader's cursor of then still means what it meant.

use crate::codec::{decode_lineage, encode_lineage};
use crate::cursor::Seq;
use crate::ids::Epoch;
use crate::store::{Batch, Family, Store, StoreError, keys};

/// How many earlier epochs are remembered. A cursor of an older one is unknown.
const MAX_EPOCHS: usize = 64;

/// For each earlier epoch, oldest first, the last sequence number up to which the log is unchanged since.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Lineage(Vec<(Epoch, Seq)>);

impl Lineage {
    /// Reads the lineage that a store keeps; an empty one if it keeps none.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) fn read(store: &dyn Store) -> Result<Self, StoreError> {
        let bytes = store.get(Family::Meta, keys::META_LINEAGE)?;
        let known =
            bytes.map(|b| decode_lineage(&b).map_err(|e| super::entry::damaged(Family::Meta, &e))).transpose()?;
        Ok(Self(known.unwrap_or_default()))
    }

    pub(crate) fn put(&self, changes: &mut Batch) {
        changes.put(Family::Meta, keys::META_LINEAGE, &encode_lineage(&self.0));
    }

    /// An epoch ends. Up to `shared` the log is unchanged; earlier epochs share no more than that from now on.
    pub(crate) fn end(&mut self, epoch: Epoch, shared: Seq) {
        self.cut(shared);
        self.0.push((epoch, shared));
        let old = self.0.len().saturating_sub(MAX_EPOCHS);
        self.0.drain(..old);
    }

    /// After this sequence number the log is another one than in any earlier epoch.
    pub(crate) fn cut(&mut self, shared: Seq) {
        for (_, seq) in &mut self.0 {
            *seq = shared.min(*seq);
        }
    }

    /// Another history of an earlier epoch is known, which is this log's up to `shared` at least. True if that changes anything.
    pub(crate) fn cut_epoch(&mut self, epoch: Epoch, shared: Seq) -> bool {
        let Some(at) = self.0.iter().rposition(|(known, _)| *known == epoch) else { return false };
        // It began after the previous epoch, which all of its histories go back to.
        let begun = at.checked_sub(1).map_or(Seq::ZERO, |before| self.0[before].1);
        let cut = shared.max(begun).min(self.0[at].1);
        std::mem::replace(&mut self.0[at].1, cut) != cut
    }

    /// The last sequence number up to which the log is that of an earlier epoch; `None` for an epoch that is not known.
    pub(crate) fn shared(&self, epoch: Epoch) -> Option<Seq> {
        self.0.iter().rev().find(|(known, _)| *known == epoch).map(|(_, seq)| *seq)
    }

    /// A sequence number that the current epoch cannot have begun before.
    pub(crate) fn begun(&self) -> Seq {
        self.0.last().map_or(Seq::ZERO, |(_, seq)| *seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_earlier_epoch_shares_the_least_that_any_later_change_left() {
        let [first, second, third] = [1, 2, 3].map(Epoch::new);
        let mut lineage = Lineage::default();
        lineage.end(first, Seq::new(7));
        lineage.end(second, Seq::new(12));
        assert_eq!([first, second, third].map(|e| lineage.shared(e).map(Seq::get)), [Some(7), Some(12), None]);
        lineage.end(third, Seq::new(5));
        assert_eq!([first, second, third].map(|e| lineage.shared(e).map(Seq::get)), [Some(5), Some(5), Some(5)]);
        lineage.end(Epoch::new(4), Seq::new(40));
        assert_eq!((lineage.shared(first), lineage.begun()), (Some(Seq::new(5)), Seq::new(40)));
    }

    #[test]
    fn another_history_of_an_earlier_epoch_cuts_that_epoch_alone() {
        let [first, second, third] = [1, 2, 3].map(Epoch::new);
        let mut lineage = Lineage::default();
        lineage.end(first, Seq::new(7));
        lineage.end(second, Seq::new(12));
        assert!(!lineage.cut_epoch(third, Seq::new(1)));
        assert!(!lineage.cut_epoch(second, Seq::new(20)));
        assert!(lineage.cut_epoch(second, Seq::new(9)));
        assert_eq!([first, second].map(|e| lineage.shared(e).map(Seq::get)), [Some(7), Some(9)]);
        assert!(lineage.cut_epoch(second, Seq::new(2)));
        assert_eq!([first, second].map(|e| lineage.shared(e).map(Seq::get)), [Some(7), Some(7)]);
    }

    #[test]
    fn the_oldest_epochs_are_forgotten() {
        let mut lineage = Lineage::default();
        (0..=MAX_EPOCHS as u64).for_each(|n| lineage.end(Epoch::new(n), Seq::new(n)));
        assert_eq!((lineage.shared(Epoch::new(0)), lineage.shared(Epoch::new(1))), (None, Some(Seq::new(1))));
    }
}
