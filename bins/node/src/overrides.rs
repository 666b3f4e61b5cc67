//! What commands changed, and the file does not say.

use antiphon_kernel::access::AccessRule;
use antiphon_kernel::ids::{CortexId, PeerName};
use antiphon_kernel::store::{Store, StoreError};
use anyhow::{Context as _, Result};

pub(crate) const MODE_KEY: &str = "federation-mode";
const PEER_MODE: &str = "peer-mode/";
const ALLOWED: &str = "access-allowed/";

pub(crate) fn peer_mode_key(name: &PeerName) -> String {
    format!("{PEER_MODE}{name}")
}

pub(crate) fn allowed_key(cortex: CortexId) -> String {
    format!("{ALLOWED}{cortex}")
}

/// What `set-mode`, `pause-peer`, `resume-peer` and `peers allow` said outlives a restart and goes before the file. Gives the keys of what the
/// file says as well by now, and of peers that are not in it any more: that is to be forgotten.
pub(crate) fn apply_overrides(store: &dyn Store, config: &mut antiphon_kernel::config::Config) -> Result<Vec<String>> {
    let spent = spend_overrides(store, config);
    spent.context("what commands changed could not be read")
}

fn spend_overrides(store: &dyn Store, config: &mut antiphon_kernel::config::Config) -> Result<Vec<String>, StoreError> {
    let read = |key: &str| antiphon_kernel::internals::state::read_free(store, key);
    let mut spent = antiphon_kernel::internals::state::free_keys(store, PEER_MODE)?;
    if let Some(mode) = read(MODE_KEY)?.and_then(|m| m.parse().ok()) {
        if config.mode == mode {
            spent.push(MODE_KEY.to_owned());
        }
        config.mode = mode;
    }
    for peer in &mut config.peers {
        let key = peer_mode_key(&peer.name);
        if let Some(mode) = read(&key)?.and_then(|m| m.parse().ok())
            && mode != peer.mode
        {
            peer.mode = mode;
            spent.retain(|one| *one != key);
        }
    }
    for key in antiphon_kernel::internals::state::free_keys(store, ALLOWED)? {
        let cortex = key.strip_prefix(ALLOWED).and_then(|id| id.parse::<CortexId>().ok());
        match cortex.filter(|cortex| config.access.rules.iter().all(|rule| rule.cortex != *cortex)) {
            Some(cortex) => config.access.rules.push(AccessRule { name: read(&key)?, ..AccessRule::new(cortex) }),
            // The file says what this cortex may do.
            None => spent.push(key),
        }
    }
    Ok(spent)
}
