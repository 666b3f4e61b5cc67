//! What commands changed, and the file does not say.

use antiphon_kernel::ids::PeerName;
use antiphon_kernel::store::{Store, StoreError};
use anyhow::{Context as _, Result};

pub(crate) const MODE_KEY: &str = "federation-mode";
const PEER_MODE: &str = "peer-mode/";

pub(crate) fn peer_mode_key(name: &PeerName) -> String {
    format!("{PEER_MODE}{name}")
}

/// What `set-mode`, `pause-peer` and `resume-peer` said outlives a restart and goes before the file. Gives the keys of what the
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
    Ok(spent)
}
