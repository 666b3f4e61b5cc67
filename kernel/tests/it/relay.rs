//! A relay passes on what it was given, or is refused by name. It has no key but its own.

use std::sync::Arc;
use std::time::Duration;

use antiphon_kernel::clock::VClock;
use antiphon_kernel::config::{Config, FederationMode, Interval, SharedKey};
use antiphon_kernel::cursor::{Cursor, Seq};
use antiphon_kernel::event::{Draft, EventBytes};
use antiphon_kernel::health::ErrorCategory;
use antiphon_kernel::ids::EventId;
use antiphon_kernel::log::verify;
use antiphon_kernel::protocol::{EventBatch, FetchReply, FetchRequest};
use antiphon_kernel::rule::Rule;
use antiphon_kernel::service::Service;
use antiphon_kernel::testing::{Author, MemoryNetwork, Tamper, rewrite, seeded_keys};
use antiphon_kernel::time::Timestamp;

use crate::support::{peer, start, until};

/// The number of the relay's own keys.
const MALLORY: u8 = 0xaa;
/// Where the counter of a record is that has a small one.
const COUNTER: usize = 43;

/// What a relay does to an answer, and what it is refused for.
type Lie = (fn(&mut EventBatch), &'static str);

const LIES: [Lie; 8] = [
    (alter, Rule::SealWrong.as_str()),
    (leave_out, Rule::SealWrong.as_str()),
    (swap, Rule::SealWrong.as_str()),
    (extend, Rule::SealMissing.as_str()),
    (forge, Rule::SealWrong.as_str()),
    (|batch| batch.seals.swap(1, 2), Rule::SealWrong.as_str()),
    (|batch| batch.inceptions.clear(), Rule::InceptionMissing.as_str()),
    (begin_anew, "the inception is another origin's"),
];

fn changed(record: &EventBytes, at: usize, byte: u8) -> EventBytes {
    let mut bytes = record.to_vec();
    bytes[at] = byte;
    bytes.into()
}

/// Gives the records right digests and heads. The seals stay.
fn chain(batch: &mut EventBatch, change: impl Fn(&EventBytes) -> EventBytes) {
    let seals = batch.seals.clone();
    rewrite(batch, seeded_keys(MALLORY), change);
    batch.seals = seals;
}

fn number(batch: &mut EventBatch) {
    for (at, (seq, record)) in (1..).zip(&mut batch.events) {
        (*seq, *record) = (Seq::new(u64::from(at)), changed(record, COUNTER, at));
    }
    chain(batch, EventBytes::clone);
}

fn alter(batch: &mut EventBatch) {
    chain(batch, |record| if record[COUNTER] == 2 { changed(record, record.len() - 1, b'!') } else { record.clone() });
}

fn leave_out(batch: &mut EventBatch) {
    batch.events.remove(1);
    batch.seals.remove(1);
    number(batch);
}

fn swap(batch: &mut EventBatch) {
    batch.events.swap(1, 2);
    number(batch);
}

/// Another event behind the last one, without a seal.
fn extend(batch: &mut EventBatch) {
    let last = batch.events.last().unwrap().1.clone();
    let mut more = changed(&last, COUNTER, 4).to_vec();
    // The id is greater: its time is.
    more[8] += 1;
    batch.events.push((Seq::new(4), more.into()));
    batch.last = Cursor { seq: Seq::new(4), last_event: EventId::from_bytes([7; 16]), ..batch.last };
    batch.head = batch.last;
    chain(batch, EventBytes::clone);
}

/// The same, sealed by the relay.
fn forge(batch: &mut EventBatch) {
    let seals = batch.seals.clone();
    extend(batch);
    rewrite(batch, seeded_keys(MALLORY), EventBytes::clone);
    batch.seals.splice(..3, seals);
}

/// An inception of the relay's own keys, and events to go with it.
fn begin_anew(batch: &mut EventBatch) {
    let mut author = Author::new(MALLORY, 1);
    let (id, draft) = (EventId::from_parts(1, 1), Draft::new("t", ""));
    let own = author.write(id, &draft, &VClock::new(), Timestamp::from_micros(0));
    batch.inceptions[0].1 = own.inception;
    rewrite(batch, seeded_keys(MALLORY), EventBytes::clone);
}

struct Relay(fn(&mut EventBatch));

impl Tamper for Relay {
    fn answer(&self, _: &FetchRequest, reply: FetchReply) -> Option<Vec<FetchReply>> {
        Some(vec![match reply {
            FetchReply::Batch(mut batch) if batch.events.len() == 3 => {
                self.0(&mut batch);
                FetchReply::Batch(batch)
            }
            reply => reply,
        }])
    }
}

fn pulls(peers: &[&str]) -> Config {
    let interval = Some(Interval::new(Duration::from_secs(1)).unwrap());
    Config { interval, peers: peers.iter().map(|name| peer(name)).collect(), ..Config::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_changes_history_is_refused_by_name_and_the_rest_flows() {
    for (lie, expected) in LIES {
        let network = MemoryNetwork::new();
        let alpha = start(&network, "alpha", pulls(&[])).await;
        for n in 0..3 {
            alpha.append(Draft::new("t", format!("{n}?"))).await.unwrap();
        }
        let mallory = start(&network, "mallory", pulls(&["alpha"])).await;
        until("the relay has all of it", || mallory.reader().head().seq == Seq::new(3)).await;
        let relay = Arc::new(Relay(lie));
        let lying = Service::tampered(mallory.reader().clone(), SharedKey::default(), FederationMode::Sync, relay);
        network.serve("mallory", lying);
        let charlie = start(&network, "charlie", pulls(&[])).await;
        charlie.append(Draft::new("t", "charlie's")).await.unwrap();

        let bravo = start(&network, "bravo", pulls(&["mallory", "charlie"])).await;
        let state = || bravo.syncer().peers().into_iter().find(|one| one.name.as_str() == "mallory").unwrap();
        let named = || state().detail.is_some_and(|detail| detail.contains(expected));
        until(&format!("the relay is refused: {expected}"), named).await;
        assert_eq!(state().health.last_error, Some(ErrorCategory::Protocol), "{expected}");
        until("charlie's event comes all the same", || bravo.reader().head().seq == Seq::new(1)).await;

        network.serve("mallory", mallory.service().clone());
        bravo.syncer().wake(&peer("mallory").name).await.unwrap();
        until("the relay passes on what it was given", || bravo.reader().head().seq == Seq::new(4)).await;
        assert!(verify(bravo.reader()).unwrap().is_clean());
        for cortex in [bravo, charlie, mallory, alpha] {
            cortex.stop().await;
        }
    }
}
