//! The certificates that a server asks of its clients.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use tokio::sync::watch;

use crate::authorities;
use crate::certificate::Certificate;
use crate::certified::CertificateError;
use crate::provider::provider;
use crate::revocation::{RevocationListError, RevocationLists};

/// Where the authority of a server's clients is, and its lists of revoked certificates, in PEM form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientFiles {
    /// The certificates of the authorities that alone may vouch for a client.
    pub ca: PathBuf,
    /// Lists of revoked certificates: one of each authority that signed in a client's chain.
    pub crl: Option<PathBuf>,
}

impl ClientFiles {
    /// All of them.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &Path> {
        std::iter::once(self.ca.as_path()).chain(self.crl.as_deref())
    }
}

/// What decides about the certificate of a client.
#[derive(Debug)]
pub(crate) struct Clients {
    pub(crate) verifier: Arc<dyn ClientCertVerifier>,
    pub(crate) lists: Option<RevocationLists>,
}

impl Clients {
    pub(crate) fn read(files: &ClientFiles) -> Result<Self, CertificateError> {
        let unusable = |reason| CertificateError::Authority { path: files.ca.clone(), reason };
        let roots = Arc::new(authorities::read(&files.ca).map_err(unusable)?);
        let lists = files.crl.as_deref().map(RevocationLists::read).transpose()?;
        let mut builder = WebPkiClientVerifier::builder_with_provider(roots, provider());
        if let Some(lists) = &lists {
            builder = builder.with_crls(lists.lists()).enforce_revocation_expiration();
        }
        let verifier = builder.build().map_err(|error| match (&error, &files.crl) {
            (VerifierBuilderError::InvalidCrl(why), Some(crl)) => {
                let reason = format!("a list in it cannot be used ({why:?})");
                RevocationListError::Unusable { path: crl.clone(), reason }.into()
            }
            _ => unusable(error.to_string()),
        })?;
        Ok(Self { verifier, lists })
    }

    /// Whether a client with this certificate is let in now.
    fn accepts(&self, chain: &[CertificateDer<'_>]) -> Result<(), rustls::Error> {
        let (leaf, others) = chain.split_first().ok_or(rustls::Error::NoCertificatesPresented)?;
        self.verifier.verify_client_cert(leaf, others, UnixTime::now()).map(drop)
    }
}

/// Notices that the certificate of a client is not accepted any more. Begun before the handshake, so that no change is missed.
#[derive(Debug)]
pub struct ClientWatch {
    certificate: Arc<Certificate>,
    changes: watch::Receiver<()>,
}

impl ClientWatch {
    pub(crate) const fn new(certificate: Arc<Certificate>, changes: watch::Receiver<()>) -> Self {
        Self { certificate, changes }
    }

    /// Completes with the reason when the authority or the list of the clients was replaced, and what this client showed is not
    /// accepted by the new one. For a client that was asked for nothing it never does.
    pub async fn refused(mut self, chain: Option<Vec<CertificateDer<'static>>>) -> String {
        if let Some(chain) = chain {
            while self.changes.changed().await.is_ok() {
                let Some(clients) = self.certificate.clients() else { break };
                if let Err(error) = clients.accepts(&chain) {
                    return error.to_string();
                }
            }
        }
        std::future::pending().await
    }
}
