//! What a peer's task does about missing parts, next to what it pulls.

use super::PeerTask;
use crate::entropy;
use crate::health::Failure;
use crate::ids::CortexId;
use crate::machine::{MAX_ROUND, PartsRound, is_breach};
use crate::sync::parts::PartsQuestions;

impl PeerTask {
    /// This number of events has a part missing.
    pub(super) fn owes(&mut self, owed: u64) {
        self.parts.owes(self.started.elapsed(), owed);
    }

    /// Begins the next round of questions.
    pub(super) fn ask_for_parts(&mut self) {
        let after = self.parts.begin();
        let (Some(link), Some(to)) = (self.link.clone(), self.machine.peer()) else {
            let failed = PartsRound { failed: true, ..PartsRound::default() };
            return self.parts.ended(self.started.elapsed(), &failed, entropy::random() as u64);
        };
        let questions = PartsQuestions {
            log: self.log.clone(),
            peer: self.peer.name.clone(),
            to: (to, self.protocol()),
            after,
            first: self.requests + 1,
            batch_budget: self.batch_budget,
        };
        self.requests += MAX_ROUND as u64;
        self.asking_parts = Some(Box::pin(async move { (to, questions.ask(link).await) }));
    }

    /// The round ended. What breaks the protocol is the peer's failure, and anything else is not: what is pulled shows that.
    pub(super) fn took_parts(&mut self, to: CortexId, (round, failure): (PartsRound, Option<Failure>)) {
        self.parts.ended(self.started.elapsed(), &round, entropy::random() as u64);
        let Some(failure) = failure else { return };
        if !is_breach(&failure) {
            tracing::debug!(peer = %self.peer.name, "missing parts were not asked for to the end: {}", failure.detail);
        } else if self.machine.peer() == Some(to) {
            self.detail = Some(failure.detail);
            self.machine.handle_part_failed(self.now(), failure.category, entropy::random() as u64);
        }
    }
}
