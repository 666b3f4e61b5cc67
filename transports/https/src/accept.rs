//! The accept loop: who gets in, and how long a connection may dawdle. Ours rather than axum's, whose loop sets no
//! timer, so that hyper's own timeouts would do nothing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use antiphon_transport_common::{Certificate, Rejected, Slot, Slots, WireBytes, address_text};
use axum::Router;
use axum::http::StatusCode;
use axum::http::header::{CONNECTION, UPGRADE};
use axum::response::{IntoResponse as _, Response};
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tower::ServiceExt;

use crate::counted_io::CountedIo;
use crate::guarded_io::{Activity, GuardedIo};
use crate::limits::Limits;
use crate::routes::{CameFrom, refuse};

/// Room in memory for a request's head, and for pieces of its body.
const MAX_BUFFER: usize = 64 * 1024;
/// The most bytes of a client that are read after its certificate was refused.
const MAX_UNREAD: u64 = 64 * 1024;
/// Out of file descriptors, usually: trying again at once would only burn time.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

#[derive(Clone)]
pub(crate) struct Door {
    /// What metrics call it.
    pub(crate) name: &'static str,
    pub(crate) router: Router,
    pub(crate) tls: Option<Arc<Certificate>>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) closing: watch::Receiver<bool>,
    pub(crate) sent: WireBytes,
}

/// Lets connections in until `closing`; returns those that are left.
pub(crate) async fn run(listener: TcpListener, door: Door) -> JoinSet<()> {
    let slots = Slots::new(door.name, door.limits.proven, door.limits.unproven);
    let mut closing = door.closing.clone();
    let mut connections = JoinSet::new();
    let mut check = tokio::time::interval(door.limits.certificate_check.max(Duration::from_millis(1)));
    check.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let accepted = tokio::select! {
            biased;
            () = closed(&mut closing) => return connections,
            Some(ended) = connections.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "a connection ended by a fault of ours");
                }
                continue;
            }
            _ = check.tick(), if door.tls.is_some() => {
                refresh(&door);
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, from)) => match slots.enter(from.ip()) {
                Some(slot) => {
                    connections.spawn(visit(stream, from, Arc::new(slot), door.clone()));
                }
                None => tracing::debug!(%from, "closed at once: no room for another connection"),
            },
            Err(error) if is_the_clients(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "no connection can be accepted for now");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Completes when the server closes, or is gone.
async fn closed(closing: &mut watch::Receiver<bool>) {
    // The guard that `wait_for` brings must not live on into another await.
    let _ = closing.wait_for(|closing| *closing).await;
}

fn refresh(door: &Door) {
    if let Some(tls) = door.tls.clone() {
        // Reads files: not on a thread that others wait for.
        tokio::task::spawn_blocking(move || drop(tls.refresh()));
    }
}

/// A connection that its client gave up before it was accepted.
fn is_the_clients(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// One connection, for as long as it keeps its room.
async fn visit(stream: TcpStream, from: SocketAddr, slot: Arc<Slot>, door: Door) {
    tokio::select! {
        () = slot.evicted() => tracing::debug!(%from, "closed: another connection needed its room"),
        () = serve(stream, from, &slot, door) => {}
    }
}

async fn serve(stream: TcpStream, from: SocketAddr, slot: &Arc<Slot>, mut door: Door) {
    // Answers are written whole: waiting to fill a packet only delays them.
    let _ = stream.set_nodelay(true);
    let Some(tls) = door.tls.clone() else {
        return http(CountedIo::new(stream, door.sent.clone()), from, slot, door).await;
    };
    // Before the handshake: what changes during it counts as well.
    let watch = tls.watch();
    let opening = timeout(door.limits.header, open(stream, &tls, door.sent.clone()));
    let opened = tokio::select! {
        () = closed(&mut door.closing) => return,
        opened = opening => opened,
    };
    match opened {
        Ok(Ok(Opened::Tls(stream))) => {
            let chain = shown(&stream);
            tokio::select! {
                () = http(*stream, from, slot, door) => {}
                why = watch.refused(chain) => tracing::info!(%from, %why, "closed: the client's certificate is not accepted any more"),
            }
        }
        Ok(Ok(Opened::Plain(stream))) => {
            Rejected::Tls.count(door.name);
            tracing::debug!(%from, "plain HTTP on the port of TLS");
            door.router = Router::new().fallback(wants_tls);
            http(stream, from, slot, door).await;
        }
        Ok(Err(error)) => {
            Rejected::Tls.count(door.name);
            tracing::debug!(%from, %error, "no TLS session");
        }
        Err(_) => {
            Rejected::Timeout.count(door.name);
            tracing::debug!(%from, "no TLS session in time");
        }
    }
}

/// What came to a port of TLS.
enum Opened {
    Tls(Box<TlsStream<CountedIo<TcpStream>>>),
    Plain(CountedIo<TcpStream>),
}

async fn open(stream: TcpStream, tls: &Certificate, sent: WireBytes) -> std::io::Result<Opened> {
    let mut first = [0];
    let read = stream.peek(&mut first).await?;
    let stream = CountedIo::new(stream, sent);
    // A TLS session begins with byte 22. A request begins with its method, in capitals.
    if read == 1 && first[0].is_ascii_uppercase() {
        return Ok(Opened::Plain(stream));
    }
    match TlsAcceptor::from(tls.current()).accept(stream).into_fallible().await {
        Ok(stream) => Ok(Opened::Tls(Box::new(stream))),
        Err((error, stream)) => {
            if tls.asks_clients() {
                take_leave(stream).await;
            }
            Err(error)
        }
    }
}

/// Lets a client read why its certificate was refused. It has sent its first request by then, and a socket that is closed with unread
/// bytes takes back what it has sent.
async fn take_leave(mut stream: CountedIo<TcpStream>) {
    if stream.shutdown().await.is_ok() {
        let mut rest = stream.take(MAX_UNREAD);
        let _ = tokio::io::copy(&mut rest, &mut tokio::io::sink()).await;
    }
}

/// The certificate that a client showed, and those between it and the authority.
fn shown(stream: &TlsStream<CountedIo<TcpStream>>) -> Option<Vec<CertificateDer<'static>>> {
    let chain = stream.get_ref().1.peer_certificates()?;
    Some(chain.iter().map(|certificate| certificate.clone().into_owned()).collect())
}

/// Without it the client would see a broken TLS session, or noise.
async fn wants_tls() -> Response {
    let headers = [(UPGRADE, "TLS/1.3, HTTP/1.1"), (CONNECTION, "upgrade, close")];
    let fault =
        refuse(StatusCode::UPGRADE_REQUIRED, "this port speaks TLS, and got plain HTTP", "begin the URL with https://");
    (headers, fault).into_response()
}

async fn http<T: AsyncRead + AsyncWrite + Unpin>(stream: T, from: SocketAddr, slot: &Arc<Slot>, mut door: Door) {
    let activity = Arc::new(Activity::new(Arc::clone(slot)));
    let io = TokioIo::new(GuardedIo::new(stream, Arc::clone(&activity), &door.limits));
    let (router, slot, caller) = (door.router.clone(), Arc::clone(slot), CameFrom(address_text(from).into()));
    let service = service_fn(move |mut request: Request<Incoming>| {
        activity.begin();
        // The check of the key reports its result to the connection.
        request.extensions_mut().insert(Arc::clone(&slot));
        request.extensions_mut().insert(caller.clone());
        let (activity, router) = (Arc::clone(&activity), router.clone());
        async move {
            let response = router.oneshot(request).await;
            response.map(|response| response.map(|body| activity.watch(body)))
        }
    });
    // To hyper the wait for a request is part of its head; the head itself is timed by `GuardedIo`.
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(door.limits.keep_alive)
        .max_buf_size(MAX_BUFFER)
        .serve_connection(io, service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = closed(&mut door.closing) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%from, %error, "a connection ended early");
    }
}
