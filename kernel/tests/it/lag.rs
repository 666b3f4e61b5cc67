//! Own events that come back through a peer's log were counted as its lag until the peer had said that it passed them. What a
//! peer reports to hold, and is here, is no lag.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use antiphon_kernel::config::{Config, FederationMode, SharedKey};
use antiphon_kernel::cortex::{Cortex, WaitFor};
use antiphon_kernel::event::Draft;
use antiphon_kernel::log::CausalContext;
use antiphon_kernel::protocol::{FetchReply, FetchRequest};
use antiphon_kernel::service::Service;
use antiphon_kernel::state::Phase;

use antiphon_kernel::testing::{MemoryNetwork, Tamper};

use crate::support::{peer, start, until};

/// Says nothing about its log any more, except by heartbeats.
#[derive(Default)]
struct Silenced(AtomicBool);

impl Tamper for Silenced {
    fn answer(&self, _: &FetchRequest, reply: FetchReply) -> Option<Vec<FetchReply>> {
        Some(if self.0.load(Ordering::Relaxed) { vec![] } else { vec![reply] })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn own_events_that_a_peer_holds_are_no_lag_and_its_own_are() {
    let network = MemoryNetwork::new();
    let bravo = start(&network, "bravo", Config { peers: vec![peer("alpha")], ..Config::default() }).await;
    let silenced = Arc::new(Silenced::default());
    let tamper = Arc::clone(&silenced) as Arc<dyn Tamper>;
    let service = Service::tampered(bravo.reader().clone(), SharedKey::default(), FederationMode::Sync, tamper);
    network.serve("silenced", service);
    let alpha = start(&network, "alpha", Config { peers: vec![peer("silenced")], ..Config::default() }).await;
    let status = |cortex: &Cortex| cortex.syncer().peers().remove(0);
    // It began before the other one answered.
    bravo.syncer().wake(&status(&bravo).name).await.unwrap();
    let live = |cortex: &Cortex| status(cortex).phase == Phase::Live;
    until("both are live", || live(&alpha) && live(&bravo)).await;

    silenced.0.store(true, Ordering::Relaxed);
    let event = alpha.append(Draft::new("t", "own")).await.unwrap();
    alpha.wait_replicated(&event, WaitFor::Count(1), Duration::from_secs(20)).await.unwrap();
    let others = (0..3).map(|_| Draft::new("t", "of the peer")).collect();
    bravo.log().append(others, CausalContext::Replayed).await.unwrap();
    // In one commit: no heartbeat says that it has two of them.
    until("three events are missing", || status(&alpha).lag.is_some_and(|lag| lag.events == 3)).await;
    bravo.stop().await;
    alpha.stop().await;
}
