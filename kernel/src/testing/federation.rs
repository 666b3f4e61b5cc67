//! Several cortexes in one process, which a test cuts off, crashes and restarts.

use std::fmt::Write as _;
use std::sync::Arc;

use super::power::PoweredStore;
use super::until::holds;
use super::{LOG, MemoryNetwork, MemoryStore};
use crate::cortex::{Cortex, CortexBuilder, Peer, StartError};
use crate::replay::EventReplayer;
use crate::state::Phase;
use crate::store::Store as _;

type Build = Box<dyn Fn(CortexBuilder) -> CortexBuilder + Send + Sync>;

/// Cortexes that all pull each other, over a network and stores in memory.
///
/// They are numbered from 0. Each has the name `node-` and its number, in the network and as a peer.
///
/// ```
/// use antiphon_kernel::Draft;
/// use antiphon_kernel::testing::Federation;
/// # use antiphon_kernel::{Event, EventReplayer, Projection, ReplayError};
/// # struct Notes;
/// # impl EventReplayer for Notes {
/// #     fn name(&self) -> &str {
/// #         "notes"
/// #     }
/// #     fn families(&self) -> Vec<String> {
/// #         vec!["notes".to_owned()]
/// #     }
/// #     fn replay_event(&mut self, _: &Event, _: &mut Projection<'_>) -> Result<(), ReplayError> {
/// #         Ok(())
/// #     }
/// # }
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut federation = Federation::of(3, || Notes).await?;
/// federation.partition(&[0], &[1, 2]);
/// federation.cortex(0).append(Draft::new("note.written", "on one side")).await?;
/// federation.crash(2).await;
/// federation.heal().await;
/// federation.restart(2).await?;
/// federation.converged().await;
/// federation.stop().await;
/// # Ok(())
/// # }
/// ```
pub struct Federation {
    network: MemoryNetwork,
    nodes: Vec<Node>,
    build: Build,
}

struct Node {
    name: String,
    store: Arc<MemoryStore>,
    running: Option<Running>,
}

struct Running {
    cortex: Cortex,
    power: PoweredStore,
}

impl Federation {
    /// Starts this number of cortexes. Each start of one makes a causal replayer of its own.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn of<R: EventReplayer>(
        count: usize,
        replayer: impl Fn() -> R + Send + Sync + 'static,
    ) -> Result<Self, StartError> {
        Self::with(count, move |builder| builder.causal_replayer(replayer())).await
    }

    /// Starts this number of cortexes, each as `build` completes its builder. The builder has a store, the name, the network and
    /// the peers.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn with(
        count: usize,
        build: impl Fn(CortexBuilder) -> CortexBuilder + Send + Sync + 'static,
    ) -> Result<Self, StartError> {
        let node = |n| Node { name: format!("node-{n}"), store: Arc::new(MemoryStore::new()), running: None };
        let mut federation =
            Self { network: MemoryNetwork::new(), nodes: (0..count).map(node).collect(), build: Box::new(build) };
        for n in 0..count {
            federation.start(n).await?;
        }
        federation.wake().await;
        Ok(federation)
    }

    async fn start(&mut self, n: usize) -> Result<(), StartError> {
        let name = &self.nodes[n].name;
        let power = PoweredStore::new(Arc::clone(&self.nodes[n].store));
        // Whatever failed in the process before ended with it. A store that does not open fails the start below.
        let _ = power.reopen();
        let mut builder = Cortex::builder(power.clone()).name(name).log(LOG).transport(self.network.clone());
        for other in self.nodes.iter().map(|node| &node.name).filter(|other| *other != name) {
            builder = builder.peer(Peer::new(other, format!("memory://{other}")));
        }
        let cortex = (self.build)(builder).start().await?;
        self.network.serve(name, cortex.service().clone());
        self.nodes[n].running = Some(Running { cortex, power });
        Ok(())
    }

    /// Has every cortex try its peers again now, rather than after a back-off.
    async fn wake(&self) {
        for cortex in self.running() {
            for peer in cortex.syncer().peers() {
                // A task that ended shows in the peer's state.
                let _ = cortex.syncer().wake(&peer.name).await;
            }
        }
    }

    fn running(&self) -> impl Iterator<Item = &Cortex> {
        self.nodes.iter().filter_map(|node| node.running.as_ref()).map(|running| &running.cortex)
    }

    /// A running cortex.
    ///
    /// # Panics
    /// If it crashed, or there is none of this number.
    pub fn cortex(&self, n: usize) -> &Cortex {
        let running = self.nodes[n].running.as_ref();
        &running.unwrap_or_else(|| panic!("node-{n} crashed; restart it first")).cortex
    }

    /// The store of a cortex, which is the same before and after a crash.
    ///
    /// # Panics
    /// If there is none of this number.
    #[must_use]
    pub fn store(&self, n: usize) -> &Arc<MemoryStore> {
        &self.nodes[n].store
    }

    /// The network, for delays and lost answers.
    #[must_use]
    pub const fn network(&self) -> &MemoryNetwork {
        &self.network
    }

    /// Cuts every path between the cortexes of two sides: see [`MemoryNetwork::partition`].
    ///
    /// # Panics
    /// If there is none of a number.
    pub fn partition(&self, one: &[usize], other: &[usize]) {
        let names = |side: &[usize]| side.iter().map(|&n| self.nodes[n].name.as_str()).collect::<Vec<_>>();
        self.network.partition(&names(one), &names(other));
    }

    /// Ends all partitions, and has every cortex try its peers again now.
    pub async fn heal(&self) {
        self.network.heal();
        self.wake().await;
    }

    /// Cuts the power of a cortex: what its store had not made durable is lost, and its connections break. Its tasks have ended
    /// when this returns. A cortex that crashed already stays so.
    ///
    /// # Panics
    /// If there is none of this number.
    pub async fn crash(&mut self, n: usize) {
        let Some(Running { cortex, power }) = self.nodes[n].running.take() else { return };
        // The store first: nothing that a task does on its way out is kept or sent.
        power.crash();
        self.network.remove(&self.nodes[n].name);
        cortex.stop().await;
    }

    /// Starts a cortex over its store again. One that runs is stopped in order before.
    ///
    /// # Errors
    /// [`StartError`].
    ///
    /// # Panics
    /// If there is none of this number.
    pub async fn restart(&mut self, n: usize) -> Result<(), StartError> {
        if let Some(Running { cortex, .. }) = self.nodes[n].running.take() {
            cortex.stop().await;
            self.network.remove(&self.nodes[n].name);
        }
        self.start(n).await?;
        self.wake().await;
        Ok(())
    }

    /// Waits until all running cortexes durably hold the same events, and their replayers have replayed them: see
    /// [`until`](super::until).
    ///
    /// # Panics
    /// If that takes longer than 30 s, with what each cortex holds.
    pub async fn converged(&self) {
        let converged = holds(|| self.is_converged());
        assert!(converged.await, "the federation did not converge:{}", self.report());
    }

    /// Whether all running cortexes hold the same events and have replayed them.
    pub(super) fn is_converged(&self) -> bool {
        let digest = self.running().next().map(|cortex| cortex.reader().heads().fold());
        self.running().all(|cortex| {
            let view = cortex.reader();
            let replayed = cortex.replayers().iter().all(|replayer| replayer.status().lag_events == 0);
            replayed && view.head().seq == view.visible() && Some(view.heads().fold()) == digest
        })
    }

    /// Whether all running cortexes are in contact with all others.
    pub(super) fn is_in_contact(&self) -> bool {
        self.running().all(|cortex| cortex.syncer().peers().iter().all(|peer| peer.phase == Phase::Live))
    }

    /// What each cortex holds, and what its peers and replayers say.
    pub(super) fn report(&self) -> String {
        let mut report = String::new();
        for node in &self.nodes {
            let _ = write!(report, "\n{}", node.name);
            let Some(Running { cortex, .. }) = &node.running else {
                report.push_str(" crashed");
                continue;
            };
            let view = cortex.reader();
            let _ = write!(report, " holds {} durable events, digest {}", view.head().seq, view.heads().fold());
            for replayer in cortex.replayers().iter().map(|replayer| replayer.status()) {
                let error = replayer.last_error.unwrap_or_default();
                let _ = write!(report, "\n  replayer {} at {} {error}", replayer.name, replayer.position);
            }
            for peer in cortex.syncer().peers() {
                let (phase, error) = (peer.phase, peer.detail.unwrap_or_default());
                let _ = write!(report, "\n  peer {} {phase:?} {error}", peer.name);
            }
        }
        report
    }

    /// Stops all cortexes in order.
    pub async fn stop(self) {
        for Running { cortex, .. } in self.nodes.into_iter().filter_map(|node| node.running) {
            cortex.stop().await;
        }
    }
}
