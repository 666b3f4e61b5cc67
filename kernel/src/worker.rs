//! Work that lasts as long as its cortex and blocks: a thread of its own. In a simulation it is a task, and its waits are virtual.

use std::future::Future;
use std::io;

use crate::simulated;

/// A thread of the cortex, or a task in its place.
#[derive(Debug)]
pub(crate) enum Worker {
    Thread(std::thread::JoinHandle<()>),
    /// Only in a simulation.
    Task(tokio::task::JoinHandle<()>),
}

impl Worker {
    /// Starts one: `thread` on a thread, or in a simulation `task` as a task.
    ///
    /// # Errors
    /// If no thread can be started.
    pub(crate) fn start<W: Send + 'static, F: Future<Output = ()> + Send + 'static>(
        name: &str,
        work: W,
        thread: impl FnOnce(W) + Send + 'static,
        task: impl FnOnce(W) -> F,
    ) -> io::Result<Self> {
        if simulated::is_active() {
            return Ok(Self::Task(tokio::spawn(task(work))));
        }
        std::thread::Builder::new().name(name.to_owned()).spawn(move || thread(work)).map(Self::Thread)
    }

    /// Whether it is a task, so that it cannot end before its caller awaits something.
    pub(crate) const fn is_task(&self) -> bool {
        matches!(self, Self::Task(_))
    }

    /// Waits until it has ended. If it panicked, that was said already.
    pub(crate) async fn ended(self) {
        let ended = match self {
            // Joining a thread blocks.
            Self::Thread(thread) => tokio::task::spawn_blocking(move || drop(thread.join())).await,
            Self::Task(task) => task.await,
        };
        drop(ended);
    }

    /// The same for a caller that cannot await. In a simulation it does not wait: nothing else could run meanwhile.
    pub(crate) fn join(self) {
        if let Self::Thread(thread) = self {
            drop(thread.join());
        }
    }
}
