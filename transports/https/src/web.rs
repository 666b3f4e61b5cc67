//! The same front door for something else: an embedder's own pages, such as metrics.

use std::net::SocketAddr;

use axum::Router;
use axum::middleware::from_fn;

use crate::limits::Limits;
use crate::listening::Listening;
use crate::server::ServerError;
use crate::site_guard::{self, Scope};

/// A plain HTTP server with the bounds of [`crate::HttpsServer`] around a router of the caller's: slow heads, slow readers and
/// crowds are turned away as there, and so are pages of other sites. It has neither TLS nor key: keep it on loopback, or behind
/// what has. No connection presents a key, so all have the bounds [`Limits::unproven`].
#[derive(Debug)]
pub struct WebServer(Listening);

impl WebServer {
    /// Listens, and answers on a task of its own. `name` is what metrics call it. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`ServerError::Listen`].
    pub async fn start(
        name: &'static str,
        addr: SocketAddr,
        router: Router,
        limits: Limits,
        on_close: impl FnOnce() + Send + 'static,
    ) -> Result<Self, ServerError> {
        let scope = Scope::of(addr, true);
        let router = router.layer(from_fn(move |request, next| site_guard::check(scope, request, next)));
        let started = Listening::start(name, addr, router, None, limits, on_close).await;
        started.map(Self).map_err(|source| ServerError::Listen { addr, source })
    }

    /// Where it listens.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.0.addr
    }

    /// Stops in order: `on_close` is called, so that answers without an end can end, and the rest gets its time.
    pub async fn shutdown(self) {
        self.0.shutdown().await;
    }
}
