//! A replayer on its own thread.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use super::core::{Busy, ReplayCore, ReplayStep, SkipError};
use super::current::read_current;
use super::parked::parked_in;
use super::read::{Commits, ReadAt, ReadStateError, Snapshot};
use super::status::{NotReplayed, RebuildStatus, ReplayCommandError, ReplayStatus};
use crate::blocking::blocking;
use crate::cursor::{Cursor, Seq};
use crate::error_code::ErrorCode;
use crate::log::{Generation, LogHandle, LogReader};
use crate::simulated::pause;
use crate::spans;
use crate::store::StoreError;
use crate::time::Timestamp;
use crate::worker::Worker;

/// The longest pause between two tries of a failing event.
const RETRY_MAX: Duration = Duration::from_secs(30);
const RETRY_BASE: Duration = Duration::from_millis(100);

/// What the replayer's thread shows.
#[derive(Debug, Clone)]
struct Published {
    status: ReplayStatus,
    /// When the position was read from the store.
    generation: Generation,
}

type Reply<T> = oneshot::Sender<Result<T, ReplayCommandError>>;

enum Command {
    Retry(Option<String>, Reply<usize>),
    Skip(Cursor, Reply<()>),
    Rebuild(Reply<()>),
    Refresh(Reply<()>),
}

/// How long a replayer may take to end: far longer than a commit.
const STOP_PATIENCE: Duration = Duration::from_secs(5);
/// How long a command waits for the event at hand.
const COMMAND_PATIENCE: Duration = Duration::from_secs(30);

/// A running replayer. Cheap to clone.
///
/// ```
/// use antiphon_kernel::testing::MemoryStore;
/// use antiphon_kernel::{Cortex, Draft, Event, EventReplayer, Projection, ReplayError};
///
/// # struct Count;
/// # impl EventReplayer for Count {
/// #     fn name(&self) -> &str {
/// #         "count"
/// #     }
/// #     fn families(&self) -> Vec<String> {
/// #         vec!["count".to_owned()]
/// #     }
/// #     fn replay_event(&mut self, _: &Event, count: &mut Projection<'_>) -> Result<(), ReplayError> {
/// #         let before = count.get("count", b"")?.map_or(0, |bytes| bytes[0]);
/// #         Ok(count.put("count", b"", &[before + 1])?)
/// #     }
/// # }
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let cortex = Cortex::builder(MemoryStore::new()).replayer(Count).start().await?;
/// let count = cortex.replayer("count").expect("it was given to the builder");
/// let event = cortex.append(Draft::new("note.written", "hello")).await?;
/// count.wait_replayed(event.seq).await?;
/// assert_eq!(count.status().position, 1);
/// cortex.stop().await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ReplayHandle {
    name: String,
    published: watch::Receiver<Published>,
    log: LogReader,
    stop: watch::Sender<bool>,
    commands: mpsc::UnboundedSender<Command>,
    busy: Arc<Busy>,
    hangs_after: Duration,
    commits: Arc<Commits>,
    families: Arc<[String]>,
    worker: Arc<Mutex<Option<Worker>>>,
}

impl ReplayHandle {
    /// Starts a replayer's thread. Of several, the `primary` one lends its clock to appends.
    ///
    /// # Errors
    /// If no thread can be started.
    pub fn start(core: ReplayCore, log: &LogHandle, primary: bool) -> std::io::Result<Self> {
        let name = core.name().to_owned();
        let first = ReplayStatus {
            name: name.clone(),
            position: core.position().get(),
            rebuild: RebuildStatus::of(&core),
            failures: 0,
            last_error: None,
            lag_events: 0,
            parked: core.parked(),
            conflicts: core.conflicts(),
            fails_at: None,
            hangs_at: None,
        };
        let (busy, hangs_after) = (core.busy(), core.options().hangs_after);
        let (state_commits, families) = (core.commits(), core.families().into());
        let (commands, inbox) = mpsc::unbounded_channel();
        let (sender, published) = watch::channel(Published { status: first, generation: core.generation() });
        let stop = watch::Sender::new(false);
        if primary {
            log.replayed().set(core.replayed());
        }
        let (head, fills) = (log.reader().watch_visible(), log.reader().watch_fills());
        let stopped = stop.subscribe();
        let runner = Runner { core, log: log.clone(), primary, published: sender, stop: stopped, inbox, head, fills };
        let thread = format!("antiphon-replay-{}", runner.core.name());
        let worker = Worker::start(&thread, runner, Runner::run, Runner::run_as_task)?;
        let view = log.reader().clone();
        let handle = Self {
            name,
            published,
            log: view,
            stop,
            commands,
            busy,
            hangs_after,
            commits: state_commits,
            families,
            worker: Arc::new(Mutex::new(Some(worker))),
        };
        handle.watch();
        Ok(handle)
    }

    /// Returns its state.
    #[must_use]
    pub fn status(&self) -> ReplayStatus {
        let hanging = self.busy.since().filter(|(since, _)| since.elapsed() >= self.hangs_after);
        let status = self.published.borrow().status.clone();
        let lag_events = self.log.visible().get().saturating_sub(status.position);
        ReplayStatus { lag_events, hangs_at: hanging.map(|(_, at)| at), ..status }
    }

    /// Says once in the log of each event that it hangs: its own thread cannot.
    fn watch(&self) {
        // Outside of a runtime there is the status alone.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (busy, hangs_after) = (Arc::clone(&self.busy), self.hangs_after);
        let mut published = self.published.clone();
        runtime.spawn(async move {
            let name = published.borrow().status.name.clone();
            let mut reported = None;
            loop {
                tokio::select! {
                    biased;
                    () = tokio::time::sleep((hangs_after / 2).clamp(Duration::from_millis(10), Duration::from_secs(5))) => {}
                    // Its thread ended.
                    Err(_) = published.changed() => return,
                }
                let hanging = busy.since().filter(|(since, _)| since.elapsed() >= hangs_after);
                if let Some((_, at)) = hanging.filter(|&hanging| reported != Some(hanging)) {
                    reported = hanging;
                    tracing::error!(replayer = %name, cursor = %at, "a replayer hangs in an event; other replayers continue");
                }
            }
        });
    }

    async fn command<T>(&self, make: impl FnOnce(Reply<T>) -> Command) -> Result<T, ReplayCommandError> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(make(reply)).map_err(|_| ReplayCommandError::Gone)?;
        let answer = tokio::time::timeout(COMMAND_PATIENCE, answer).await;
        answer.ok().and_then(Result::ok).unwrap_or(Err(ReplayCommandError::Gone))
    }

    /// Tries parked events again, those of one subject or all, and at once the event that halts replay. Returns how many
    /// parked ones were replayed.
    ///
    /// # Errors
    /// [`ReplayCommandError`].
    pub async fn retry(&self, subject: Option<String>) -> Result<usize, ReplayCommandError> {
        self.command(|reply| Command::Retry(subject, reply)).await
    }

    /// Leaves the event at a cursor out for good, and records that.
    ///
    /// # Errors
    /// [`ReplayCommandError`]; [`SkipError::NotWaiting`] for an event that is neither parked nor the next one,
    /// [`SkipError::CursorUnknown`] for a cursor of another history.
    pub async fn skip(&self, at: Cursor) -> Result<(), ReplayCommandError> {
        self.command(|reply| Command::Skip(at, reply)).await
    }

    /// Begins to replay the log into a new build, and returns. Until that build has replayed what the log holds now, readers see
    /// the current one, and nothing more is replayed into it. Then one batch has readers see the new build, and the old one is
    /// deleted in steps. After a crash the rebuild continues. A rebuild that already runs begins again.
    ///
    /// # Errors
    /// [`ReplayCommandError`].
    pub async fn rebuild(&self) -> Result<(), ReplayCommandError> {
        self.command(Command::Rebuild).await
    }

    /// Waits until no rebuild runs, so that readers see what it filled.
    ///
    /// # Errors
    /// [`NotReplayed`]: at once where replay halts at an event, and where the replayer ended.
    pub async fn wait_rebuilt(&self) -> Result<(), NotReplayed> {
        let mut published = self.published.clone();
        let is_over = |now: &Published| now.status.rebuild.is_none() && now.generation == self.log.generation();
        let now = published.wait_for(|now| is_over(now) || now.status.last_error.is_some()).await;
        let now = now.map_err(|_| NotReplayed::Stopped)?.clone();
        match now.status.last_error.clone().filter(|_| !is_over(&now)) {
            Some(error) => Err(NotReplayed::Halted { error }),
            None => Ok(()),
        }
    }

    /// Has the replayer read the store again, since events left the log.
    pub(crate) async fn refresh(&self) -> Result<(), ReplayCommandError> {
        self.command(Command::Refresh).await
    }

    /// The replayer's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Waits until the event at this sequence number is replayed, so that its writer reads what it wrote.
    ///
    /// # Errors
    /// [`NotReplayed`]: at once where replay halts at this event or an earlier one, where the event is parked, and where the
    /// replayer ended.
    pub async fn wait_replayed(&self, seq: Seq) -> Result<(), NotReplayed> {
        let mut published = self.published.clone();
        // A position of before the store was opened again may have gone back: the replayer publishes the new one.
        let is_replayed = |now: &Published| now.status.position >= seq.get() && now.generation == self.log.generation();
        let status = loop {
            let now = published.wait_for(|now| is_replayed(now) || now.status.last_error.is_some()).await;
            let now = now.map_err(|_| NotReplayed::Stopped)?.clone();
            if is_replayed(&now) {
                break now.status;
            }
            if let Some(error) = now.status.last_error {
                return Err(NotReplayed::Halted { error });
            }
        };
        if status.parked == 0 && status.rebuild.is_none() {
            return Ok(());
        }
        let (log, name) = (self.log.clone(), self.name.clone());
        let parked = blocking(move || {
            let store = &**log.store();
            read_current(store, &name, |state| {
                state.build().map_or(Ok(Vec::new()), |build| parked_in(store, &name, build))
            })
        });
        let parked = parked.await?;
        let parked = parked.into_iter().find(|parked| parked.seq == seq);
        parked.map_or(Ok(()), |parked| Err(NotReplayed::Parked { error: parked.error }))
    }

    /// Reads the replayer's families at one position, on a thread that may block, and returns the position with what was read.
    ///
    /// ```
    /// # use antiphon_kernel::replay::ReadStateError;
    /// # use antiphon_kernel::{ReadAt, ReplayHandle};
    /// # async fn example(handle: &ReplayHandle) -> Result<(), ReadStateError> {
    /// let read = handle.read(|notes| Ok((notes.get("notes", b"notes/1")?, notes.get("count", b"")?)));
    /// let ReadAt { position, value: (note, count), .. } = read.await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// The state may be newer than what is durable: after a power loss the replayer can be at an earlier position, and replays.
    ///
    /// # Cost
    /// The store has no snapshots, so a read and a commit of this replayer wait for each other. While `read` runs, the replayer
    /// commits nothing, no fork is resolved and the log does not open a failed store again. Keep `read` short, and read many
    /// keys in pages. Reads of one replayer run at the same time. `read` must use the snapshot alone: a call into the cortex
    /// can wait for this read indefinitely.
    ///
    /// # Errors
    /// [`ReadStateError`].
    pub async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&mut Snapshot<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<ReadAt<T>, ReadStateError> {
        let (log, commits, name) = (self.log.clone(), Arc::clone(&self.commits), self.name.clone());
        let families = Arc::clone(&self.families);
        blocking(move || super::read::read(&log, &commits, &name, &families, read)).await
    }

    /// Has it end after the batch at hand, without waiting.
    pub(crate) fn abandon(&self) {
        self.stop.send_replace(true);
    }

    /// Ends it after the batch at hand.
    pub async fn stop(&self) {
        self.abandon();
        // Its thread holds the other end. Joining it from a thread of the runtime would keep the runtime from ending.
        let mut published = self.published.clone();
        let ended = async { while published.changed().await.is_ok() {} };
        if tokio::time::timeout(STOP_PATIENCE, ended).await.is_err() {
            tracing::warn!(replayer = self.status().name, "a replayer hangs in an event; it is left behind");
            return;
        }
        let worker = self.worker.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(worker) = worker {
            // It has nothing left to do.
            worker.join();
        }
    }
}

struct Runner {
    core: ReplayCore,
    log: LogHandle,
    primary: bool,
    published: watch::Sender<Published>,
    stop: watch::Receiver<bool>,
    inbox: mpsc::UnboundedReceiver<Command>,
    head: watch::Receiver<Seq>,
    fills: watch::Receiver<u64>,
}

/// What a replayer waits for.
#[derive(Debug, Clone, Copy)]
enum Wait {
    ForMore,
    ToRetry(Duration),
}

impl Runner {
    /// Replays on this thread. Only its waits are within a runtime: a replayer may block, and may run a runtime of its own.
    fn run(mut self) {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_time().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                tracing::error!(%error, code = %ErrorCode::StartThread, replayer = self.core.name(), "a replayer could not start");
                return;
            }
        };
        let _cortex = spans::cortex(&self.log.reader().local().name).entered();
        while !*self.stop.borrow() {
            let step = self.step();
            if let Some(error) = self.core.take_unwritten() {
                // Perhaps no other write follows that would notice.
                runtime.block_on(self.log.fail(error));
            }
            if let Some(wait) = self.settle(step) {
                let command = runtime.block_on(self.wait(wait));
                command.into_iter().for_each(|command| self.carry_out(command));
            }
        }
    }

    /// The same as a task, for a simulation.
    async fn run_as_task(mut self) {
        while !*self.stop.borrow() {
            pause().await;
            let step = self.step();
            if let Some(error) = self.core.take_unwritten() {
                self.log.fail(error).await;
            }
            if let Some(wait) = self.settle(step) {
                let command = self.wait(wait).await;
                command.into_iter().for_each(|command| self.carry_out(command));
            }
        }
    }

    fn step(&mut self) -> Result<ReplayStep, StoreError> {
        self.head.borrow_and_update();
        self.fills.borrow_and_update();
        while let Ok(command) = self.inbox.try_recv() {
            self.carry_out(command);
        }
        self.core.step()
    }

    /// Shows what came of a step, and says what to wait for before the next one.
    fn settle(&mut self, step: Result<ReplayStep, StoreError>) -> Option<Wait> {
        let (at, failure) = match step {
            Ok(ReplayStep::CaughtUp) => {
                // A commit that had failed may be what caught up.
                self.publish(None);
                return Some(Wait::ForMore);
            }
            Ok(ReplayStep::Replayed(_)) => {
                self.publish(None);
                return None;
            }
            Ok(ReplayStep::Failed { at, error, .. }) => (Some(at), format!("the event at cursor {at}: {error}")),
            Err(error) => {
                let text = error.to_string();
                if let Err(error) = self.core.load() {
                    tracing::error!(%error, code = %error.code(), replayer = self.core.name(), "a replayer's position could not be read");
                }
                (None, text)
            }
        };
        self.publish(Some((at, &failure)));
        let failures = self.published.borrow().status.failures;
        Some(Wait::ToRetry(RETRY_BASE.saturating_mul(1 << failures.min(10)).min(RETRY_MAX)))
    }

    /// Waits, until a command comes at the latest, and returns that.
    async fn wait(&mut self, wait: Wait) -> Option<Command> {
        let retry = async {
            match wait {
                Wait::ToRetry(pause) => tokio::time::sleep(pause).await,
                Wait::ForMore => std::future::pending().await,
            }
        };
        let more = matches!(wait, Wait::ForMore);
        tokio::select! {
            biased;
            _ = self.stop.changed() => None,
            command = self.inbox.recv() => command,
            _ = self.head.changed(), if more => None,
            _ = self.fills.changed(), if more => None,
            () = retry => None,
        }
    }

    /// The caller may have given up waiting: that is no error.
    fn carry_out(&mut self, command: Command) {
        match command {
            Command::Retry(subject, reply) => {
                let result = self.core.retry(subject.as_deref());
                self.reread(result.is_err());
                drop(reply.send(result.map_err(Into::into)));
            }
            Command::Skip(at, reply) => {
                let result = self.core.skip(&at, Timestamp::now());
                self.reread(matches!(result, Err(SkipError::Store(_))));
                drop(reply.send(result.map_err(Into::into)));
            }
            Command::Rebuild(reply) => {
                let result = self.core.rebuild();
                self.reread(result.is_err());
                drop(reply.send(result.map_err(Into::into)));
            }
            Command::Refresh(reply) => {
                let result = self.core.be_current();
                self.reread(result.is_err());
                drop(reply.send(result.map_err(Into::into)));
            }
        }
    }

    fn reread(&mut self, failed: bool) {
        if failed && let Err(error) = self.core.load() {
            tracing::error!(%error, code = %error.code(), replayer = self.core.name(), "a replayer's position could not be read");
        }
        self.publish(None);
    }

    /// Shows how far it is, and what failed: the cursor of the event, if one did, and the error.
    fn publish(&self, failure: Option<(Option<Cursor>, &str)>) {
        if self.primary {
            self.log.replayed().set(self.core.replayed());
        }
        let (position, rebuild) = (self.core.position().get(), RebuildStatus::of(&self.core));
        self.published.send_modify(|Published { status, generation }| {
            *generation = self.core.generation();
            let moved = (status.position, status.rebuild) != (position, rebuild);
            (status.position, status.rebuild) = (position, rebuild);
            status.parked = self.core.parked();
            status.conflicts = self.core.conflicts();
            status.fails_at = failure.and_then(|(at, _)| at);
            status.last_error = failure.map(|(_, text)| text.chars().take(500).collect());
            status.failures = match failure {
                None => 0,
                Some(_) if moved => 1,
                Some(_) => status.failures.saturating_add(1),
            };
        });
        if let Some((_, failure)) = failure {
            let failures = self.published.borrow().status.failures;
            tracing::warn!(replayer = self.core.name(), failures, "replay halted, will try again: {failure}");
        }
    }
}
