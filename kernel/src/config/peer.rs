//! One peer, as configuration names it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{InvalidConfig, PeerMode, TlsVersion};
use crate::ids::{CortexId, PeerName};

/// One peer, as configuration names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerConfig {
    /// Its name here.
    pub name: PeerName,
    /// Where it answers: `scheme://host:port`; the scheme picks the transport.
    pub endpoint: String,
    /// A file with the certificates (PEM) that alone may vouch for it; the system's roots then count for nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// A file with lists of revoked certificates (PEM), one of each authority that signed in its chain. Only together with `ca`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crl: Option<PathBuf>,
    /// A file with the certificate that it is shown (PEM), followed by those between it and the authority.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_cert: Option<PathBuf>,
    /// The file with the key of that certificate (PEM).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_key: Option<PathBuf>,
    /// The oldest version of TLS that is accepted of it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub tls_min_version: TlsVersion,
    /// The only cortex that is accepted at the endpoint, from the first contact on. Without it, the first that answers is pinned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cortex: Option<CortexId>,
    /// Whether it is pulled.
    #[serde(default)]
    pub mode: PeerMode,
    /// Whether it is pulled although its transport cannot prove who it is. Its events are verified by their seals all the same.
    #[serde(default, skip_serializing_if = "is_default")]
    pub unproven: bool,
    /// The cortex that it is pinned to; the kernel adds it.
    #[serde(skip)]
    pub pinned: Option<CortexId>,
}

impl PeerConfig {
    /// A peer that is pulled, of which nothing but its name and endpoint is known.
    #[must_use]
    pub fn new(name: PeerName, endpoint: impl Into<String>) -> Self {
        Self {
            name,
            endpoint: endpoint.into(),
            ca: None,
            crl: None,
            client_cert: None,
            client_key: None,
            tls_min_version: TlsVersion::default(),
            cortex: None,
            mode: PeerMode::Sync,
            unproven: false,
            pinned: None,
        }
    }

    /// Whether the other one is dialled and trusted in the same way.
    pub(crate) fn is_reached_like(&self, other: &Self) -> bool {
        fn way(peer: &PeerConfig) -> impl PartialEq {
            let files = [&peer.ca, &peer.crl, &peer.client_cert, &peer.client_key].map(Option::as_deref);
            (&peer.endpoint, files, peer.tls_min_version, peer.cortex)
        }
        way(self) == way(other)
    }

    /// That a transport could dial the endpoint, and that it holds no secret.
    pub(super) fn check_endpoint(&self) -> Result<(), InvalidConfig> {
        let fault = |endpoint: &str, rule| {
            Err(InvalidConfig::Endpoint { name: self.name.clone(), endpoint: endpoint.to_owned(), rule })
        };
        let Some((scheme, rest)) = self.endpoint.split_once("://") else {
            return fault(&self.endpoint, "has no scheme; write it as https://host:port or quic://host:port");
        };
        let authority = rest.split('/').next().unwrap_or_default();
        if authority.contains('@') {
            // The part before the @ may be a secret: it is not repeated.
            return fault(
                &format!("{scheme}://…"),
                "carries user information, such as a key, which an endpoint must not have",
            );
        }
        if scheme.chars().any(|c| c.is_ascii_uppercase()) {
            return fault(
                &self.endpoint,
                "has its scheme in capitals; write it as https://host:port or quic://host:port",
            );
        }
        // What an address looks like is its transport's to say.
        if rest.is_empty() {
            return fault(&self.endpoint, "has no address; write it as https://host:port or quic://host:port");
        }
        Ok(())
    }

    /// That no file lacks the one that it needs.
    pub(super) fn check_files(&self) -> Result<(), InvalidConfig> {
        let name = || self.name.clone();
        if self.crl.is_some() && self.ca.is_none() {
            return Err(InvalidConfig::ListWithoutAuthority { name: name() });
        }
        let (given, missing) = match (&self.client_cert, &self.client_key) {
            (Some(_), None) => ("client_cert", "client_key"),
            (None, Some(_)) => ("client_key", "client_cert"),
            _ => return Ok(()),
        };
        Err(InvalidConfig::ClientCertificate { name: name(), given, missing })
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
