//! Questions that are open, so that a refresh finds its own.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::Asker;
use crate::budget::{Account, Budget, Share};
use crate::clock::MAX_CLOCK_ENTRIES;
use crate::protocol::{FetchRequest, Heads, Known, Refresh, RequestId};

type Key = (Asker, RequestId);

/// Where an open question finds what its asker told meanwhile: at most one refresh, newer ones folded into it.
#[derive(Default)]
pub(super) struct Mailbox {
    waiting: Mutex<Option<Refresh>>,
    told: Notify,
    /// The memory of the question itself, with what its asker sent since.
    held: Mutex<Option<Share>>,
}

/// The most bytes that a question takes: one that names a full clock.
const FULL: u64 = MAX_CLOCK_ENTRIES as u64 * HEAD_BYTES;
/// The bytes that one chain head takes in a question that is open, in the maps that compare it.
const HEAD_BYTES: u64 = 200;
/// The bytes of a question that is open, besides the chain heads that it names.
const QUESTION_BYTES: u64 = 4096;

/// The bytes of memory that a question takes while it is open.
pub(super) fn memory_of(request: &FetchRequest) -> u64 {
    let known = if let Known::Full(known) = &request.known { known.len() } else { 0 };
    let heads = known + request.withhold.len() + request.direct.len() + request.exclude.len();
    QUESTION_BYTES + heads as u64 * HEAD_BYTES
}

impl Mailbox {
    pub(super) fn take(&self) -> Option<Refresh> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Charges the question for its memory.
    pub(super) fn charge(&self, share: Share) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *held {
            Some(held) => held.join(share),
            None => *held = Some(share),
        }
    }

    /// Charges it for more heads; false where there is no room for them.
    fn grow(&self, heads: usize, budget: &Budget, account: &Account) -> bool {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map_or(0, Share::bytes);
        let more = (heads as u64 * HEAD_BYTES).min(FULL.saturating_sub(held));
        match budget.try_share(account, more, more) {
            Some(share) => self.charge(share),
            None => return more == 0,
        }
        true
    }

    /// Completes when there is something to take, or was since the last time.
    pub(super) async fn told(&self) {
        self.told.notified().await;
    }

    /// It was taken, and has not been made use of: what came meanwhile is newer.
    pub(super) fn put_back(&self, refresh: Refresh) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        *waiting = Some(match waiting.take() {
            Some(newer) => Refresh { known: fold(&refresh.known, &newer.known), ..newer },
            None => refresh,
        });
    }

    fn put(&self, refresh: Refresh) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        *waiting = Some(match waiting.take() {
            Some(before) => Refresh { known: fold(&before.known, &refresh.known), ..refresh },
            None => refresh,
        });
        drop(waiting);
        self.told.notify_one();
    }
}

/// Both, the higher counter where an origin stands in both; the newer one alone where that is more than a clock may hold.
fn fold(before: &Heads, newer: &Heads) -> Heads {
    let mut heads: BTreeMap<_, _> = before.iter().collect();
    for (origin, head) in newer.iter() {
        if heads.get(&origin).is_none_or(|held| held.counter <= head.counter) {
            heads.insert(origin, head);
        }
    }
    if heads.len() > MAX_CLOCK_ENTRIES { newer.clone() } else { Heads::new(heads.into_iter().collect()) }
}

/// How many refreshes are kept for questions that have not come yet: the two may travel apart.
const MAX_EARLY: usize = 256;

#[derive(Default)]
pub(super) struct OpenQuestions {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    mailboxes: HashMap<Key, Arc<Mailbox>>,
    /// Refreshes that overtook their question, or came too late for it; the oldest give way.
    early: VecDeque<(Asker, Refresh)>,
}

impl OpenQuestions {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn register(&self, key: Key) -> Arc<Mailbox> {
        let mailbox = Arc::<Mailbox>::default();
        let mut inner = self.lock();
        let is_its = |(asker, early): &(Asker, Refresh)| (*asker, early.request) == key;
        for (_, refresh) in inner.early.iter().filter(|early| is_its(early)) {
            mailbox.put(refresh.clone());
        }
        inner.early.retain(|early| !is_its(early));
        inner.mailboxes.insert(key, Arc::clone(&mailbox));
        mailbox
    }

    /// Who has a question open.
    pub(super) fn askers(&self) -> BTreeSet<Asker> {
        self.lock().mailboxes.keys().map(|(asker, _)| *asker).collect()
    }

    pub(super) fn count(&self) -> usize {
        self.lock().mailboxes.len()
    }

    /// A question that took the same name since stays.
    pub(super) fn forget(&self, key: Key, mailbox: &Arc<Mailbox>) {
        let mut inner = self.lock();
        if inner.mailboxes.get(&key).is_some_and(|held| Arc::ptr_eq(held, mailbox)) {
            inner.mailboxes.remove(&key);
        }
    }

    /// One for which there is no memory is dropped: that costs a transfer, never an event.
    pub(super) fn deliver(&self, asker: Asker, refresh: Refresh, budget: &Budget, account: &Account) {
        let mut inner = self.lock();
        match inner.mailboxes.get(&(asker, refresh.request)).cloned() {
            Some(mailbox) => {
                if mailbox.grow(refresh.known.len() + refresh.direct.len(), budget, account) {
                    mailbox.put(refresh);
                }
            }
            // Claims must not push out what others sent early.
            None if !asker.is_proven => {}
            None => {
                if inner.early.len() >= MAX_EARLY {
                    inner.early.pop_front();
                }
                inner.early.push_back((asker, refresh));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;
    use crate::ids::{CortexId, Epoch, Origin};
    use crate::protocol::ChainHead;

    fn refresh(number: u64, origin: u8, counter: u64) -> Refresh {
        let origin = Origin::new(CortexId::from_bytes([origin; 16]), Epoch::new(1));
        Refresh {
            request: RequestId { process: 1, number },
            from: CortexId::from_bytes([1; 16]),
            known: Heads::new(vec![(origin, ChainHead { counter, digest: Digest::ZERO })]),
            direct: Vec::new(),
            room: crate::codec::Room::default(),
        }
    }

    fn asker() -> Asker {
        Asker { cortex: CortexId::from_bytes([1; 16]), is_proven: true }
    }

    fn deliver(open: &OpenQuestions, refresh: Refresh) {
        open.deliver(asker(), refresh, &Budget::default(), &Account::Readers);
    }

    #[test]
    fn a_refresh_reaches_its_own_question_only_and_newer_ones_are_folded() {
        let open = OpenQuestions::default();
        let key = |number| (asker(), RequestId { process: 1, number });
        let (one, two) = (open.register(key(1)), open.register(key(2)));
        for refresh in [refresh(1, 7, 3), refresh(1, 8, 1), refresh(1, 7, 2), refresh(9, 7, 3)] {
            deliver(&open, refresh);
        }
        let counters: Vec<_> = one.take().unwrap().known.iter().map(|(_, head)| head.counter).collect();
        assert_eq!(counters, [3, 1]);
        assert!(one.take().is_none() && two.take().is_none());
        let again = open.register(key(1));
        open.forget(key(1), &one);
        deliver(&open, refresh(1, 7, 4));
        assert!(again.take().is_some() && one.take().is_none());
        open.forget(key(1), &again);
        assert_eq!(open.count(), 1);
        // The one for question 9 came before it.
        assert!(open.register(key(9)).take().is_some() && open.register(key(9)).take().is_none());
    }

    #[test]
    fn refreshes_for_questions_that_never_come_are_bounded() {
        let open = OpenQuestions::default();
        for number in 0..10_000 {
            deliver(&open, refresh(number, 7, 1));
        }
        assert_eq!(open.lock().early.len(), MAX_EARLY);
    }
}
