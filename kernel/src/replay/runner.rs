//! A replayer on its own thread.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;

use super::core::{ReplayCore, ReplayStep};
use crate::cursor::Seq;
use crate::log::LogHandle;

/// The longest pause between two tries of a failing event.
const RETRY_MAX: Duration = Duration::from_secs(30);
const RETRY_BASE: Duration = Duration::from_millis(100);

/// Where a replayer stands, for operators.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ReplayStatus {
    /// Its name.
    pub name: String,
    /// The last place replayed.
    pub position: u64,
    /// How many tries of the next event failed in a row.
    pub failures: u32,
    /// What the last of them said.
    pub last_error: Option<String>,
}

/// A running replayer. Cheap to clone.
#[derive(Clone)]
pub struct ReplayHandle {
    status: watch::Receiver<ReplayStatus>,
    stop: watch::Sender<bool>,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl ReplayHandle {
    /// Starts a replayer's thread. Of several, the `primary` one lends its clock to appends.
    ///
    /// # Errors
    /// If no thread can be started.
    pub fn start(core: ReplayCore, log: &LogHandle, primary: bool) -> std::io::Result<Self> {
        let first = ReplayStatus {
            name: core.name().to_owned(),
            position: core.position().get(),
            failures: 0,
            last_error: None,
        };
        let (sender, status) = watch::channel(first);
        let stop = watch::Sender::new(false);
        if primary {
            log.replayed().set(core.clock().clone());
        }
        let runner = Runner { core, log: log.clone(), primary, status: sender, stop: stop.subscribe() };
        let thread = std::thread::Builder::new().name(format!("antiphon-replay-{}", runner.core.name()));
        let thread = thread.spawn(move || runner.run())?;
        Ok(Self { status, stop, thread: Arc::new(Mutex::new(Some(thread))) })
    }

    /// Where it stands.
    #[must_use]
    pub fn status(&self) -> ReplayStatus {
        self.status.borrow().clone()
    }

    /// Waits until a place of the log is replayed: read-your-writes for an append at that place. False if the replayer
    /// ended before.
    pub async fn wait_replayed(&self, seq: Seq) -> bool {
        self.status.clone().wait_for(|status| status.position >= seq.get()).await.is_ok()
    }

    /// Ends it after the batch at hand.
    pub async fn stop(&self) {
        self.stop.send_replace(true);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let joined = tokio::task::spawn_blocking(move || thread.join());
            // A replayer that blocks for ever must not hold up the end of the process.
            if tokio::time::timeout(Duration::from_secs(5), joined).await.is_err() {
                tracing::warn!(replayer = self.status().name, "a replayer did not end within 5 s; it is left behind");
            }
        }
    }
}

struct Runner {
    core: ReplayCore,
    log: LogHandle,
    primary: bool,
    status: watch::Sender<ReplayStatus>,
    stop: watch::Receiver<bool>,
}

impl Runner {
    fn run(mut self) {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_time().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                tracing::error!(%error, replayer = self.core.name(), "a replayer could not start");
                return;
            }
        };
        let mut head = self.log.view().watch_visible();
        while !*self.stop.borrow() {
            head.borrow_and_update();
            let failure = match self.core.step() {
                Ok(ReplayStep::CaughtUp) => {
                    runtime.block_on(async {
                        tokio::select! {
                            _ = head.changed() => {}
                            _ = self.stop.changed() => {}
                        }
                    });
                    continue;
                }
                Ok(ReplayStep::Replayed(_)) => None,
                Ok(ReplayStep::Failed { at, error, .. }) => Some(format!("the event at place {at}: {error}")),
                Err(error) => {
                    let text = error.to_string();
                    if let Err(error) = self.core.load() {
                        tracing::error!(%error, replayer = self.core.name(), "a replayer's position could not be read");
                    }
                    Some(text)
                }
            };
            self.publish(failure.as_deref());
            if failure.is_some() {
                let pause = RETRY_BASE.saturating_mul(1 << self.status.borrow().failures.min(10)).min(RETRY_MAX);
                runtime.block_on(async {
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        _ = self.stop.changed() => {}
                    }
                });
            }
        }
    }

    fn publish(&self, failure: Option<&str>) {
        if self.primary {
            self.log.replayed().set(self.core.clock().clone());
        }
        let position = self.core.position().get();
        self.status.send_modify(|status| {
            let moved = status.position != position;
            status.position = position;
            status.last_error = failure.map(|f| f.chars().take(500).collect());
            status.failures = match failure {
                None => 0,
                Some(_) if moved => 1,
                Some(_) => status.failures.saturating_add(1),
            };
        });
        if let Some(failure) = failure {
            let failures = self.status.borrow().failures;
            tracing::warn!(replayer = self.core.name(), failures, "replay halted, will try again: {failure}");
        }
    }
}
