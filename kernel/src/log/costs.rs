//! What a choice between two histories costs: how many events leave which log, and whose they are.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::entry::record_at;
use super::forks::{Fork, count_evidence};
use super::log_reader::LogReader;
use super::segments::stored_seq;
use super::taint::{Excluded, Taint};
use crate::codec::RecordRef;
use crate::cursor::Seq;
use crate::digest::Digest;
use crate::ids::Origin;
use crate::store::StoreError;

/// A choice that sets aside more than so many times as many events as the other is not advised, whosever version it keeps.
const FAR_MORE: u64 = 10;

/// What resolving a fork costs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ForkCost {
    /// How many events leave the log here if the other version is kept, by who wrote them.
    pub here: BTreeMap<Origin, u64>,
    /// At least so many leave the other cortex's log if the version held here is kept: its own events of the origin, as far as
    /// they are kept as evidence. Other events that they taint there are not known here.
    pub there: u64,
}

/// Why a version is advised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdviceReason {
    /// Keeping the other one sets aside far more events.
    FewerEvents,
    /// The origin's own cortex holds it.
    Owners,
}

impl ForkCost {
    /// How many events leave the log here if the other version is kept.
    #[must_use]
    pub fn events_here(&self) -> u64 {
        self.here.values().sum()
    }

    /// Which version of a fork to keep, and why. `owners` is the one that the origin's own cortex holds, where that is known.
    #[must_use]
    pub fn advice(&self, fork: &Fork, owners: Option<Digest>) -> (Digest, AdviceReason) {
        let (here, there) = (self.events_here(), self.there);
        let fewer = if here < there { fork.theirs } else { fork.ours };
        let far = here.max(there) > here.min(there).saturating_mul(FAR_MORE);
        match owners {
            Some(owners) if !far || owners == fewer => (owners, AdviceReason::Owners),
            _ => (fewer, AdviceReason::FewerEvents),
        }
    }
}

impl LogReader {
    /// What resolving each of these forks costs. Reads the log from the first of them on.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn fork_costs(&self, forks: &[Fork]) -> Result<Vec<ForkCost>, StoreError> {
        self.in_place(|| self.count_costs(forks))
    }

    fn count_costs(&self, forks: &[Fork]) -> Result<Vec<ForkCost>, StoreError> {
        let head = self.visible();
        let mut counted = Vec::with_capacity(forks.len());
        let mut at = head;
        for fork in forks {
            // What was decided for and is not held costs nothing here.
            let seq = stored_seq(&**self.store(), fork.origin, fork.from)?;
            // A group is set aside whole.
            let start = self.group_start(fork.origin, fork.from)?;
            let seq = seq.and(stored_seq(&**self.store(), fork.origin, start)?);
            let from = seq.map(|_| (fork.origin, start));
            at = at.min(seq.map_or(head, Seq::prev));
            let cost = ForkCost { here: BTreeMap::new(), there: count_evidence(&**self.store(), fork)? };
            counted.push((Taint::of(from.into_iter().collect(), Excluded::default()), cost));
        }
        let mut fault = None;
        self.scan(at, head, &mut |seq: Seq, _, record| match RecordRef::decode(record) {
            Ok(event) => {
                for (taint, cost) in &mut counted {
                    if taint.add(&event) {
                        *cost.here.entry(event.dot.origin()).or_default() += 1;
                    }
                }
                ControlFlow::Continue(())
            }
            Err(error) => {
                fault = Some(record_at(seq, &error));
                ControlFlow::Break(())
            }
        })?;
        fault.map_or(Ok(()), Err)?;
        Ok(counted.into_iter().map(|(_, cost)| cost).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{CortexId, Epoch, PeerName};
    use crate::time::Timestamp;

    #[test]
    fn the_owners_version_is_advised_unless_it_costs_far_more() {
        let (ours, theirs) = (Digest::of(b"ours"), Digest::of(b"theirs"));
        let (peer, holder) = (PeerName::new("bravo").unwrap(), CortexId::from_bytes([1; 16]));
        let origin = Origin::new(holder, Epoch::new(1));
        let fork = Fork { origin, from: 5, ours, theirs, peer, holder, since: Timestamp::from_micros(0) };
        let advice =
            |here, there, owners| ForkCost { here: BTreeMap::from([(origin, here)]), there }.advice(&fork, owners);
        // As a chaos run met it: the owner's four events against 4,548 here.
        assert_eq!(advice(4548, 4, Some(theirs)), (ours, AdviceReason::FewerEvents));
        assert_eq!(advice(40, 4, Some(theirs)), (theirs, AdviceReason::Owners));
        assert_eq!(advice(41, 4, Some(theirs)), (ours, AdviceReason::FewerEvents));
        assert_eq!(advice(1, 256, Some(ours)), (theirs, AdviceReason::FewerEvents));
        assert_eq!(advice(4548, 4, Some(ours)), (ours, AdviceReason::Owners));
        assert_eq!(advice(2, 3, None), (theirs, AdviceReason::FewerEvents));
        assert_eq!(advice(3, 3, None), (ours, AdviceReason::FewerEvents), "what is here stays");
    }
}
