//! Comparing histories with a peer, origin by origin, by digests that were really compared. Changes nothing on either side.

use std::sync::Arc;
use std::time::Duration;

use super::batch_budget::BatchBudget;
use super::inspect::{MAX_QUESTIONS, locate};
use super::links::hard;
use super::plain_question::plain_question;
use crate::health::ErrorCategory;
use crate::ids::{CortexId, Origin};
use crate::log::LogReader;
use crate::machine::Inspection;
use crate::protocol::{ChainHead, FetchReply, FetchRequest, Heads, Known, MAX_BATCH_EVENTS, Refusal, RequestId, Scope};
use crate::transport::Link;

/// How long one answer may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// How one origin's histories compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case", tag = "result")]
pub enum Compared {
    /// They are the same up to this counter: all that the one that holds less has.
    Agree {
        /// The counter.
        up_to: u64,
    },
    /// They differ from this counter on: a fork.
    Differ {
        /// The counter.
        from: u64,
    },
    /// The peer holds nothing of it.
    OnlyHere,
    /// Nothing of it is held here.
    OnlyThere,
}

/// What an answer to "this is how far I hold it" tells. Pure.
#[derive(Debug, PartialEq, Eq)]
enum Answered {
    Result(Compared),
    /// They are said to differ at or below this counter: where they begin to is to be found.
    DifferAt(u64),
    /// It agrees, or holds nothing at all: asked from the beginning it shows which.
    Nothing,
}

fn told(
    origin: Origin,
    ours: ChainHead,
    digest_here: impl Fn(u64) -> Result<Option<crate::digest::Digest>, ErrorCategory>,
    reply: &FetchReply,
) -> Result<Answered, ErrorCategory> {
    let batch = match reply {
        FetchReply::Refused { refusal: Refusal::Fork { origin: at, counter, .. }, .. } if *at == origin => {
            return Ok(Answered::DifferAt(*counter));
        }
        FetchReply::Refused { refusal, .. } => return Err(refusal.category()),
        FetchReply::Batch(batch) => batch,
    };
    match batch.heads.get(origin) {
        // It holds more, and compared what we hold.
        Some(head) if head.counter > ours.counter => Ok(Answered::Result(Compared::Agree { up_to: ours.counter })),
        Some(head) if digest_here(head.counter)? == Some(head.digest) => {
            Ok(Answered::Result(Compared::Agree { up_to: head.counter }))
        }
        Some(head) => Ok(Answered::DifferAt(head.counter)),
        None => Ok(Answered::Nothing),
    }
}

/// One comparison over a link.
pub(super) struct Comparison {
    pub(super) link: Arc<dyn Link>,
    pub(super) view: LogReader,
    /// The peer, and the protocol that both sides speak.
    pub(super) to: (CortexId, u16),
    /// The number of the next question.
    pub(super) number: u64,
}

impl Comparison {
    /// Every origin that either side holds; of those held by the peer alone, as many as one answer names.
    ///
    /// # Errors
    /// The category of the failure, of the peer's or our own.
    pub(super) async fn run(mut self) -> Result<Vec<(Origin, Compared)>, ErrorCategory> {
        let heads = self.view.heads();
        let mut all = Vec::new();
        for (origin, ours) in heads.iter() {
            all.push((origin, self.origin(origin, ours).await?));
        }
        let forked = all.iter().filter(|(_, compared)| matches!(compared, Compared::Differ { .. }));
        let forked: Vec<_> = forked.map(|(origin, _)| *origin).collect();
        // What differs is left out, or it would be refused; it comes back as if it were unknown.
        let known = heads.iter().filter(|(origin, _)| !forked.contains(origin)).collect();
        let reply = self.ask(Scope::All, Heads::new(known), MAX_BATCH_EVENTS).await?;
        if let FetchReply::Batch(batch) = reply {
            let strange = batch.heads.iter().filter(|(origin, _)| heads.get(*origin).is_none());
            all.extend(strange.map(|(origin, _)| (origin, Compared::OnlyThere)));
        }
        Ok(all)
    }

    async fn origin(&mut self, origin: Origin, ours: ChainHead) -> Result<Compared, ErrorCategory> {
        let reply = self.ask(Scope::Origin(origin), Heads::new(vec![(origin, ours)]), 1).await?;
        let view = self.view.clone();
        let compared = crate::blocking::spawn_blocking(move || {
            told(origin, ours, |counter| view.chain_digest(origin, counter).map_err(|_| ErrorCategory::Store), &reply)
        });
        match compared.await.map_err(|_| ErrorCategory::Store)?? {
            Answered::Result(result) => Ok(result),
            Answered::DifferAt(counter) => {
                let inspection = Inspection::new(origin, counter);
                let batch_budget = BatchBudget::default();
                let shown = locate(&self.link, &self.view, self.to, inspection, self.number, batch_budget)
                    .await
                    .map_err(|failure| failure.category)?;
                self.number += MAX_QUESTIONS;
                Ok(Compared::Differ { from: shown.from })
            }
            Answered::Nothing => match self.ask(Scope::Origin(origin), Heads::default(), 1).await? {
                FetchReply::Batch(batch) if batch.events.is_empty() => Ok(Compared::OnlyHere),
                FetchReply::Batch(_) => Ok(Compared::Agree { up_to: ours.counter }),
                FetchReply::Refused { refusal, .. } => Err(refusal.category()),
            },
        }
    }

    async fn ask(&mut self, scope: Scope, known: Heads, max_events: u32) -> Result<FetchReply, ErrorCategory> {
        let request = RequestId { process: self.view.process(), number: self.number };
        let known = Known::Full(known);
        let plain = plain_question(&self.view.local(), self.to, request);
        let request = FetchRequest { known, max_events, scope, ..plain };
        self.number += 1;
        hard(DEADLINE, self.link.fetch(&request, DEADLINE)).await.map_err(|error| error.category())
    }
}
