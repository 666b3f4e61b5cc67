//! A node whose store was set back, and a peer that can send nothing of what it lost.

use std::sync::Arc;

use crate::clock::VClock;
use crate::config::{Config, PeerConfig};
use crate::cortex::Cortex;
use crate::event::Draft;
use crate::ids::PeerName;
use crate::log::{CausalContext, EpochEnd, Exclusion, ExclusionCause, put_exclusions, read_epoch_change};
use crate::store::{Batch, Durability, Store};
use crate::testing::{LOG, MemoryNetwork, MemoryStore, seeded_keys, until};
use crate::time::Timestamp;

async fn start(network: &MemoryNetwork, name: &str, key: u8, store: &Arc<MemoryStore>, peers: &[&str]) -> Cortex {
    let peer = |name: &&str| PeerConfig::new(PeerName::new(name).unwrap(), format!("memory://{name}"));
    let config = Config { peers: peers.iter().map(peer).collect(), ..Config::default() };
    let builder = Cortex::builder(Arc::clone(store)).log(LOG).name(name).keys(seeded_keys(key)).config(config);
    let cortex = builder.transport(network.clone()).start().await.unwrap();
    network.serve(name, cortex.service().clone());
    cortex
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_set_back_takes_a_new_epoch_although_nothing_of_what_it_lost_can_come() {
    let network = MemoryNetwork::new();
    let [store, bravo, charlie] = [(); 3].map(|()| Arc::new(MemoryStore::new()));
    let charlie = start(&network, "charlie", 3, &charlie, &[]).await;
    let bravo = start(&network, "bravo", 2, &bravo, &["charlie", "alpha"]).await;
    let alpha = start(&network, "alpha", 1, &store, &["charlie", "bravo"]).await;
    let old = alpha.reader().local().origin();
    charlie.append(Draft::new("t", "a cause")).await.unwrap();
    alpha.append(Draft::new("t", "kept")).await.unwrap();
    until("both are everywhere", || [&alpha, &bravo].iter().all(|cortex| cortex.reader().head().seq.get() == 2)).await;
    let image = Arc::new(store.durable_copy());
    // What is lost depends on an event of charlie's.
    let seen = CausalContext::Exactly(alpha.reader().clock());
    alpha.log().append(vec![Draft::new("t", "lost")], seen).await.unwrap();
    until("bravo has it", || bravo.reader().heads().counter(old) == 2).await;
    alpha.stop().await;
    let mut changes = Batch::new();
    let cortex = charlie.reader().local().cortex_id;
    // A count of none never ends.
    let exclusion = Exclusion { cortex, cause: ExclusionCause::Origins, count: 0, since: Timestamp::from_micros(0) };
    put_exclusions(&mut changes, &PeerName::new("bravo").unwrap(), vec![exclusion]);
    image.commit(&changes, Durability::Sync).unwrap();

    let alpha = start(&network, "alpha", 1, &image, &["bravo"]).await;
    until("alpha knows that it was set back", || alpha.reader().local().origin() != old).await;
    assert_eq!(read_epoch_change(&*image).unwrap().map(|change| change.why), Some(EpochEnd::RolledBack));
    assert_eq!(alpha.reader().heads().counter(old), 1, "the event itself cannot come");
    let appended = alpha.log().append(vec![Draft::new("t", "new")], CausalContext::Exactly(VClock::new())).await;
    assert_ne!(appended.unwrap()[0].dot.origin(), old);
    for cortex in [alpha, bravo, charlie] {
        cortex.stop().await;
    }
}
