//! The server's side: our own accept loop, because the libraries' have no timeouts and no bounds on connections.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use antiphon_kernel::service::Service;
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use crate::{routes, tls};

/// What one server gives to all its clients together, and to each.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections at once.
    pub connections: usize,
    /// Connections at once from one address.
    pub per_address: usize,
    /// How long a client may take for the TLS handshake, and for a request's header. An idle connection between two
    /// requests is closed after it as well.
    pub header: Duration,
    /// The longest silence within a request's body.
    pub idle: Duration,
    /// How long a graceful stop waits for answers under way.
    pub shutdown: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            per_address: 64,
            header: Duration::from_secs(10),
            idle: Duration::from_secs(30),
            shutdown: Duration::from_secs(5),
        }
    }
}

/// A certificate chain and its key, as PEM files.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The certificate chain.
    pub cert: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// Where and how to listen.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// The address; port 0 picks a free one.
    pub addr: SocketAddr,
    /// TLS. Without it only loopback addresses are listened on.
    pub tls: Option<TlsFiles>,
    /// Whether a shared key guards the service.
    pub keyed: bool,
    /// Listen in open mode beyond loopback: anyone who reaches the address may read the log.
    pub allow_open: bool,
    /// Bounds.
    pub limits: Limits,
}

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The address cannot be listened on.
    #[error("{addr} cannot be listened on: {source}; is another process using the port?")]
    Bind {
        /// The address.
        addr: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The certificate or its key cannot be used.
    #[error("the certificate cannot be used: {0}")]
    Tls(String),
    /// No TLS beyond loopback.
    #[error("{0} is not a loopback address: set listen.tls, or the key and the events would travel in clear")]
    PlaintextBeyondLoopback(SocketAddr),
    /// No key beyond loopback.
    #[error(
        "{0} is not a loopback address and there is no shared key: set ANTIPHON_SHARED_KEY or federation.key_file (`antiphon key` makes one)"
    )]
    OpenBeyondLoopback(SocketAddr),
}

/// A running server.
#[derive(Debug)]
pub struct HttpsServer {
    addr: SocketAddr,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
    service_close: ServiceClose,
    grace: Duration,
}

struct ServiceClose(Service);

impl std::fmt::Debug for ServiceClose {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Service")
    }
}

impl HttpsServer {
    /// Listens and answers. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`ServerError`].
    pub async fn start(options: ServerOptions, service: Service) -> Result<Self, ServerError> {
        let loopback = options.addr.ip().is_loopback();
        if options.tls.is_none() && !loopback {
            return Err(ServerError::PlaintextBeyondLoopback(options.addr));
        }
        if !options.keyed && !loopback && !options.allow_open {
            return Err(ServerError::OpenBeyondLoopback(options.addr));
        }
        let acceptor = match &options.tls {
            Some(files) => {
                Some(TlsAcceptor::from(Arc::new(tls::server(&files.cert, &files.key).map_err(ServerError::Tls)?)))
            }
            None => None,
        };
        let bind = |source| ServerError::Bind { addr: options.addr, source };
        let listener = TcpListener::bind(options.addr).await.map_err(bind)?;
        let addr = listener.local_addr().map_err(bind)?;
        let stop = watch::Sender::new(false);
        let acceptance = Acceptance {
            router: routes::router(service.clone(), options.limits.idle),
            acceptor,
            slots: Arc::new(Semaphore::new(options.limits.connections)),
            addresses: Addresses::default(),
            stop: stop.subscribe(),
            limits: options.limits.clone(),
        };
        let task = tokio::spawn(acceptance.run(listener));
        Ok(Self { addr, stop, task, service_close: ServiceClose(service), grace: options.limits.shutdown })
    }

    /// Where it listens.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// Takes no more connections, answers parked polls now, and gives answers under way a moment to end.
    pub async fn shutdown(mut self) {
        self.service_close.0.close();
        self.stop.send_replace(true);
        if tokio::time::timeout(self.grace, &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}

#[derive(Clone, Default)]
struct Addresses(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// One connection's place in the count of its address.
struct AddressSlot(Addresses, IpAddr);

impl Addresses {
    fn take(&self, address: IpAddr, limit: usize) -> Option<AddressSlot> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(address).or_default();
        if *count >= limit {
            return None;
        }
        *count += 1;
        Some(AddressSlot(self.clone(), address))
    }
}

impl Drop for AddressSlot {
    fn drop(&mut self) {
        let mut counts = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.1) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.1);
            }
        }
    }
}

struct Acceptance {
    router: Router,
    acceptor: Option<TlsAcceptor>,
    slots: Arc<Semaphore>,
    addresses: Addresses,
    stop: watch::Receiver<bool>,
    limits: Limits,
}

impl Acceptance {
    async fn run(mut self, listener: TcpListener) {
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = self.stop.wait_for(|stop| *stop) => break,
                // Ended connections are reaped as they end.
                Some(_) = connections.join_next() => continue,
            };
            match accepted {
                Ok((stream, address)) => {
                    // Over a limit the connection is closed at once: it costs no more than that.
                    let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() else { continue };
                    let Some(place) = self.addresses.take(address.ip(), self.limits.per_address) else { continue };
                    connections.spawn(self.connection(stream, slot, place));
                }
                Err(error) => {
                    // Out of file descriptors, usually: it passes when connections end.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
        drop(listener);
        while connections.join_next().await.is_some() {}
    }

    fn connection(
        &self,
        stream: TcpStream,
        slot: OwnedSemaphorePermit,
        place: AddressSlot,
    ) -> impl Future<Output = ()> + Send + 'static {
        let (router, acceptor, stop, limits) =
            (self.router.clone(), self.acceptor.clone(), self.stop.clone(), self.limits.clone());
        async move {
            let _held = (slot, place);
            // Without it a small answer waits for the client's next acknowledgement.
            let _ = stream.set_nodelay(true);
            match acceptor {
                None => serve(stream, router, stop, &limits).await,
                Some(acceptor) => match tokio::time::timeout(limits.header, acceptor.accept(stream)).await {
                    Ok(Ok(stream)) => serve(stream, router, stop, &limits).await,
                    Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
                    Err(_) => tracing::debug!("a TLS handshake took too long"),
                },
            }
        }
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    router: Router,
    mut stop: watch::Receiver<bool>,
    limits: &Limits,
) {
    // hyper's header timeout does nothing without a timer.
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopped(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended badly");
    }
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // A sender that is gone means the same.
    drop(stop.wait_for(|stop| *stop).await);
}
