//! Syncs beside the writer: while the disk is at work on one group, the writer prepares and writes the next.
//!
//! ```text
//!   writer: stage, write ─▶ [ group ] ─▶ [ group ] ─▶ sync thread: one sync for all that wait ─▶ publish ─▶ answers
//! ```
//!
//! A sync that fails fails everything behind it as well, until the writer has taken note and read the store again.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use super::log_reader::LogReader;
use super::operation::PendingReply;
use super::shared::SyncTicket;
use super::watched::Watched;
use crate::measure::{CORTEX, SYNC_SECONDS, appended};
use crate::store::{StoreError, StoreErrorKind};

/// How many groups may wait for the disk before the writer does: what is visible and not yet durable stays bounded.
const DEPTH: usize = 2;

/// A group that was written, and who waits for it to be durable.
struct Group {
    unsynced: SyncTicket,
    waiting: Vec<PendingReply>,
}

enum Message {
    Group(Box<Group>),
    /// Answered once everything before it is settled.
    Fence(SyncSender<()>),
}

type Failure = Arc<Mutex<Option<(StoreErrorKind, String)>>>;

pub(super) struct Syncs {
    queue: Option<SyncSender<Message>>,
    failure: Failure,
    thread: Option<JoinHandle<()>>,
}

impl Syncs {
    pub(super) fn start(view: LogReader) -> std::io::Result<Self> {
        let (queue, groups) = sync_channel(DEPTH);
        let failure = Failure::default();
        let thread = Thread { view, failure: Arc::clone(&failure), groups };
        let thread = std::thread::Builder::new().name("antiphon-sync".to_owned()).spawn(move || thread.run())?;
        Ok(Self { queue: Some(queue), failure, thread: Some(thread) })
    }

    /// Hands a group over. Waits where too many wait already.
    pub(super) fn hand_over(&self, unsynced: SyncTicket, waiting: Vec<PendingReply>) {
        self.send(Message::Group(Box::new(Group { unsynced, waiting })));
    }

    /// Waits until nothing is on its way any more.
    pub(super) fn settle(&self) {
        let (done, settled) = sync_channel(1);
        self.send(Message::Fence(done));
        // Its thread ends after everything that was sent before is settled, if it ends.
        let _ = settled.recv();
    }

    /// What failed since this was asked last; everything is settled then.
    pub(super) fn take_failure(&self) -> Option<StoreError> {
        self.failed().as_ref()?;
        self.settle();
        let (kind, why) = self.failed().take()?;
        Some(StoreError::new(kind, why))
    }

    fn failed(&self) -> std::sync::MutexGuard<'_, Option<(StoreErrorKind, String)>> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, message: Message) {
        if let Some(queue) = &self.queue {
            // A thread that ended by a fault drops what it is sent, and with it the answers: whoever waits is told so.
            let _ = queue.send(message);
        }
    }
}

impl Drop for Syncs {
    fn drop(&mut self) {
        self.queue.take();
        if let Some(thread) = self.thread.take() {
            // If it panicked, that was said already.
            let _ = thread.join();
        }
    }
}

struct Thread {
    view: LogReader,
    failure: Failure,
    groups: Receiver<Message>,
}

impl Thread {
    fn run(self) {
        let _watched = Watched::new(self.view.clone(), "sync");
        let name = self.view.local().name;
        let measures = (appended(&name), metrics::histogram!(SYNC_SECONDS.name, CORTEX => name));
        while let Ok(first) = self.groups.recv() {
            let (mut groups, mut fences) = (Vec::new(), Vec::new());
            // One sync makes durable whatever was written before it.
            for message in std::iter::once(first).chain(std::iter::from_fn(|| self.groups.try_recv().ok())) {
                match message {
                    Message::Group(group) => groups.push(*group),
                    Message::Fence(done) => fences.push(done),
                }
            }
            if !groups.is_empty() {
                self.sync(groups, &measures);
            }
            for done in fences {
                // Whoever waited may have gone.
                let _ = done.send(());
            }
        }
    }

    fn sync(&self, groups: Vec<Group>, (appended, seconds): &(metrics::Counter, metrics::Histogram)) {
        let failed = self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let synced = match failed {
            Some((kind, why)) => Err(StoreError::new(kind, why)),
            None => {
                let began = Instant::now();
                let synced = self.view.store().sync();
                seconds.record(began.elapsed());
                synced
            }
        };
        match synced {
            Ok(()) => {
                for Group { unsynced, waiting } in groups {
                    self.view.shared.publish(unsynced);
                    waiting.into_iter().for_each(|waiter| waiter.done(appended));
                }
            }
            Err(error) => {
                tracing::error!(%error, code = %error.code(), "a sync failed; the store is opened and read again before the next write");
                self.view.shared.set_failure(Some(&error));
                *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some((error.kind(), error.to_string()));
                for waiter in groups.into_iter().flat_map(|group| group.waiting) {
                    waiter.failed(&error);
                }
            }
        }
    }
}
