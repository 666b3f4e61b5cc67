//! HTTPS as one value: it dials peers, and answers them where it has an address.

use std::path::PathBuf;

use antiphon_kernel::config::{PeerConfig, SharedKey, TlsVersion};
use antiphon_kernel::log::LocalIdentity;
use antiphon_kernel::service::Service;
use antiphon_kernel::transport::{Link, ServeError, Server, Transport, TransportError};
use antiphon_transport_common::Listen;
use async_trait::async_trait;

use crate::limits::Limits;
use crate::server::ServerError;
use crate::{HttpsOptions, HttpsServer, HttpsTransport, ServerOptions, TRANSPORT};

/// HTTPS. A cortex hands it the shared key and what it answers with.
///
/// ```
/// use antiphon_https::Https;
///
/// let dials = Https::dial();
/// let answers = Https::on("0.0.0.0:7443").tls("alpha.pem", "alpha.key");
/// ```
#[derive(Clone)]
#[must_use = "a transport does nothing until a cortex has it"]
pub struct Https {
    transport: HttpsTransport,
    listen: Option<Listen<Limits>>,
    names: Vec<String>,
}

impl Https {
    /// Only dials peers.
    pub fn dial() -> Self {
        Self { transport: HttpsTransport::new(HttpsOptions::default()), listen: None, names: Vec::new() }
    }

    /// Dials peers, and answers them at this address, such as `0.0.0.0:7443`. Port 0 takes a free one. Without
    /// [`Https::tls`] it is plain HTTP, on loopback addresses only.
    pub fn on(address: impl Into<String>) -> Self {
        Self { listen: Some(Listen::on(address)), ..Self::dial() }
    }

    /// The certificate chain and its key, PEM files. They are read when the cortex starts, and again when they change.
    pub fn tls(mut self, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        if let Some(listen) = &mut self.listen {
            listen.set_tls(certificate, key);
        }
        self
    }

    /// Lets in only clients that show a certificate of this authority, besides the shared key and the proof. A PEM file, read when the
    /// cortex starts, and again when it changes. Needs [`Https::tls`].
    pub fn client_ca(mut self, file: impl Into<PathBuf>) -> Self {
        if let Some(listen) = &mut self.listen {
            listen.set_client_ca(file);
        }
        self
    }

    /// Shuts out the clients whose certificates the lists in this PEM file name. Each authority that signed in a client's chain needs
    /// its list there, and none may be outdated. Needs [`Https::client_ca`].
    pub fn client_crl(mut self, file: impl Into<PathBuf>) -> Self {
        if let Some(listen) = &mut self.listen {
            listen.set_client_crl(file);
        }
        self
    }

    /// Speaks an older version of TLS than 1.3 too.
    pub const fn tls_min_version(mut self, version: TlsVersion) -> Self {
        if let Some(listen) = &mut self.listen {
            listen.min_version = version;
        }
        self
    }

    /// More host names under which it is dialled than its certificate has: those of a proxy before it that ends TLS.
    pub fn names(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.names = names.into_iter().map(Into::into).collect();
        self
    }

    /// Dials `http://` endpoints too, on loopback addresses only.
    pub fn allow_plaintext_loopback(mut self) -> Self {
        let options = HttpsOptions { shared_key: self.transport.shared_key(), allow_plaintext_loopback: true };
        self.transport = HttpsTransport::new(options);
        self
    }

    /// Answers without a shared key beyond loopback addresses too: any program that reaches the address can read the log.
    pub fn allow_open(mut self) -> Self {
        if let Some(listen) = &mut self.listen {
            listen.allow_open = true;
        }
        self
    }

    /// Other bounds than the default ones.
    pub fn limits(mut self, limits: Limits) -> Self {
        if let Some(listen) = &mut self.listen {
            listen.limits = limits;
        }
        self
    }
}

#[async_trait]
impl Transport for Https {
    fn schemes(&self) -> &'static [&'static str] {
        self.transport.schemes()
    }

    fn link(&self, peer: &PeerConfig, own: &LocalIdentity) -> Result<Box<dyn Link>, TransportError> {
        self.transport.link(peer, own)
    }

    fn set_keys(&self, keys: &[SharedKey]) {
        self.transport.set_keys(keys);
    }

    async fn serve(&self, service: &Service) -> Result<Option<Box<dyn Server>>, ServeError> {
        let Some(listen) = self.listen.clone() else { return Ok(None) };
        let addr = listen.addr(TRANSPORT)?;
        let tls = listen.tls(TRANSPORT)?;
        let Listen { allow_open, limits, .. } = listen;
        let failed =
            |error: ServerError| ServeError { transport: TRANSPORT, code: error.code(), source: Box::new(error) };
        let options = ServerOptions {
            addr,
            tls,
            names: self.names.clone(),
            keyed: !self.transport.shared_key().is_open(),
            allow_open,
            limits,
        };
        let server = HttpsServer::start(options, service.clone()).await.map_err(failed)?;
        Ok(Some(Box::new(server)))
    }
}

#[async_trait]
impl Server for HttpsServer {
    fn address(&self) -> String {
        self.local_addr().to_string()
    }

    async fn shutdown(self: Box<Self>) {
        HttpsServer::shutdown(*self).await;
    }
}
