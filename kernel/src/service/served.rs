//! How much was sent, in all and to whom.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Asker;
use crate::cursor::Cursor;
use crate::ids::CortexId;
use crate::protocol::{EventBatch, FetchReply, Refusal};
use crate::time::Timestamp;

/// At most this number of askers that proved who they are is kept apart.
const MAX_ASKERS: usize = 1024;
/// At most this number of others: their ids are claims.
const MAX_CLAIMED: usize = 256;

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
    /// Answers that waited for the quota of their asker.
    pub slowed: u64,
    /// Refusals because the quota of their asker was used up. They are among `refusals`.
    pub over_quota: u64,
}

impl Served {
    fn count(&mut self, reply: &FetchReply) {
        match reply {
            FetchReply::Batch(EventBatch { events, .. }) => {
                self.batches += 1;
                self.events += events.len() as u64;
                self.bytes += events.iter().map(|e| e.1.len() as u64).sum::<u64>();
            }
            FetchReply::Refused { refusal, .. } => {
                self.refusals += 1;
                self.over_quota += u64::from(matches!(refusal, Refusal::OverQuota { .. }));
            }
        }
    }
}

/// A cortex that pulls this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Puller {
    /// Its id.
    pub cortex: CortexId,
    /// Whether it proved that the id is its own. Otherwise it is what its questions say.
    pub is_proven: bool,
    /// When it last asked.
    pub asked: Timestamp,
    /// Where it had read up to then; `None` if it asks by its clock.
    pub after: Option<Cursor>,
    /// The address that it asked from last, as the transport reports it. `None` if no transport reported one.
    pub address: Option<Arc<str>>,
    /// Whether a question of it is open.
    pub is_open: bool,
    /// What was sent to it.
    pub sent: Served,
    /// When its quota last made it wait, or refused it; `None` if it never did.
    pub slowed: Option<Timestamp>,
}

#[derive(Debug, Default)]
struct Counts {
    all: Served,
    to: BTreeMap<Asker, Puller>,
}

#[derive(Debug, Default)]
pub(super) struct Counters(Mutex<Counts>);

impl Counters {
    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a question.
    pub(super) fn asked(&self, from: Asker, after: Option<Cursor>, address: Option<&Arc<str>>, now: Timestamp) {
        let mut counts = self.lock();
        if !counts.to.contains_key(&from) {
            let kind = counts.to.keys().filter(|asker| asker.is_proven == from.is_proven).count();
            if kind >= (if from.is_proven { MAX_ASKERS } else { MAX_CLAIMED }) {
                return;
            }
        }
        let sent = Served::default();
        let Asker { cortex, is_proven } = from;
        let new = Puller { cortex, is_proven, asked: now, after, address: None, is_open: false, sent, slowed: None };
        let puller = counts.to.entry(from).or_insert(new);
        (puller.asked, puller.after) = (now, after);
        if let Some(address) = address {
            puller.address = Some(Arc::clone(address));
        }
    }

    pub(super) fn count(&self, to: Asker, reply: &FetchReply) {
        let over_quota = matches!(reply, FetchReply::Refused { refusal: Refusal::OverQuota { .. }, .. });
        let mut counts = self.lock();
        counts.all.count(reply);
        if let Some(puller) = counts.to.get_mut(&to) {
            puller.sent.count(reply);
            if over_quota {
                puller.slowed = Some(Timestamp::now());
            }
        }
    }

    /// Notes that an answer waited for the quota of its asker.
    pub(super) fn slowed(&self, to: Asker, now: Timestamp) {
        let mut counts = self.lock();
        counts.all.slowed += 1;
        if let Some(puller) = counts.to.get_mut(&to) {
            puller.sent.slowed += 1;
            puller.slowed = Some(now);
        }
    }

    /// Notes that a page waited for the quota of its reader.
    pub(super) fn slowed_reader(&self) {
        self.lock().all.slowed += 1;
    }

    pub(super) fn read(&self) -> Served {
        self.lock().all
    }

    pub(super) fn pullers(&self, is_open: impl Fn(Asker) -> bool) -> Vec<Puller> {
        self.lock().to.iter().map(|(asker, puller)| Puller { is_open: is_open(*asker), ..puller.clone() }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cursor::Seq;
    use crate::ids::{Epoch, EventId};

    fn asker(n: u8) -> Asker {
        Asker { cortex: CortexId::from_bytes([n; 16]), is_proven: true }
    }

    #[test]
    fn askers_that_are_made_up_are_bounded_and_counted_in_all() {
        let counters = Counters::default();
        for n in 0..2 * MAX_ASKERS as u128 {
            let asker = Asker { cortex: CortexId::from_bytes(n.to_be_bytes()), is_proven: false };
            counters.asked(asker, None, None, Timestamp::from_micros(1));
            counters.count(asker, &FetchReply::refused(Refusal::Busy));
        }
        assert_eq!(counters.pullers(|_| false).len(), MAX_CLAIMED);
        counters.asked(asker(1), None, None, Timestamp::from_micros(1));
        assert_eq!(counters.pullers(|_| false).len(), MAX_CLAIMED + 1, "they take no room from who proves itself");
        assert_eq!(counters.read().refusals, 2 * MAX_ASKERS as u64);
    }

    #[test]
    fn a_puller_is_where_its_last_question_says() {
        let (counters, asker) = (Counters::default(), asker(1));
        let cursor = Cursor { epoch: Epoch::new(1), seq: Seq::new(5), last_event: EventId::from_bytes([2; 16]) };
        let (old, new) = (Arc::from("192.0.2.1:1"), Arc::from("192.0.2.1:2"));
        counters.asked(asker, None, Some(&old), Timestamp::from_micros(0));
        counters.asked(asker, None, Some(&new), Timestamp::from_micros(1));
        counters.asked(asker, Some(cursor), None, Timestamp::from_micros(2));
        counters.count(asker, &FetchReply::refused(Refusal::Busy));
        let sent = Served { refusals: 1, ..Served::default() };
        let (asked, address) = (Timestamp::from_micros(2), Some(new));
        let puller = Puller {
            cortex: asker.cortex,
            is_proven: true,
            asked,
            after: Some(cursor),
            address,
            is_open: true,
            sent,
            slowed: None,
        };
        assert_eq!(counters.pullers(|open| open == asker), [puller]);
    }
}
