//! A process that hangs is a finding, and must end for that.

use std::time::Duration;

/// Aborts this process if it lives for longer. An orderly exit might hang like the rest of it.
pub(crate) fn within(limit: Duration) {
    std::thread::spawn(move || {
        std::thread::sleep(limit);
        eprintln!("antiphon-torture: still at it after {} s", limit.as_secs());
        std::process::abort();
    });
}
