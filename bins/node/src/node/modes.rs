//! Commands that override the configuration file: the mode, and which peers are pulled.

use antiphon_kernel::config::{FederationMode, PeerMode};
use antiphon_kernel::ids::PeerName;
use anyhow::{Result, bail};
use serde_json::{Value, json};

use super::Node;
use crate::overrides::{MODE_KEY, peer_mode_key};
impl Node {
    pub(super) fn known_peer(&self, name: &PeerName) -> Result<()> {
        let config = self.config();
        if config.federation.peers.iter().any(|peer| peer.name == *name) {
            return Ok(());
        }
        let known: Vec<_> = config.federation.peers.iter().map(|peer| peer.name.as_str()).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        bail!("there is no peer `{name}`; configured are: {known}")
    }

    pub(super) async fn set_peer_mode(&self, name: &PeerName, mode: PeerMode) -> Result<Value> {
        let _alone = self.changing().await;
        self.known_peer(name)?;
        let config = self.config();
        let written = config.federation.peers.iter().find(|peer| peer.name == *name).map(|peer| peer.mode);
        self.override_file(&peer_mode_key(name), mode.as_str(), written == Some(mode)).await?;
        if self.serving {
            match mode {
                PeerMode::Paused => self.cortex.syncer().pause(name).await?,
                PeerMode::Sync => self.cortex.syncer().resume(name).await?,
            }
        }
        Ok(json!({ "peer": name, "mode": mode, "in_file": written }))
    }

    /// A command goes before the file for as long as it says something else: back at what stands there, the file counts again.
    pub(super) async fn override_file(&self, key: &str, value: &str, as_written: bool) -> Result<()> {
        match as_written {
            true => self.cortex.state().delete(key).await?,
            false => self.cortex.state().set(key, value).await?,
        }
        Ok(())
    }

    pub(super) async fn set_mode(&self, mode: FederationMode) -> Result<Value> {
        let _alone = self.changing().await;
        let written = self.config().federation.mode;
        self.override_file(MODE_KEY, mode.as_str(), written == mode).await?;
        self.cortex.service().set_mode(mode);
        self.cortex.syncer().set_mode(mode);
        Ok(json!({ "mode": mode, "in_file": written }))
    }
}
