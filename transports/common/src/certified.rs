//! A certificate and its key, as a server or a client shows them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use antiphon_kernel::error_code::ErrorCode;
use antiphon_kernel::time::Timestamp;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use crate::provider::provider;
use crate::revocation::RevocationListError;
use crate::validity::{Validity, ValidityPeriod};

/// A file of TLS that cannot be used: a certificate, a key, an authority or a list.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// The files cannot be used at all.
    #[error("{}: {reason}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The key is locked.
    #[error("{}: the key has a passphrase, which no operator can type in at a start", path.display())]
    Passphrase {
        /// The key.
        path: PathBuf,
    },
    /// None could be made.
    #[error("no certificate could be made: {reason}")]
    NotMade {
        /// Why.
        reason: String,
    },
    /// Peers would refuse it.
    #[error("{}: {reason}, so peers would refuse it", path.display())]
    NotNow {
        /// The certificate.
        path: PathBuf,
        /// Since when, or from when on.
        reason: String,
    },
    /// The file with the authority of the clients cannot be used.
    #[error("{}: {reason}, so no client certificate can be checked", path.display())]
    Authority {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The lists of revoked client certificates cannot be used.
    #[error(transparent)]
    RevocationList(#[from] RevocationListError),
}

impl CertificateError {
    /// The stable code of this failure.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Unusable { .. } | Self::NotMade { .. } => ErrorCode::CertificateUnusable,
            Self::Passphrase { .. } => ErrorCode::CertificatePassphrase,
            Self::NotNow { .. } => ErrorCode::CertificateNotNow,
            Self::Authority { .. } => ErrorCode::CertificateAuthority,
            Self::RevocationList(error) => error.code(),
        }
    }
}

/// Reads a certificate, those between it and the authority, and its key.
pub(crate) fn read(cert: &Path, key: &Path) -> Result<Arc<CertifiedKey>, CertificateError> {
    let fault = |path: &Path, reason: String| CertificateError::Unusable { path: path.to_owned(), reason };
    let chain = CertificateDer::pem_file_iter(cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|e| fault(cert, e.to_string()))?;
    if chain.is_empty() {
        return Err(fault(cert, "it holds no certificate".to_owned()));
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(|e| match std::fs::read_to_string(key) {
        Ok(text) if text.contains("ENCRYPTED") => CertificateError::Passphrase { path: key.to_owned() },
        _ => fault(key, e.to_string()),
    })?;
    let whole = CertifiedKey::from_der(chain, private, &provider());
    whole.map(Arc::new).map_err(|e| fault(cert, format!("it does not go with {}: {e}", key.display())))
}

/// Reads it, and refuses what is not valid now: it must not replace one that may be.
pub(crate) fn read_valid(cert: &Path, key: &Path) -> Result<Arc<CertifiedKey>, CertificateError> {
    let read = read(cert, key)?;
    let not_now = |reason| CertificateError::NotNow { path: cert.to_owned(), reason };
    validity(leaf(&read)).map_err(not_now)?;
    Ok(read)
}

/// The certificate itself, in DER form.
pub(crate) fn leaf(identity: &CertifiedKey) -> &[u8] {
    identity.cert.first().map_or(&[], |leaf| leaf)
}

/// Whether peers would accept it now, as far as its time goes.
fn validity(der: &[u8]) -> Result<(), String> {
    let validity =
        ValidityPeriod::from_certificate(der).map_err(|error| format!("the certificate does not read: {error}"))?;
    match validity.at(Timestamp::now()) {
        Validity::Valid => Ok(()),
        Validity::Expired => Err(format!("the certificate expired at {}", validity.until)),
        Validity::NotYet => Err(format!("the certificate is valid from {} on", validity.from)),
    }
}
