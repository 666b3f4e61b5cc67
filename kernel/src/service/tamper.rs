//! A service that lies, so that a peer can be tested against lies from a real server.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{Answers, Inner, Service};
use crate::budget::Budget;
use crate::config::{FederationMode, SharedKey};
use crate::log::LogReader;
use crate::protocol::{FetchReply, FetchRequest, Identity};

/// Changes what a service sends. Called from many tasks at once.
pub trait Tamper: Send + Sync {
    /// Returns what is sent in place of this answer to this question: no answer, the same, another, or several. `None` is silence
    /// from here on.
    fn answer(&self, request: &FetchRequest, reply: FetchReply) -> Option<Vec<FetchReply>> {
        let _ = request;
        Some(vec![reply])
    }

    /// Returns the identity that the service presents.
    fn identity(&self, identity: Identity) -> Identity {
        identity
    }
}

/// One run of answers that is tampered with.
pub(super) struct Tampered {
    tamper: Arc<dyn Tamper>,
    request: FetchRequest,
    /// What is sent next.
    lies: VecDeque<FetchReply>,
}

impl Service {
    /// Returns a service that lies, to test a peer that must not believe it: see [`crate::testing::transport_suite`].
    #[must_use]
    pub fn tampered(view: LogReader, key: SharedKey, mode: FederationMode, tamper: Arc<dyn Tamper>) -> Self {
        Inner { tamper: Some(tamper), ..Inner::new(view, key, Budget::default()) }.serving(mode)
    }

    pub(super) fn tampered_identity(&self, identity: Identity) -> Identity {
        match &self.inner.tamper {
            Some(tamper) => tamper.identity(identity),
            None => identity,
        }
    }

    pub(super) fn tampered_run(&self, request: &FetchRequest) -> Option<Tampered> {
        let tamper = self.inner.tamper.clone()?;
        Some(Tampered { tamper, request: request.clone(), lies: VecDeque::new() })
    }
}

impl Answers {
    pub(super) async fn next_tampered(&mut self) -> Option<FetchReply> {
        loop {
            if let Some(lie) = self.tampered.as_mut().and_then(|run| run.lies.pop_front()) {
                return Some(lie);
            }
            let reply = self.honest().await?;
            let Some(run) = &mut self.tampered else { return Some(reply) };
            match run.tamper.answer(&run.request, reply) {
                Some(lies) => run.lies.extend(lies),
                None => std::future::pending().await,
            }
        }
    }
}
