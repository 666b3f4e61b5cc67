//! Whom a client trusts.

use std::path::Path;
use std::sync::{Arc, LazyLock};

use antiphon_kernel::transport::TransportError;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::errors::configuration;

/// The one provider of cryptography, shared by all peers.
static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(rustls::crypto::ring::default_provider()));

/// Servers whose sessions are remembered by one client.
const SESSIONS: usize = 2;

/// What makes a server's certificate acceptable.
#[derive(Debug, Clone, Copy)]
pub enum Trust<'a> {
    /// The bundled roots of the web vouch for it.
    System,
    /// The authorities in this PEM file, and no other, vouch for it.
    Authorities(&'a Path),
    /// Nothing but that it began this connection: both sides prove on it who they are, before anything else is said
    /// (`antiphon_kernel::proof`). For servers whose cortex id is known.
    Proof,
}

impl<'a> Trust<'a> {
    /// The authorities of a configured file, or the bundled roots.
    #[must_use]
    pub fn of_file(ca: Option<&'a Path>) -> Self {
        ca.map_or(Self::System, Self::Authorities)
    }
}

/// TLS as the client speaks it: TLS 1.2 or newer, this provider and no other, and either the configured authorities or the bundled roots,
/// never both.
///
/// # Errors
/// Category `configuration`: the CA file cannot be used.
pub fn client_config(trust: Trust<'_>, alpn: &[u8]) -> Result<ClientConfig, TransportError> {
    let builder = ClientConfig::builder_with_provider(Arc::clone(&PROVIDER))
        .with_safe_default_protocol_versions()
        .map_err(|e| configuration(format!("TLS cannot be set up: {e}")))?;
    let builder = match trust {
        Trust::Authorities(path) => builder.with_root_certificates(read_authorities(path)?),
        Trust::System => {
            builder.with_root_certificates(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() })
        }
        // "Dangerous" is right: without the proof that follows, anybody could answer.
        Trust::Proof => builder.dangerous().with_custom_certificate_verifier(Arc::new(ProvenLater)),
    };
    let mut config = builder.with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    // Each peer has a configuration of its own, for one server; rustls makes room for 256 at once unless told otherwise.
    config.resumption = Resumption::in_memory_sessions(SESSIONS);
    Ok(config)
}

/// Takes any certificate whose key signs the handshake.
#[derive(Debug)]
struct ProvenLater;

impl ServerCertVerifier for ProvenLater {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &PROVIDER.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &PROVIDER.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        PROVIDER.signature_verification_algorithms.supported_schemes()
    }
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
