//! Whose turn it is to be read for. One asker has two reads under way at most, and what is looked at for it without being
//! sent is paced: a question of a hundred bytes can be made so that it costs a walk through the whole log.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::budget::{Account, Budget, Share};
use crate::log::Work;

/// How many answers are read from the store at once. Reading blocks a thread; parked polls do not count.
const CONCURRENT_READS: u64 = 16;
/// The pace of one asker: entries a second that are looked at for it and not sent. A quarter of what one core does.
const ENTRIES: f64 = 500_000.0;
/// The same in bytes of their records.
const BYTES: f64 = 128.0 * 1024.0 * 1024.0;
/// So far an asker may be ahead of its pace.
const AHEAD: Duration = Duration::from_millis(500);
/// How many paces are kept apart. Those of askers that owe nothing go first.
const MAX_PACES: usize = 4096;

/// What is paced.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Paced {
    Asker(Account),
    /// All askers together that are not pinned here: each may have made its id up.
    Guests,
    /// All walks together for forks that are not known here with their asker.
    Claims,
}

impl Paced {
    /// How much faster than one asker.
    const fn speed(&self) -> f64 {
        match self {
            Self::Asker(_) => 1.0,
            Self::Guests => 2.0,
            Self::Claims => 0.5,
        }
    }
}

pub(super) struct Turns {
    reads: Budget,
    /// Until when each has work enough.
    paces: Mutex<HashMap<Paced, Instant>>,
}

impl Default for Turns {
    fn default() -> Self {
        Self { reads: Budget::of_reads(CONCURRENT_READS), paces: Mutex::default() }
    }
}

impl Turns {
    fn paces(&self) -> MutexGuard<'_, HashMap<Paced, Instant>> {
        self.paces.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until it is the asker's turn. The read may begin, and lasts until what this returns is dropped.
    pub(super) async fn read(&self, account: &Account) -> Share {
        loop {
            if let Ok(read) = self.reads.share(account, 1, 1, Duration::from_secs(3600)).await {
                return read;
            }
        }
    }

    /// Waits until the asker is back at its pace.
    pub(super) async fn pace(&self, account: &Account, claim: bool) {
        let due = {
            let paces = self.paces();
            let due = paced(account, claim).into_iter().filter_map(|paced| paces.get(&paced).copied()).max();
            due.and_then(|due| due.checked_sub(AHEAD))
        };
        if let Some(due) = due {
            tokio::time::sleep_until(due).await;
        }
    }

    /// Counts what was looked at for an asker and not sent.
    pub(super) fn count(&self, account: &Account, work: Work, claim: bool) {
        if work == Work::default() {
            return;
        }
        let now = Instant::now();
        let took = (work.entries as f64 / ENTRIES).max(work.bytes as f64 / BYTES);
        let mut paces = self.paces();
        if paces.len() >= MAX_PACES {
            paces.retain(|_, until| *until > now);
        }
        for paced in paced(account, claim) {
            // Made-up askers beyond the bound are paced together.
            if paces.len() >= MAX_PACES && !paces.contains_key(&paced) {
                continue;
            }
            let took = Duration::from_secs_f64(took / paced.speed());
            let until = paces.entry(paced).or_insert(now);
            *until = (*until).max(now) + took;
        }
    }
}

fn paced(account: &Account, claim: bool) -> Vec<Paced> {
    let mut paced = vec![Paced::Asker(account.clone())];
    if matches!(account, Account::Guest(_) | Account::Readers) {
        paced.push(Paced::Guests);
    }
    if claim {
        paced.push(Paced::Claims);
    }
    paced
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::CortexId;

    fn guest(n: u128) -> Account {
        Account::Guest(CortexId::from_bytes(n.to_be_bytes()))
    }

    #[tokio::test(start_paused = true)]
    async fn each_asker_has_its_pace_and_made_up_ones_have_one_together() {
        let turns = Turns::default();
        let walk = Work { entries: 1_000_000, bytes: 0 };
        let waited = async |account: &Account, claim| {
            let began = Instant::now();
            turns.pace(account, claim).await;
            began.elapsed()
        };
        let peer = Account::Pinned(CortexId::from_bytes([9; 16]));
        assert_eq!(waited(&peer, false).await, Duration::ZERO);
        turns.count(&peer, walk, false);
        let behind = waited(&peer, false).await.as_millis();
        assert!((1_490..1_510).contains(&behind), "two seconds of work, half of one ahead: {behind} ms");
        for n in 0..10 {
            turns.count(&guest(n), walk, true);
        }
        assert_eq!(waited(&peer, false).await, Duration::ZERO, "a peer does not wait for them");
        assert!(waited(&guest(99), false).await >= Duration::from_secs(9), "a new id buys nothing");
        assert!(waited(&peer, true).await >= Duration::from_secs(20), "claims are walked for one after another");
        for n in 0..2 * MAX_PACES as u128 {
            turns.count(&guest(n), walk, false);
        }
        assert!(turns.paces().len() <= MAX_PACES);
    }

    #[tokio::test]
    async fn one_asker_has_two_reads_and_all_guests_have_half() {
        let turns = Turns::default();
        let mut reads = Vec::new();
        for n in 0..4 {
            reads.push(turns.read(&guest(n)).await);
            reads.push(turns.read(&guest(n)).await);
        }
        let moment = Duration::from_millis(20);
        assert!(tokio::time::timeout(moment, turns.read(&guest(9))).await.is_err());
        let peer = Account::Pinned(CortexId::from_bytes([9; 16]));
        reads.extend([turns.read(&peer).await, turns.read(&peer).await]);
        assert!(tokio::time::timeout(moment, turns.read(&peer)).await.is_err());
        drop(reads);
        turns.read(&guest(9)).await;
    }
}
