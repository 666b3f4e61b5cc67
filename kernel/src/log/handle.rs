//! The log as the rest of the program sees it: requests to the one writer, and a view to read from.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{mpsc, oneshot};

use super::LocalIdentity;
use super::ahead::Ahead;
use super::append::{AppendError, Appended};
use super::asked::{IngestError, Ingested, SentQuery};
use super::bring_back::{BringBackError, BroughtBack};
use super::core::Log;
use super::fill::{Filled, NotFilled};
use super::findings::{ForkFinding, NotAFork, NotedFork};
use super::log_reader::LogReader;
use super::minted::NewEpochError;
use super::operation::{CausalContext, Operation, closed};
use super::replayed::ReplayedClock;
use super::rotation::{IssueKeys, RotateError};
use super::set_aside::{ResolveError, Resolved};
use super::syncs::Syncs;
use super::writer::Writer;
use crate::digest::Digest;
use crate::event::{Draft, EventBytes};
use crate::ids::PeerName;
use crate::limits::PeerLimits;
use crate::measure;
use crate::protocol::{EventBatch, OwnHead};
use crate::store::{Batch, Durability, StoreError};
use crate::worker::Worker;

/// How many requests may queue before callers wait.
const QUEUE: usize = 1024;

/// A running log. Cheap to clone; the writer ends with [`LogHandle::close`].
///
/// ```
/// use antiphon_kernel::testing::MemoryStore;
/// use antiphon_kernel::{CausalContext, Cortex, Draft};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let cortex = Cortex::builder(MemoryStore::new()).name("alpha").start().await?;
/// let drafts = vec![Draft::new("note.written", "one"), Draft::new("note.written", "two")];
/// let appended = cortex.log().append(drafts, CausalContext::Replayed).await?;
/// assert_eq!(appended.len(), 2);
/// cortex.stop().await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct LogHandle {
    queue: mpsc::Sender<Operation>,
    view: LogReader,
    replayed: ReplayedClock,
    writer: Arc<Mutex<Option<Worker>>>,
}

impl LogHandle {
    /// Replaces the quotas of what is stored, from the next answer of a peer on.
    pub(crate) fn set_limits(&self, limits: &PeerLimits) {
        self.view.set_limits(limits);
    }

    /// Puts a log on its writer thread.
    ///
    /// # Errors
    /// If no thread can be started.
    pub fn start(log: Log, durability: Durability) -> std::io::Result<Self> {
        let (sender, queue) = mpsc::channel(QUEUE);
        let view = log.reader();
        let replayed = ReplayedClock::default();
        let syncs = Syncs::start(view.clone())?;
        let appended = measure::appended(&view.local().name);
        let writer =
            Writer { log, durability, queue, replayed: replayed.clone(), recover_after: None, syncs, appended }
                .start()?;
        Ok(Self { queue: sender, view, replayed, writer: Arc::new(Mutex::new(Some(writer))) })
    }

    /// A reader.
    #[must_use]
    pub const fn reader(&self) -> &LogReader {
        &self.view
    }

    pub(crate) const fn replayed(&self) -> &ReplayedClock {
        &self.replayed
    }

    /// Appends drafts together: all or none. `Ok` means that they survive `kill -9` and, under
    /// [`Durability::Sync`], power loss.
    ///
    /// # Errors
    /// [`AppendError`].
    pub async fn append(&self, drafts: Vec<Draft>, context: CausalContext) -> Result<Vec<Appended>, AppendError> {
        self.append_with(drafts, context, Batch::new()).await
    }

    /// Appends drafts, and commits changes of state together with them: both or neither are there after a crash.
    pub(crate) async fn append_with(
        &self,
        drafts: Vec<Draft>,
        context: CausalContext,
        changes: Batch,
    ) -> Result<Vec<Appended>, AppendError> {
        let (reply, answer) = oneshot::channel();
        self.send(Operation::Append { drafts, context, changes, reply }).await.map_err(|()| AppendError::Closed)?;
        answer.await.unwrap_or_else(|_| Err(AppendError::InDoubt(closed())))
    }

    /// Takes a peer's answer: its events and the peer's cursor, together and durably.
    ///
    /// # Errors
    /// [`IngestError`].
    pub async fn ingest(&self, peer: PeerName, asked: SentQuery, batch: EventBatch) -> Result<Ingested, IngestError> {
        self.take(peer, asked, (batch, Ahead::default()), true).await
    }

    /// Takes a peer's answer, and says so once it is visible: the disk is at work then, and the next one can be taken. Until
    /// it is durable nothing is served of it, and no new question may say that it is held.
    pub(crate) async fn ingest_visibly(
        &self,
        peer: PeerName,
        asked: SentQuery,
        batch: EventBatch,
        ahead: Ahead,
    ) -> Result<Ingested, IngestError> {
        self.take(peer, asked, (batch, ahead), false).await
    }

    async fn take(
        &self,
        peer: PeerName,
        asked: SentQuery,
        (batch, ahead): (EventBatch, Ahead),
        durably: bool,
    ) -> Result<Ingested, IngestError> {
        let (reply, answer) = oneshot::channel();
        let operation = Operation::Ingest { peer, asked, batch: Box::new(batch), ahead, durably, reply };
        self.send(operation).await.map_err(|()| closed())?;
        answer.await.unwrap_or_else(|_| Err(closed().into()))
    }

    /// Gives an event the parts that are missing here: see [`Log::fill`]. It returns once they are visible. A crash that takes
    /// them back takes the removal of the debt back as well.
    ///
    /// # Errors
    /// [`NotFilled`]; then nothing was changed.
    pub async fn fill(&self, record: EventBytes) -> Result<Filled, NotFilled> {
        let (reply, answer) = oneshot::channel();
        self.send(Operation::Fill { record, reply }).await.map_err(|()| closed())?;
        answer.await.unwrap_or_else(|_| Err(closed().into()))
    }

    /// Begins a new epoch if a peer holds more of the present one: see [`Log::note_own_head`]. Returns once that is durable.
    ///
    /// # Errors
    /// [`StoreError`]; then nothing was changed.
    pub(crate) async fn note_own_head(&self, peer: PeerName, head: OwnHead) -> Result<(), StoreError> {
        let own = self.reader().local().origin();
        if head.origin != own || head.counter <= self.reader().heads().counter(own) {
            return Ok(());
        }
        let (reply, answer) = oneshot::channel();
        self.send(Operation::OwnHead { peer, head: Box::new(head), reply }).await.map_err(|()| closed())?;
        answer.await.unwrap_or_else(|_| Err(closed()))
    }

    /// Keeps what was found out about a fork, with its evidence.
    ///
    /// # Errors
    /// [`NotAFork`] where what was shown does not prove it.
    pub async fn note_fork(&self, finding: ForkFinding) -> Result<NotedFork, NotAFork> {
        let (reply, answer) = oneshot::channel();
        self.send(Operation::NoteFork { finding, reply }).await.map_err(|()| closed())?;
        answer.await.unwrap_or_else(|_| Err(closed().into()))
    }

    /// Ends a fork here in favour of the version with this digest. Replayers that are running are to be rebuilt then:
    /// [`crate::cortex::Cortex::resolve_fork`] does both.
    ///
    /// # Errors
    /// [`ResolveError`]; then nothing was changed.
    pub async fn resolve_fork(&self, keep: Digest) -> Result<Resolved, ResolveError> {
        let (reply, answer) = oneshot::channel();
        self.send(Operation::ResolveFork { keep, reply }).await.map_err(|()| closed())?;
        answer.await.unwrap_or_else(|_| Err(closed().into()))
    }

    /// Appends one page of the events that were set aside, as new ones: see [`Log::bring_back`].
    ///
    /// # Errors
    /// [`BringBackError`].
    pub async fn bring_back(&self, all: bool) -> Result<BroughtBack, BringBackError> {
        let (reply, answer) = oneshot::channel();
        self.send(Operation::BringBack { all, reply }).await.map_err(|()| closed())?;
        answer.await.unwrap_or_else(|_| Err(closed().into()))
    }

    /// Begins a new epoch where the last event id is too far ahead of the clock: see [`Log::new_epoch`].
    ///
    /// # Errors
    /// [`NewEpochError`].
    pub async fn new_epoch(&self) -> Result<LocalIdentity, NewEpochError> {
        let (reply, answer) = oneshot::channel();
        self.send(Operation::NewEpoch { reply }).await.map_err(|()| closed())?;
        answer.await.unwrap_or_else(|_| Err(closed().into()))
    }

    /// Replaces the keys of this cortex: see [`Cortex::rotate_keys`](crate::Cortex::rotate_keys).
    pub(crate) async fn rotate_keys(&self, issue: IssueKeys) -> Result<LocalIdentity, RotateError> {
        let (reply, answer) = oneshot::channel();
        self.send(Operation::RotateKeys { issue, reply }).await.map_err(|()| closed())?;
        answer.await.unwrap_or_else(|_| Err(closed().into()))
    }

    /// After a failed write: has the store opened again now, rather than before the next one. What came of it shows in
    /// [`LogReader::failure`].
    pub async fn recover(&self) {
        let (reply, answer) = oneshot::channel();
        if self.send(Operation::Recover { reply }).await.is_ok() {
            // A writer that ended has nothing to recover.
            let _ = answer.await;
        }
    }

    /// Waits until the writer has done what was asked before, and returns whether it still works.
    pub async fn lives(&self) -> bool {
        let (reply, answer) = oneshot::channel();
        self.send(Operation::Recover { reply }).await.is_ok() && answer.await.is_ok()
    }

    /// Has nothing more written before the store was opened again, for this reason.
    pub(crate) async fn fail(&self, error: StoreError) {
        // A writer that ended writes nothing either.
        let _ = self.send(Operation::Fail { error }).await;
    }

    /// Writes changes of state, durable as appends are.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn write_state(&self, changes: Batch) -> Result<(), StoreError> {
        let (reply, answer) = oneshot::channel();
        self.send(Operation::State { changes, reply }).await.map_err(|()| closed())?;
        answer.await.unwrap_or_else(|_| Err(closed()))
    }

    async fn send(&self, operation: Operation) -> Result<(), ()> {
        self.queue.send(operation).await.map_err(|_| ())
    }

    /// Ends the writer after everything that was queued before is committed. Later requests are refused.
    pub async fn close(&self) {
        // A writer that is gone already needs no telling.
        let _ = self.queue.send(Operation::Stop).await;
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer {
            writer.ended().await;
        }
    }

    /// The same for a caller that cannot await: blocks until the writer has ended.
    pub(crate) fn close_blocking(&self) {
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(writer) = writer else { return };
        let queue = self.queue.clone();
        if writer.is_task() {
            // It ends in its next turn, or when its queue is dropped.
            let _ = queue.try_send(Operation::Stop);
            return;
        }
        // From a thread of its own: a thread of a runtime must not wait for the queue.
        let ending = std::thread::Builder::new().name("antiphon-close".to_owned()).spawn(move || {
            let _ = queue.blocking_send(Operation::Stop);
            writer.join();
        });
        // Without a thread the writer ends when its queue is dropped.
        if let Ok(ending) = ending {
            let _ = ending.join();
        }
    }
}
