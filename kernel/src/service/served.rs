//! How much was sent, in all and to whom.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::ids::CortexId;
use crate::protocol::{EventBatch, FetchReply};

/// So many askers are told apart; the id in a question is a claim of whoever has the key.
const MAX_ASKERS: usize = 1024;

/// What a service sent to peers since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Served {
    /// Batches, empty ones too.
    pub batches: u64,
    /// Events in them.
    pub events: u64,
    /// Bytes of those events.
    pub bytes: u64,
    /// Refusals.
    pub refusals: u64,
}

impl Served {
    fn count(&mut self, reply: &FetchReply) {
        match reply {
            FetchReply::Batch(EventBatch { events, .. }) => {
                self.batches += 1;
                self.events += events.len() as u64;
                self.bytes += events.iter().map(|e| e.1.len() as u64).sum::<u64>();
            }
            FetchReply::Refused(_) => self.refusals += 1,
        }
    }
}

#[derive(Debug, Default)]
struct Counts {
    all: Served,
    to: BTreeMap<CortexId, Served>,
}

#[derive(Debug, Default)]
pub(super) struct Counters(Mutex<Counts>);

impl Counters {
    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn count(&self, to: CortexId, reply: &FetchReply) {
        let mut counts = self.lock();
        counts.all.count(reply);
        if counts.to.len() < MAX_ASKERS || counts.to.contains_key(&to) {
            counts.to.entry(to).or_default().count(reply);
        }
    }

    pub(super) fn read(&self) -> Served {
        self.lock().all
    }

    pub(super) fn read_by_asker(&self) -> Vec<(CortexId, Served)> {
        self.lock().to.iter().map(|(cortex, served)| (*cortex, *served)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Refusal;

    #[test]
    fn askers_that_are_made_up_are_bounded_and_counted_in_all() {
        let counters = Counters::default();
        for n in 0..2 * MAX_ASKERS as u128 {
            counters.count(CortexId::from_bytes(n.to_be_bytes()), &FetchReply::Refused(Refusal::Busy));
        }
        assert_eq!(counters.read_by_asker().len(), MAX_ASKERS);
        assert_eq!(counters.read().refusals, 2 * MAX_ASKERS as u64);
    }
}
