//! The node's configuration: one YAML file.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use antiphon_kernel::access::Access;
use antiphon_kernel::budget::{DEFAULT_BUDGET_BYTES, MIN_BUDGET_BYTES};
use antiphon_kernel::config::{Config, FederationMode, Interval, PeerConfig, SharedKey, TlsVersion};
use antiphon_kernel::event::MAX_EVENT_BYTES;
use antiphon_kernel::ids::PeerName;
use antiphon_kernel::internals::cortex::mint_identity;
use antiphon_kernel::limits::PeerLimits;
use antiphon_transport_common::{Certificate, TlsFiles};
use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use crate::error_text::with_causes;
use crate::expiry;
use crate::keys::{keys_of, of_the_environment};
use crate::replayers::Replayers;
use crate::tls::{self, Digests, TlsSection};
use crate::transports::Transports;
use crate::yaml::{self, hide_keys, or_default};

/// The socket's name in the data directory.
const SOCKET: &str = "antiphon.sock";
/// The bytes of `sun_path`, without the one that ends it.
const LONGEST_SOCKET: usize = 107;

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct NodeConfig {
    pub node: NodeSection,
    #[serde(default, deserialize_with = "or_default")]
    pub listen: ListenSection,
    #[serde(default, deserialize_with = "or_default")]
    pub federation: FederationSection,
    /// What callers may read.
    #[serde(default, deserialize_with = "or_default")]
    pub access: Access,
    /// What others may cost.
    #[serde(default, deserialize_with = "or_default")]
    pub limits: PeerLimits,
    /// The directory that relative paths start from: the configuration's own.
    #[serde(skip)]
    pub base: PathBuf,
    /// Where it was read from.
    #[serde(skip)]
    pub file: PathBuf,
    /// What the files of trusted authorities and their lists of revoked certificates held when it was read.
    #[serde(skip)]
    pub authorities: Digests,
    /// What the files of the certificates that peers are shown held when it was read.
    #[serde(skip)]
    pub client_certificates: Digests,
    /// The replayers that a custom node adds.
    #[serde(skip)]
    pub replayers: Replayers,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct NodeSection {
    pub name: PeerName,
    pub data_dir: PathBuf,
    /// The largest event appended here, in bytes.
    #[serde(default = "default_append")]
    pub max_append_bytes: usize,
    /// Peers are not pulled while the disk has fewer MiB left than this; 256 if not given, 0 for no bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_free_mib: Option<u64>,
    /// The most memory for answers and received frames, in MiB; 256 if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_budget_mib: Option<u64>,
    /// `sync` (default) or `relaxed`: whether an append waits for the disk.
    #[serde(default)]
    pub durability: DurabilityName,
    /// `halt` (default) or `quarantine`: what becomes of an event that `LatestBySubject` cannot replay.
    #[serde(default)]
    pub replay_failure: ReplayFailure,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ReplayFailure {
    #[default]
    Halt,
    Quarantine,
}

const fn default_append() -> usize {
    1024 * 1024
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DurabilityName {
    #[default]
    Sync,
    Relaxed,
}

#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ListenSection {
    #[serde(default)]
    pub https: Option<SocketAddr>,
    /// UDP, so it may share the number. Without `tls`, for peers that name this node's cortex id.
    #[serde(default)]
    pub quic: Option<SocketAddr>,
    #[serde(default)]
    pub tls: Option<TlsSection>,
    /// More host names under which peers dial `https` than the certificate has: those of a proxy before it that ends TLS.
    #[serde(default)]
    pub names: Vec<String>,
    /// Metrics and the status page, in plain HTTP and without a key.
    #[serde(default)]
    pub metrics: Option<SocketAddr>,
    /// Whether the status page is shown beside the metrics; only on a loopback address if not given.
    #[serde(default)]
    pub status_page: Option<bool>,
    /// Serve without a shared key beyond loopback.
    #[serde(default)]
    pub allow_open: bool,
}

#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct FederationSection {
    #[serde(default)]
    pub mode: FederationMode,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Interval>,
    /// A file that holds the shared key; ANTIPHON_SHARED_KEY goes first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// Allow http:// to peers on this machine.
    #[serde(default)]
    pub allow_plaintext_loopback: bool,
    #[serde(default, deserialize_with = "or_default")]
    pub peers: Vec<PeerConfig>,
}

impl NodeConfig {
    /// Reads and checks a configuration. Errors name file, line and what to do.
    pub fn load(file: &Path) -> Result<Self> {
        let text = match std::fs::read_to_string(file) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                bail!("there is no configuration {}; `antiphon init` makes one, --config names another", file.display())
            }
            Err(e) => return Err(e).with_context(|| format!("{} could not be read", file.display())),
        };
        let mut config: Self = yaml::read(&text).map_err(|e| anyhow::anyhow!("{}: {e}", file.display()))?;
        let directory = beside(file);
        config.base = directory.to_owned();
        config.file = file.to_owned();
        config.check_values()?;
        let peers = &mut config.federation.peers;
        peers.iter_mut().for_each(|peer| tls::rebase(peer, directory));
        config.authorities = tls::authorities(peers);
        config.client_certificates = tls::client_certificates(peers);
        config.kernel(SharedKey::default()).validate().with_context(|| file.display().to_string())?;
        Ok(config)
    }

    /// Every path that it names, by its field.
    fn paths(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        let tls = self.listen.tls.iter().flat_map(TlsSection::paths);
        let key_file = self.federation.key_file.iter().map(|file| ("federation.key_file", file));
        let peers = self.federation.peers.iter().flat_map(tls::paths_of);
        let all = [("node.data_dir", &self.node.data_dir)].into_iter().chain(tls).chain(key_file).chain(peers);
        all.map(|(field, path)| (field, path.as_path()))
    }

    /// What the fields' types let through.
    fn check_values(&self) -> Result<()> {
        let file = self.file.display();
        let of_a_shell = |path: &Path| path.to_str().is_some_and(|path| path.starts_with('~'));
        if let Some((field, path)) = self.paths().find(|(_, path)| of_a_shell(path)) {
            bail!("{file}: {field} is `{}`, and `~` is not expanded here; write the whole path", path.display());
        }
        if self.node.data_dir.as_os_str().is_empty() {
            bail!("{file}: node.data_dir is empty; name a directory for this node's data alone");
        }
        let (bytes, most) = (self.node.max_append_bytes, MAX_EVENT_BYTES);
        if bytes == 0 || bytes > most {
            bail!("{file}: node.max_append_bytes is {bytes}; an event has 1 to {most} bytes");
        }
        if let Some(mib) = self.node.memory_budget_mib.filter(|mib| *mib < MIN_BUDGET_BYTES >> 20) {
            let least = MIN_BUDGET_BYTES >> 20;
            bail!("{file}: node.memory_budget_mib is {mib}; set {least} or more, so that the largest event fits");
        }
        if let Some(tls) = &self.listen.tls {
            tls.check(self.listen.https.is_some()).with_context(|| file.to_string())?;
        }
        let socket = self.socket();
        if socket.as_os_str().len() > LONGEST_SOCKET {
            bail!(
                "{file}: the path of this node's socket, {}, is longer than the {LONGEST_SOCKET} bytes that the system allows; name a \
                 shorter node.data_dir",
                socket.display()
            );
        }
        Ok(())
    }

    pub fn path(&self, path: &Path) -> PathBuf {
        self.base.join(path)
    }

    pub fn data_dir(&self) -> PathBuf {
        self.path(&self.node.data_dir)
    }

    /// The socket of the node that serves this configuration.
    pub fn socket(&self) -> PathBuf {
        self.data_dir().join(SOCKET)
    }

    /// The size of the memory budget, in bytes.
    pub(crate) fn memory_budget(&self) -> u64 {
        self.node.memory_budget_mib.map_or(DEFAULT_BUDGET_BYTES, |mib| mib.saturating_mul(1 << 20))
    }

    pub fn kernel(&self, shared_key: SharedKey) -> Config {
        Config {
            mode: self.federation.mode,
            interval: self.federation.interval,
            min_free_mib: self.node.min_free_mib,
            peers: self.federation.peers.clone(),
            access: self.access.clone(),
            limits: self.limits.clone(),
            shared_key,
        }
    }

    /// The shared key to present; open mode if there is none.
    pub fn shared_key(&self) -> Result<SharedKey> {
        Ok(self.shared_keys()?.into_iter().next().unwrap_or_default())
    }

    /// The keys from the environment or the key file, one a word: the first is presented, all are accepted. None is open
    /// mode.
    pub fn shared_keys(&self) -> Result<Vec<SharedKey>> {
        if let Some(keys) = of_the_environment()? {
            return keys_of(&keys).context("ANTIPHON_SHARED_KEY");
        }
        match &self.federation.key_file {
            None => Ok(Vec::new()),
            Some(file) => {
                if file.to_str().is_some_and(|name| hide_keys(name) != name) {
                    bail!(
                        "{}: federation.key_file is to name a file, and looks like the key itself; put that into a file (mode 600), and \
                         replace the key if others saw it",
                        self.file.display()
                    );
                }
                let file = self.path(file);
                let keys = std::fs::read_to_string(&file)
                    .with_context(|| format!("the key file {} could not be read", file.display()))?;
                let keys = keys_of(&keys).with_context(|| format!("the key file {}", file.display()))?;
                if keys.is_empty() {
                    bail!("the key file {} is empty; `antiphon key` makes a key", file.display());
                }
                Ok(keys)
            }
        }
    }

    /// Where the keys come from, if there are any.
    pub fn keys_from(&self) -> Option<&'static str> {
        match of_the_environment() {
            Ok(Some(_)) => Some("environment"),
            _ => self.federation.key_file.as_ref().map(|_| "file"),
        }
    }

    /// The listeners' certificate and key and the authority of their clients, where they are named.
    pub(crate) fn tls_files(&self) -> Option<TlsFiles> {
        Some(self.listen.tls.as_ref()?.files(&self.base))
    }

    /// What there is to say of the lists of revoked certificates: that one is outdated, or will be soon. This reads files.
    pub fn list_troubles(&self) -> Vec<String> {
        let clients = self.tls_files().and_then(|files| files.clients?.crl);
        let of_peers = self.federation.peers.iter().filter_map(|peer| peer.crl.clone());
        let files: BTreeSet<_> = clients.into_iter().chain(of_peers).collect();
        let trouble = |file: &PathBuf| match expiry::of_lists(file, jiff::Timestamp::now()) {
            Ok((_, soon)) => soon,
            Err(error) => Some(with_causes(&error)),
        };
        files.iter().filter_map(trouble).collect()
    }

    /// Whether the listeners are safe with these keys, and what certificates it names can be used.
    pub fn check(&self, keys: &[SharedKey]) -> Result<()> {
        self.check_listeners(keys)?;
        if let Some(files) = self.tls_files() {
            Certificate::load(files, b"http/1.1", TlsVersion::Tls13)
                .with_context(|| self.file.display().to_string())?;
        }
        // Made as the node makes them; nothing is dialled yet.
        let transports = Transports::new(self.federation.allow_plaintext_loopback, &SharedKey::default());
        let own = mint_identity(self.node.name.as_str());
        for peer in &self.federation.peers {
            transports
                .of(&peer.endpoint)
                .link(peer, &own)
                .map_err(|error| anyhow::anyhow!("{}", error.detail()))
                .with_context(|| format!("{}: peer `{}`", self.file.display(), peer.name))?;
        }
        Ok(())
    }

    /// Whether the listeners are safe with these keys, as they will find themselves.
    pub(crate) fn check_listeners(&self, keys: &[SharedKey]) -> Result<()> {
        let beyond = |addr: &SocketAddr| !addr.ip().to_canonical().is_loopback();
        let open = keys.is_empty() && !self.listen.allow_open;
        if let Some(addr) = self.listen.https.iter().chain(&self.listen.quic).find(|addr| beyond(addr) && open) {
            bail!(
                "{}: {addr} is not a loopback address and there is no shared key: set ANTIPHON_SHARED_KEY or federation.key_file",
                self.file.display()
            );
        }
        if let Some(addr) = self.listen.https.filter(|addr| beyond(addr) && self.listen.tls.is_none()) {
            bail!(
                "{}: {addr} is not a loopback address, and without TLS the shared key would travel in clear: set \
                 `listen.tls` (`antiphon dev-certs` makes certificates), or listen on 127.0.0.1",
                self.file.display()
            );
        }
        Ok(())
    }
}

/// Where the data of a node are whose configuration is not good any more, as far as its text tells: the node may well
/// serve, under the one from before. Pure.
fn data_dir_named_in(text: &str) -> Option<&str> {
    const FIELD: &str = "data_dir:";
    let line = text.lines().find(|line| line.split('#').next().is_some_and(|line| line.contains(FIELD)))?;
    let value = line[line.find(FIELD)? + FIELD.len()..].trim_start();
    let end: &[char] = match value.chars().next()? {
        '"' => &['"'],
        '\'' => &['\''],
        _ => return Some(value.split([',', '}', '#']).next()?.trim()).filter(|value| !value.is_empty()),
    };
    value[1..].split(end).next()
}

/// The socket of a node whose configuration cannot be loaded any more.
pub(crate) fn socket_named_in(file: &Path) -> Option<PathBuf> {
    let text = std::fs::read_to_string(file).ok()?;
    Some(beside(file).join(data_dir_named_in(&text)?).join(SOCKET))
}

/// The directory that relative paths in a configuration start from.
fn beside(file: &Path) -> &Path {
    file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The name of the key file that a first configuration uses.
pub const KEY_FILE: &str = "shared.key";

/// A first configuration for a node without peers.
pub fn starter(name: &PeerName, data_dir: &Path) -> String {
    format!(
        "node: {{ name: {name}, data_dir: {} }}\nlisten:\n  https: 127.0.0.1:7443\n  # quic: 127.0.0.1:7443          # UDP\n  # metrics: 127.0.0.1:9464       # Prometheus, and a status page for people\n  # tls: {{ cert: certs/{name}.pem, key: certs/{name}.key }}\n\
         federation:\n  mode: sync\n  interval: 30s\n  key_file: {KEY_FILE}           # every node of the federation needs the same file\n  \
         # peers:\n  #   - {{ name: bravo, endpoint: \"quic://bravo.example:7443\", ca: certs/ca.pem }}\n",
        data_dir.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_configuration_reads_as_it_is_and_with_all_that_it_proposes() {
        let text = starter(&PeerName::new("alpha").unwrap(), Path::new("data"));
        let plain: NodeConfig = yaml::read(&text).unwrap();
        assert!(plain.federation.peers.is_empty() && plain.listen.tls.is_none());
        assert_eq!(plain.federation.key_file.as_deref(), Some(Path::new(KEY_FILE)));
        let all: NodeConfig = yaml::read(&text.replace("\n  # ", "\n  ")).unwrap();
        assert_eq!(all.federation.peers[0].ca.as_deref(), Some(Path::new("certs/ca.pem")));
        let listen = all.listen;
        assert!(listen.quic.is_some() && listen.metrics.is_some() && listen.tls.is_some());
    }

    #[test]
    fn a_section_without_a_value_is_an_empty_one() {
        for text in ["listen:\nfederation:\n", "federation:\n  peers:\n", "federation: { peers: ~, mode: sync }\n"] {
            let config: NodeConfig = yaml::read(&format!("node: {{ name: a, data_dir: d }}\n{text}")).unwrap();
            assert!(config.federation.peers.is_empty(), "{text}");
        }
    }

    #[test]
    fn a_path_that_only_a_shell_expands_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("antiphon.yaml");
        for (field, text) in [
            ("node.data_dir", "node: { name: a, data_dir: ~/data }"),
            ("listen.tls.key", "node: { name: a, data_dir: d }\nlisten: { tls: { cert: c, key: ~me/k } }"),
            ("federation.key_file", "node: { name: a, data_dir: d }\nfederation: { key_file: ~/k }"),
            (
                "ca of a peer",
                "node: { name: a, data_dir: d }\nfederation: { peers: [{ name: b, endpoint: \"https://b:1\", ca: ~/c }] }",
            ),
            (
                "listen.tls.client_ca",
                "node: { name: a, data_dir: d }\nlisten: { tls: { cert: c, key: k, client_ca: ~/ca } }",
            ),
        ] {
            std::fs::write(&file, text).unwrap();
            let error = NodeConfig::load(&file).unwrap_err().to_string();
            assert!(error.contains(field) && error.contains("write the whole path"), "{error}");
        }
    }

    #[test]
    fn a_node_is_found_by_a_configuration_that_is_not_good_any_more() {
        for (text, dir) in [
            ("node: { name: a, data_dir: ./d e }\nlisten: [", Some("./d e")),
            ("# data_dir: old\nnode:\n  data_dir: \"x, y\" # here\n  nam: a", Some("x, y")),
            ("node: {data_dir: 'z'", Some("z")),
            ("node: {data_dir: }", None),
            ("nonsense", None),
        ] {
            assert_eq!(data_dir_named_in(text), dir, "{text}");
        }
    }
}
