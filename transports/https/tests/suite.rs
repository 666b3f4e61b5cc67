//! The kernel's exam for transports, on HTTPS.
#![allow(clippy::unwrap_used)]

#[path = "it/certificates.rs"]
mod certificates;

use std::path::PathBuf;
use std::sync::Arc;

use antiphon_https::{HttpsOptions, HttpsServer, HttpsTransport, Limits, ServerOptions};
use antiphon_kernel::service::Service;
use antiphon_kernel::testing::transport_suite::{self, Running, TransportHarness, key};
use antiphon_kernel::transport::Transport;
use async_trait::async_trait;
use certificates::Authority;

struct Https(Authority);
struct Server(HttpsServer, PathBuf);

#[async_trait]
impl TransportHarness for Https {
    async fn serve(&self, _name: &str, service: Service) -> Box<dyn Running> {
        let (addr, tls) = ("127.0.0.1:0".parse().unwrap(), Some(self.0.issue("127.0.0.1")));
        let options = ServerOptions { addr, tls, keyed: true, allow_open: false, limits: Limits::default() };
        Box::new(Server(HttpsServer::start(options, service).await.unwrap(), self.0.ca()))
    }

    fn transport(&self) -> Arc<dyn Transport> {
        Arc::new(HttpsTransport::new(HttpsOptions { shared_key: key(), allow_plaintext_loopback: false }))
    }
}

#[async_trait]
impl Running for Server {
    fn endpoint(&self) -> String {
        format!("https://{}", self.0.local_addr())
    }

    fn ca(&self) -> Option<PathBuf> {
        Some(self.1.clone())
    }

    async fn stop(self: Box<Self>) {
        self.0.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn https_passes() {
    transport_suite::run(&Https(Authority::new())).await;
}
