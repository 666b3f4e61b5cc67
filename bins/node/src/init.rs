//! A new node: its key, identity and store.

use std::path::Path;

use antiphon_kernel::ids::LogId;
use antiphon_kernel::internals::cortex::mint_log;
use antiphon_kernel::internals::log::Log;
use antiphon_kernel::log::LocalIdentity;
use antiphon_storage::{Create, RocksStore};
use anyhow::Result;

use crate::config::NodeConfig;
use crate::keys::new_key;
use crate::{data_dir, dev_certs};

/// Makes the key of a new federation. A key that is there stays: it may be the other nodes'.
pub fn make_key(file: &Path) -> Result<()> {
    if file.exists() {
        return Ok(());
    }
    dev_certs::put(file, &(new_key()? + "\n"), 0o600)
}

/// Creates a store where the configuration wants it, with the keys and the log of a new cortex. Key files that are there are used. The
/// cortex belongs to this log, or without one to a new log.
pub fn make_store(config: &NodeConfig, log: Option<LogId>) -> Result<LocalIdentity> {
    data_dir::must_not_be_cut_short(&config.data_dir())?;
    let log = log.unwrap_or_else(mint_log);
    let store = RocksStore::open_with(config.data_dir(), Create::IfMissing)?;
    Ok(Log::begin_in(&store, config.node.name.as_str(), None, Some(log))?)
}
