//! What askers may cost: whose quota an answer is charged to, and how long the next one waits.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::ids::CortexId;
use crate::limits::{Allowance, Cost, PeerLimits, Rates};
use crate::mutant::{self, Mutant};

/// The longest that an answer waits for its quota. An asker that would wait longer is refused, and learns when to ask again.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// The number of guests with buckets of their own. Beyond it the bucket of all guests alone bounds further ones.
const MAX_GUESTS: usize = 4096;
/// All guests together may cost this many times what one may: so that one of them does not take everything from the others, and
/// made-up ids gain nothing.
const GUESTS: u64 = 2;

/// Whom an answer is charged to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Payer {
    /// A cortex that proved its id, and that is pinned here or named in the configuration.
    Known(CortexId),
    /// A cortex that proved its id. It may have been made up for that.
    Guest(CortexId),
    /// Callers that proved no identity, all of them together.
    Readers,
}

/// The quotas of askers, and what they used.
pub(super) struct Quotas {
    /// Whether there is any quota: without one nothing is looked up.
    bounded: AtomicBool,
    state: Mutex<State>,
    changes: watch::Sender<()>,
}

#[derive(Default)]
struct State {
    limits: PeerLimits,
    /// The cortexes that have a rule for what they may read.
    ruled: BTreeSet<CortexId>,
    known: HashMap<CortexId, Rates>,
    guests: HashMap<CortexId, Rates>,
    readers: Rates,
    all_guests: Rates,
}

impl Default for Quotas {
    fn default() -> Self {
        Self { bounded: AtomicBool::new(false), state: Mutex::default(), changes: watch::Sender::new(()) }
    }
}

impl State {
    /// The buckets that a payer pays from.
    fn rates(&mut self, payer: Payer, now: Instant) -> [Option<&mut Rates>; 2] {
        let limits = &self.limits;
        match payer {
            Payer::Known(cortex) => {
                let own = self.known.entry(cortex).or_insert_with(|| Rates::served(&limits.of(cortex), 1, now));
                [Some(own), None]
            }
            Payer::Guest(cortex) => {
                if self.guests.len() >= MAX_GUESTS && !self.guests.contains_key(&cortex) {
                    // Those that owe nothing lose at most what they have in advance, which all guests together pay for as well.
                    self.guests.retain(|_, rates| !rates.wait(now).is_zero());
                }
                let own = if self.guests.len() < MAX_GUESTS || self.guests.contains_key(&cortex) {
                    let new = || Rates::served(&limits.default, 1, now);
                    Some(self.guests.entry(cortex).or_insert_with(new))
                } else {
                    None
                };
                [own, Some(&mut self.all_guests)]
            }
            Payer::Readers => [Some(&mut self.readers), Some(&mut self.all_guests)],
        }
    }
}

impl Quotas {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces the quotas. What was used under those before is forgotten if they differ.
    pub(super) fn set(&self, limits: &PeerLimits) {
        let now = Instant::now();
        let mut state = self.state();
        if state.limits == *limits {
            return;
        }
        let readers = Rates::served(&limits.default, 1, now);
        let rules = limits.peers.iter().map(|rule| &rule.limits);
        let bounded = rules.chain([&limits.default]).any(|limits| !Rates::served(limits, 1, now).is_unbounded());
        *state = State {
            limits: limits.clone(),
            ruled: std::mem::take(&mut state.ruled),
            readers,
            all_guests: Rates::served(&limits.default, GUESTS, now),
            ..State::default()
        };
        self.bounded.store(bounded, Ordering::Relaxed);
        drop(state);
        self.changes.send_replace(());
    }

    /// These cortexes have a rule for what they may read.
    pub(super) fn set_ruled(&self, ruled: BTreeSet<CortexId>) {
        self.state().ruled = ruled;
    }

    /// Whether the operator wrote a rule for a cortex, so that its id was not made up by a caller.
    pub(super) fn has_rule(&self, cortex: CortexId) -> bool {
        let state = self.state();
        state.ruled.contains(&cortex) || state.limits.rule(cortex).is_some()
    }

    /// Charges what an answer cost.
    pub(super) fn charge(&self, payer: Payer, cost: Cost) {
        let charged = cost != Cost::default() && !mutant::is(Mutant::SentNotCharged);
        if !charged || !self.bounded.load(Ordering::Relaxed) {
            return;
        }
        let now = Instant::now();
        self.state().rates(payer, now).into_iter().flatten().for_each(|rates| rates.charge(cost, now));
    }

    /// How long the next answer has to wait.
    pub(super) fn owed(&self, payer: Payer) -> Duration {
        if !self.bounded.load(Ordering::Relaxed) {
            return Duration::ZERO;
        }
        let now = Instant::now();
        let mut state = self.state();
        state.rates(payer, now).into_iter().flatten().map(|rates| rates.wait(now)).max().unwrap_or_default()
    }

    /// The most that one answer should cost, so that the next one need not wait for long.
    pub(super) fn allowance(&self, payer: Payer) -> Allowance {
        if !self.bounded.load(Ordering::Relaxed) {
            return Allowance::UNBOUNDED;
        }
        let mut state = self.state();
        let rates = state.rates(payer, Instant::now());
        rates.into_iter().flatten().map(|rates| rates.allowance()).fold(Allowance::UNBOUNDED, Allowance::and)
    }

    /// Waits until the payer owes nothing. Returns whether it had to.
    ///
    /// # Errors
    /// The time after which to ask again, if that would be after `until`.
    pub(super) async fn wait(&self, payer: Payer, until: Instant) -> Result<bool, Duration> {
        let mut changes = self.changes.subscribe();
        let mut waited = false;
        loop {
            let owed = self.owed(payer);
            if owed.is_zero() {
                return Ok(waited);
            }
            if Instant::now() + owed > until {
                return Err(owed);
            }
            waited = true;
            tokio::select! {
                () = tokio::time::sleep(owed) => {}
                // With other quotas it may be the payer's turn.
                Ok(()) = changes.changed() => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{CortexLimits, Limits};

    fn cortex(n: u128) -> CortexId {
        CortexId::from_bytes(n.to_be_bytes())
    }

    fn of_events(events: u64) -> Limits {
        Limits { events_out_per_second: Some(events), ..Limits::default() }
    }

    fn quotas(default: u64, rules: &[(u128, Limits)]) -> Quotas {
        let quotas = Quotas::default();
        let rule = |&(n, limits): &(u128, Limits)| CortexLimits { cortex: cortex(n), name: None, limits };
        quotas.set(&PeerLimits { default: of_events(default), peers: rules.iter().map(rule).collect() });
        quotas
    }

    /// The events that these payers get in this time, if each takes `at_once` whenever it owes nothing.
    async fn taken(quotas: &Quotas, payers: &[Payer], at_once: u64, time: Duration) -> u64 {
        let until = Instant::now() + time;
        let mut taken = 0;
        while Instant::now() < until {
            for payer in payers {
                if quotas.owed(*payer).is_zero() {
                    quotas.charge(*payer, Cost::of_events(at_once, 0));
                    taken += at_once;
                }
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        taken
    }

    #[tokio::test(start_paused = true)]
    async fn each_known_cortex_has_its_quota_and_a_rule_replaces_the_default() {
        let quotas = quotas(100, &[(1, of_events(1_000)), (2, Limits::default())]);
        let minute = Duration::from_secs(60);
        for (n, least, most) in [(1, 60_000, 62_000), (3, 6_000, 6_200)] {
            let taken = taken(&quotas, &[Payer::Known(cortex(n))], 10, minute).await;
            assert!((least..=most).contains(&taken), "{n}: {taken}");
        }
        assert_eq!(quotas.allowance(Payer::Known(cortex(2))), Allowance::UNBOUNDED);
        quotas.charge(Payer::Known(cortex(2)), Cost::of_events(u64::MAX, 0));
        assert_eq!(quotas.owed(Payer::Known(cortex(2))), Duration::ZERO);
        assert!(quotas.has_rule(cortex(1)) && !quotas.has_rule(cortex(3)));
    }

    #[tokio::test(start_paused = true)]
    async fn ten_thousand_made_up_ids_get_no_more_than_two_guests_do() {
        let quotas = quotas(100, &[]);
        let made_up: Vec<_> = (0..10_000).map(|n| Payer::Guest(cortex(n))).collect();
        let minute = Duration::from_secs(60);
        let taken = taken(&quotas, &made_up, 10, minute).await;
        // Twice the quota of one, and one second of it in advance.
        assert!((12_000..=12_400).contains(&taken), "{taken}");
        assert!(quotas.state().guests.len() <= MAX_GUESTS);
        // One alone gets its own, and callers without an identity have one together.
        tokio::time::sleep(minute).await;
        let alone = super::tests::taken(&quotas, &[Payer::Guest(cortex(7))], 10, minute).await;
        assert!((6_000..=6_200).contains(&alone), "{alone}");
        tokio::time::sleep(minute).await;
        let readers = super::tests::taken(&quotas, &[Payer::Readers, Payer::Readers], 10, minute).await;
        assert!((6_000..=6_200).contains(&readers), "{readers}");
        // They cost a peer nothing.
        assert_eq!(quotas.owed(Payer::Known(cortex(1 << 100))), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_payer_waits_up_to_its_patience_and_learns_when_to_come_again() {
        let quotas = quotas(100, &[]);
        let payer = Payer::Known(cortex(1));
        let until = || Instant::now() + PATIENCE;
        assert_eq!(quotas.wait(payer, until()).await, Ok(false));
        quotas.charge(payer, Cost::of_events(600, 0));
        let began = Instant::now();
        assert_eq!(quotas.wait(payer, until()).await, Ok(true));
        assert!((4_990..5_010).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
        quotas.charge(payer, Cost::of_events(3_000, 0));
        let after = quotas.wait(payer, until()).await.unwrap_err();
        assert!((29_900..30_100).contains(&after.as_millis()), "{after:?}");
        tokio::time::sleep(after).await;
        assert_eq!(quotas.wait(payer, until()).await, Ok(false));
        // Other quotas end the wait.
        quotas.charge(payer, Cost::of_events(900, 0));
        let began = Instant::now();
        let changed = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            quotas.set(&PeerLimits::default());
        };
        let (waited, ()) = tokio::join!(quotas.wait(payer, until()), changed);
        assert_eq!((waited, began.elapsed().as_secs()), (Ok(true), 1));
    }
}
