//! The kernel's exam for transports, on QUIC.
#![allow(clippy::unwrap_used)]

#[path = "it/certificates.rs"]
mod certificates;

use std::path::PathBuf;
use std::sync::Arc;

use antiphon_kernel::service::Service;
use antiphon_kernel::testing::transport_suite::{self, Running, TransportHarness, key};
use antiphon_kernel::transport::Transport;
use antiphon_quic::{Limits, QuicOptions, QuicServer, QuicServerOptions, QuicTransport};
use async_trait::async_trait;
use certificates::Authority;

struct Quic(Authority);
struct Server(QuicServer, PathBuf);

#[async_trait]
impl TransportHarness for Quic {
    async fn serve(&self, _name: &str, service: Service) -> Box<dyn Running> {
        let (addr, tls) = ("127.0.0.1:0".parse().unwrap(), self.0.issue("127.0.0.1"));
        let options = QuicServerOptions { addr, tls, shared_key: key(), allow_open: false, limits: Limits::default() };
        Box::new(Server(QuicServer::start(options, service).await.unwrap(), self.0.ca()))
    }

    fn transport(&self) -> Arc<dyn Transport> {
        Arc::new(QuicTransport::new(QuicOptions { shared_key: key() }))
    }
}

#[async_trait]
impl Running for Server {
    fn endpoint(&self) -> String {
        format!("quic://{}", self.0.local_addr())
    }

    fn ca(&self) -> Option<PathBuf> {
        Some(self.1.clone())
    }

    async fn stop(self: Box<Self>) {
        self.0.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn quic_passes() {
    transport_suite::run(&Quic(Authority::new())).await;
}
