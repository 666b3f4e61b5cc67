//! The side that answers: who gets in.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use antiphon_kernel::config::{SharedKey, TlsVersion};
use antiphon_kernel::error_code::ErrorCode;
use antiphon_kernel::service::Service;
use antiphon_transport_common::{Certificate, CertificateError, Refreshed, Slots, TlsFiles, ValidityPeriod, WireBytes};
use quinn::{Endpoint, Incoming, TokioRuntime};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::limits::Limits;
use crate::sent::Sent;
use crate::{ALPN, TRANSPORT, codes, serve, tuning};

/// Where and how to answer.
#[derive(Debug, Clone)]
pub struct QuicServerOptions {
    /// The address, of UDP; port 0 takes any free one.
    pub addr: SocketAddr,
    /// The certificate. Without one it shows one of its own making, which proves nothing: peers must know its cortex id.
    pub tls: Option<TlsFiles>,
    /// The key that guards the service.
    pub shared_key: SharedKey,
    /// Whether a service without a shared key may be reached from beyond this machine.
    pub allow_open: bool,
    /// Bounds.
    pub limits: Limits,
}

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// No key, beyond this machine.
    #[error("{addr} can be reached from beyond this machine, and without a shared key anyone may read the log")]
    OpenBeyondLoopback {
        /// The address.
        addr: SocketAddr,
    },
    /// The certificate or its key.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// TLS cannot be set up for QUIC.
    #[error("TLS cannot be set up for QUIC")]
    Tls(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The address cannot be listened on.
    #[error("cannot listen on {addr} (UDP)")]
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
            Self::OpenBeyondLoopback { .. } => ErrorCode::ListenOpen,
            Self::Certificate(error) => error.code(),
            Self::Tls(_) => ErrorCode::ListenTls,
            Self::Listen { .. } => ErrorCode::ListenAddress,
        }
    }
}

/// A running server. Dropping it cuts everything; [`QuicServer::shutdown`] lets answers end.
pub struct QuicServer {
    addr: SocketAddr,
    endpoint: Endpoint,
    service: Service,
    closing: watch::Sender<bool>,
    task: JoinHandle<()>,
    sent: Sent,
    certificate: Arc<Certificate>,
}

impl std::fmt::Debug for QuicServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QuicServer").field("addr", &self.addr).finish_non_exhaustive()
    }
}

impl QuicServer {
    /// Checks the options, listens, and answers on tasks of its own. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`ServerError`]; nothing is left behind.
    pub async fn start(options: QuicServerOptions, service: Service) -> Result<Self, ServerError> {
        let QuicServerOptions { addr, tls, shared_key, allow_open, limits } = options;
        let beyond = !addr.ip().to_canonical().is_loopback();
        // What the service itself says counts too: a wrong key here must not open it.
        if beyond && !allow_open && (shared_key.is_open() || service.is_open()) {
            return Err(ServerError::OpenBeyondLoopback { addr });
        }
        let certificate = Arc::new(match tls {
            Some(files) => Certificate::load(files, ALPN, TlsVersion::Tls13)?,
            None => Certificate::made_here(ALPN)?,
        });
        let config = tuning::server(certificate.current()).map_err(|e| ServerError::Tls(Box::new(e)))?;
        let fault = |source| ServerError::Listen { addr, source };
        let socket = crate::socket::bind(addr).map_err(fault)?;
        let listener = tuning::listener(&shared_key, service.identity().cortex_id);
        let endpoint = Endpoint::new(listener, Some(config), socket, Arc::new(TokioRuntime)).map_err(fault)?;
        let addr = endpoint.local_addr().map_err(fault)?;
        let (closing, watched) = watch::channel(false);
        let door = Door {
            endpoint: endpoint.clone(),
            service: service.clone(),
            certificate: Arc::clone(&certificate),
            limits: Arc::new(limits),
            closing: watched,
            sent: Sent::default(),
        };
        let sent = door.sent.clone();
        Ok(Self { addr, endpoint, service, closing, task: tokio::spawn(door.run()), sent, certificate })
    }

    /// Where it listens.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// How much it put on the wire so far. What this returns grows with connections that end, also after the server is gone, and
    /// by those that live each time that this is called.
    #[must_use]
    pub fn sent_bytes(&self) -> WireBytes {
        self.sent.look()
    }

    /// The certificate that it shows, in DER form.
    #[must_use]
    pub fn certificate(&self) -> Vec<u8> {
        self.certificate.leaf()
    }

    /// The period of the list of revoked client certificates that is outdated first, if there are such lists.
    #[must_use]
    pub fn list_period(&self) -> Option<ValidityPeriod> {
        self.certificate.list_period()
    }

    /// Looks at once whether files of TLS changed, and loads those; this reads files. It does so automatically now and then, see
    /// [`Limits::certificate_check`].
    ///
    /// # Errors
    /// [`CertificateError`]: why they cannot be used; what was loaded before stays in use.
    pub fn refresh_certificate(&self) -> Result<Refreshed, CertificateError> {
        refresh(&self.certificate, &self.endpoint)
    }

    /// Stops in order: parked polls are answered at once, answers on their way get the time that [`Limits::shutdown`]
    /// gives, and what is left is cut. This closes the [`Service`], for other transports too.
    pub async fn shutdown(mut self) {
        self.service.close();
        self.closing.send_replace(true);
        if let Err(error) = (&mut self.task).await {
            tracing::error!(%error, "the server ended by a fault of ours");
        }
        self.endpoint.close(codes::STOPPING, b"stopping");
        // So that peers learn of it from us, and not from silence. Closing is heard at once or not at all.
        let _ = tokio::time::timeout(std::time::Duration::from_millis(500), self.endpoint.wait_idle()).await;
    }
}

impl Drop for QuicServer {
    fn drop(&mut self) {
        self.task.abort();
        self.endpoint.close(codes::STOPPING, b"stopping");
    }
}

/// What stands between the socket and the connections.
struct Door {
    endpoint: Endpoint,
    service: Service,
    certificate: Arc<Certificate>,
    limits: Arc<Limits>,
    closing: watch::Receiver<bool>,
    sent: Sent,
}

impl Door {
    /// Lets connections in until the server closes; then gives those that are left their time.
    async fn run(self) {
        let slots = Slots::new(TRANSPORT, self.limits.proven, self.limits.unproven);
        let mut closing = self.closing.clone();
        let mut connections = JoinSet::new();
        let mut check = tokio::time::interval(self.limits.certificate_check.max(std::time::Duration::from_millis(1)));
        check.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = serve::closed(&mut closing) => break,
                Some(ended) = connections.join_next() => {
                    if let Err(error) = ended {
                        tracing::error!(%error, "a connection ended by a fault of ours");
                    }
                }
                _ = check.tick() => self.refresh(),
                incoming = self.endpoint.accept() => {
                    let Some(incoming) = incoming else { break };
                    self.admit(incoming, &slots, &mut connections);
                }
            }
        }
        let drained = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(self.limits.shutdown, drained).await.is_err() {
            tracing::debug!("connections were cut: they did not end in time");
        }
    }

    fn admit(&self, incoming: Incoming, slots: &Arc<Slots>, connections: &mut JoinSet<()>) {
        let from = incoming.remote_address();
        let slot = if incoming.remote_address_validated() {
            slots.enter(from.ip())
        } else {
            // Anyone can write any address on a packet: what is only claimed must not take the room of who has it.
            let slot = slots.enter_unvalidated(from.ip());
            if slot.is_none() && incoming.may_retry() {
                // It may be retried: that was asked above.
                let _ = incoming.retry();
                return;
            }
            slot
        };
        let Some(slot) = slot else {
            tracing::debug!(%from, "refused: no room for another connection");
            incoming.refuse();
            return;
        };
        let visit = serve::Visit {
            service: self.service.clone(),
            limits: Arc::clone(&self.limits),
            closing: self.closing.clone(),
            certificate: Arc::clone(&self.certificate),
            slot,
            sent: self.sent.clone(),
        };
        connections.spawn(async move {
            if let Err(error) = visit.run(incoming).await {
                tracing::debug!(%from, %error, "a connection ended early");
            }
        });
    }

    fn refresh(&self) {
        let (certificate, endpoint) = (Arc::clone(&self.certificate), self.endpoint.clone());
        // Reads files: not on a thread that others wait for.
        tokio::task::spawn_blocking(move || drop(refresh(&certificate, &endpoint)));
    }
}

fn refresh(certificate: &Certificate, endpoint: &Endpoint) -> Result<Refreshed, CertificateError> {
    certificate.refresh_with(|config| match tuning::server(config) {
        Ok(config) => endpoint.set_server_config(Some(config)),
        Err(error) => tracing::warn!(%error, "the changed certificate cannot be used for QUIC"),
    })
}
