//! What the lists of revoked certificates say about a server.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use antiphon_kernel::time::Timestamp;
use antiphon_kernel::transport::{TransportError, TransportErrorKind};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};

use crate::errors::failure;

/// What the last check of a certificate found, if it was about revocation. The stacks of HTTP and QUIC pass on a text at most.
#[derive(Debug, Clone, Default)]
pub(crate) struct Verdict(Arc<Mutex<Option<TransportError>>>);

impl Verdict {
    fn set(&self, found: Option<TransportError>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = found;
    }

    /// The failure with the kind and the words of the check, if that was why.
    pub(crate) fn explain(&self, error: TransportError) -> TransportError {
        if error.kind() != TransportErrorKind::Tls {
            return error;
        }
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or(error)
    }
}

/// Trusts what the authorities vouch for and their lists do not name.
#[derive(Debug)]
pub(crate) struct NotRevoked {
    verifier: Arc<WebPkiServerVerifier>,
    lists: PathBuf,
    verdict: Verdict,
}

impl NotRevoked {
    pub(crate) fn new(verifier: Arc<WebPkiServerVerifier>, lists: &Path, verdict: Verdict) -> Self {
        Self { verifier, lists: lists.to_owned(), verdict }
    }

    /// What a failed check says about revocation, if it is about that. Pure.
    fn reason(&self, error: &Error) -> Option<TransportError> {
        let file = self.lists.display();
        let unknown = |detail: String| Some(failure(TransportErrorKind::RevocationUnknown, detail));
        match error {
            Error::InvalidCertificate(CertificateError::Revoked) => Some(failure(
                TransportErrorKind::Revoked,
                format!("its certificate, or one between it and the authority, is on the list in {file}"),
            )),
            Error::InvalidCertificate(CertificateError::ExpiredRevocationListContext { next_update, .. }) => {
                let seconds = i64::try_from(next_update.as_secs()).unwrap_or(i64::MAX);
                let since = Timestamp::from_micros(seconds.saturating_mul(1_000_000));
                unknown(format!("the list of revoked certificates in {file} is outdated since {since}"))
            }
            Error::InvalidCertificate(CertificateError::ExpiredRevocationList) => {
                unknown(format!("the list of revoked certificates in {file} is outdated"))
            }
            Error::InvalidCertificate(CertificateError::UnknownRevocationStatus) => {
                unknown(format!("{file} has no list of an authority in the chain of its certificate"))
            }
            Error::InvalidCertRevocationList(why) => {
                unknown(format!("the list of its authority in {file} does not hold: {why:?}"))
            }
            _ => None,
        }
    }
}

impl ServerCertVerifier for NotRevoked {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let checked = self.verifier.verify_server_cert(leaf, others, name, ocsp, now);
        self.verdict.set(checked.as_ref().err().and_then(|error| self.reason(error)));
        checked
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}
