//! Quotas of what is stored: a cortex beyond one is excluded from what is pulled, alone, for as long as that lasts. In virtual time.

use std::sync::Arc;
use std::time::Duration;

use antiphon_kernel::config::Config;
use antiphon_kernel::cortex::Cortex;
use antiphon_kernel::event::Draft;
use antiphon_kernel::ids::CortexId;
use antiphon_kernel::limits::{CortexLimits, Limits, PeerLimits};
use antiphon_kernel::log::{CausalContext, ExclusionCause, forks};
use antiphon_kernel::state::PeerState;
use antiphon_kernel::testing::{LOG, MemoryNetwork, MemoryStore, seeded_cortex, seeded_keys, simulate};

use crate::exclusions::{BYZANTINE, bring, byzantine, first_of};
use crate::support::{peer, until};

const ALPHA: u8 = 41;
const BRAVO: u8 = 42;
const CHARLIE: u8 = 43;

/// A cortex over a store, with the keys of this number.
async fn over(store: &Arc<MemoryStore>, network: &MemoryNetwork, (number, name): (u8, &str), config: Config) -> Cortex {
    let builder = Cortex::builder(Arc::clone(store)).name(name).keys(seeded_keys(number)).log(LOG).config(config);
    let cortex = builder.transport(network.clone()).start().await.unwrap();
    network.serve(name, cortex.service().clone());
    cortex
}

async fn start(network: &MemoryNetwork, who: (u8, &str), config: Config) -> Cortex {
    over(&Arc::new(MemoryStore::new()), network, who, config).await
}

fn pulls(name: &str, limits: PeerLimits) -> Config {
    Config { peers: vec![peer(name)], limits, ..Config::default() }
}

fn rule(cortex: CortexId, limits: Limits) -> CortexLimits {
    CortexLimits { cortex, name: None, limits }
}

fn stored(bytes: u64) -> Limits {
    Limits { stored_bytes: Some(bytes), ..Limits::default() }
}

fn origins(a_day: u64) -> Limits {
    Limits { new_origins_per_day: Some(a_day), ..Limits::default() }
}

fn status(cortex: &Cortex) -> PeerState {
    cortex.syncer().peers().remove(0)
}

fn excluded(cortex: &Cortex) -> Vec<(CortexId, ExclusionCause)> {
    status(cortex).excluded.into_iter().map(|one| (one.cortex, one.cause)).collect()
}

/// The bytes of events of one cortex in a log, and the number of its origins.
fn held(cortex: &Cortex, of: CortexId) -> (u64, usize) {
    let notes: Vec<_> = cortex.reader().origins().into_iter().filter(|(origin, _)| origin.cortex() == of).collect();
    (notes.iter().map(|(_, note)| note.bytes).sum(), notes.len())
}

fn events_of(cortex: &Cortex, of: CortexId) -> u64 {
    cortex.reader().heads().iter().filter(|(origin, _)| origin.cortex() == of).map(|(_, head)| head.counter).sum()
}

async fn append(cortex: &Cortex, calls: usize, events: usize) {
    for _ in 0..calls {
        let drafts = (0..events).map(|n| Draft::new("t", format!("{n:0100}"))).collect();
        cortex.log().append(drafts, CausalContext::Exactly(Default::default())).await.unwrap();
    }
}

#[test]
fn stored_bytes_end_with_the_quota_of_the_cortex_that_wrote_them_and_others_flow() {
    simulate(1, async || {
        let network = MemoryNetwork::new();
        let charlie = start(&network, (CHARLIE, "charlie"), Config::default()).await;
        append(&charlie, 500, 3).await;
        let bravo = start(&network, (BRAVO, "bravo"), pulls("charlie", PeerLimits::default())).await;
        until("bravo has all", || events_of(&bravo, seeded_cortex(CHARLIE)) == 1_500).await;
        append(&bravo, 10, 1).await;
        let all = held(&bravo, seeded_cortex(CHARLIE)).0;
        let group = all / 500;
        let (quota, store) = (all / 3, Arc::new(MemoryStore::new()));
        let limits = PeerLimits { default: stored(quota), peers: Vec::new() };
        let alpha = over(&store, &network, (ALPHA, "alpha"), pulls("bravo", limits.clone())).await;
        let beyond = [(seeded_cortex(CHARLIE), ExclusionCause::StoredQuota)];
        until("it is excluded", || excluded(&alpha) == beyond).await;
        until("the events of others come", || events_of(&alpha, seeded_cortex(BRAVO)) == 10).await;
        let (bytes, _) = held(&alpha, seeded_cortex(CHARLIE));
        assert!(bytes <= quota && bytes + 2 * group > quota, "{bytes} of {quota} bytes: it is filled, and not passed");
        assert_eq!(status(&alpha).health.last_error, None);
        append(&bravo, 1, 1).await;
        until("a later event comes", || events_of(&alpha, seeded_cortex(BRAVO)) == 11).await;
        // Neither a restart nor a day changes that.
        alpha.stop().await;
        let alpha = over(&store, &network, (ALPHA, "alpha"), pulls("bravo", limits)).await;
        append(&bravo, 1, 1).await;
        until("a later event comes", || events_of(&alpha, seeded_cortex(BRAVO)) == 12).await;
        tokio::time::sleep(Duration::from_secs(25 * 3600)).await;
        assert_eq!((held(&alpha, seeded_cortex(CHARLIE)).0, excluded(&alpha)), (bytes, beyond.to_vec()));
        // A quota that has room does.
        let rules = vec![rule(seeded_cortex(CHARLIE), stored(all))];
        alpha.reload(pulls("bravo", PeerLimits { default: stored(quota), peers: rules }), &[], false).await.unwrap();
        until("the rest comes", || events_of(&alpha, seeded_cortex(CHARLIE)) == 1_500).await;
        until("nothing is excluded", || excluded(&alpha).is_empty()).await;
        assert_eq!(alpha.reader().heads().fold(), bravo.reader().heads().fold());
        for cortex in [alpha, bravo, charlie] {
            cortex.stop().await;
        }
    });
}

/// What a node wrote itself and lost comes back, whatever its quota.
#[test]
fn a_quota_does_not_keep_a_cortex_from_what_it_wrote_itself() {
    simulate(2, async || {
        let network = MemoryNetwork::new();
        let limits = PeerLimits { default: stored(1), peers: Vec::new() };
        let first = start(&network, (ALPHA, "alpha"), Config::default()).await;
        append(&first, 20, 1).await;
        let bravo = start(&network, (BRAVO, "bravo"), pulls("alpha", PeerLimits::default())).await;
        until("bravo has them", || events_of(&bravo, seeded_cortex(ALPHA)) == 20).await;
        first.stop().await;
        let again = start(&network, (ALPHA, "alpha"), pulls("bravo", limits)).await;
        until("they are back", || events_of(&again, seeded_cortex(ALPHA)) == 20).await;
        again.stop().await;
        bravo.stop().await;
    });
}

#[test]
fn new_origins_of_a_cortex_wait_for_the_next_day() {
    simulate(3, async || {
        let network = MemoryNetwork::new();
        let bravo = start(&network, (BRAVO, "bravo"), Config::default()).await;
        bring(&bravo, (0..5).map(|n| first_of(BYZANTINE, n, "one")).collect()).await;
        append(&bravo, 1, 1).await;
        let limits = PeerLimits { default: origins(2), peers: vec![rule(seeded_cortex(BRAVO), Limits::default())] };
        let alpha = start(&network, (ALPHA, "alpha"), pulls("bravo", limits)).await;
        let beyond = [(byzantine(), ExclusionCause::OriginQuota)];
        for day in 1..3 {
            until("it is excluded", || excluded(&alpha) == beyond).await;
            until("the event of bravo comes", || events_of(&alpha, seeded_cortex(BRAVO)) == 1).await;
            assert_eq!(held(&alpha, byzantine()).1, 2 * day, "day {day}");
            tokio::time::sleep(Duration::from_secs(23 * 3600)).await;
            assert_eq!(held(&alpha, byzantine()).1, 2 * day, "the day is not over");
            tokio::time::sleep(Duration::from_secs(3600 + 60)).await;
        }
        until("the last one comes", || held(&alpha, byzantine()).1 == 5).await;
        until("nothing is excluded", || excluded(&alpha).is_empty()).await;
        assert_eq!(alpha.reader().heads().fold(), bravo.reader().heads().fold());
        alpha.stop().await;
        bravo.stop().await;
    });
}

#[test]
fn a_peer_brings_no_more_new_origins_a_day_than_its_quota_whoever_they_are_of() {
    simulate(4, async || {
        let network = MemoryNetwork::new();
        let bravo = start(&network, (BRAVO, "bravo"), Config::default()).await;
        append(&bravo, 1, 1).await;
        bring(&bravo, (100..120).map(|number| first_of(number, 1, "one")).collect()).await;
        let rules = vec![rule(seeded_cortex(BRAVO), origins(8))];
        let limits = PeerLimits { default: Limits::default(), peers: rules };
        let alpha = start(&network, (ALPHA, "alpha"), pulls("bravo", limits)).await;
        until("the rest is excluded", || excluded(&alpha).len() == 13).await;
        assert_eq!(alpha.reader().origins().len(), 8, "its own, and seven of others");
        append(&bravo, 1, 1).await;
        until("its own events come", || events_of(&alpha, seeded_cortex(BRAVO)) == 2).await;
        // From a peer without that quota the others come at once.
        let delta = start(&network, (CHARLIE, "delta"), pulls("bravo", PeerLimits::default())).await;
        until("delta has all", || delta.reader().origins().len() == 21).await;
        alpha.stop().await;
        delta.stop().await;
        bravo.stop().await;
    });
}

#[test]
fn evidence_beyond_a_quota_is_not_kept_and_its_fork_is_known() {
    for (holder, kept) in [(byzantine(), false), (seeded_cortex(BRAVO), false), (seeded_cortex(CHARLIE), true)] {
        simulate(5, async || {
            let network = MemoryNetwork::new();
            let bravo = start(&network, (BRAVO, "bravo"), Config::default()).await;
            let limits = Limits { evidence_bytes: Some(1), ..Limits::default() };
            let limits = PeerLimits { default: Limits::default(), peers: vec![rule(holder, limits)] };
            let alpha = start(&network, (ALPHA, "alpha"), pulls("bravo", limits)).await;
            bring(&alpha, vec![first_of(BYZANTINE, 1, "one")]).await;
            bring(&bravo, vec![first_of(BYZANTINE, 1, "other")]).await;
            append(&bravo, 1, 1).await;
            until("the fork is known", || forks(&**alpha.reader().store()).unwrap().len() == 1).await;
            until("the events of others come", || events_of(&alpha, seeded_cortex(BRAVO)) == 1).await;
            let known = forks(&**alpha.reader().store()).unwrap();
            let cost = alpha.reader().fork_costs(&known).unwrap().remove(0);
            assert_eq!(cost.there, u64::from(kept), "quota of {holder}");
            alpha.stop().await;
            bravo.stop().await;
        });
    }
}
