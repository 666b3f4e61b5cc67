//! Whole cortexes with threads and tasks, joined by the network in memory.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use antiphon_kernel::config::{Config, FederationMode, Interval, PeerConfig, PeerMode};
use antiphon_kernel::cortex::Cortex;
use antiphon_kernel::event::Draft;
use antiphon_kernel::health::ErrorCategory;
use antiphon_kernel::ids::PeerName;
use antiphon_kernel::service::Credential;
use antiphon_kernel::state::{PeerState, Phase};
use antiphon_kernel::sync::{Compared, PeerCommandError};
use antiphon_kernel::testing::{CommitFault, MemoryNetwork, MemoryStore};

use crate::support::{self, peer, until};

fn name(text: &str) -> PeerName {
    PeerName::new(text).unwrap()
}

async fn start(network: &MemoryNetwork, own: &str, mode: FederationMode, peers: Vec<PeerConfig>) -> Cortex {
    let interval = Some(Interval::new(Duration::from_secs(1)).unwrap());
    let config = Config { mode, interval, peers, ..Config::default() };
    support::start(network, own, config).await
}

fn status(cortex: &Cortex, peer: &str) -> PeerState {
    cortex.syncer().peers().into_iter().find(|p| p.name.as_str() == peer).unwrap()
}

fn digest(cortex: &Cortex) -> String {
    cortex.reader().heads().fold().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn three_cortexes_converge_through_a_relay() {
    let network = MemoryNetwork::new();
    let alpha = start(&network, "alpha", FederationMode::Sync, vec![peer("bravo")]).await;
    let bravo = start(&network, "bravo", FederationMode::Sync, vec![peer("alpha"), peer("charlie")]).await;
    let charlie = start(&network, "charlie", FederationMode::Sync, vec![peer("bravo")]).await;
    for n in 0..50 {
        for cortex in [&alpha, &bravo, &charlie] {
            cortex.append(Draft::new("t", format!("{n}"))).await.unwrap();
        }
    }
    // Alpha and bravo started before their peers answered: they were refused first, and came back by themselves.
    for cortex in [&alpha, &bravo] {
        for peer in cortex.syncer().peers() {
            cortex.syncer().wake(&peer.name).await.unwrap();
        }
    }
    until("150 events everywhere", || [&alpha, &bravo, &charlie].iter().all(|c| c.reader().head().seq.get() == 150))
        .await;
    assert_eq!(digest(&alpha), digest(&bravo));
    assert_eq!(digest(&alpha), digest(&charlie));
    until("no lag", || status(&alpha, "bravo").lag.is_some_and(|lag| lag.events == 0)).await;
    until("live", || status(&alpha, "bravo").phase == Phase::Live).await;
    let known = status(&alpha, "bravo");
    assert_eq!(known.cortex_id, Some(bravo.reader().local().cortex_id));
    assert!(known.last_seen.is_some() && known.last_event.is_some() && known.health.version.is_some());
    for cortex in [alpha, bravo, charlie] {
        cortex.stop().await;
    }
}

/// What is wrong with a peer shows as a category, the cursor stays, and the other peers go on.
#[tokio::test(flavor = "multi_thread")]
async fn wrong_peers_are_told_apart_and_the_right_one_goes_on() {
    let network = MemoryNetwork::new();
    let good = start(&network, "good", FederationMode::Sync, vec![]).await;
    let silent = start(&network, "silent", FederationMode::Subscribe, vec![]).await;
    let mut alias = peer("alias");
    alias.endpoint = "memory://good".into();
    let mut own = peer("own");
    own.endpoint = "memory://alpha".into();
    // The duplicate endpoint is caught by `validate`; a second road to the same cortex is not, and is caught here.
    network.serve("road", good.service().clone());
    alias.endpoint = "memory://road".into();
    let alpha =
        start(&network, "alpha", FederationMode::Sync, vec![peer("good"), peer("gone"), peer("silent"), own]).await;
    until("the good peer is pinned", || status(&alpha, "good").cortex_id.is_some()).await;
    good.append(Draft::new("t", "x")).await.unwrap();
    let cases = [
        ("gone", ErrorCategory::ConnectionRefused),
        ("silent", ErrorCategory::NotServing),
        ("own", ErrorCategory::OwnAddress),
    ];
    for (peer, category) in cases {
        alpha.syncer().wake(&name(peer)).await.unwrap();
        until(peer, || status(&alpha, peer).health.last_error == Some(category)).await;
        let known = status(&alpha, peer);
        assert!(known.cursor.is_none() && known.health.consecutive_failures > 0, "{peer}");
        // It tries again in between, and falls back into the phase that its failure deserves.
        let phase = if category.halts() { Phase::Halted } else { Phase::BackingOff };
        until(peer, || status(&alpha, peer).phase == phase).await;
    }
    until("the good peer's event", || alpha.reader().head().seq.get() == 1).await;
    alpha.stop().await;

    // Two names for one cortex.
    let two = start(&network, "two", FederationMode::Sync, vec![peer("good"), alias]).await;
    let names = ["good", "alias"];
    let failing =
        |two: &Cortex| names.iter().any(|p| status(two, p).health.last_error == Some(ErrorCategory::PinnedElsewhere));
    until("one of two names", || failing(&two)).await;
    until("the other one works", || two.reader().head().seq.get() == 1).await;
    two.stop().await;
    good.stop().await;
    silent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_cortex_behind_a_pinned_name_is_refused_until_reset() {
    let network = MemoryNetwork::new();
    let first = start(&network, "bravo", FederationMode::Sync, vec![]).await;
    let alpha = start(&network, "alpha", FederationMode::Sync, vec![peer("bravo")]).await;
    first.append(Draft::new("t", "x")).await.unwrap();
    until("the first event", || alpha.reader().head().seq.get() == 1).await;
    // From the store: what is published about a peer follows a moment later.
    let cursor = || alpha.state().peer_state(&name("bravo"), "").unwrap().cursor;
    let before = cursor();
    assert!(before.is_some());
    first.stop().await;
    let second = start(&network, "bravo", FederationMode::Sync, vec![]).await;
    second.append(Draft::new("t", "y")).await.unwrap();
    until("another identity", || status(&alpha, "bravo").health.last_error == Some(ErrorCategory::Identity)).await;
    assert_eq!((cursor(), alpha.reader().head().seq.get()), (before, 1), "nothing was applied");
    alpha.syncer().reset(&name("bravo")).await.unwrap();
    until("the replacement's event", || alpha.reader().head().seq.get() == 2).await;
    let pinned = alpha.state().peer_state(&name("bravo"), "").unwrap().cortex_id;
    assert_eq!(pinned, Some(second.reader().local().cortex_id));
    alpha.stop().await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_peer_is_not_pulled_but_served() {
    let network = MemoryNetwork::new();
    let bravo = start(&network, "bravo", FederationMode::Sync, vec![peer("alpha")]).await;
    let mut paused = peer("bravo");
    paused.mode = PeerMode::Paused;
    let alpha = start(&network, "alpha", FederationMode::Sync, vec![paused]).await;
    alpha.append(Draft::new("t", "x")).await.unwrap();
    bravo.append(Draft::new("t", "y")).await.unwrap();
    bravo.syncer().wake(&name("alpha")).await.unwrap();
    until("bravo has both", || bravo.reader().head().seq.get() == 2).await;
    assert_eq!((alpha.reader().head().seq.get(), status(&alpha, "bravo").phase), (1, Phase::Paused));
    alpha.syncer().resume(&name("bravo")).await.unwrap();
    until("alpha has both", || alpha.reader().head().seq.get() == 2).await;
    alpha.syncer().pause(&name("bravo")).await.unwrap();
    assert_eq!((status(&alpha, "bravo").mode, status(&alpha, "bravo").phase), (PeerMode::Paused, Phase::Paused));
    let unknown = alpha.syncer().pause(&name("nobody")).await.unwrap_err();
    assert!(matches!(&unknown, PeerCommandError::Unknown(_)));
    assert!(unknown.to_string().contains("configured are: bravo"), "{unknown}");
    alpha.stop().await;
    bravo.stop().await;
    assert!(alpha.syncer().wake(&name("bravo")).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_pulls_nothing_and_pages_are_parked() {
    let network = MemoryNetwork::new();
    let bravo = start(&network, "bravo", FederationMode::Sync, vec![]).await;
    let alpha = start(&network, "alpha", FederationMode::Publish, vec![peer("bravo")]).await;
    bravo.append(Draft::new("t", "x")).await.unwrap();
    until("alpha is in contact", || status(&alpha, "bravo").phase == Phase::Live).await;
    assert_eq!((alpha.reader().head().seq.get(), status(&alpha, "bravo").lag), (0, None));
    let first = bravo.reader().head_cursor();
    let parked = {
        let reader = bravo.service().admit(&Credential::Key(None)).unwrap();
        tokio::spawn(async move { reader.page(Some(first), 10, Duration::from_secs(30)).await })
    };
    bravo.append(Draft::new("t", "y")).await.unwrap();
    let page = parked.await.unwrap().unwrap().unwrap();
    assert_eq!((page.next.seq.get(), page.head.seq.get()), (2, 2));
    bravo.service().set_mode(FederationMode::Subscribe);
    let reader = bravo.service().admit(&Credential::Key(None)).unwrap();
    assert!(reader.page(None, 10, Duration::ZERO).await.unwrap().is_none());
    alpha.stop().await;
    bravo.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_space_it_serves_on_and_pulls_again_once_there_is_some() {
    let network = MemoryNetwork::new();
    let store = Arc::new(MemoryStore::new());
    store.set_free_bytes(10 << 30);
    let interval = Some(Interval::new(Duration::from_secs(1)).unwrap());
    let config = Config { interval, peers: vec![peer("bravo")], ..Config::default() };
    let builder = Cortex::builder(store.clone())
        .log(antiphon_kernel::testing::LOG)
        .name("alpha")
        .config(config)
        .transport(network.clone());
    let alpha = builder.start().await.unwrap();
    network.serve("alpha", alpha.service().clone());
    let bravo = start(&network, "bravo", FederationMode::Sync, vec![peer("alpha")]).await;
    until("alpha caught up", || status(&alpha, "bravo").phase == Phase::Live).await;

    store.set_free_bytes(255 << 20);
    until("alpha stops", || status(&alpha, "bravo").phase == Phase::NoSpace).await;
    bravo.append(Draft::new("note.written", "not yet")).await.unwrap();
    alpha.append(Draft::new("note.written", "still")).await.unwrap();
    until("bravo is served", || bravo.reader().head().seq.get() == 2).await;
    assert_eq!(alpha.reader().head().seq.get(), 1);

    store.set_free_bytes(10 << 30);
    until("alpha goes on", || digest(&alpha) == digest(&bravo)).await;
    alpha.stop().await;
    bravo.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_cannot_be_written_is_served_and_recovers_by_itself() {
    let network = MemoryNetwork::new();
    let store = Arc::new(MemoryStore::new());
    let alpha = Cortex::builder(store.clone()).log(antiphon_kernel::testing::LOG).name("alpha").start().await.unwrap();
    network.serve("alpha", alpha.service().clone());
    alpha.append(Draft::new("note.written", "before")).await.unwrap();
    store.fail_commits([CommitFault::Lost]);
    assert!(alpha.append(Draft::new("note.written", "lost")).await.is_err());
    let why = alpha.reader().failure().unwrap();
    assert!(why.contains("made to fail"), "{why}");
    let bravo = start(&network, "bravo", FederationMode::Sync, vec![peer("alpha")]).await;
    until("bravo is served", || bravo.reader().head().seq.get() == 1).await;
    // Nobody writes.
    until("alpha recovers", || alpha.reader().failure().is_none()).await;
    alpha.append(Draft::new("note.written", "after")).await.unwrap();
    until("bravo is served", || digest(&alpha) == digest(&bravo)).await;
    alpha.stop().await;
    bravo.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn histories_are_compared_and_nothing_changes() {
    let network = MemoryNetwork::new();
    let alpha = start(&network, "alpha", FederationMode::Sync, vec![]).await;
    let charlie = start(&network, "charlie", FederationMode::Sync, vec![]).await;
    alpha.append(Draft::new("note.written", "a")).await.unwrap();
    charlie.append(Draft::new("note.written", "c")).await.unwrap();
    let bravo = start(&network, "bravo", FederationMode::Sync, vec![peer("alpha"), peer("charlie")]).await;
    bravo.append(Draft::new("note.written", "b")).await.unwrap();
    until("bravo has all", || bravo.reader().head().seq.get() == 3).await;
    bravo.syncer().pause(&name("alpha")).await.unwrap();
    alpha.append(Draft::new("note.written", "more")).await.unwrap();
    let before = (digest(&alpha), digest(&bravo));

    let origins = [&alpha, &bravo, &charlie].map(|cortex| cortex.reader().local().origin());
    let compared: BTreeMap<_, _> = bravo.syncer().compare(&name("alpha")).await.unwrap().into_iter().collect();
    assert_eq!(compared[&origins[0]], Compared::Agree { up_to: 1 });
    assert_eq!((compared[&origins[1]], compared[&origins[2]]), (Compared::OnlyHere, Compared::OnlyHere));
    assert_eq!((digest(&alpha), digest(&bravo)), before);

    let delta = start(&network, "delta", FederationMode::Sync, vec![peer("bravo")]).await;
    delta.syncer().pause(&name("bravo")).await.unwrap();
    let strange = delta.syncer().compare(&name("bravo")).await.unwrap();
    let there = strange.iter().filter(|(_, compared)| *compared == Compared::OnlyThere).count();
    assert_eq!(there + delta.reader().heads().len(), 3, "{strange:?}");
    assert!(delta.syncer().compare(&name("nobody")).await.is_err());
    for cortex in [alpha, bravo, charlie, delta] {
        cortex.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_gets_back_what_it_wrote_and_has_lost_and_nothing_else() {
    let network = MemoryNetwork::new();
    let publisher = |store: &Arc<MemoryStore>| {
        let interval = Some(Interval::new(Duration::from_secs(1)).unwrap());
        let config =
            Config { mode: FederationMode::Publish, interval, peers: vec![peer("bravo")], ..Config::default() };
        Cortex::builder(store.clone())
            .log(antiphon_kernel::testing::LOG)
            .name("alpha")
            .config(config)
            .transport(network.clone())
            .start()
    };
    let store = Arc::new(MemoryStore::new());
    let alpha = publisher(&store).await.unwrap();
    network.serve("alpha", alpha.service().clone());
    alpha.append(Draft::new("note.written", "kept")).await.unwrap();
    let image = Arc::new(store.durable_copy());
    alpha.append(Draft::new("note.written", "lost")).await.unwrap();
    let bravo = start(&network, "bravo", FederationMode::Sync, vec![peer("alpha")]).await;
    bravo.append(Draft::new("note.written", "of bravo")).await.unwrap();
    until("bravo has it", || bravo.reader().head().seq.get() == 3).await;
    alpha.stop().await;

    let alpha = publisher(&image).await.unwrap();
    network.serve("alpha", alpha.service().clone());
    until("alpha has it back", || alpha.reader().head().seq.get() == 2).await;
    let appended = alpha.append(Draft::new("note.written", "after")).await.unwrap();
    assert_eq!((appended.dot.counter(), appended.seq.get()), (1, 3), "under a new epoch");
    until("bravo has all", || bravo.reader().head().seq.get() == 4).await;
    assert!(alpha.reader().heads().get(bravo.reader().local().origin()).is_none(), "nothing of bravo's");

    alpha.syncer().set_mode(FederationMode::Sync);
    until("it pulls", || digest(&alpha) == digest(&bravo)).await;
    alpha.stop().await;
    bravo.stop().await;
}

/// However long its back-off has become. (Without hearing it the back-off is drawn up to five minutes.)
#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_came_back_and_asks_is_pulled_again_soon() {
    let network = MemoryNetwork::new();
    let alpha = start(&network, "alpha", FederationMode::Sync, vec![peer("bravo")]).await;
    let bravo = start(&network, "bravo", FederationMode::Sync, vec![peer("alpha")]).await;
    alpha.syncer().wake(&name("bravo")).await.unwrap();
    until("they are in touch", || {
        [(&alpha, "bravo"), (&bravo, "alpha")].iter().all(|(c, p)| status(c, p).phase == Phase::Live)
    })
    .await;
    bravo.syncer().pause(&name("alpha")).await.unwrap();
    network.remove("bravo");
    bravo.append(Draft::new("t", "x")).await.unwrap();
    // A live run that is open continues: it needs a new request.
    alpha.syncer().pause(&name("bravo")).await.unwrap();
    alpha.syncer().resume(&name("bravo")).await.unwrap();
    let failures = || status(&alpha, "bravo").health.consecutive_failures;
    for n in 1..=12 {
        until("it fails", || failures() >= n && status(&alpha, "bravo").phase == Phase::BackingOff).await;
        alpha.syncer().wake(&name("bravo")).await.unwrap();
    }
    until("it waits for long", || failures() > 12 && status(&alpha, "bravo").phase == Phase::BackingOff).await;
    network.serve("bravo", bravo.service().clone());
    bravo.syncer().resume(&name("alpha")).await.unwrap();
    until("bravo's event", || digest(&alpha) == digest(&bravo) && status(&alpha, "bravo").phase == Phase::Live).await;
    for cortex in [alpha, bravo] {
        cortex.stop().await;
    }
}
