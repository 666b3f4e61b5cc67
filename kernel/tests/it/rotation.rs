//! Replacing the working key of a cortex that runs.

use std::sync::Arc;
use std::time::Duration;

use antiphon_kernel::access::Access;
use antiphon_kernel::config::{Config, Interval, PeerConfig};
use antiphon_kernel::cortex::Cortex;
use antiphon_kernel::event::Draft;
use antiphon_kernel::identity::{KeyFiles, KeyStatement, Keys, Signer};
use antiphon_kernel::internals::log::EpochEnd;
use antiphon_kernel::log::{RotateError, verify};
use antiphon_kernel::proof::{Channel, Introduction};
use antiphon_kernel::protocol::Refusal;
use antiphon_kernel::service::Credential;
use antiphon_kernel::state::Phase;
use antiphon_kernel::testing::{LOG, MemoryNetwork, MemoryStore};
use antiphon_kernel::{PeerName, SharedKey};

use crate::support::{peer, until};

/// A cortex whose key files are in this directory.
async fn cortex(network: &MemoryNetwork, dir: &std::path::Path, name: &str, peers: Vec<PeerConfig>) -> Cortex {
    let files = KeyFiles::of(dir);
    let keys = match files.load().unwrap() {
        Some(keys) => keys,
        None => files.create().unwrap(),
    };
    let interval = Some(Interval::new(Duration::from_secs(1)).unwrap());
    let config = Config { interval, peers, access: Access::default(), ..Config::default() };
    let builder = Cortex::builder(MemoryStore::new()).name(name).keys(Arc::new(keys)).log(LOG).config(config);
    let cortex = builder.transport(network.clone()).start().await.unwrap();
    network.serve(name, cortex.service().clone());
    cortex
}

async fn rotate(cortex: &Cortex, dir: &std::path::Path) -> KeyStatement {
    let files = KeyFiles::of(dir);
    let now = cortex.rotate_keys(move |present, ends| Ok(Arc::new(files.rotate(present, ends)?))).await.unwrap();
    now.signer.unwrap().statement().clone()
}

fn pinned_statement(cortex: &Cortex, name: &str) -> u64 {
    let peers = cortex.syncer().peers();
    peers.iter().find(|peer| peer.name.as_str() == name).map_or(0, |peer| peer.key_statement)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_key_signs_a_new_epoch_and_peers_accept_the_former_key_no_more() {
    let (network, dirs) = (MemoryNetwork::new(), [(); 2].map(|()| tempfile::tempdir().unwrap()));
    let alpha = cortex(&network, dirs[0].path(), "alpha", vec![peer("bravo")]).await;
    let bravo = cortex(&network, dirs[1].path(), "bravo", vec![peer("alpha")]).await;
    let former = KeyFiles::of(dirs[0].path()).load().unwrap().unwrap();
    alpha.append(Draft::new("t", "before")).await.unwrap();
    bravo.append(Draft::new("t", "bravo's")).await.unwrap();
    until("both have both", || [&alpha, &bravo].iter().all(|cortex| cortex.reader().head().seq.get() == 2)).await;
    until("the first statement is pinned", || pinned_statement(&bravo, "alpha") == 1).await;
    let before = alpha.reader().local();

    let statement = rotate(&alpha, dirs[0].path()).await;
    let now = alpha.reader().local();
    assert_eq!((now.cortex_id, statement.number()), (before.cortex_id, 2));
    assert_ne!((now.epoch, statement.working()), (before.epoch, former.statement().working()));
    let ends: Vec<_> = statement.ends().iter().map(|end| (end.epoch, end.counter)).collect();
    assert_eq!(ends, [(before.epoch, 1)]);
    let kept = KeyFiles::of(dirs[0].path()).load().unwrap().unwrap();
    assert_eq!(kept.statement(), &statement, "the file has the new key");

    alpha.append(Draft::new("t", "after")).await.unwrap();
    until("it comes, sealed by the new key", || bravo.reader().head().seq.get() == 3).await;
    until("the new statement is pinned", || pinned_statement(&bravo, "alpha") == 2).await;
    let live = |cortex: &Cortex| cortex.syncer().peers().iter().all(|peer| peer.phase == Phase::Live);
    until("both are in contact again", || live(&alpha) && live(&bravo)).await;
    assert!(verify(bravo.reader()).unwrap().faults.is_empty());

    // A thief of the former key.
    let thief = antiphon_kernel::log::LocalIdentity {
        signer: Some(antiphon_kernel::SharedSigner::new(Arc::new(former))),
        ..before.clone()
    };
    let asking = Introduction::new(&thief, &PeerConfig::new(name("bravo"), "memory://bravo"), SharedKey::default());
    let connect = asking.connect();
    let proof = bravo.service().prove(&connect, Channel::None).await.unwrap();
    let (hello, _) = asking.hello(&connect, &proof, Channel::None).await.unwrap();
    let admitted = bravo.service().admit(&Credential::Hello { hello: &hello, channel: Channel::None });
    assert_eq!(admitted.err(), Some(Refusal::Proof));
    for cortex in [alpha, bravo] {
        cortex.stop().await;
    }
}

fn name(text: &str) -> PeerName {
    PeerName::new(text).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_do_not_follow_are_refused_and_the_present_key_stays() {
    let (network, dir) = (MemoryNetwork::new(), tempfile::tempdir().unwrap());
    let alpha = cortex(&network, dir.path(), "alpha", vec![]).await;
    alpha.append(Draft::new("t", "one")).await.unwrap();
    let before = alpha.reader().local();
    let other = alpha.rotate_keys(|_, _| Ok(Arc::new(Keys::generate()))).await;
    assert!(matches!(other, Err(RotateError::OtherCortex(_))), "{other:?}");
    let same = KeyFiles::of(dir.path()).load().unwrap().unwrap();
    let same = alpha.rotate_keys(move |_, _| Ok(Arc::new(same))).await;
    assert!(matches!(same, Err(RotateError::NotNewer { number: 1 })), "{same:?}");
    let failed = alpha.rotate_keys(|_, _| Err("the HSM does not answer".into())).await;
    assert!(matches!(failed, Err(RotateError::NotMade(_))), "{failed:?}");
    // Without the root key no file changes.
    let away = dir.path().join("away.key");
    KeyFiles::of(dir.path()).export_root(&away).unwrap();
    let files = KeyFiles::of(dir.path());
    let rootless = alpha.rotate_keys(move |present, ends| Ok(Arc::new(files.rotate(present, ends)?))).await;
    assert!(matches!(rootless, Err(RotateError::NotMade(_))), "{rootless:?}");
    assert_eq!(alpha.reader().local(), before);
    alpha.append(Draft::new("t", "two")).await.unwrap();
    assert_eq!(alpha.reader().heads().len(), 1, "in the same epoch");
    assert!(verify(alpha.reader()).unwrap().faults.is_empty());
    alpha.stop().await;
}

/// The new key is in its file, and the process ends before it was in use.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_was_replaced_while_nothing_ran_begins_a_new_epoch() {
    let (dir, store) = (tempfile::tempdir().unwrap(), Arc::new(MemoryStore::new()));
    let files = KeyFiles::of(dir.path());
    let first = Arc::new(files.create().unwrap());
    let start =
        async |keys: Arc<dyn Signer>| Cortex::builder(Arc::clone(&store)).keys(keys).log(LOG).start().await.unwrap();
    let alpha = start(first.clone()).await;
    alpha.append(Draft::new("t", "one")).await.unwrap();
    let epoch = alpha.reader().local().epoch;
    alpha.stop().await;
    files.rotate(first.statement(), Vec::new()).unwrap();
    let alpha = start(Arc::new(files.load().unwrap().unwrap())).await;
    assert_ne!(alpha.reader().local().epoch, epoch);
    let ended = antiphon_kernel::internals::log::read_epoch_change(&**alpha.reader().store()).unwrap().unwrap();
    assert_eq!((ended.from, ended.why), (epoch, EpochEnd::NewKey));
    alpha.append(Draft::new("t", "two")).await.unwrap();
    assert!(verify(alpha.reader()).unwrap().faults.is_empty());
    alpha.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_former_key_is_refused_after_a_restart_too_by_what_the_log_holds() {
    let (network, dirs) = (MemoryNetwork::new(), [(); 2].map(|()| tempfile::tempdir().unwrap()));
    let alpha = cortex(&network, dirs[0].path(), "alpha", vec![]).await;
    let former = KeyFiles::of(dirs[0].path()).load().unwrap().unwrap();
    alpha.append(Draft::new("t", "one")).await.unwrap();
    rotate(&alpha, dirs[0].path()).await;
    alpha.append(Draft::new("t", "two")).await.unwrap();
    let bravo = cortex(&network, dirs[1].path(), "bravo", vec![peer("alpha")]).await;
    until("bravo has both", || bravo.reader().head().seq.get() == 2).await;
    // Another service on the same log, as after a restart; nothing is pinned.
    bravo.state().reset_peer(&name("alpha")).await.unwrap();
    let service = antiphon_kernel::Service::new(
        bravo.reader().clone(),
        SharedKey::default(),
        antiphon_kernel::FederationMode::Sync,
    );
    let own = alpha.reader().local();
    let hello = async |own: &antiphon_kernel::log::LocalIdentity| {
        let asking = Introduction::new(own, &PeerConfig::new(name("bravo"), "memory://bravo"), SharedKey::default());
        let connect = asking.connect();
        let proof = service.prove(&connect, Channel::None).await.unwrap();
        asking.hello(&connect, &proof, Channel::None).await.unwrap().0
    };
    let thief = antiphon_kernel::log::LocalIdentity {
        signer: Some(antiphon_kernel::SharedSigner::new(Arc::new(former))),
        ..own.clone()
    };
    let stolen = hello(&thief).await;
    let admitted = service.admit(&Credential::Hello { hello: &stolen, channel: Channel::None });
    assert_eq!(admitted.err(), Some(Refusal::Proof));
    let honest = hello(&own).await;
    assert!(service.admit(&Credential::Hello { hello: &honest, channel: Channel::None }).is_ok());
    for cortex in [alpha, bravo] {
        cortex.stop().await;
    }
}
