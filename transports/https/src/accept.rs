//! The accept loop: who gets in, and how long a connection may dawdle. Ours rather than axum's, whose loop sets no
//! timer, so that hyper's own timeouts would do nothing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use antiphon_transport_common::{Certificate, Rejected, Slots, WireBytes};
use axum::Router;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

use crate::counted_io::CountedIo;
use crate::guarded_io::{Activity, GuardedIo};
use crate::limits::Limits;

/// Room in memory for a request's head, and for pieces of its body.
const MAX_BUFFER: usize = 64 * 1024;
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
    let slots = Slots::new(door.name, door.limits.connections, door.limits.per_address);
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
            Ok((stream, from)) => match slots.take(from.ip()) {
                Some(slot) => {
                    let door = door.clone();
                    connections.spawn(async move {
                        serve(stream, from, door).await;
                        drop(slot);
                    });
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

async fn serve(stream: TcpStream, from: SocketAddr, mut door: Door) {
    // Answers are written whole: waiting to fill a packet only delays them.
    let _ = stream.set_nodelay(true);
    let stream = CountedIo::new(stream, door.sent.clone());
    let Some(tls) = door.tls.clone() else { return http(stream, from, door).await };
    let handshake = timeout(door.limits.header, TlsAcceptor::from(tls.current()).accept(stream));
    let shaken = tokio::select! {
        () = closed(&mut door.closing) => return,
        shaken = handshake => shaken,
    };
    match shaken {
        Ok(Ok(stream)) => http(stream, from, door).await,
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

async fn http<T: AsyncRead + AsyncWrite + Unpin>(stream: T, from: SocketAddr, mut door: Door) {
    let activity = Arc::new(Activity::default());
    let io = TokioIo::new(GuardedIo::new(stream, Arc::clone(&activity), &door.limits));
    let router = door.router.clone();
    let service = service_fn(move |request| {
        activity.begin();
        let (activity, router) = (Arc::clone(&activity), router.clone());
        async move {
            let response = router.oneshot(request).await;
            activity.end();
            response
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
