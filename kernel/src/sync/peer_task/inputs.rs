//! What comes back to a peer's task, and what the machine is given of it.

use std::time::Duration;

use super::PeerTask;
use crate::causes::WithCauses;
use crate::entropy;
use crate::health::{ErrorCategory, Failure};
use crate::log::{IngestError, Ingested, SentQuery};
use crate::machine::{IngestOutcome, Inspected, Phase, Source};
use crate::proof::Identified;
use crate::protocol::{FetchReply, Pushed};
use crate::sync::feed::{Feed, Received};
use crate::time::Timestamp;

pub(super) enum Input {
    /// Who it is, and its clock minus ours in milliseconds.
    Identity(u64, Result<(Identified, i64), Failure>),
    /// With how long it took, unless it was waited for.
    Answer(u64, Box<(Feed, SentQuery, Source)>, Option<Duration>, Result<Received, Failure>),
    NoLink(u64, Failure),
    Inspected(u64, Result<Inspected, Failure>),
    Ingested(u64, Option<Box<Feed>>, Stored, Result<Ingested, Refused>),
}

/// Why a batch was not taken.
pub(super) enum Refused {
    Ingest(IngestError),
    /// The cortex that this is about is excluded from now on.
    Excluded,
    /// A quota has no room for all of it: ask for less.
    Narrow,
}

/// What a batch was, and how long it took.
pub(super) struct Stored {
    pub(super) events: u64,
    pub(super) bytes: u64,
    pub(super) took: Duration,
}

impl PeerTask {
    pub(super) fn input(&mut self, input: Input) {
        self.meter();
        let (now, entropy) = (self.now(), entropy::random() as u64);
        self.detail = None;
        match input {
            Input::Identity(number, answer) => {
                let answer = answer.map_err(|failure| self.found(failure)).map(|(identified, skew)| {
                    let identity = identified.identity();
                    let (min, max) = (identity.protocol_min, identity.protocol_max);
                    // Shown if that is not who it must be.
                    let log = identity.log.map(|log| format!(" of log {log}")).unwrap_or_default();
                    self.detail =
                        Some(format!("it is cortex {}{log}, and speaks protocols {min} to {max}", identity.cortex_id));
                    self.status.skew_ms = Some(skew);
                    self.is_proven = identified.is_proven();
                    identified
                });
                self.machine.set_log(self.log.reader().local().log);
                self.machine.set_pinned_elsewhere(self.statuses.pinned_under_others(&self.peer.name));
                self.machine.handle_identity(now, number, answer, entropy);
            }
            Input::NoLink(number, error) => {
                let category = self.found(error);
                self.machine.handle_reply(now, number, Source::Asked, Err(category), entropy);
            }
            Input::Answer(number, kept, took, answer) => {
                let (mut feed, asked, source) = *kept;
                let answer = answer.map(|(pushed, ahead)| {
                    self.ahead = ahead;
                    pushed
                });
                if let (Some(took), Ok(Pushed::Reply(reply))) = (took, &answer) {
                    self.measures.fetched(took);
                    if let FetchReply::Batch(batch) = reply {
                        let bytes = batch.events.iter().map(|(_, record)| record.len() as u64).sum();
                        if self.batch_budget.came(bytes, took) {
                            feed.end();
                        }
                    }
                }
                match (&answer, took) {
                    (Ok(_), None) => self.batch_budget.caught_up(),
                    (Err(_), _) if feed.was_late() => self.batch_budget.late(),
                    _ => {}
                }
                self.feed = Some(feed);
                self.asked = Some(asked);
                match answer {
                    Ok(Pushed::Heartbeat(heartbeat)) => self.machine.handle_heartbeat(now, number, &heartbeat, entropy),
                    Ok(Pushed::Reply(reply)) => {
                        if let FetchReply::Refused { refusal, .. } = &reply {
                            self.detail = Some(refusal.to_string());
                            tracing::debug!(peer = %self.peer.name, "the peer refused: {refusal}");
                        }
                        self.machine.handle_reply(now, number, source, Ok(reply), entropy);
                    }
                    Err(error) => {
                        let category = self.found(error);
                        self.machine.handle_reply(now, number, Source::Asked, Err(category), entropy);
                    }
                }
            }
            Input::Inspected(number, outcome) => {
                let outcome = outcome.map_err(|failure| self.found(failure));
                if outcome == Err(ErrorCategory::Timeout) {
                    self.batch_budget.late();
                }
                self.machine.handle_inspected(now, number, outcome, entropy);
            }
            Input::Ingested(number, feed, batch, result) => {
                self.stale = true;
                self.feed = feed.map(|feed| *feed);
                self.count(&batch, &result);
                let outcome = match result {
                    Ok(ingested) => IngestOutcome::Done(ingested),
                    Err(Refused::Excluded) => {
                        self.batch_budget.whole();
                        IngestOutcome::Excluded
                    }
                    Err(Refused::Narrow) => {
                        self.batch_budget.narrow();
                        IngestOutcome::Excluded
                    }
                    Err(Refused::Ingest(error)) => self.refused(&error),
                };
                self.machine.handle_ingested(now, number, outcome, entropy);
                if matches!(outcome, IngestOutcome::Done(_)) && self.machine.phase() == Phase::Live {
                    self.batch_budget.whole();
                }
            }
        }
    }

    fn refused(&mut self, error: &IngestError) -> IngestOutcome {
        self.detail = Some(WithCauses(error).to_string());
        match error {
            IngestError::NotAsked => IngestOutcome::NotAsked,
            IngestError::Gap { .. } | IngestError::OtherQuestion { .. } => IngestOutcome::Gap,
            IngestError::Fork { origin, counter } => IngestOutcome::Fork(*origin, *counter),
            error => {
                tracing::debug!(peer = %self.peer.name, error = %WithCauses(error), "a batch was not taken");
                if error.is_hole() { IngestOutcome::Hole } else { IngestOutcome::Failed(error.category()) }
            }
        }
    }

    fn count(&mut self, batch: &Stored, result: &Result<Ingested, Refused>) {
        let received = &mut self.status.received;
        received.events += batch.events;
        received.bytes += batch.bytes;
        if let Ok(ingested) = result {
            received.stored += ingested.stored as u64;
            self.measures.ingested(batch.took);
        }
        if batch.events > 0 {
            self.status.last_received = Some(Timestamp::now());
        }
    }

    /// Keeps what exactly failed, for the log and the peer's state, and gives its kind to the machine.
    fn found(&mut self, failure: Failure) -> ErrorCategory {
        self.detail = Some(failure.detail);
        failure.category
    }
}
