//! Noting that a thread of the log ended by a fault.

use super::log_reader::LogReader;
use crate::store::{StoreError, StoreErrorKind};

/// Notes that a thread of the log ended by a fault, when it does.
pub(super) struct Watched {
    view: LogReader,
    thread: &'static str,
}

impl Watched {
    pub(super) const fn new(view: LogReader, thread: &'static str) -> Self {
        Self { view, thread }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let fault = StoreError::new(
                StoreErrorKind::Io,
                format!("the {} thread ended by a fault of this program", self.thread),
            );
            tracing::error!("{}", fault.detail());
            self.view.shared.set_fault(fault);
        }
    }
}
