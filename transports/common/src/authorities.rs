//! Whom a client trusts.

use std::path::Path;

use antiphon_kernel::config::PeerConfig;
use antiphon_kernel::transport::TransportError;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::errors::configuration;

/// What makes a server's certificate acceptable.
#[derive(Debug, Clone, Copy)]
pub enum Trust<'a> {
    /// The bundled roots of the web vouch for it.
    System,
    /// The authorities in a PEM file, and no other, vouch for it.
    Authorities {
        /// The file.
        ca: &'a Path,
        /// A file with lists of what they revoked.
        crl: Option<&'a Path>,
    },
    /// Nothing but that it began this connection: both sides prove on it who they are, before anything else is said
    /// (`antiphon_kernel::proof`). For servers whose cortex id is known.
    Proof,
}

impl<'a> Trust<'a> {
    /// The authorities of a peer's own, or the bundled roots.
    ///
    /// # Errors
    /// Category `configuration`: it has a list of revoked certificates, and no authority that the list could be of.
    pub fn of(peer: &'a PeerConfig) -> Result<Self, TransportError> {
        match (peer.ca.as_deref(), peer.crl.as_deref()) {
            (Some(ca), crl) => Ok(Self::Authorities { ca, crl }),
            (None, None) => Ok(Self::System),
            (None, Some(_)) => {
                Err(configuration("it has a `crl` and no `ca`; name the authority of its own, or no list"))
            }
        }
    }
}

/// Reads the certificates of authorities.
pub(crate) fn read(path: &Path) -> Result<RootCertStore, String> {
    let unreadable = |e| format!("it cannot be read ({e})");
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(unreadable)? {
        let certificate = certificate.map_err(unreadable)?;
        roots.add(certificate).map_err(|e| format!("a certificate in it cannot be used ({e})"))?;
    }
    if roots.is_empty() { Err("it holds no certificate".to_owned()) } else { Ok(roots) }
}
