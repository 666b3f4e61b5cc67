//! The node's configuration: one YAML file. The only module that reads YAML.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use antiphon_kernel::config::{Config, FederationMode, Interval, PeerConfig, SharedKey};
use antiphon_kernel::ids::PeerName;
use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NodeConfig {
    pub(crate) node: NodeSection,
    #[serde(default)]
    pub(crate) listen: ListenSection,
    #[serde(default)]
    pub(crate) federation: FederationSection,
    /// The directory that relative paths start from: the configuration's own.
    #[serde(skip)]
    pub(crate) base: PathBuf,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NodeSection {
    pub(crate) name: PeerName,
    pub(crate) data_dir: PathBuf,
    /// The largest event appended here, in bytes.
    #[serde(default = "default_append")]
    pub(crate) max_append_bytes: usize,
    /// Peers are not pulled while the disk has fewer MiB left than this; 256 if not given, 0 for no bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) min_free_mib: Option<u64>,
    /// `sync` (default) or `relaxed`: whether an append waits for the disk.
    #[serde(default)]
    pub(crate) durability: DurabilityName,
    /// `halt` (default) or `quarantine`: what becomes of an event that the view cannot replay.
    #[serde(default)]
    pub(crate) replay_failure: ReplayFailure,
}

#[derive(Debug, Clone, Copy, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ReplayFailure {
    #[default]
    Halt,
    Quarantine,
}

const fn default_append() -> usize {
    1024 * 1024
}

#[derive(Debug, Clone, Copy, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum DurabilityName {
    #[default]
    Sync,
    Relaxed,
}

#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListenSection {
    #[serde(default)]
    pub(crate) https: Option<SocketAddr>,
    /// UDP, so it may share the number. Needs `tls`.
    #[serde(default)]
    pub(crate) quic: Option<SocketAddr>,
    #[serde(default)]
    pub(crate) tls: Option<TlsSection>,
    /// Serve without a shared key beyond loopback.
    #[serde(default)]
    pub(crate) allow_open: bool,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TlsSection {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FederationSection {
    #[serde(default)]
    pub(crate) mode: FederationMode,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) interval: Option<Interval>,
    /// A file that holds the shared key; ANTIPHON_SHARED_KEY goes first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) key_file: Option<PathBuf>,
    /// Allow http:// to peers on this machine.
    #[serde(default)]
    pub(crate) allow_plaintext_loopback: bool,
    #[serde(default)]
    pub(crate) peers: Vec<PeerConfig>,
}

impl NodeConfig {
    /// Reads and checks a configuration. Errors name file, line and what to do.
    pub(crate) fn load(file: &Path) -> Result<Self> {
        let text = match std::fs::read_to_string(file) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                bail!("there is no configuration {}; `antiphon init` makes one, --config names another", file.display())
            }
            Err(e) => return Err(e).with_context(|| format!("{} could not be read", file.display())),
        };
        let mut config: Self = serde_yaml::from_str(&text).map_err(|e| {
            anyhow::anyhow!(
                "{}: {e}\nhint: docs/architecture.md lists every field; unknown ones are refused",
                file.display()
            )
        })?;
        let directory = file.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        config.base = directory.to_owned();
        for peer in &mut config.federation.peers {
            peer.ca = peer.ca.take().map(|ca| directory.join(ca));
        }
        if config.listen.quic.is_some() && config.listen.tls.is_none() {
            bail!("{}: listen.quic needs listen.tls: QUIC is always encrypted", file.display());
        }
        config.kernel(SharedKey::default()).validate().with_context(|| file.display().to_string())?;
        Ok(config)
    }

    pub(crate) fn path(&self, path: &Path) -> PathBuf {
        self.base.join(path)
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.path(&self.node.data_dir)
    }

    /// The socket of the node that serves this configuration.
    pub(crate) fn socket(&self) -> PathBuf {
        self.data_dir().join("antiphon.sock")
    }

    pub(crate) fn kernel(&self, shared_key: SharedKey) -> Config {
        Config {
            mode: self.federation.mode,
            interval: self.federation.interval,
            min_free_mib: self.node.min_free_mib,
            peers: self.federation.peers.clone(),
            shared_key,
        }
    }

    /// The shared key from the environment or the key file; open mode if there is neither.
    pub(crate) fn shared_key(&self) -> Result<SharedKey> {
        if let Ok(key) = std::env::var("ANTIPHON_SHARED_KEY") {
            return SharedKey::new(key.trim()).context("ANTIPHON_SHARED_KEY");
        }
        match &self.federation.key_file {
            None => Ok(SharedKey::default()),
            Some(file) => {
                let file = self.path(file);
                let key = std::fs::read_to_string(&file)
                    .with_context(|| format!("the key file {} could not be read", file.display()))?;
                SharedKey::new(key.trim()).with_context(|| format!("the key file {}", file.display()))
            }
        }
    }
}

/// A first configuration for a node that stands alone.
pub(crate) fn starter(name: &PeerName, data_dir: &Path) -> String {
    format!(
        "node: {{ name: {name}, data_dir: {} }}\nlisten:\n  https: 127.0.0.1:7443\n  # quic: 127.0.0.1:7443          # UDP; needs tls\n  # tls: {{ cert: {name}.pem, key: {name}.key }}\n\
         federation:\n  mode: sync\n  interval: 30s\n  # key_file: shared.key        # or ANTIPHON_SHARED_KEY; `antiphon key` makes one\n  \
         peers: []\n  # - {{ name: bravo, endpoint: \"https://bravo.example:7443\", ca: ca.pem }}\n",
        data_dir.display()
    )
}
