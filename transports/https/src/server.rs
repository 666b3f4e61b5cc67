//! The side that answers.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use antiphon_kernel::error_code::ErrorCode;
use antiphon_kernel::service::Service;
use antiphon_transport_common::{Certificate, CertificateError, Refreshed, TlsFiles, ValidityPeriod, WireBytes};

use crate::TRANSPORT;
use crate::host_names::HostNames;
use crate::limits::Limits;
use crate::listening::Listening;
use crate::routes::router;
use crate::site_guard::Scope;

/// Where and how to answer.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// The address; port 0 takes any free one.
    pub addr: SocketAddr,
    /// The certificate. `None` is plain HTTP, on loopback addresses only.
    pub tls: Option<TlsFiles>,
    /// More host names under which it is dialled than its certificate has: those of a proxy before it that ends TLS. `*.` is
    /// one label. Greetings that were dialled under another name are refused.
    pub names: Vec<String>,
    /// Whether a shared key guards the service.
    pub keyed: bool,
    /// Whether a service without a shared key may be reached from beyond this machine.
    pub allow_open: bool,
    /// Bounds.
    pub limits: Limits,
}

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// Plain HTTP beyond this machine.
    #[error("{addr} can be reached from beyond this machine, and without TLS the shared key would travel in clear")]
    PlaintextBeyondLoopback {
        /// The address.
        addr: SocketAddr,
    },
    /// No key, beyond this machine.
    #[error("{addr} can be reached from beyond this machine, and without a shared key anyone may read the log")]
    OpenBeyondLoopback {
        /// The address.
        addr: SocketAddr,
    },
    /// The certificate or its key.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The address cannot be listened on.
    #[error("cannot listen on {addr}")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

impl ServerError {
    /// The stable code of this failure.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::PlaintextBeyondLoopback { .. } => ErrorCode::ListenPlaintext,
            Self::OpenBeyondLoopback { .. } => ErrorCode::ListenOpen,
            Self::Certificate(error) => error.code(),
            Self::Listen { .. } => ErrorCode::ListenAddress,
        }
    }
}

/// A running server. Dropping it cuts everything; [`HttpsServer::shutdown`] lets answers end.
#[derive(Debug)]
pub struct HttpsServer {
    listening: Listening,
    tls: Option<Arc<Certificate>>,
}

impl HttpsServer {
    /// Checks the options, listens, and answers on a task of its own. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`ServerError`]; nothing is left behind.
    pub async fn start(options: ServerOptions, service: Service) -> Result<Self, ServerError> {
        let ServerOptions { addr, tls, names, keyed, allow_open, limits } = options;
        let beyond = !addr.ip().to_canonical().is_loopback();
        if beyond && tls.is_none() {
            return Err(ServerError::PlaintextBeyondLoopback { addr });
        }
        // What the service itself says counts too: a wrong `keyed` must not open it.
        if beyond && !allow_open && (!keyed || service.is_open()) {
            return Err(ServerError::OpenBeyondLoopback { addr });
        }
        let load = |files: TlsFiles| {
            let oldest = files.min_version;
            Certificate::load(files, b"http/1.1", oldest).map(Arc::new)
        };
        let tls = tls.map(load).transpose()?;
        let names = HostNames::new(names, tls.clone());
        let router = router(service.clone(), &limits, Scope::of(addr, tls.is_none()), names);
        let listening = Listening::start(TRANSPORT, addr, router, tls.clone(), limits, move || service.close()).await;
        let listening = listening.map_err(|source| ServerError::Listen { addr, source })?;
        Ok(Self { listening, tls })
    }

    /// Where it listens.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.listening.addr
    }

    /// How much it put on the wire; counts on after the server is gone.
    #[must_use]
    pub fn sent_bytes(&self) -> WireBytes {
        self.listening.sent.clone()
    }

    /// The certificate that it shows, in DER form.
    #[must_use]
    pub fn certificate(&self) -> Option<Vec<u8>> {
        self.tls.as_ref().map(|tls| tls.leaf())
    }

    /// The period of the list of revoked client certificates that is outdated first, if there are such lists.
    #[must_use]
    pub fn list_period(&self) -> Option<ValidityPeriod> {
        self.tls.as_ref()?.list_period()
    }

    /// Looks at once whether files of TLS changed, and loads those; this reads files. It does so automatically now and then, see
    /// [`Limits::certificate_check`].
    ///
    /// # Errors
    /// [`CertificateError`]: why they cannot be used; what was loaded before stays in use.
    pub fn refresh_certificate(&self) -> Result<Refreshed, CertificateError> {
        self.tls.as_ref().map_or(Ok(Refreshed::default()), |tls| tls.refresh())
    }

    /// Stops in order: parked polls are answered at once, answers on their way get the time that [`Limits::shutdown`]
    /// gives, and what is left is cut. This closes the [`Service`], for other transports too.
    pub async fn shutdown(self) {
        self.listening.shutdown().await;
    }
}
