//! Syncs beside the writer: while the disk is at work on one group, the writer prepares and writes the next.
//!
//! ```text
//!   writer: stage, write ─▶ [ group ] ─▶ [ group ] ─▶ sync thread: one sync for all that wait ─▶ publish ─▶ answers
//! ```
//!
//! A sync that fails fails everything behind it as well, until the writer has taken note and read the store again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use tokio::sync::Notify;

use super::log_reader::LogReader;
use super::operation::PendingReply;
use super::shared::SyncTicket;
use super::watched::Watched;
use crate::measure::{CORTEX, SYNC_SECONDS, appended};
use crate::simulated;
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
    failure: Failure,
    way: Way,
}

/// How groups get to the disk.
enum Way {
    Thread {
        queue: Option<SyncSender<Message>>,
        thread: Option<JoinHandle<()>>,
    },
    /// In a simulation.
    Task(Arc<Queue>),
}

impl Syncs {
    pub(super) fn start(view: LogReader) -> std::io::Result<Self> {
        let failure = Failure::default();
        let disk = Disk::new(view, Arc::clone(&failure));
        if simulated::is_active() {
            let queue = Arc::new(Queue {
                disk,
                waiting: Mutex::default(),
                filled: Notify::new(),
                is_over: AtomicBool::new(false),
            });
            tokio::spawn(Arc::clone(&queue).run());
            return Ok(Self { failure, way: Way::Task(queue) });
        }
        let (queue, groups) = sync_channel(DEPTH);
        let thread = std::thread::Builder::new().name("antiphon-sync".to_owned()).spawn(move || disk.run(&groups))?;
        Ok(Self { failure, way: Way::Thread { queue: Some(queue), thread: Some(thread) } })
    }

    /// Hands a group over. Waits where too many wait already.
    pub(super) fn hand_over(&self, unsynced: SyncTicket, waiting: Vec<PendingReply>) {
        let group = Group { unsynced, waiting };
        match &self.way {
            Way::Thread { .. } => self.send(Message::Group(Box::new(group))),
            Way::Task(queue) => queue.push(group),
        }
    }

    /// Waits until nothing is on its way any more.
    pub(super) fn settle(&self) {
        match &self.way {
            Way::Thread { .. } => {
                let (done, settled) = sync_channel(1);
                self.send(Message::Fence(done));
                // Its thread ends after everything that was sent before is settled, if it ends.
                let _ = settled.recv();
            }
            Way::Task(queue) => queue.sync(),
        }
    }

    /// What failed since this was asked last; everything is settled then.
    pub(super) fn take_failure(&self) -> Option<StoreError> {
        self.failed().as_ref()?;
        self.settle();
        let (kind, why) = self.failed().take()?;
        Some(StoreError::new(kind, why))
    }

    fn failed(&self) -> MutexGuard<'_, Option<(StoreErrorKind, String)>> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, message: Message) {
        if let Way::Thread { queue: Some(queue), .. } = &self.way {
            // A thread that ended by a fault drops what it is sent, and with it the answers: whoever waits is told so.
            let _ = queue.send(message);
        }
    }
}

impl Drop for Syncs {
    fn drop(&mut self) {
        match &mut self.way {
            Way::Thread { queue, thread } => {
                queue.take();
                if let Some(thread) = thread.take() {
                    // If it panicked, that was said already.
                    let _ = thread.join();
                }
            }
            Way::Task(queue) => {
                queue.sync();
                queue.is_over.store(true, Ordering::Relaxed);
                queue.filled.notify_one();
            }
        }
    }
}

/// What the thread does, as a task: the groups that wait for the disk, and a disk that takes virtual time.
struct Queue {
    disk: Disk,
    waiting: Mutex<Vec<Group>>,
    filled: Notify,
    is_over: AtomicBool,
}

impl Queue {
    fn waiting(&self) -> MutexGuard<'_, Vec<Group>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, group: Group) {
        self.waiting().push(group);
        if self.waiting().len() > DEPTH {
            self.sync();
        }
        self.filled.notify_one();
    }

    /// Syncs at once what waits.
    fn sync(&self) {
        let groups = std::mem::take(&mut *self.waiting());
        if !groups.is_empty() {
            self.disk.sync(groups);
        }
    }

    async fn run(self: Arc<Self>) {
        while !self.is_over.load(Ordering::Relaxed) {
            self.filled.notified().await;
            simulated::pause().await;
            self.sync();
        }
    }
}

struct Disk {
    view: LogReader,
    failure: Failure,
    appended: metrics::Counter,
    seconds: metrics::Histogram,
}

impl Disk {
    fn new(view: LogReader, failure: Failure) -> Self {
        let name = view.local().name;
        let (appended, seconds) = (appended(&name), metrics::histogram!(SYNC_SECONDS.name, CORTEX => name));
        Self { view, failure, appended, seconds }
    }

    fn run(self, groups: &Receiver<Message>) {
        let _watched = Watched::new(self.view.clone(), "sync");
        while let Ok(first) = groups.recv() {
            let (mut unsynced, mut fences) = (Vec::new(), Vec::new());
            // One sync makes durable whatever was written before it.
            for message in std::iter::once(first).chain(std::iter::from_fn(|| groups.try_recv().ok())) {
                match message {
                    Message::Group(group) => unsynced.push(*group),
                    Message::Fence(done) => fences.push(done),
                }
            }
            if !unsynced.is_empty() {
                self.sync(unsynced);
            }
            for done in fences {
                // Whoever waited may have gone.
                let _ = done.send(());
            }
        }
    }

    fn sync(&self, groups: Vec<Group>) {
        let failed = self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let synced = match failed {
            Some((kind, why)) => Err(StoreError::new(kind, why)),
            None => {
                let began = Instant::now();
                let synced = self.view.store().sync();
                self.seconds.record(began.elapsed());
                synced
            }
        };
        match synced {
            Ok(()) => {
                for Group { unsynced, waiting } in groups {
                    self.view.shared.publish(unsynced);
                    waiting.into_iter().for_each(|waiter| waiter.done(&self.appended));
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
