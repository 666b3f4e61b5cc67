//! Asks a peer for missing parts, event by event, next to what is pulled from it.

use std::sync::Arc;

use super::batch_budget::BatchBudget;
use super::links::hard;
use super::origin_question::origin_question;
use crate::blocking::blocking;
use crate::health::{ErrorCategory, Failure};
use crate::ids::{CortexId, Dot, PeerName};
use crate::log::{LogHandle, LogReader, NotFilled, withhold_from};
use crate::machine::{MAX_ROUND, PartsRound, part_of};
use crate::protocol::{FetchRequest, MAX_BATCH_BYTES, RequestId};
use crate::store::StoreError;
use crate::transport::Link;

/// The question for one event: for what follows its predecessor in its chain. `to` is the peer, and the protocol that is spoken
/// with it.
///
/// # Errors
/// [`StoreError`] where our own history cannot be read.
pub fn part_request(
    view: &LogReader,
    dot: Dot,
    to: (CortexId, u16),
    request: RequestId,
) -> Result<FetchRequest, StoreError> {
    origin_question(view, (dot.origin(), dot.counter() - 1), to, request, (1, MAX_BATCH_BYTES))
}

/// The debts of the next round: those after an event of which the peer is not known to hold another version, and may bring the parts. With the
/// last one looked at, if more may follow it.
///
/// # Errors
/// [`StoreError`].
pub fn next_parts(view: &LogReader, to: CortexId, after: Option<Dot>) -> Result<(Vec<Dot>, Option<Dot>), StoreError> {
    let mut debts = view.debts(after, MAX_ROUND)?;
    let last = debts.last().copied().filter(|_| debts.len() == MAX_ROUND);
    let differs = withhold_from(&**view.store(), to)?;
    debts.retain(|dot| view.takes(dot.origin().cortex(), to));
    debts.retain(|dot| differs.get(dot.origin()).is_none_or(|head| dot.counter() < head.counter));
    Ok((debts, last))
}

/// One round of questions.
pub(super) struct PartsQuestions {
    pub(super) log: LogHandle,
    pub(super) peer: PeerName,
    /// The peer, and the protocol that is spoken with it.
    pub(super) to: (CortexId, u16),
    pub(super) after: Option<Dot>,
    /// The number of the first question.
    pub(super) first: u64,
    pub(super) batch_budget: BatchBudget,
}

impl PartsQuestions {
    /// Asks for each, and gives what comes to the log. A failure comes with what was filled before it.
    pub(super) async fn ask(self, link: Arc<dyn Link>) -> (PartsRound, Option<Failure>) {
        let (view, to, after) = (self.log.reader().clone(), self.to, self.after);
        let mut round = PartsRound::default();
        let debts = match blocking(move || next_parts(&view, to.0, after)).await {
            Ok((debts, last)) => {
                round.last = last;
                debts
            }
            Err(error) => {
                return (PartsRound { failed: true, ..round }, Some(Failure::new(ErrorCategory::Store, error)));
            }
        };
        for (number, dot) in (self.first..).zip(debts) {
            match self.ask_for(&*link, dot, number).await {
                Ok(filled) => round.filled += usize::from(filled),
                Err(failure) => return (PartsRound { failed: true, ..round }, Some(failure)),
            }
        }
        (round, None)
    }

    async fn ask_for(&self, link: &dyn Link, dot: Dot, number: u64) -> Result<bool, Failure> {
        let store = |error: StoreError| Failure::new(ErrorCategory::Store, error);
        let view = self.log.reader().clone();
        let (to, request) = (self.to, RequestId { process: view.process(), number });
        let asked = blocking(move || Ok((view.dot(dot)?, part_request(&view, dot, to, request)?))).await;
        // Without one it left the log meanwhile.
        let (Some(ours), mut request) = asked.map_err(store)? else { return Ok(false) };
        request.max_bytes = request.max_bytes.min(self.batch_budget.bytes());
        let deadline = self.batch_budget.patience();
        let reply = hard(deadline, link.fetch(&request, deadline)).await.map_err(Failure::from)?;
        let Some(record) = part_of(reply, dot, ours.digest)? else { return Ok(false) };
        match self.log.fill(record).await {
            Ok(filled) => {
                tracing::debug!(peer = %self.peer, %dot, settled = filled.is_settled, "what was missing of an event came");
                Ok(true)
            }
            Err(NotFilled::Store(error)) => Err(store(error)),
            Err(error) if error.is_breach() => {
                let text = crate::causes::WithCauses(&error).to_string();
                Err(Failure::new(ErrorCategory::Protocol, format!("{dot}: {text}")))
            }
            Err(error) => {
                tracing::debug!(peer = %self.peer, %dot, %error, "nothing missing was filled");
                Ok(false)
            }
        }
    }
}
