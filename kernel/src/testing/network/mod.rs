//! A network in memory: every question and answer passes through the real wire format, and tests break its paths.

mod link;
mod paths;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::config::{PeerConfig, SharedKey};
use crate::log::LocalIdentity;
use crate::proof::Introduction;
use crate::service::Service;
use crate::transport::TransportErrorKind;
use crate::transport::{Link, Transport, TransportError};
use link::MemoryLink;
use paths::{Between, Paths};

/// Cortexes by host name; endpoints read `memory://<name>`. Clones are the same network.
///
/// A cortex asks under its own name ([`crate::cortex::CortexBuilder::name`]). Serve it under the same name, so that a cut or a
/// delay between two names concerns the questions of both.
#[derive(Clone, Default)]
pub struct MemoryNetwork {
    paths: Arc<watch::Sender<Paths>>,
    polling: bool,
    key: SharedKey,
}

impl MemoryNetwork {
    /// An empty network.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same network as a transport that brings one answer a question: no live tail, no refreshes.
    #[must_use]
    pub fn polling(&self) -> Self {
        Self { polling: true, ..self.clone() }
    }

    /// The same network as a transport that proves to have this shared key. Without it, it is in open mode.
    #[must_use]
    pub fn with_key(&self, key: SharedKey) -> Self {
        Self { key, ..self.clone() }
    }

    /// Makes a service answer at `memory://<name>`, instead of any that did before.
    pub fn serve(&self, name: &str, service: Service) {
        self.paths.send_modify(|paths| paths.serve(name, service));
    }

    /// What answers at a name.
    #[cfg(test)]
    pub(crate) fn service(&self, name: &str) -> Option<Service> {
        self.paths.borrow().service(name).cloned()
    }

    /// Removes what answers at a name. Open runs and questions to it fail at once.
    pub fn remove(&self, name: &str) {
        self.paths.send_modify(|paths| paths.remove(name));
    }

    /// Cuts every path between a name of one side and a name of the other, in both directions, until [`MemoryNetwork::heal`].
    ///
    /// Open runs and parked questions fail at once with [`TransportErrorKind::Eof`], also if the network heals at the same moment.
    /// New questions fail at once with [`TransportErrorKind::ConnectionRefused`]: no test waits for a deadline.
    pub fn partition(&self, one: &[&str], other: &[&str]) {
        self.paths.send_modify(|paths| {
            for (one, other) in one.iter().flat_map(|one| other.iter().map(move |other| (one, other))) {
                paths.partition(one, other);
            }
        });
    }

    /// Ends all partitions. Delays stay, and so do answers to lose. A peer is tried again after its back-off, or when
    /// [`crate::sync::Syncer::wake`] is called.
    pub fn heal(&self) {
        self.paths.send_modify(Paths::heal);
    }

    /// Delays every message between two names by this, in both directions; zero ends that.
    ///
    /// An exchange fails with [`TransportErrorKind::Timeout`] if its way there and back exceeds its deadline: a first contact has 15 s.
    /// The delay is of tokio's time. Under paused time it takes none.
    pub fn delay(&self, one: &str, other: &str, delay: Duration) {
        self.paths.send_modify(|paths| paths.set_delay(one, other, delay));
    }

    /// Loses the next answers from one name to another, instead of those set before. Each exchange that loses its answer fails
    /// with [`TransportErrorKind::Eof`], as a broken connection does: its question was answered. A lost answer of a run ends the run.
    /// Heartbeats are not lost.
    pub fn drop_next(&self, from: &str, to: &str, answers: usize) {
        self.paths.send_modify(|paths| paths.lose(to, from, answers));
    }

    /// Whether an answer that arrives now is lost.
    fn loses(&self, between: &Between) -> bool {
        let mut lost = false;
        // No exchange waits for this change.
        self.paths.send_if_modified(|paths| {
            lost = paths.takes(between);
            false
        });
        lost
    }
}

impl Transport for MemoryNetwork {
    fn schemes(&self) -> &'static [&'static str] {
        &["memory"]
    }

    fn link(&self, peer: &PeerConfig, own: &LocalIdentity) -> Result<Box<dyn Link>, TransportError> {
        let host = peer.endpoint.strip_prefix("memory://").ok_or_else(|| {
            TransportError::new(TransportErrorKind::Configuration, "write the endpoint as memory://name")
        })?;
        let introduction = Introduction::new(own, peer, self.key.clone());
        Ok(Box::new(MemoryLink::new(self.clone(), (own.name.clone(), host.to_owned()), introduction)))
    }
}
