//! Whom a client trusts.

use std::path::Path;
use std::sync::{Arc, LazyLock};

use antiphon_kernel::transport::TransportError;
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use crate::errors::configuration;

/// The one provider of cryptography, shared by all peers.
static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(rustls::crypto::ring::default_provider()));

/// Servers whose sessions are remembered by one client.
const SESSIONS: usize = 2;

/// TLS as the client speaks it: TLS 1.2 or newer, this provider and no other, and either the configured authorities
/// or the bundled roots, never both.
///
/// # Errors
/// Category `configuration`: the CA file cannot be used.
pub fn client_config(ca: Option<&Path>, alpn: &[u8]) -> Result<ClientConfig, TransportError> {
    let roots = match ca {
        Some(path) => read_authorities(path)?,
        None => RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() },
    };
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&PROVIDER))
        .with_safe_default_protocol_versions()
        .map_err(|e| configuration(format!("TLS cannot be set up: {e}")))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    // Each peer has a configuration of its own, for one server; rustls makes room for 256 at once unless told otherwise.
    config.resumption = Resumption::in_memory_sessions(SESSIONS);
    Ok(config)
}

fn read_authorities(path: &Path) -> Result<RootCertStore, TransportError> {
    let fault = |what: String| {
        configuration(format!("`ca` file {}: {what}; give it the authority's certificate in PEM form", path.display()))
    };
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(path).map_err(|e| fault(format!("it cannot be read ({e})")))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|e| fault(format!("it cannot be read ({e})")))?;
        roots.add(certificate).map_err(|e| fault(format!("a certificate in it cannot be used ({e})")))?;
    }
    if roots.is_empty() {
        return Err(fault("it holds no certificate".to_owned()));
    }
    Ok(roots)
}
