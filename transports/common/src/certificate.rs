//! What a server shows and asks for in TLS, loaded again when its files change.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

use antiphon_kernel::config::TlsVersion;
use antiphon_kernel::time::Timestamp;
use rustls::ServerConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::server::NoServerSessionStorage;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio::sync::watch;

use crate::certified::{self, CertificateError, leaf};
use crate::clients::{ClientFiles, ClientWatch, Clients};
use crate::kept::{Kept, Refused};
use crate::provider::{provider, versions};
use crate::validity::ValidityPeriod;

/// Where the server's certificate and key are, in PEM form, and what it asks of its clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, followed by those between it and the authority.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The authority of the clients. Without it they are asked for no certificate.
    pub clients: Option<ClientFiles>,
    /// The oldest version of TLS that is spoken over HTTPS. QUIC speaks TLS 1.3 alone.
    pub min_version: TlsVersion,
}

impl TlsFiles {
    /// A certificate and its key, for clients that are asked for none.
    #[must_use]
    pub fn new(cert: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self { cert: cert.into(), key: key.into(), clients: None, min_version: TlsVersion::default() }
    }

    /// The same, for clients with a certificate of this authority alone.
    #[must_use]
    pub fn clients(self, clients: ClientFiles) -> Self {
        Self { clients: Some(clients), ..self }
    }

    fn own(&self) -> [&Path; 2] {
        [&self.cert, &self.key]
    }
}

/// What a server loaded again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Refreshed {
    /// Its certificate and key.
    pub certificate: bool,
    /// The authority of its clients, or their lists of revoked certificates.
    pub clients: bool,
}

impl Refreshed {
    /// Whether anything was.
    #[must_use]
    pub const fn any(self) -> bool {
        self.certificate || self.clients
    }
}

/// How a server speaks TLS: with a certificate, and perhaps an authority of its clients, that are loaded again when their files
/// change.
#[derive(Debug)]
pub struct Certificate {
    alpn: &'static [u8],
    oldest: TlsVersion,
    /// None of one that was made here.
    source: Option<Mutex<Source>>,
    current: RwLock<Shown>,
    changes: watch::Sender<()>,
}

/// The files, and what was read of them. Each part is loaded on its own: a broken certificate must not keep an old list of
/// revoked ones in use.
#[derive(Debug)]
struct Source {
    files: TlsFiles,
    own: Kept<Arc<CertifiedKey>>,
    clients: Option<(ClientFiles, Kept<Arc<Clients>>)>,
    /// Whether it was reported that a list is outdated.
    outdated: bool,
}

#[derive(Debug)]
struct Shown {
    config: Arc<ServerConfig>,
    own: Arc<CertifiedKey>,
    clients: Option<Arc<Clients>>,
}

impl Certificate {
    /// Reads the files, to serve this protocol in this version of TLS or newer.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn load(files: TlsFiles, alpn: &'static [u8], oldest: TlsVersion) -> Result<Self, CertificateError> {
        let own = Kept::read(&files.own(), || certified::read(&files.cert, &files.key))?;
        let clients = match files.clients.clone() {
            Some(of) => {
                let kept = Kept::read(&of.paths().collect::<Vec<_>>(), || Clients::read(&of).map(Arc::new))?;
                Some((of, kept))
            }
            None => None,
        };
        let source = Source { files, own, clients, outdated: false };
        let shown = source.shown(alpn, oldest)?;
        Ok(Self::showing(shown, Some(source), alpn, oldest))
    }

    /// Makes a certificate without an authority, with a key of its own that is kept nowhere: for servers that prove on each
    /// connection who they are.
    ///
    /// # Errors
    /// [`CertificateError::NotMade`].
    pub fn made_here(alpn: &'static [u8]) -> Result<Self, CertificateError> {
        let not_made = |reason: String| CertificateError::NotMade { reason };
        let made = rcgen::generate_simple_self_signed(["antiphon".to_owned()]).map_err(|e| not_made(e.to_string()))?;
        let (cert, key) = (made.cert.der().clone(), PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let own = CertifiedKey::from_der(vec![cert], key.into(), &provider()).map_err(|e| not_made(e.to_string()))?;
        let (own, oldest) = (Arc::new(own), TlsVersion::Tls13);
        let config = server_config(&own, None, alpn, oldest).map_err(|e| not_made(e.to_string()))?;
        Ok(Self::showing(Shown { config, own, clients: None }, None, alpn, oldest))
    }

    fn showing(shown: Shown, source: Option<Source>, alpn: &'static [u8], oldest: TlsVersion) -> Self {
        let (changes, _) = watch::channel(());
        Self { alpn, oldest, source: source.map(Mutex::new), current: RwLock::new(shown), changes }
    }

    fn shown(&self) -> RwLockReadGuard<'_, Shown> {
        self.current.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is shown and asked for now.
    #[must_use]
    pub fn current(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.shown().config)
    }

    /// The server's own certificate as it is shown now, in DER form.
    #[must_use]
    pub fn leaf(&self) -> Vec<u8> {
        leaf(&self.shown().own).to_vec()
    }

    /// Whether clients must show a certificate.
    #[must_use]
    pub fn asks_clients(&self) -> bool {
        self.shown().clients.is_some()
    }

    /// The period of the list of revoked client certificates that is outdated first, if there are such lists.
    #[must_use]
    pub fn list_period(&self) -> Option<ValidityPeriod> {
        Some(self.clients()?.lists.as_ref()?.period())
    }

    pub(crate) fn clients(&self) -> Option<Arc<Clients>> {
        self.shown().clients.clone()
    }

    /// Watches over the certificate of a client whose handshake begins now.
    #[must_use]
    pub fn watch(self: &Arc<Self>) -> ClientWatch {
        ClientWatch::new(Arc::clone(self), self.changes.subscribe())
    }

    /// Loads changed files. Files that cannot be used, or whose certificate is not valid now, change nothing: what is served stays
    /// served. They are looked at again the next time.
    ///
    /// # Errors
    /// [`CertificateError`]: why they cannot be used. That is in the log as well, once for each change.
    pub fn refresh(&self) -> Result<Refreshed, CertificateError> {
        self.refresh_with(|_| {})
    }

    /// The same. `apply` gets the changed configuration before connections that are open are looked at, and before another refresh.
    ///
    /// # Errors
    /// As of [`Certificate::refresh`].
    pub fn refresh_with(&self, apply: impl FnOnce(Arc<ServerConfig>)) -> Result<Refreshed, CertificateError> {
        let Some(source) = &self.source else { return Ok(Refreshed::default()) };
        let mut source = source.lock().unwrap_or_else(PoisonError::into_inner);
        let (certificate, clients) = (source.refresh_own(), source.refresh_clients());
        source.report_outdated();
        let refreshed =
            Refreshed { certificate: matches!(certificate, Ok(true)), clients: matches!(clients, Ok(true)) };
        if refreshed.any() {
            let shown = source.shown(self.alpn, self.oldest)?;
            let config = Arc::clone(&shown.config);
            *self.current.write().unwrap_or_else(PoisonError::into_inner) = shown;
            apply(config);
            self.changes.send_replace(());
        }
        certificate.and(clients)?;
        Ok(refreshed)
    }
}

impl Source {
    fn shown(&self, alpn: &[u8], oldest: TlsVersion) -> Result<Shown, CertificateError> {
        let own = Arc::clone(self.own.value());
        let clients = self.clients.as_ref().map(|(_, clients)| Arc::clone(clients.value()));
        let unusable =
            |e: rustls::Error| CertificateError::Unusable { path: self.files.cert.clone(), reason: e.to_string() };
        let config = server_config(&own, clients.as_deref(), alpn, oldest).map_err(unusable)?;
        Ok(Shown { config, own, clients })
    }

    fn refresh_own(&mut self) -> Result<bool, CertificateError> {
        let TlsFiles { cert, key, .. } = &self.files;
        let changed = self.own.refresh(&self.files.own(), || certified::read_valid(cert, key));
        let changed = changed.map_err(|refused| {
            report(refused, "the changed certificate cannot be used; the previous one stays in use")
        })?;
        if changed {
            tracing::info!(cert = %cert.display(), "the new certificate is in use");
        }
        Ok(changed)
    }

    fn refresh_clients(&mut self) -> Result<bool, CertificateError> {
        let Some((files, kept)) = &mut self.clients else { return Ok(false) };
        let changed = kept.refresh(&files.paths().collect::<Vec<_>>(), || Clients::read(files).map(Arc::new));
        let changed = changed.map_err(|refused| {
            report(
                refused,
                "the changed authority or list of the clients cannot be used; the previous one stays in use",
            )
        })?;
        if changed {
            self.outdated = false;
            tracing::info!(ca = %files.ca.display(), "the new authority or list of the clients is in use");
        }
        Ok(changed)
    }

    /// Reports once that a list is outdated: from then on no client is let in.
    fn report_outdated(&mut self) {
        let lists = self.clients.as_ref().and_then(|(_, clients)| clients.value().lists.as_ref());
        let Some(Err(error)) = lists.map(|lists| lists.check(Timestamp::now())) else { return };
        if !std::mem::replace(&mut self.outdated, true) {
            tracing::warn!(%error, code = %error.code(), "no client certificate of its authority is accepted until there is a newer list");
        }
    }
}

fn report(refused: Refused<CertificateError>, what: &str) -> CertificateError {
    let Refused { error, again } = refused;
    if !again {
        tracing::warn!(%error, code = %error.code(), "{what}");
    }
    error
}

fn server_config(
    own: &Arc<CertifiedKey>,
    clients: Option<&Clients>,
    alpn: &[u8],
    oldest: TlsVersion,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let builder = ServerConfig::builder_with_provider(provider()).with_protocol_versions(versions(oldest))?;
    let builder = match clients {
        Some(clients) => builder.with_client_cert_verifier(Arc::clone(&clients.verifier)),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(own))));
    config.alpn_protocols = vec![alpn.to_vec()];
    if clients.is_some() {
        // A session that is resumed shows no certificate: one that expired or was revoked meanwhile would count on.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    Ok(Arc::new(config))
}
