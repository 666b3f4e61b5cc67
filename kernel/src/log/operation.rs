//! What the writer of a log is asked to do, and how it answers.

use tokio::sync::oneshot;

use super::LocalIdentity;
use super::ahead::Ahead;
use super::append::{AppendError, Appended};
use super::asked::{IngestError, Ingested, SentQuery};
use super::bring_back::{BringBackError, BroughtBack};
use super::fill::{Filled, NotFilled};
use super::findings::{ForkFinding, NotAFork, NotedFork};
use super::minted::NewEpochError;
use super::rotation::{IssueKeys, RotateError};
use super::set_aside::{ResolveError, Resolved};
use crate::clock::VClock;
use crate::digest::Digest;
use crate::event::{Draft, EventBytes};
use crate::ids::PeerName;
use crate::protocol::{EventBatch, OwnHead};
use crate::store::{Batch, StoreError, StoreErrorKind};

/// What an append claims its application had seen.
///
/// ```
/// use antiphon_kernel::testing::MemoryStore;
/// use antiphon_kernel::{CausalContext, Cortex, Draft};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let cortex = Cortex::builder(MemoryStore::new()).name("alpha").start().await?;
/// // Its writer saw all that is here now.
/// let seen = CausalContext::Exactly(cortex.reader().clock());
/// cortex.log().append(vec![Draft::new("note.written", "hello")], seen).await?;
/// cortex.stop().await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum CausalContext {
    /// Everything up to the position of the application's replayer: never what arrived but was not replayed yet, or a
    /// concurrent write would be declared superseded unseen.
    #[default]
    Replayed,
    /// Exactly this.
    Exactly(VClock),
}

pub(super) type Reply<T, E> = oneshot::Sender<Result<T, E>>;

pub(super) enum Operation {
    Append {
        drafts: Vec<Draft>,
        context: CausalContext,
        /// State that is committed with them, and only with them.
        changes: Batch,
        reply: Reply<Vec<Appended>, AppendError>,
    },
    Ingest {
        peer: PeerName,
        asked: SentQuery,
        batch: Box<EventBatch>,
        /// What was computed of the batch before.
        ahead: Ahead,
        /// Whether it is answered once it is durable, rather than once it is visible.
        durably: bool,
        reply: Reply<Ingested, IngestError>,
    },
    Fill {
        record: EventBytes,
        reply: Reply<Filled, NotFilled>,
    },
    NoteFork {
        finding: ForkFinding,
        reply: Reply<NotedFork, NotAFork>,
    },
    ResolveFork {
        keep: Digest,
        reply: Reply<Resolved, ResolveError>,
    },
    BringBack {
        all: bool,
        reply: Reply<BroughtBack, BringBackError>,
    },
    OwnHead {
        peer: PeerName,
        head: Box<OwnHead>,
        reply: Reply<(), StoreError>,
    },
    NewEpoch {
        reply: Reply<LocalIdentity, NewEpochError>,
    },
    RotateKeys {
        issue: IssueKeys,
        reply: Reply<LocalIdentity, RotateError>,
    },
    /// Open the store again after a failed write, as every write does first.
    Recover {
        reply: oneshot::Sender<()>,
    },
    /// Write nothing more before the store was opened again: it found out itself that it must not be written.
    Fail {
        error: StoreError,
    },
    State {
        changes: Batch,
        reply: Reply<(), StoreError>,
    },
    Stop,
}

/// Answers that wait for the commit they are part of. A waiter that went away is no error: its event is as durable as any.
pub(super) enum PendingReply {
    Append(Vec<Appended>, Reply<Vec<Appended>, AppendError>),
    Ingest(Ingested, Reply<Ingested, IngestError>),
    /// The caller continues once it is visible.
    Visible(Ingested, Reply<Ingested, IngestError>),
    Fill(Filled, Reply<Filled, NotFilled>),
    NoteFork(NotedFork, Reply<NotedFork, NotAFork>),
    State(Reply<(), StoreError>),
}

impl PendingReply {
    /// Answers, and counts the events that were appended.
    pub(super) fn done(self, count: &metrics::Counter) {
        match self {
            Self::Append(appended, reply) => {
                count.increment(appended.len() as u64);
                drop(reply.send(Ok(appended)));
            }
            Self::Ingest(ingested, reply) | Self::Visible(ingested, reply) => drop(reply.send(Ok(ingested))),
            Self::Fill(filled, reply) => drop(reply.send(Ok(filled))),
            Self::NoteFork(fork, reply) => drop(reply.send(Ok(fork))),
            Self::State(reply) => drop(reply.send(Ok(()))),
        }
    }

    /// Whether nothing that is on its way to the disk concerns it: an append's own commit was synced or need not be.
    pub(super) const fn is_settled(&self) -> bool {
        matches!(self, Self::Append(..) | Self::Visible(..) | Self::Fill(..))
    }

    /// Its write failed, and may have reached the disk.
    pub(super) fn failed(self, error: &StoreError) {
        match self {
            Self::Append(_, reply) => drop(reply.send(Err(AppendError::InDoubt(error.clone())))),
            other => other.forgotten(error),
        }
    }

    /// It was staged, and never written.
    pub(super) fn forgotten(self, error: &StoreError) {
        let error = error.clone();
        match self {
            Self::Append(_, reply) => drop(reply.send(Err(error.into()))),
            Self::Ingest(_, reply) | Self::Visible(_, reply) => drop(reply.send(Err(error.into()))),
            Self::Fill(_, reply) => drop(reply.send(Err(error.into()))),
            Self::NoteFork(_, reply) => drop(reply.send(Err(error.into()))),
            Self::State(reply) => drop(reply.send(Err(error))),
        }
    }
}

pub(super) fn closed() -> StoreError {
    StoreError::new(StoreErrorKind::Misuse, "the log is closed")
}
