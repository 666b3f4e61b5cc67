//! The server's certificate, taken up anew when its files change.

use std::hash::{DefaultHasher, Hasher as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

use antiphon_kernel::error_code::ErrorCode;
use antiphon_kernel::time::Timestamp;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::validity::{Validity, ValidityPeriod};

/// Where the server's certificate and key stand, in PEM form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, followed by those between it and the authority.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// A certificate or key that cannot be used.
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
}

impl CertificateError {
    /// The stable code of this failure.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Unusable { .. } | Self::NotMade { .. } => ErrorCode::CertificateUnusable,
            Self::Passphrase { .. } => ErrorCode::CertificatePassphrase,
            Self::NotNow { .. } => ErrorCode::CertificateNotNow,
        }
    }
}

/// What the files hold, by a hash of this process's: a deployment may replace them and keep time and length.
type Stamp = [Option<u64>; 2];

#[derive(Debug)]
struct Stamps {
    /// Of what is shown.
    shown: Stamp,
    /// Of what could not be used, and was told of.
    refused: Option<Stamp>,
}

/// How a server shows who it is: TLS with a certificate that is taken up anew when its files change.
#[derive(Debug)]
pub struct Certificate {
    /// None of one that was made here.
    files: Option<TlsFiles>,
    alpn: &'static [u8],
    stamps: Mutex<Stamps>,
    current: RwLock<Shown>,
}

#[derive(Debug)]
struct Shown {
    config: Arc<ServerConfig>,
    leaf: CertificateDer<'static>,
}

impl Certificate {
    /// Reads the files, to serve this protocol.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn load(files: TlsFiles, alpn: &'static [u8]) -> Result<Self, CertificateError> {
        // The stamp first: a change in between is then seen next time.
        let stamps = Mutex::new(Stamps { shown: stamp(&files), refused: None });
        let current = RwLock::new(read(&files, alpn)?);
        Ok(Self { files: Some(files), alpn, stamps, current })
    }

    /// Makes a certificate without an authority, with a key of its own that is kept nowhere: for servers that prove on each
    /// connection who they are.
    ///
    /// # Errors
    /// [`CertificateError::NotMade`].
    pub fn made_here(alpn: &'static [u8]) -> Result<Self, CertificateError> {
        let not_made = |reason: String| CertificateError::NotMade { reason };
        let made = rcgen::generate_simple_self_signed(["antiphon".to_owned()]).map_err(|e| not_made(e.to_string()))?;
        let leaf = made.cert.der().clone();
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()).into();
        let config = server_config(vec![leaf.clone()], key, alpn).map_err(|e| not_made(e.to_string()))?;
        let stamps = Mutex::new(Stamps { shown: [None, None], refused: None });
        Ok(Self { files: None, alpn, stamps, current: RwLock::new(Shown { config, leaf }) })
    }

    fn shown(&self) -> RwLockReadGuard<'_, Shown> {
        self.current.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is shown now.
    #[must_use]
    pub fn current(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.shown().config)
    }

    /// The server's own certificate as it is shown now, in DER form.
    #[must_use]
    pub fn leaf(&self) -> Vec<u8> {
        self.shown().leaf.to_vec()
    }

    /// Takes up changed files; true if they were. Files that cannot be used, or whose certificate does not hold now, change
    /// nothing: what is served stays served. They are looked at again the next time, since a certificate may begin to hold.
    ///
    /// # Errors
    /// [`CertificateError`]: why they cannot be used. That is in the log as well, once for each change.
    pub fn refresh(&self) -> Result<bool, CertificateError> {
        let Some(files) = &self.files else { return Ok(false) };
        let now = stamp(files);
        let mut stamps = self.stamps.lock().unwrap_or_else(PoisonError::into_inner);
        if stamps.shown == now {
            return Ok(false);
        }
        let read = read(files, self.alpn).and_then(|shown| match standing(&shown.leaf) {
            Ok(()) => Ok(shown),
            Err(reason) => Err(CertificateError::NotNow { path: files.cert.clone(), reason }),
        });
        match read {
            Ok(shown) => {
                *stamps = Stamps { shown: now, refused: None };
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = shown;
                tracing::info!(cert = %files.cert.display(), "the new certificate is in use");
                Ok(true)
            }
            Err(error) => {
                if stamps.refused.replace(now) != Some(now) {
                    tracing::warn!(%error, code = %error.code(), "the changed certificate cannot be used; the one before stays in use");
                }
                Err(error)
            }
        }
    }
}

/// Whether peers would accept it now, as far as its time goes.
fn standing(der: &[u8]) -> Result<(), String> {
    let validity =
        ValidityPeriod::from_certificate(der).map_err(|error| format!("the certificate does not read: {error}"))?;
    match validity.at(Timestamp::now()) {
        Validity::Valid => Ok(()),
        Validity::Expired => Err(format!("the certificate is over since {}", validity.until)),
        Validity::NotYet => Err(format!("the certificate holds from {} on", validity.from)),
    }
}

fn stamp(files: &TlsFiles) -> Stamp {
    [&files.cert, &files.key].map(|path| {
        let mut hash = DefaultHasher::new();
        hash.write(&std::fs::read(path).ok()?);
        Some(hash.finish())
    })
}

fn read(files: &TlsFiles, alpn: &[u8]) -> Result<Shown, CertificateError> {
    let fault = |path: &Path, reason: String| CertificateError::Unusable { path: path.to_owned(), reason };
    let chain = CertificateDer::pem_file_iter(&files.cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|e| fault(&files.cert, e.to_string()))?;
    let leaf = chain.first().cloned().ok_or_else(|| fault(&files.cert, "it holds no certificate".to_owned()))?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|e| match std::fs::read_to_string(&files.key) {
        Ok(text) if text.contains("ENCRYPTED") => CertificateError::Passphrase { path: files.key.clone() },
        _ => fault(&files.key, e.to_string()),
    })?;
    let config = server_config(chain, key, alpn)
        .map_err(|e| fault(&files.cert, format!("it does not go with {}: {e}", files.key.display())))?;
    Ok(Shown { config, leaf })
}

fn server_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    alpn: &[u8],
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![alpn.to_vec()];
    Ok(Arc::new(config))
}
