//! Opening a log in a directory, as every part of the rig does.

use std::path::Path;
use std::sync::Arc;

use antiphon_kernel::internals::log::{Log, LogOptions};
use antiphon_kernel::log::OpenError;
use antiphon_storage::{Create, Options, RocksStore};

/// The log of the victim and its peer, which both append before they meet.
pub(crate) const LOG: antiphon_kernel::LogId = antiphon_kernel::LogId::from_bytes([0x10; 16]);

/// How the store's memory is sized.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Buffers {
    /// As a node has it: nothing is flushed within a short life.
    Usual,
    /// As small as the store allows, so that flushes and compactions happen.
    Small,
}

/// Opens the log in a directory; makes store and log where there is none, if that is wanted.
pub(crate) fn open(dir: &Path, create: Create, buffers: Buffers) -> Result<Log, OpenError> {
    let mut options = Options::from(create);
    if buffers == Buffers::Small {
        options.write_buffer_bytes = 0;
    }
    options.cache_bytes = 0;
    let store = Arc::new(RocksStore::open_with(dir, options)?);
    if create == Create::IfMissing {
        match Log::begin(&*store, "victim", None) {
            Ok(_) | Err(OpenError::AlreadyInitialised(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Log::open(store, LogOptions { log: Some(LOG), ..LogOptions::default() })
}
