//! TLS as a client speaks it with one peer.

use std::path::Path;
use std::sync::Arc;

use antiphon_kernel::config::PeerConfig;
use antiphon_kernel::transport::TransportError;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::VerifierBuilderError;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::authorities::{self, Trust};
use crate::client_certificate::ClientCertificate;
use crate::errors::configuration;
use crate::provider::{provider, versions};
use crate::revocation::{RevocationListError, RevocationLists};
use crate::revoked::{NotRevoked, Verdict};

/// Servers whose sessions are remembered by one client.
const SESSIONS: usize = 2;

/// How one peer is dialled: the versions of TLS, what vouches for the peer, and what it is shown.
#[derive(Debug, Clone)]
pub struct ClientTls {
    config: ClientConfig,
    verdict: Verdict,
    certificate: Option<Arc<ClientCertificate>>,
}

impl ClientTls {
    /// Reads what a peer's configuration names: its authority, its lists of revoked certificates, the certificate that it is shown.
    ///
    /// # Errors
    /// Category `configuration`: a file cannot be used, or one is missing that another one needs.
    pub fn new(peer: &PeerConfig, trust: Trust<'_>, alpn: &[u8]) -> Result<Self, TransportError> {
        let verdict = Verdict::default();
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(versions(peer.tls_min_version))
            .map_err(|e| configuration(format!("TLS cannot be set up: {e}")))?;
        let builder = match trust {
            Trust::Authorities { ca, crl: None } => builder.with_root_certificates(read_authorities(ca)?),
            Trust::Authorities { ca, crl: Some(crl) } => {
                let verifier = not_revoked(read_authorities(ca)?, crl, verdict.clone())?;
                builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
            }
            Trust::System => {
                builder.with_root_certificates(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() })
            }
            // "Dangerous" is right: without the proof that follows, anybody could answer.
            Trust::Proof => builder.dangerous().with_custom_certificate_verifier(Arc::new(ProvenLater)),
        };
        let certificate = ClientCertificate::of(peer)?.map(Arc::new);
        let mut config = match certificate.clone() {
            Some(certificate) => builder.with_client_cert_resolver(certificate),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![alpn.to_vec()];
        // Each peer has a configuration of its own, for one server; rustls makes room for 256 at once if nothing else is set. A session
        // that is resumed shows no certificate: one that was revoked meanwhile, on either side, would count on.
        let resumes = peer.crl.is_none() && certificate.is_none();
        config.resumption = if resumes { Resumption::in_memory_sessions(SESSIONS) } else { Resumption::disabled() };
        Ok(Self { config, verdict, certificate })
    }

    /// The configuration to dial with.
    #[must_use]
    pub fn config(&self) -> ClientConfig {
        self.config.clone()
    }

    /// Loads the certificate that is shown again, if its files changed. They are read once a second at most.
    pub async fn refresh(&self) {
        if let Some(certificate) = self.certificate.clone().filter(|certificate| certificate.is_due()) {
            // Reads files: not on a thread that others wait for. How it went is in the log.
            let _ = tokio::task::spawn_blocking(move || certificate.refresh()).await;
        }
    }

    /// The failure of a handshake, as what is known about revoked certificates explains it.
    #[must_use]
    pub fn explain(&self, error: TransportError) -> TransportError {
        self.verdict.explain(error)
    }
}

fn read_authorities(path: &Path) -> Result<RootCertStore, TransportError> {
    authorities::read(path).map_err(|what| {
        configuration(format!("`ca` file {}: {what}; give it the authority's certificate in PEM form", path.display()))
    })
}

fn not_revoked(roots: RootCertStore, crl: &Path, verdict: Verdict) -> Result<NotRevoked, TransportError> {
    let fault = |error: RevocationListError| {
        configuration(format!("`crl` file {error}; give it the lists of the authorities in PEM form"))
    };
    let lists = RevocationLists::read(crl).map_err(fault)?;
    let builder = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider());
    let built = builder.with_crls(lists.lists()).enforce_revocation_expiration().build();
    let verifier = built.map_err(|error| match error {
        VerifierBuilderError::InvalidCrl(why) => {
            let reason = format!("a list in it cannot be used ({why:?})");
            fault(RevocationListError::Unusable { path: crl.to_owned(), reason })
        }
        other => configuration(format!("TLS cannot be set up: {other}")),
    })?;
    Ok(NotRevoked::new(verifier, crl, verdict))
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
        verify_tls12_signature(message, certificate, signed, &provider().signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}
