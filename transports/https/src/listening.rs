//! A listener with its task, and how both end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use antiphon_transport_common::{Certificate, WireBytes};
use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use crate::accept::{Door, run};
use crate::limits::Limits;

/// A running accept loop. Dropping it cuts everything.
#[derive(Debug)]
pub(crate) struct Listening {
    pub(crate) addr: SocketAddr,
    pub(crate) sent: WireBytes,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Listening {
    /// Listens, and answers on a task of its own. `closing` is called when it is asked to stop, before connections end.
    pub(crate) async fn start(
        name: &'static str,
        addr: SocketAddr,
        router: Router,
        tls: Option<Arc<Certificate>>,
        limits: Limits,
        on_close: impl FnOnce() + Send + 'static,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(addr).await?;
        let addr = listener.local_addr()?;
        let (closing, watched) = watch::channel(false);
        let grace = limits.shutdown;
        let sent = WireBytes::default();
        let door = Door { name, router, tls, limits: Arc::new(limits), closing: watched, sent: sent.clone() };
        let (stop, stopped) = oneshot::channel();
        let close = async move {
            // A dropped server aborts its task, so this ends by being asked to.
            let _ = stopped.await;
            on_close();
            closing.send_replace(true);
            // Kept: a watch without its sender would count as closed as well.
            closing
        };
        let task = tokio::spawn(async move {
            let (mut left, _closing) = tokio::join!(run(listener, door), close);
            let drained = async { while left.join_next().await.is_some() {} };
            if tokio::time::timeout(grace, drained).await.is_err() {
                tracing::debug!("connections were cut: they did not end in time");
            }
        });
        Ok(Self { addr, sent, stop: Some(stop), task })
    }

    /// Stops in order: answers on their way get the time that [`Limits::shutdown`] gives, and what is left is cut.
    pub(crate) async fn shutdown(mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Err(error) = (&mut self.task).await {
            tracing::error!(%error, "the server ended by a fault of ours");
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.task.abort();
    }
}
