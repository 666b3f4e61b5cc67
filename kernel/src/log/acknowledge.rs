//! Receipts: that a peer durably holds what was written here.

use super::answer::OpenQuery;
use super::log_reader::LogReader;
use crate::cursor::Seq;
use crate::ids::CortexId;
use crate::mutant::{self, Mutant};
use crate::protocol::Heads;
use crate::receipts::{Copies, LogReport};
use crate::store::StoreError;

impl LogReader {
    /// Notes what a cortex said that it durably holds of this cortex's own events, and returns what is news of it.
    ///
    /// What counts is a cortex that a peer's name is pinned to, of an origin that is held here up to there, and only where its
    /// digest is the one here. All else is a claim, which an event that was never stored could be acknowledged by.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn acknowledge(&self, holder: CortexId, heads: &Heads) -> Result<Heads, StoreError> {
        let pinned = self.pinned();
        if !pinned.contains_key(&holder) {
            return Ok(Heads::default());
        }
        let (own, chains) = {
            let durable = self.shared.durable();
            let own = durable.identity.cortex_id;
            let named = heads.iter().filter(|(origin, _)| origin.cortex() == own);
            (own, named.map(|(origin, head)| (origin, head, durable.chains.get(&origin).copied())).collect::<Vec<_>>())
        };
        if holder == own {
            return Ok(Heads::default());
        }
        let mut agreed = Vec::new();
        for (origin, theirs, ours) in chains {
            let here = ours.is_some_and(|ours| ours.counter >= theirs.counter);
            if !here || self.receipts().counter(holder, origin) >= theirs.counter {
                continue;
            }
            let compared = mutant::is(Mutant::ReceiptWithoutComparison)
                || self.chain_digest(origin, theirs.counter)? == Some(theirs.digest);
            if compared {
                agreed.push((origin, theirs));
            }
        }
        let agreed = Heads::new(agreed);
        if !agreed.is_empty() {
            self.receipts().note(holder, &agreed, |cortex| pinned.contains_key(&cortex));
        }
        Ok(agreed)
    }

    /// Compares what the asker of a question said that it holds with what is durable here. `None` if it said nothing new, does not
    /// name all of its chains, or is no cortex that a peer's name is pinned to.
    pub(crate) fn report(&self, asking: &mut OpenQuery) -> Option<LogReport> {
        let reported = asking.take_report()?;
        let durable = self.shared.durable();
        let (mut seq, mut missing) = (0_u64, 0_u64);
        for (origin, &theirs) in reported {
            let ours = durable.chains.get(origin).map_or(0, |head| head.counter);
            // The counters are claims, and may be of any size.
            seq = seq.saturating_add(theirs);
            missing = missing.saturating_add(theirs.saturating_sub(ours));
        }
        Some(LogReport { seq: Seq::new(seq), missing })
    }

    /// How far other cortexes are known to hold what was written here.
    #[must_use]
    pub fn copies(&self) -> Copies {
        let durable = self.shared.durable();
        let own = durable.identity.cortex_id;
        let chains: Vec<_> = durable.chains.iter().map(|(&origin, head)| (origin, head.counter)).collect();
        drop(durable);
        self.receipts().copies(chains.into_iter().filter(|(origin, _)| origin.cortex() == own))
    }
}
