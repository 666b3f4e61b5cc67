//! What may change while a cortex runs: who is pulled, how often, under which key. And what must show at once.

use std::sync::Arc;
use std::time::Duration;

use antiphon_kernel::condition::Condition;
use antiphon_kernel::config::{Config, FederationMode, Interval, PeerConfig, PeerMode, SharedKey};
use antiphon_kernel::cortex::Cortex;
use antiphon_kernel::event::Draft;
use antiphon_kernel::health::ErrorCategory;
use antiphon_kernel::ids::PeerName;
use antiphon_kernel::internals::log::read_pins;
use antiphon_kernel::log::LocalIdentity;
use antiphon_kernel::proof::Identified;
use antiphon_kernel::protocol::{FetchReply, FetchRequest};
use antiphon_kernel::service::Credential;
use antiphon_kernel::state::{PeerState, Phase};
use antiphon_kernel::testing::{MemoryNetwork, MemoryStore};
use antiphon_kernel::time::Timestamp;
use antiphon_kernel::transport::{Link, Transport, TransportError};
use async_trait::async_trait;
use futures_util::FutureExt as _;

use crate::support::{self, peer, until};

fn config(peers: Vec<PeerConfig>) -> Config {
    Config { interval: Some(Interval::new(Duration::from_secs(1)).unwrap()), peers, ..Config::default() }
}

async fn start(network: &MemoryNetwork, own: &str, peers: Vec<PeerConfig>) -> Cortex {
    support::start(network, own, config(peers)).await
}

fn status(cortex: &Cortex, peer: &str) -> Option<PeerState> {
    cortex.syncer().peers().into_iter().find(|p| p.name.as_str() == peer)
}

fn holds(cortex: &Cortex, events: u64) -> bool {
    cortex.reader().head().seq.get() == events
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_is_renamed_is_pinned_once_and_as_long_as_before() {
    let network = MemoryNetwork::new();
    let bravo = start(&network, "bravo", vec![]).await;
    let alpha = start(&network, "alpha", vec![peer("bravo")]).await;
    bravo.append(Draft::new("t", "1")).await.unwrap();
    until("bravo's event", || holds(&alpha, 1)).await;
    until("bravo was seen", || status(&alpha, "bravo").unwrap().last_seen.is_some()).await;
    let seen = status(&alpha, "bravo").unwrap().last_seen.unwrap();
    let store = alpha.reader().store().clone();
    let [(_, before)] = &read_pins(&*store).unwrap()[..] else { panic!("one pin") };
    let (keys, before) = ([SharedKey::default()], *before);
    // What is not stored at each exchange is when the peer goes.
    alpha.reload(config(vec![]), &keys, false).await.unwrap();
    let bravos = PeerName::new("bravo").unwrap();
    assert!(alpha.state().peer_state(&bravos, "").unwrap().last_seen.unwrap() >= seen);
    let renamed = PeerConfig { name: PeerName::new("beta").unwrap(), ..peer("bravo") };
    alpha.reload(config(vec![renamed.clone()]), &keys, false).await.unwrap();
    bravo.append(Draft::new("t", "2")).await.unwrap();
    until("bravo's second event", || holds(&alpha, 2)).await;
    assert_eq!(read_pins(&*store).unwrap(), [(renamed.name.clone(), before)]);
    assert!(!alpha.state().knows(&bravos).unwrap());
    // One that is configured keeps its pin, and the second name is refused.
    network.serve("elsewhere", bravo.service().clone());
    let second = PeerConfig { endpoint: "memory://elsewhere".into(), ..peer("bravo") };
    alpha.reload(config(vec![renamed.clone(), second]), &keys, false).await.unwrap();
    let refused = || status(&alpha, "bravo").and_then(|peer| peer.health.last_error);
    until("the second name is refused", || refused() == Some(ErrorCategory::PinnedElsewhere)).await;
    assert_eq!(read_pins(&*store).unwrap(), [(renamed.name, before)]);
    alpha.stop().await;
    bravo.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_come_go_and_come_back_where_they_were() {
    let network = MemoryNetwork::new();
    let (bravo, charlie) = (start(&network, "bravo", vec![]).await, start(&network, "charlie", vec![]).await);
    let alpha = start(&network, "alpha", vec![peer("bravo")]).await;
    bravo.append(Draft::new("t", "1")).await.unwrap();
    until("bravo's event", || holds(&alpha, 1)).await;
    let keys = [SharedKey::default()];
    let changes = alpha.reload(config(vec![peer("charlie")]), &keys, false).await.unwrap();
    assert_eq!((changes.added.len(), changes.removed.len()), (1, 1));
    assert!(status(&alpha, "bravo").is_none(), "a removed peer is not shown any more, and not pulled");
    bravo.append(Draft::new("t", "2")).await.unwrap();
    charlie.append(Draft::new("t", "3")).await.unwrap();
    until("charlie's event", || holds(&alpha, 2)).await;
    let kept = alpha.state().peer_state(&PeerName::new("bravo").unwrap(), "").unwrap();
    assert_eq!(kept.cursor.unwrap().seq.get(), 1, "cursor and pin stay");
    assert_eq!(kept.cortex_id, Some(bravo.reader().local().cortex_id));
    // Back again, under another endpoint, beside one that is paused now.
    network.serve("elsewhere", bravo.service().clone());
    let moved = PeerConfig { endpoint: "memory://elsewhere".into(), ..peer("bravo") };
    let paused = PeerConfig { mode: PeerMode::Paused, ..peer("charlie") };
    alpha.reload(config(vec![moved.clone(), paused.clone()]), &keys, false).await.unwrap();
    until("bravo's second event", || holds(&alpha, 3)).await;
    let charlies = status(&alpha, "charlie").unwrap();
    assert_eq!((charlies.phase, charlies.mode), (Phase::Paused, PeerMode::Paused));
    // What was changed by hand meanwhile is changed back.
    alpha.syncer().resume(&paused.name).await.unwrap();
    alpha.syncer().set_mode(FederationMode::Subscribe);
    let changes = alpha.reload(config(vec![moved.clone(), paused.clone()]), &keys, false).await.unwrap();
    assert_eq!((changes.modes, changes.mode), (vec![(paused.name, PeerMode::Paused)], Some(FederationMode::Sync)));
    assert_eq!(status(&alpha, "charlie").unwrap().phase, Phase::Paused);
    // An invalid one changes nothing.
    let twice = config(vec![peer("bravo"), peer("bravo")]);
    assert!(alpha.reload(twice, &keys, false).await.unwrap_err().to_string().contains("is listed twice"));
    assert_eq!(alpha.syncer().peers().len(), 2);
    // Mode and floor are taken up as well, and the same configuration again is no change.
    let publisher = Config { mode: FederationMode::Publish, min_free_mib: Some(7), ..config(vec![moved]) };
    let changes = alpha.reload(publisher.clone(), &keys, false).await.unwrap();
    assert_eq!((changes.mode, changes.min_free), (Some(FederationMode::Publish), Some(7 << 20)));
    assert_eq!((alpha.service().mode(), alpha.syncer().min_free()), (FederationMode::Publish, 7 << 20));
    assert!(alpha.reload(publisher, &keys, true).await.unwrap().is_empty());
    for cortex in [alpha, bravo, charlie] {
        cortex.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_keys_are_valid_while_one_replaces_the_other() {
    let cortex = start(&MemoryNetwork::new(), "alpha", vec![]).await;
    let key = |text: &str| SharedKey::new(&text.repeat(32)).unwrap();
    let presents = |text: &str| cortex.service().admit(&Credential::Key(Some(text.repeat(32).as_bytes())));
    let lets_in = |text: &str| presents(text).is_ok();
    let stranger = cortex.service().admit(&Credential::Key(None)).expect("open mode");
    cortex.reload(config(vec![]), &[key("a"), key("b")], true).await.unwrap();
    let soon = Duration::from_secs(20);
    tokio::time::timeout(soon, stranger.revoked()).await.expect("a caller without a key must leave");
    assert!(lets_in("a") && lets_in("b") && !lets_in("c") && cortex.service().admit(&Credential::Key(None)).is_err());
    let (old, new) = (presents("a").unwrap(), presents("b").unwrap());
    cortex.reload(config(vec![]), &[key("b")], true).await.unwrap();
    assert!(!lets_in("a") && lets_in("b"));
    tokio::time::timeout(soon, old.revoked()).await.expect("a caller with the old key alone must leave");
    assert!(new.revoked().now_or_never().is_none(), "the new key stays");
    cortex.stop().await;
}

/// A transport with a bug.
struct Broken;

struct BrokenLink;

impl Transport for Broken {
    fn schemes(&self) -> &'static [&'static str] {
        &["broken"]
    }

    fn link(&self, _: &PeerConfig, _: &LocalIdentity) -> Result<Box<dyn Link>, TransportError> {
        Ok(Box::new(BrokenLink))
    }
}

#[async_trait]
impl Link for BrokenLink {
    async fn identify(&self, _: Duration) -> Result<Identified, TransportError> {
        panic!("a bug in a transport")
    }

    async fn fetch(&self, _: &FetchRequest, _: Duration) -> Result<FetchReply, TransportError> {
        panic!("a bug in a transport")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_died_does_not_look_like_a_quiet_peer() {
    let peer = PeerConfig { endpoint: "broken://x".into(), ..peer("bravo") };
    let builder = Cortex::builder(Arc::new(MemoryStore::new())).config(config(vec![peer])).transport(Broken);
    let cortex = builder.start().await.unwrap();
    until("the fault shows", || status(&cortex, "bravo").unwrap().phase == Phase::Halted).await;
    let bravo = status(&cortex, "bravo").unwrap();
    assert_eq!(bravo.health.last_error, Some(ErrorCategory::Fault));
    assert_eq!(Condition::of(&bravo, Timestamp::now()), Condition::Halted);
    assert_eq!(bravo.lag, None);
    cortex.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_and_what_went_is_counted_by_peer() {
    let network = MemoryNetwork::new();
    let bravo = start(&network, "bravo", vec![]).await;
    bravo.append(Draft::new("t", "1")).await.unwrap();
    let alpha = start(&network, "alpha", vec![peer("bravo")]).await;
    until("the event", || holds(&alpha, 1)).await;
    let counted = || status(&alpha, "bravo").filter(|bravo| bravo.received.stored == 1);
    until("it is counted", || counted().is_some()).await;
    let bravos = counted().unwrap();
    assert!(bravos.received.events == 1 && bravos.received.bytes > 10 && bravos.last_received.is_some(), "{bravos:?}");
    assert_eq!(bravos.skew_ms, Some(0), "one clock");
    assert_eq!(Condition::of(&bravos, Timestamp::now()).is_up(), Some(true));
    let served = bravo.service().pullers();
    assert_eq!((served.len(), served[0].cortex, served[0].sent.events), (1, alpha.reader().local().cortex_id, 1));
    assert_eq!(served[0].address.as_deref(), Some("memory://alpha"));
    assert_eq!(served[0].sent.bytes, bravos.received.bytes);
    assert!(served[0].asked <= Timestamp::now());
    for cortex in [alpha, bravo] {
        cortex.stop().await;
    }
}
