//! How far a long command has come: for a bar on a terminal, also over the admin socket.

use std::sync::Arc;
use std::time::Duration;

use antiphon_kernel::log::VerifyStep;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::Instant;

/// A bar needs no more.
const APART: Duration = Duration::from_millis(200);

/// What a long command is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// Copying files. It counts bytes.
    Copy,
    /// Comparing the log with itself. It counts events.
    Log,
    /// Reading each entry of the store. It counts entries, of an estimated number.
    Store,
    /// Something that only a newer version does.
    #[serde(other)]
    Other,
}

/// How far a long command has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    pub work: Work,
    pub done: u64,
    pub total: u64,
}

impl From<VerifyStep> for Step {
    fn from(step: VerifyStep) -> Self {
        match step {
            VerifyStep::Events { done, total } => Self { work: Work::Log, done, total },
            VerifyStep::Entries { done, total } => Self { work: Work::Store, done, total },
        }
    }
}

/// The newest step of one command. Clones report and watch the same one.
#[derive(Debug, Clone, Default)]
pub struct Steps(Arc<watch::Sender<Option<Step>>>);

impl Steps {
    /// Replaces the newest step.
    pub fn report(&self, step: impl Into<Step>) {
        self.0.send_replace(Some(step.into()));
    }

    /// Returns what watches the steps from now on.
    pub fn watch(&self) -> StepChanges {
        StepChanges { steps: self.0.subscribe(), next: Instant::now() }
    }
}

/// Watches the steps of a command.
pub struct StepChanges {
    steps: watch::Receiver<Option<Step>>,
    next: Instant,
}

impl StepChanges {
    /// Completes with the newest step once there is another one, at most five times a second. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Step {
        loop {
            tokio::time::sleep_until(self.next).await;
            if self.steps.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
            self.next = Instant::now() + APART;
            if let Some(step) = *self.steps.borrow_and_update() {
                return step;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_newest_step_is_passed_on_five_times_a_second() {
        let steps = Steps::default();
        let mut changes = steps.watch();
        let step = |done| Step { work: Work::Copy, done, total: 10 };
        steps.report(step(1));
        assert_eq!(changes.next().await, step(1), "the first one at once");
        let began = Instant::now();
        steps.report(step(2));
        steps.report(step(3));
        assert_eq!(changes.next().await, step(3));
        assert_eq!(began.elapsed(), APART);
        assert!(tokio::time::timeout(APART * 9, changes.next()).await.is_err(), "nothing new");
    }

    #[test]
    fn work_of_a_newer_version_is_no_error() {
        let step: Step = serde_json::from_str(r#"{"work":"defragment","done":1,"total":2}"#).unwrap();
        assert_eq!(step.work, Work::Other);
    }
}
