//! The one writer: a thread that drains a bounded queue into one batch, commits once, and answers all who wait.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::append::AppendError;
use super::core::Log;
use super::operation::{CausalContext, Operation, PendingReply};
use super::replayed::ReplayedClock;
use super::syncs::Syncs;
use super::watched::Watched;
use crate::mutant::{self, Mutant};
use crate::simulated::pause;
use crate::store::Durability;
use crate::time::Timestamp;
use crate::worker::Worker;

/// How many bytes one commit gathers before it is written.
const MAX_GROUP_BYTES: usize = 16 * 1024 * 1024;
/// Tries to open a store again are at least this far apart.
const RECOVER_APART: Duration = Duration::from_millis(250);
/// How many requests one commit gathers.
const MAX_GROUP: usize = 1024;

pub(super) struct Writer {
    pub(super) log: Log,
    pub(super) durability: Durability,
    pub(super) queue: mpsc::Receiver<Operation>,
    pub(super) replayed: ReplayedClock,
    /// Not to be opened again before.
    pub(super) recover_after: Option<Instant>,
    pub(super) syncs: Syncs,
    /// Counts the events that are appended here.
    pub(super) appended: metrics::Counter,
}

impl Writer {
    pub(super) fn start(self) -> std::io::Result<Worker> {
        Worker::start("antiphon-log", self, Self::run, Self::run_in_turns)
    }

    fn run(mut self) {
        let _watched = Watched::new(self.log.reader(), "log");
        while let Some(first) = self.queue.blocking_recv() {
            if !self.turn(first) {
                break;
            }
        }
        // Everything that was asked for is durable before the writer has ended.
        self.syncs.settle();
    }

    /// The same as a task, for a simulation.
    async fn run_in_turns(mut self) {
        let _watched = Watched::new(self.log.reader(), "log");
        while let Some(first) = self.queue.recv().await {
            pause().await;
            if !self.turn(first) {
                break;
            }
        }
        self.syncs.settle();
    }

    /// Does what was asked first and whatever else waits by then, in one commit. False once it was asked to stop.
    fn turn(&mut self, first: Operation) -> bool {
        let mut waiting = Vec::new();
        let mut continues = self.stage(first, &mut waiting);
        while continues && waiting.len() < MAX_GROUP && self.log.staged_bytes() < MAX_GROUP_BYTES {
            match self.queue.try_recv() {
                Ok(operation) => continues = self.stage(operation, &mut waiting),
                Err(_) => break,
            }
        }
        self.commit(waiting);
        self.rejoin();
        continues
    }

    fn stage(&mut self, operation: Operation, waiting: &mut Vec<PendingReply>) -> bool {
        if let Some(error) = self.syncs.take_failure() {
            self.log.fail(&error);
        }
        if self.log.needs_recovery() {
            // Recovering forgets what is staged: nobody may be told that it was written. And nothing that was on its way
            // before may be published after it.
            self.syncs.settle();
            let error = self.log.stopped_by();
            std::mem::take(waiting).into_iter().for_each(|waiter| waiter.forgotten(&error));
        }
        if self.log.needs_recovery() && self.recover_after.is_none_or(|after| Instant::now() >= after) {
            // Each try closes the store to readers for a moment.
            let first = self.recover_after.is_none();
            self.recover_after = Some(Instant::now() + RECOVER_APART);
            match self.log.recover() {
                Ok(()) => {
                    self.recover_after = None;
                    tracing::info!("the store is open again and can be written");
                }
                Err(error) if first => {
                    tracing::error!(%error, code = %error.code(), "the store cannot be written; what is there is served on, and it is tried again");
                }
                Err(error) => tracing::debug!(%error, "the store still cannot be written"),
            }
        }
        let now = Timestamp::now();
        match operation {
            Operation::Append { drafts, context, changes, reply } => {
                let seen = match context {
                    CausalContext::Replayed => self.replayed.get(&self.log.reader()).map_err(AppendError::from),
                    CausalContext::Exactly(clock) => Ok(clock),
                };
                let appended = seen.and_then(|seen| self.log.append(&drafts, &seen, now));
                match appended.and_then(|appended| Ok(self.log.stage_state(&changes).map(|()| appended)?)) {
                    Ok(appended) => waiting.push(PendingReply::Append(appended, reply)),
                    Err(error) => drop(reply.send(Err(error))),
                }
            }
            Operation::Ingest { peer, asked, batch, ahead, durably, reply } => {
                match self.log.ingest_computed(&peer, &asked, (&batch, &ahead), now) {
                    Ok(ingested) if durably => waiting.push(PendingReply::Ingest(ingested, reply)),
                    Ok(ingested) => waiting.push(PendingReply::Visible(ingested, reply)),
                    Err(error) => drop(reply.send(Err(error))),
                }
            }
            Operation::State { changes, reply } => match self.log.stage_state(&changes) {
                Ok(()) => waiting.push(PendingReply::State(reply)),
                Err(error) => drop(reply.send(Err(error))),
            },
            Operation::OwnHead { peer, head, reply } => match self.log.note_own_head(&peer, &head, now) {
                Ok(()) => waiting.push(PendingReply::State(reply)),
                Err(error) => drop(reply.send(Err(error))),
            },
            Operation::Fill { record, reply } => match self.log.fill(&record) {
                Ok(filled) => waiting.push(PendingReply::Fill(filled, reply)),
                Err(error) => drop(reply.send(Err(error))),
            },
            Operation::NoteFork { finding, reply } => match self.log.note_fork(&finding, now) {
                Ok(fork) => waiting.push(PendingReply::NoteFork(fork, reply)),
                Err(error) => drop(reply.send(Err(error))),
            },
            Operation::ResolveFork { keep, reply } => {
                // It commits by itself, and what was staged before with it.
                self.commit(std::mem::take(waiting));
                self.syncs.settle();
                drop(reply.send(self.log.resolve_fork(keep, now)));
            }
            Operation::Fail { error } => self.log.fail(&error),
            Operation::BringBack { all, reply } => {
                self.commit(std::mem::take(waiting));
                self.syncs.settle();
                drop(reply.send(self.log.bring_back(all, now)));
            }
            Operation::NewEpoch { reply } => {
                self.commit(std::mem::take(waiting));
                self.syncs.settle();
                drop(reply.send(self.log.new_epoch(now)));
            }
            Operation::RotateKeys { issue, reply } => {
                self.commit(std::mem::take(waiting));
                self.syncs.settle();
                drop(reply.send(self.log.rotate_keys(issue, now)));
            }
            Operation::Recover { reply } => drop(reply.send(())),
            Operation::Stop => return false,
        }
        true
    }

    /// Lets events join that waited behind a hole, if it was filled now.
    fn rejoin(&mut self) {
        while !self.log.needs_recovery() {
            let joined = self.log.rejoin(Timestamp::now());
            match joined.and_then(|done| self.log.commit(Durability::Sync).map(|()| done)) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) => {
                    return tracing::error!(%error, code = %error.code(), "events that wait since a repair could not join the log");
                }
            }
        }
    }

    /// Commits what was staged and answers.
    fn commit(&mut self, waiting: Vec<PendingReply>) {
        // Of our own events no effect may be seen that a crash could leave without its cause. What peers sent is theirs and
        // durable there: replayers may see it while the disk is still at work, because a crash that takes it takes what
        // they made of it as well, and both come again. Nothing is served before the sync, either way.
        let appends = waiting.iter().any(|waiter| matches!(waiter, PendingReply::Append(..)));
        let wanted = if mutant::is(Mutant::AcknowledgedBeforeSync) { Durability::Relaxed } else { self.durability };
        let durability = if appends { wanted } else { Durability::Relaxed };
        if let Err(error) = self.log.commit(durability) {
            tracing::error!(%error, code = %error.code(), "a write failed; the store is opened and read again before the next one");
            return waiting.into_iter().for_each(|waiter| waiter.failed(&error));
        }
        let Some(unsynced) = self.log.take_unsynced() else {
            if !waiting.iter().all(PendingReply::is_settled) {
                // Nothing was new, but what it adds nothing to may still be on its way to the disk.
                self.syncs.settle();
                if let Some(error) = self.syncs.take_failure() {
                    self.log.fail(&error);
                    return waiting.into_iter().for_each(|waiter| waiter.failed(&error));
                }
            }
            return waiting.into_iter().for_each(|waiter| waiter.done(&self.appended));
        };
        // Relaxed answers do not wait for the disk, but durability follows at once: peers see only what is durable.
        let relaxed = wanted == Durability::Relaxed;
        let at_once =
            |waiter: &PendingReply| relaxed || matches!(waiter, PendingReply::Visible(..) | PendingReply::Fill(..));
        let (now, later): (Vec<_>, Vec<_>) = waiting.into_iter().partition(at_once);
        self.syncs.hand_over(unsynced, later);
        now.into_iter().for_each(|waiter| waiter.done(&self.appended));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::oneshot;

    use super::*;
    use crate::clock::VClock;
    use crate::event::Draft;
    use crate::log::{Appended, LogOptions};
    use crate::store::{Batch, Store, StoreError};
    use crate::testing::MemoryStore;

    fn writer(store: &Arc<MemoryStore>) -> Writer {
        let store = Arc::clone(store) as Arc<dyn Store>;
        Log::begin(&*store, "alpha", None).unwrap();
        let log = Log::open(store, LogOptions::default()).unwrap();
        let (_, queue) = mpsc::channel(1);
        let syncs = Syncs::start(log.reader()).unwrap();
        let replayed = ReplayedClock::default();
        Writer {
            log,
            durability: Durability::Sync,
            queue,
            replayed,
            recover_after: None,
            syncs,
            appended: metrics::Counter::noop(),
        }
    }

    fn append(subject: &str) -> (Operation, oneshot::Receiver<Result<Vec<Appended>, AppendError>>) {
        let (reply, answer) = oneshot::channel();
        let drafts = vec![Draft::new("test", subject.to_owned())];
        (
            Operation::Append { drafts, context: CausalContext::Exactly(VClock::new()), changes: Batch::new(), reply },
            answer,
        )
    }

    fn state(name: &[u8]) -> (Operation, oneshot::Receiver<Result<(), StoreError>>) {
        let (reply, answer) = oneshot::channel();
        let mut changes = Batch::new();
        changes.put(crate::store::Family::Meta, name, b"x");
        (Operation::State { changes, reply }, answer)
    }

    /// A sync fails while the next group is being gathered: what is staged of it is forgotten by the recovery, and its
    /// caller gets an error. (It was acknowledged, with a sequence number and a counter that the next event got as well.)
    #[test]
    fn what_was_staged_before_a_recovery_is_not_acknowledged() {
        let store = Arc::new(MemoryStore::new());
        let mut writer = writer(&store);
        let (first, mut synced) = state(b"state/first");
        let (one, mut lost) = append("one");
        let (two, mut kept) = append("two");
        // On its way to the disk, which fails.
        let mut waiting = Vec::new();
        assert!(writer.stage(first, &mut waiting));
        store.fail_sync();
        writer.commit(waiting);
        // The failure may be seen before the first operation of the next group, or only before the second.
        let mut waiting = Vec::new();
        writer.log.append(&[Draft::new("test", "staged")], &VClock::new(), Timestamp::now()).unwrap();
        if let Operation::Append { reply, .. } = one {
            let staged = Appended {
                seq: writer.log.reader().visible().next(),
                id: crate::ids::EventId::from_bytes([0; 16]),
                dot: crate::ids::Dot::new(writer.log.reader().local().origin(), 1).unwrap(),
            };
            waiting.push(PendingReply::Append(vec![staged], reply));
        }
        writer.syncs.settle();
        assert!(writer.stage(two, &mut waiting));
        writer.commit(waiting);
        assert!(synced.try_recv().unwrap().is_err(), "it did not become durable");
        assert!(lost.try_recv().unwrap().is_err(), "it was forgotten");
        let kept = kept.try_recv().unwrap().unwrap();
        let held = writer.log.reader().entries(crate::cursor::Seq::ZERO, 10, 1 << 20).unwrap();
        assert_eq!((held.len(), held[0].seq), (1, kept[0].seq));
        assert_eq!(held[0].event().unwrap().data, b"two");
    }

    /// Nothing is new, but what it says is there is still on its way to the disk.
    #[test]
    fn an_answer_that_adds_nothing_waits_for_what_it_relies_on() {
        let store = Arc::new(MemoryStore::new());
        let mut writer = writer(&store);
        let (first, mut synced) = state(b"state/first");
        let mut waiting = Vec::new();
        writer.stage(first, &mut waiting);
        store.fail_sync();
        writer.commit(waiting);
        let (reply, mut answer) = oneshot::channel();
        writer.commit(vec![PendingReply::State(reply)]);
        assert!(synced.try_recv().unwrap().is_err() && answer.try_recv().unwrap().is_err());
        assert!(writer.log.needs_recovery());
    }
}
