//! Quotas of rates: a cortex beyond one is slowed to its rate, and refused where it would wait for long. In virtual time.

use std::time::Duration;

use antiphon_kernel::access::{Access, AccessRule};
use antiphon_kernel::config::{Config, PeerConfig};
use antiphon_kernel::cortex::Cortex;
use antiphon_kernel::event::Draft;
use antiphon_kernel::health::ErrorCategory;
use antiphon_kernel::ids::CortexId;
use antiphon_kernel::limits::{CortexLimits, Limits, PeerLimits};
use antiphon_kernel::log::CausalContext;
use antiphon_kernel::protocol::{FetchReply, FetchRequest, Known, Refusal, Scope};
use antiphon_kernel::service::{Credential, NoPage};
use antiphon_kernel::state::PeerState;
use antiphon_kernel::testing::{LOG, MemoryNetwork, MemoryStore, question, seeded_cortex, seeded_keys, simulate};
use tokio::time::Instant;

use crate::support::{peer, until};

const ALPHA: u8 = 31;
const BRAVO: u8 = 32;
const EDGE: u8 = 33;

/// A cortex with the keys of this number, which answers in the network under its name.
async fn cortex(network: &MemoryNetwork, number: u8, name: &str, config: Config) -> Cortex {
    let builder = Cortex::builder(MemoryStore::new()).name(name).keys(seeded_keys(number)).log(LOG).config(config);
    let cortex = builder.transport(network.clone()).start().await.unwrap();
    network.serve(name, cortex.service().clone());
    cortex
}

fn limited(default: Limits) -> Config {
    Config { limits: PeerLimits { default, peers: Vec::new() }, ..Config::default() }
}

fn pulls(name: &str, limits: Limits) -> Config {
    Config { peers: vec![PeerConfig::new(peer(name).name, format!("memory://{name}"))], ..limited(limits) }
}

async fn append(cortex: &Cortex, count: usize, bytes: usize) {
    for n in 0..count {
        cortex.append(Draft::new("t", format!("{n:0bytes$}"))).await.unwrap();
    }
}

fn head(cortex: &Cortex) -> u64 {
    cortex.reader().head().seq.get()
}

fn state(cortex: &Cortex) -> PeerState {
    cortex.syncer().peers().remove(0)
}

/// How long it takes until a cortex holds this number of events.
async fn took(cortex: &Cortex, events: u64) -> f64 {
    let began = Instant::now();
    until("the events are there", || head(cortex) >= events).await;
    began.elapsed().as_secs_f64()
}

/// What one event is in bytes, as it is served.
fn record_bytes(cortex: &Cortex) -> u64 {
    let entries = cortex.reader().durable_entries(antiphon_kernel::cursor::Seq::ZERO, 1, 1 << 20).unwrap();
    entries[0].record.len() as u64
}

#[test]
fn what_is_served_keeps_the_rate_of_each_quota() {
    let rates: [fn(u64) -> Limits; 3] = [
        |_| Limits { events_out_per_second: Some(100), ..Limits::default() },
        |bytes| Limits { bytes_out_per_second: Some(100 * bytes), ..Limits::default() },
        |_| Limits { work_per_second: Some(100), ..Limits::default() },
    ];
    for (which, rate) in rates.into_iter().enumerate() {
        simulate(which as u64, async || {
            let network = MemoryNetwork::new();
            let alpha = cortex(&network, ALPHA, "alpha", Config::default()).await;
            append(&alpha, 2_000, 10).await;
            let limits = rate(record_bytes(&alpha));
            alpha.reload(limited(limits), &[], false).await.unwrap();
            let bravo = cortex(&network, BRAVO, "bravo", pulls("alpha", Limits::default())).await;
            let took = took(&bravo, 2_000).await;
            // One second of the rate comes in advance, and the last answer is sent before it is paid for.
            assert!((17.5..=20.5).contains(&took), "quota {which}: {took} s");
            let puller = alpha.service().pullers().remove(0);
            assert!(puller.slowed.is_some() && puller.sent.slowed > 10 && puller.sent.over_quota == 0, "{puller:?}");
            assert_eq!(state(&bravo).health.last_error, None, "it was slowed, and not refused");
            // It is no longer slow once it caught up.
            append(&alpha, 1, 10).await;
            assert!(self::took(&bravo, 2_001).await < 1.5);
            bravo.stop().await;
            alpha.stop().await;
        });
    }
}

#[test]
fn beyond_its_patience_an_asker_is_refused_and_comes_again_in_time() {
    simulate(7, async || {
        let network = MemoryNetwork::new();
        let limits = Limits { events_out_per_second: Some(100), ..Limits::default() };
        let alpha = cortex(&network, ALPHA, "alpha", limited(limits)).await;
        // One group is not divided: it is sent at once, and paid for in 39 seconds.
        let drafts = (0..4_000).map(|n| Draft::new("t", format!("{n}"))).collect();
        alpha.log().append(drafts, CausalContext::Replayed).await.unwrap();
        let bravo = cortex(&network, BRAVO, "bravo", pulls("alpha", Limits::default())).await;
        assert!(took(&bravo, 4_000).await < 1.0);
        let began = Instant::now();
        append(&alpha, 1, 10).await;
        until("it is refused", || state(&bravo).health.last_error == Some(ErrorCategory::OverQuota)).await;
        assert!(began.elapsed() < Duration::from_secs(1), "at once, because it would wait for long");
        let detail = state(&bravo).detail.unwrap();
        assert!(detail.contains("quota"), "{detail}");
        let took = took(&bravo, 4_001).await;
        assert!((38.0..=40.5).contains(&took), "{took} s");
        assert_eq!(state(&bravo).health.last_error, None);
        assert_eq!(alpha.service().served().over_quota, 1, "it asked again when it was allowed to, and not before");
        bravo.stop().await;
        alpha.stop().await;
    });
}

#[test]
fn what_is_pulled_keeps_the_rate_of_its_quota_and_shows_it() {
    let rates: [fn(u64) -> Limits; 2] = [
        |_| Limits { events_in_per_second: Some(100), ..Limits::default() },
        |bytes| Limits { bytes_in_per_second: Some(100 * bytes), ..Limits::default() },
    ];
    for (which, rate) in rates.into_iter().enumerate() {
        for polling in [false, true] {
            simulate(which as u64, async || {
                let network = MemoryNetwork::new();
                let alpha = cortex(&network, ALPHA, "alpha", Config::default()).await;
                append(&alpha, 2_000, 10).await;
                let limits = rate(record_bytes(&alpha));
                // A rule for the peer replaces the default.
                let rule = CortexLimits { cortex: seeded_cortex(ALPHA), name: None, limits };
                let none = Limits { events_in_per_second: Some(1), ..Limits::default() };
                let limits = PeerLimits { default: none, peers: vec![rule] };
                let config = Config { limits, ..pulls("alpha", Limits::default()) };
                let network = if polling { network.polling() } else { network };
                let bravo = cortex(&network, BRAVO, "bravo", config).await;
                until("it shows", || state(&bravo).slowed).await;
                let took = took(&bravo, 2_000).await;
                assert!((17.0..=21.0).contains(&took), "quota {which}, polling {polling}: {took} s");
                assert_eq!(state(&bravo).health.last_error, None);
                until("it is not slowed any more", || !state(&bravo).slowed).await;
                append(&alpha, 1, 10).await;
                assert!(self::took(&bravo, 2_001).await < 31.0);
                bravo.stop().await;
                alpha.stop().await;
            });
        }
    }
}

/// A group that is larger than the quota comes whole. The wait after it is too long for an open run, so that ends.
#[test]
fn a_group_beyond_the_quota_of_a_peer_comes_and_is_paid_for() {
    simulate(3, async || {
        let network = MemoryNetwork::new();
        let alpha = cortex(&network, ALPHA, "alpha", Config::default()).await;
        let drafts = (0..4_000).map(|n| Draft::new("t", format!("{n}"))).collect();
        alpha.log().append(drafts, CausalContext::Replayed).await.unwrap();
        let limits = Limits { events_in_per_second: Some(100), ..Limits::default() };
        let bravo = cortex(&network, BRAVO, "bravo", pulls("alpha", limits)).await;
        assert!(took(&bravo, 4_000).await < 1.0);
        append(&alpha, 1, 10).await;
        until("its run ends", || alpha.service().open_questions() == 0).await;
        let took = took(&bravo, 4_001).await;
        assert!((37.0..=41.0).contains(&took), "{took} s");
        assert_eq!(state(&bravo).health.last_error, None);
        bravo.stop().await;
        alpha.stop().await;
    });
}

#[test]
fn a_reload_changes_the_quotas_of_open_connections() {
    for inbound in [false, true] {
        simulate(11, async || {
            let of = |rate| match inbound {
                false => Limits { events_out_per_second: Some(rate), ..Limits::default() },
                true => Limits { events_in_per_second: Some(rate), ..Limits::default() },
            };
            let network = MemoryNetwork::new();
            let alpha = cortex(&network, ALPHA, "alpha", limited(of(10))).await;
            append(&alpha, 3_000, 10).await;
            let bravo = cortex(&network, BRAVO, "bravo", pulls("alpha", of(10))).await;
            tokio::time::sleep(Duration::from_secs(20)).await;
            assert!((150..=250).contains(&head(&bravo)), "{}", head(&bravo));
            let began = Instant::now();
            let limited_cortex = if inbound { &bravo } else { &alpha };
            let config = if inbound { pulls("alpha", of(1_000)) } else { limited(of(1_000)) };
            limited_cortex.reload(config, &[], false).await.unwrap();
            until("the rest comes", || head(&bravo) >= 2_000).await;
            assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
            let config = if inbound { pulls("alpha", of(10)) } else { limited(of(10)) };
            limited_cortex.reload(config, &[], false).await.unwrap();
            let before = head(&bravo);
            tokio::time::sleep(Duration::from_secs(20)).await;
            assert!(head(&bravo) - before <= 1_000, "slow again: {} more", head(&bravo) - before);
            bravo.stop().await;
            alpha.stop().await;
        });
    }
}

/// The events that these callers get within a time, if each asks for everything again whenever it was answered.
async fn greedy(alpha: &Cortex, callers: usize, time: Duration, id: impl Fn(usize, usize) -> CortexId + Copy) -> u64 {
    let to = alpha.reader().local().cortex_id;
    let until = Instant::now() + time;
    let one = async |caller: usize| {
        let (mut events, mut number) = (0, 0);
        while Instant::now() < until {
            number += 1;
            let from = id(caller, number);
            let caller = alpha.service().trusting(from);
            let asked = caller.fetch(question(from, to));
            match tokio::time::timeout_at(until, asked).await {
                Ok(FetchReply::Batch(batch)) => events += batch.events.len() as u64,
                Ok(FetchReply::Refused { refusal: Refusal::OverQuota { after }, .. }) => {
                    assert!(!after.is_zero());
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                Ok(other) => panic!("{other:?}"),
                Err(_) => {}
            }
        }
        events
    };
    futures_util::future::join_all((0..callers).map(one)).await.into_iter().sum()
}

#[test]
fn ids_that_are_made_up_do_not_multiply_the_quota_of_guests() {
    simulate(5, async || {
        let limits = Limits { events_out_per_second: Some(100), ..Limits::default() };
        let config = Config {
            access: Access {
                rules: vec![AccessRule::new(seeded_cortex(EDGE))],
                others: Some(antiphon_kernel::access::Others::All),
            },
            ..limited(limits)
        };
        let network = MemoryNetwork::new();
        let alpha = cortex(&network, ALPHA, "alpha", config).await;
        append(&alpha, 500, 10).await;
        let minute = Duration::from_secs(60);
        let made_up = |caller: usize, number: usize| CortexId::from_parts(caller as u64 + 1, number as u128);
        // Twice the quota of one, one second in advance, and an answer to each of the reads under way at the end.
        let many = greedy(&alpha, 200, minute, made_up).await;
        assert!((11_500..=13_400).contains(&many), "{many}");
        // A cortex of which the operator wrote down the id has its own, and is not slowed by them.
        let (others, edge) =
            tokio::join!(greedy(&alpha, 200, minute, made_up), greedy(&alpha, 1, minute, |_, _| seeded_cortex(EDGE)),);
        assert!((5_900..=6_300).contains(&edge) && others <= 13_400, "{edge} and {others}");
        alpha.stop().await;
    });
}

/// The work of questions that lead to no event is bounded as well, also if the asker goes away before its answer.
#[test]
fn work_is_charged_to_an_asker_that_does_not_wait_for_its_answer() {
    simulate(9, async || {
        let network = MemoryNetwork::new();
        let limits = Limits { work_per_second: Some(10_000), ..Limits::default() };
        let alpha = cortex(&network, ALPHA, "alpha", limited(limits)).await;
        append(&alpha, 5_000, 10).await;
        let to = seeded_cortex(ALPHA);
        let caller = alpha.service().trusting(seeded_cortex(EDGE));
        // All is looked at, and nothing is of that cortex.
        let nothing = FetchRequest { scope: Scope::Cortex(seeded_cortex(BRAVO)), ..question(seeded_cortex(EDGE), to) };
        let nothing = FetchRequest { known: Known::Full(alpha.reader().heads().clone()), ..nothing };
        let _ = caller.fetch(nothing).await;
        let began = Instant::now();
        let mut answered = 0;
        while began.elapsed() < Duration::from_secs(30) {
            let asked = caller.fetch(question(seeded_cortex(EDGE), to));
            // It goes away after a moment, and asks again.
            answered += u64::from(tokio::time::timeout(Duration::from_millis(1), asked).await.is_ok());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // An answer has 4,096 events, so that two and a half of them are the work of one second.
        assert!(answered <= 80, "{answered} answers");
        alpha.stop().await;
    });
}

#[test]
fn readers_without_an_identity_share_one_quota_for_pages() {
    simulate(13, async || {
        let network = MemoryNetwork::new();
        let limits = Limits { events_out_per_second: Some(100), ..Limits::default() };
        let alpha = cortex(&network, ALPHA, "alpha", limited(limits)).await;
        append(&alpha, 500, 10).await;
        let until = Instant::now() + Duration::from_secs(30);
        let one = async || {
            let reader = alpha.service().admit(&Credential::Key(None)).unwrap();
            let (mut events, mut refused) = (0, 0);
            while Instant::now() < until {
                match reader.page(None, 1_000, Duration::ZERO).await {
                    Ok(page) => events += page.unwrap().events as u64,
                    Err(NoPage::OverQuota { after }) => {
                        refused += 1;
                        tokio::time::sleep(after).await;
                    }
                    Err(error) => panic!("{error}"),
                }
            }
            (events, refused)
        };
        let read = futures_util::future::join_all((0..20).map(|_| one())).await;
        let (events, refused) = read.into_iter().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        assert!(events <= 5_200, "{events}");
        assert!(refused > 0, "twenty of them would wait for long");
        alpha.stop().await;
    });
}
