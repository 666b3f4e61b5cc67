//! A peer, as an application names it.

use std::path::PathBuf;

use crate::config::{PeerConfig, PeerMode, TlsVersion};
use crate::ids::{CortexId, InvalidPeerName, PeerName};

/// A peer to pull from. Checked when the cortex starts.
///
/// ```
/// use antiphon_kernel::Peer;
///
/// let bravo = Peer::new("bravo", "quic://bravo.example:7443").ca("ca.pem");
/// ```
#[derive(Debug, Clone)]
#[must_use = "a peer is pulled once a builder has it"]
pub struct Peer {
    name: String,
    endpoint: String,
    ca: Option<PathBuf>,
    crl: Option<PathBuf>,
    client: Option<(PathBuf, PathBuf)>,
    tls_min_version: TlsVersion,
    cortex: Option<CortexId>,
    mode: PeerMode,
    unproven: bool,
}

impl Peer {
    /// A peer with a name of your choice, and its endpoint: `scheme://host:port`. The scheme selects the transport.
    pub fn new(name: impl Into<String>, endpoint: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            endpoint: endpoint.into(),
            ca: None,
            crl: None,
            client: None,
            tls_min_version: TlsVersion::default(),
            cortex: None,
            mode: PeerMode::Sync,
            unproven: false,
        }
    }

    /// Trusts only the certificates in this PEM file to vouch for the peer, rather than the system's authorities.
    pub fn ca(mut self, file: impl Into<PathBuf>) -> Self {
        self.ca = Some(file.into());
        self
    }

    /// Refuses what the lists of revoked certificates in this PEM file name. Each authority that signed in the peer's chain needs its list
    /// there, and none may be outdated. Only together with [`Peer::ca`].
    pub fn crl(mut self, file: impl Into<PathBuf>) -> Self {
        self.crl = Some(file.into());
        self
    }

    /// Shows the peer this certificate, for peers that let no caller in without one. Both files are PEM, and are read again for a new
    /// connection when they change.
    pub fn client_certificate(mut self, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.client = Some((certificate.into(), key.into()));
        self
    }

    /// Accepts an older version of TLS than 1.3 of the peer, over HTTPS.
    pub const fn tls_min_version(mut self, version: TlsVersion) -> Self {
        self.tls_min_version = version;
        self
    }

    /// Accepts only this cortex at the endpoint, from the first contact on. Without it, the first cortex that answers is
    /// pinned.
    pub const fn cortex(mut self, id: CortexId) -> Self {
        self.cortex = Some(id);
        self
    }

    /// Does not pull it until it is resumed. It is served all the same.
    pub const fn paused(mut self) -> Self {
        self.mode = PeerMode::Paused;
        self
    }

    /// Pulls it although its transport cannot prove who it is. Its events are verified by their seals all the same.
    pub const fn unproven(mut self) -> Self {
        self.unproven = true;
        self
    }

    pub(super) fn into_config(self) -> Result<PeerConfig, InvalidPeerName> {
        let Self { name, endpoint, ca, crl, client, tls_min_version, cortex, mode, unproven } = self;
        let (client_cert, client_key) = client.unzip();
        let plain = PeerConfig::new(PeerName::new(&name)?, endpoint);
        Ok(PeerConfig { ca, crl, client_cert, client_key, tls_min_version, cortex, mode, unproven, ..plain })
    }
}
