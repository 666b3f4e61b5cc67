//! The server's certificate, taken up anew when its files change.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::SystemTime;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::server::ServerError;

/// Where the server's certificate and key stand, in PEM form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, followed by those between it and the authority.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// When the files were last written, as far as the file system says.
type Stamp = [Option<(SystemTime, u64)>; 2];

pub(crate) struct ServerTls {
    files: TlsFiles,
    stamp: Mutex<Stamp>,
    current: RwLock<TlsAcceptor>,
}

impl ServerTls {
    pub(crate) fn load(files: TlsFiles) -> Result<Self, ServerError> {
        // The stamp first: a change in between is then seen next time.
        let stamp = Mutex::new(stamp(&files));
        let current = RwLock::new(acceptor(&files)?);
        Ok(Self { files, stamp, current })
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes up changed files. Files that cannot be used change nothing: what is served stays served.
    pub(crate) fn refresh(&self) {
        let now = stamp(&self.files);
        let mut last = self.stamp.lock().unwrap_or_else(PoisonError::into_inner);
        if *last == now {
            return;
        }
        *last = now;
        match acceptor(&self.files) {
            Ok(acceptor) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = acceptor;
                tracing::info!(cert = %self.files.cert.display(), "the new certificate is in use");
            }
            Err(error) => tracing::warn!(%error, "the changed certificate cannot be used; the one before stays in use"),
        }
    }
}

fn stamp(files: &TlsFiles) -> Stamp {
    [&files.cert, &files.key].map(|path| {
        let meta = std::fs::metadata(path).ok()?;
        Some((meta.modified().ok()?, meta.len()))
    })
}

fn acceptor(files: &TlsFiles) -> Result<TlsAcceptor, ServerError> {
    let fault = |path: &Path, reason: String| ServerError::Certificate { path: path.to_owned(), reason };
    let chain = CertificateDer::pem_file_iter(&files.cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|e| fault(&files.cert, e.to_string()))?;
    if chain.is_empty() {
        return Err(fault(&files.cert, "it holds no certificate".to_owned()));
    }
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|e| fault(&files.key, e.to_string()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| fault(&files.cert, e.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|e| fault(&files.cert, format!("it does not go with {}: {e}", files.key.display())))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
