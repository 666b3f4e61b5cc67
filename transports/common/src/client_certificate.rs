//! The certificate that a client shows, loaded again when its files change.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use antiphon_kernel::config::PeerConfig;
use antiphon_kernel::transport::TransportError;
use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::sign::CertifiedKey;

use crate::certified;
use crate::errors::configuration;
use crate::kept::{Kept, Refused};

/// How often its files are looked at, at most.
const LOOK_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct ClientCertificate {
    cert: PathBuf,
    key: PathBuf,
    /// Locked while files are read.
    kept: Mutex<Kept<Arc<CertifiedKey>>>,
    shown: RwLock<Arc<CertifiedKey>>,
    looked: Mutex<Instant>,
}

impl ClientCertificate {
    /// The one to show a peer, if its configuration names one.
    pub(crate) fn of(peer: &PeerConfig) -> Result<Option<Self>, TransportError> {
        let (cert, key) = match (&peer.client_cert, &peer.client_key) {
            (Some(cert), Some(key)) => (cert, key),
            (None, None) => return Ok(None),
            _ => return Err(configuration("`client_cert` and `client_key` belong together; name both, or neither")),
        };
        let kept = Kept::read(&files(cert, key), || certified::read(cert, key)).map_err(|error| {
            configuration(format!(
                "client certificate {error}; give `client_cert` and `client_key` a certificate and its key in PEM form"
            ))
        })?;
        let shown = RwLock::new(Arc::clone(kept.value()));
        let looked = Mutex::new(Instant::now());
        Ok(Some(Self { cert: cert.clone(), key: key.clone(), kept: Mutex::new(kept), shown, looked }))
    }

    /// Whether it is time to look at the files. True for one caller at a time.
    pub(crate) fn is_due(&self) -> bool {
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        let due = looked.elapsed() >= LOOK_EVERY;
        if due {
            *looked = Instant::now();
        }
        due
    }

    /// Loads the files if they changed. What cannot be used, or is not valid now, changes nothing.
    pub(crate) fn refresh(&self) {
        let Self { cert, key, .. } = self;
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        match kept.refresh(&files(cert, key), || certified::read_valid(cert, key)) {
            Ok(false) | Err(Refused { again: true, .. }) => {}
            Ok(true) => {
                *self.shown.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(kept.value());
                tracing::info!(cert = %cert.display(), "the new client certificate is in use for new connections");
            }
            Err(Refused { error, .. }) => {
                tracing::warn!(%error, code = %error.code(), "the changed client certificate cannot be used; the previous one stays in use");
            }
        }
    }
}

fn files<'a>(cert: &'a Path, key: &'a Path) -> [&'a Path; 2] {
    [cert, key]
}

impl ResolvesClientCert for ClientCertificate {
    // What a server asks for is not looked at: with one certificate there is no choice, and the server says what is wrong with it.
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.shown.read().unwrap_or_else(PoisonError::into_inner)))
    }

    fn has_certs(&self) -> bool {
        true
    }
}
