//! Requests that override the configuration file: the mode, and which peers are pulled.

use std::sync::Arc;

use antiphon_kernel::config::{FederationMode, PeerMode, SharedKey};
use antiphon_kernel::ids::{CortexId, PeerName};
use anyhow::{Result, bail};

use crate::node::Node;
use crate::overrides::{MODE_KEY, allowed_key, apply_overrides, peer_mode_key};
use crate::reply::{CortexAllowed, ModeSet, PeerModeSet, PeerReset};

/// Fails if no peer of this name is configured.
pub(super) fn known_peer(node: &Node, name: &PeerName) -> Result<()> {
    let config = node.config();
    if config.federation.peers.iter().any(|peer| peer.name == *name) {
        return Ok(());
    }
    let known: Vec<_> = config.federation.peers.iter().map(|peer| peer.name.as_str()).collect();
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    bail!("there is no peer `{name}`; configured are: {known}")
}

pub(super) async fn reset_peer(node: &Arc<Node>, name: PeerName) -> Result<PeerReset> {
    // What is kept about a peer outlives its entry in the configuration.
    let (configured, wanted) = (known_peer(node, &name), name.clone());
    if let Err(unknown) = &configured
        && !node.reading(move |node| Ok(node.cortex().state().knows(&wanted)?)).await?
    {
        bail!("{unknown}");
    }
    match configured {
        Ok(()) if node.is_serving() => node.cortex().syncer().reset(&name).await?,
        Ok(()) | Err(_) => node.cortex().state().reset_peer(&name).await?,
    }
    Ok(PeerReset { reset: name })
}

pub(super) async fn set_peer_mode(node: &Node, name: PeerName, mode: PeerMode) -> Result<PeerModeSet> {
    let _alone = node.changing().await;
    known_peer(node, &name)?;
    let config = node.config();
    let written = config.federation.peers.iter().find(|peer| peer.name == name).map(|peer| peer.mode);
    override_file(node, &peer_mode_key(&name), mode.as_str(), written == Some(mode)).await?;
    if node.is_serving() {
        match mode {
            PeerMode::Paused => node.cortex().syncer().pause(&name).await?,
            PeerMode::Sync => node.cortex().syncer().resume(&name).await?,
        }
    }
    Ok(PeerModeSet { peer: name, mode, in_file: written })
}

/// A command overrides the file until a command sets what the file says.
async fn override_file(node: &Node, key: &str, value: &str, as_written: bool) -> Result<()> {
    let state = node.cortex().state();
    match as_written {
        true => state.delete(key).await?,
        false => state.set(key, value).await?,
    }
    Ok(())
}

pub(super) async fn set_mode(node: &Node, mode: FederationMode) -> Result<ModeSet> {
    let _alone = node.changing().await;
    let written = node.config().federation.mode;
    override_file(node, MODE_KEY, mode.as_str(), written == mode).await?;
    node.cortex().service().set_mode(mode);
    node.cortex().syncer().set_mode(mode);
    Ok(ModeSet { mode, in_file: written })
}

/// Lets a cortex read everything, until the file has a rule for it.
pub(super) async fn allow(node: &Node, name: &PeerName, cortex: CortexId) -> Result<CortexAllowed> {
    let _alone = node.changing().await;
    let config = node.config();
    if config.access.rules.iter().any(|rule| rule.cortex == cortex) {
        bail!("{}: `access` has a rule for {cortex}; change it there, then `antiphon reload`", config.file.display());
    }
    node.cortex().state().set(&allowed_key(cortex), name.as_str()).await?;
    let mut access = config.kernel(SharedKey::default());
    apply_overrides(&**node.store(), &mut access)?;
    node.cortex().set_access(&access.access);
    let rule = format!("{{ cortex: {cortex}, name: {name}, read: all }}");
    Ok(CortexAllowed { cortex_id: cortex, name: name.clone(), rule })
}
