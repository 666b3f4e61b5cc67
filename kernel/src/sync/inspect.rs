//! Carries out an inspection of a machine over a link: question by question, then the evidence goes to the log.

use std::sync::Arc;

use super::batch_budget::BatchBudget;
use super::exclude::exclude;
use super::links::hard;
use super::origin_question::origin_question;
use crate::blocking::blocking;
use crate::health::{ErrorCategory, Failure};
use crate::ids::{CortexId, PeerName};
use crate::log::{ExclusionCause, ForkFinding, LogHandle, LogReader, NotAFork};
use crate::machine::{Inspected, Inspection, InspectionStep, OtherHistory};
use crate::protocol::{FetchRequest, RequestId};
use crate::store::StoreError;
use crate::transport::Link;

/// The most of another version that is kept as evidence.
const MAX_EVIDENCE_EVENTS: u32 = 256;
const MAX_EVIDENCE_BYTES: u64 = 1024 * 1024;
/// Halving 2^63 counters takes so many questions, and reading one more.
pub(super) const MAX_QUESTIONS: u64 = 65;

/// The question that an inspection wants asked.
///
/// # Errors
/// [`StoreError`] where our own history cannot be read.
pub fn inspection_request(
    view: &LogReader,
    inspection: &Inspection,
    to: (CortexId, u16),
    request: RequestId,
) -> Result<FetchRequest, StoreError> {
    let origin = inspection.origin();
    let (known, max_events, max_bytes) = match inspection.step() {
        InspectionStep::Compare { counter } => (counter, 1, 1),
        InspectionStep::Read { from } => (from - 1, MAX_EVIDENCE_EVENTS, MAX_EVIDENCE_BYTES),
    };
    origin_question(view, (origin, known), to, request, (max_events, max_bytes))
}

/// Finds the first difference: its counter, and the peer's events from there on.
///
/// # Errors
/// [`Failure`].
pub(super) async fn locate(
    link: &Arc<dyn Link>,
    view: &LogReader,
    to: (CortexId, u16),
    mut inspection: Inspection,
    first: u64,
    batch_budget: BatchBudget,
) -> Result<OtherHistory, Failure> {
    let deadline = batch_budget.patience();
    for number in first..first + MAX_QUESTIONS {
        let request = RequestId { process: view.process(), number };
        let (reader, step) = (view.clone(), inspection.clone());
        let request = blocking(move || inspection_request(&reader, &step, to, request)).await;
        let mut request = request.map_err(|error| {
            tracing::error!(%error, code = %error.code(), "our own history could not be read");
            Failure::new(ErrorCategory::Store, error)
        })?;
        request.max_bytes = request.max_bytes.min(batch_budget.bytes());
        let reply = hard(deadline, link.fetch(&request, deadline)).await.map_err(Failure::from)?;
        if let Some(found) = inspection.answer(reply)? {
            return Ok(found);
        }
    }
    Err(Failure::new(ErrorCategory::Protocol, "the search for the first difference does not end"))
}

/// Finds the first difference, and keeps it with its evidence.
pub(super) async fn inspect(
    link: Arc<dyn Link>,
    log: LogHandle,
    peer: PeerName,
    to: (CortexId, u16),
    inspection: Inspection,
    first: u64,
    batch_budget: BatchBudget,
) -> Result<Inspected, Failure> {
    let origin = inspection.origin();
    let OtherHistory { from, inception, records, seals } =
        locate(&link, log.reader(), to, inspection, first, batch_budget).await?;
    let finding = ForkFinding { peer: peer.clone(), holder: to.0, origin, from, inception, records, seals };
    let noted = log.note_fork(finding).await;
    if let Err(NotAFork::Over { .. }) = noted {
        tracing::info!(%peer, %origin, "the histories agree again");
        return Ok(Inspected::News);
    }
    if let Err(NotAFork::TooMany { .. }) = noted {
        let failed = |error: StoreError| Failure::new(ErrorCategory::Store, error);
        if exclude(&log, (&peer, to.0), origin.cortex(), (ExclusionCause::Forks, 0)).await.map_err(failed)? {
            return Ok(Inspected::News);
        }
    }
    noted.map(|noted| Inspected::from_fork(&noted)).map_err(|error| {
        let category = match error {
            NotAFork::Unproven { .. } | NotAFork::Over { .. } => ErrorCategory::Fork,
            NotAFork::TooMany { .. } => ErrorCategory::TooManyForks,
            NotAFork::Store(_) => ErrorCategory::Store,
        };
        Failure::new(category, error)
    })
}
