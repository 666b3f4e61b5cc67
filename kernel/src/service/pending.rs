//! Cortexes that want to connect and are not allowed to.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::ids::CortexId;
use crate::time::Timestamp;

/// The most that are kept. The one that asked least recently gives way.
const MAX_PENDING: usize = 256;
/// A refusal is logged once in this time for each of them.
const LOG_APART: Duration = Duration::from_secs(60);
/// The most characters of a name that are kept.
const MAX_NAME: usize = 64;

/// A cortex that proved who it is, and may not read anything here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// Its id.
    pub cortex: CortexId,
    /// The fingerprint of its root key, for people who compare keys.
    pub fingerprint: String,
    /// The name that it gives itself.
    pub name: String,
    /// When it first asked, since this service was made.
    pub since: Timestamp,
    /// When it last asked.
    pub asked: Timestamp,
    /// How many times it was refused.
    pub refused: u64,
}

#[derive(Debug, Default)]
pub(super) struct PendingList(Mutex<BTreeMap<CortexId, (Pending, Instant)>>);

impl PendingList {
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<CortexId, (Pending, Instant)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a refusal; true if it is one to log.
    pub(super) fn refused(&self, cortex: CortexId, fingerprint: String, name: &str, now: Timestamp) -> bool {
        let mut list = self.lock();
        if list.len() >= MAX_PENDING && !list.contains_key(&cortex) {
            let oldest = list.iter().min_by_key(|(_, (pending, _))| pending.asked).map(|(cortex, _)| *cortex);
            oldest.map(|oldest| list.remove(&oldest));
        }
        let name: String = name.chars().filter(|c| !c.is_control()).take(MAX_NAME).collect();
        let mut logs = false;
        let (pending, logged) = list.entry(cortex).or_insert_with(|| {
            logs = true;
            let name = name.clone();
            (Pending { cortex, fingerprint, name, since: now, asked: now, refused: 0 }, Instant::now())
        });
        (pending.asked, pending.name) = (now, name);
        pending.refused += 1;
        if logged.elapsed() >= LOG_APART {
            (*logged, logs) = (Instant::now(), true);
        }
        logs
    }

    /// It is allowed by now.
    pub(super) fn allowed(&self, cortex: CortexId) {
        self.lock().remove(&cortex);
    }

    pub(super) fn list(&self) -> Arc<[Pending]> {
        self.lock().values().map(|(pending, _)| pending.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn strangers_are_bounded_and_logged_once_a_minute() {
        let list = PendingList::default();
        let id = |n: u128| CortexId::from_bytes(n.to_be_bytes());
        let at = |n: u128| Timestamp::from_micros(n as i64);
        let refused = |n: u128, time| list.refused(id(n), "ab".to_owned(), "na\u{1b}me", at(time));
        for n in 0..2 * MAX_PENDING as u128 {
            assert!(refused(n, n), "the first time");
        }
        assert_eq!(list.list().len(), MAX_PENDING);
        let last = 2 * MAX_PENDING as u128 - 1;
        assert!(!refused(last, last), "within the minute");
        tokio::time::advance(LOG_APART).await;
        assert!(refused(last, last + 1));
        let kept = list.list();
        let one = kept.iter().find(|pending| pending.cortex == id(last)).unwrap();
        assert_eq!((one.refused, one.name.as_str(), one.since, one.asked), (3, "name", at(last), at(last + 1)));
        list.allowed(id(last));
        assert_eq!(list.list().len(), MAX_PENDING - 1);
    }
}
