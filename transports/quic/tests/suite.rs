//! The kernel's exam for transports, on QUIC.
#![allow(clippy::unwrap_used)]

#[path = "it/certificates.rs"]
mod certificates;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use antiphon_fault_proxy::{Faults, Path, UdpProxy};
use antiphon_kernel::service::Service;
use antiphon_kernel::testing::transport_suite::{self, Running, TransportHarness, key};
use antiphon_kernel::transport::Transport;
use antiphon_quic::{Limits, QuicOptions, QuicServer, QuicServerOptions, QuicTransport};
use async_trait::async_trait;
use certificates::Authority;

struct Quic {
    authority: Authority,
    /// What lies between client and server, if anything does.
    path: Option<Faults>,
}

struct Server {
    server: QuicServer,
    proxy: Option<UdpProxy>,
    ca: PathBuf,
}

#[async_trait]
impl TransportHarness for Quic {
    async fn serve(&self, _name: &str, service: Service) -> Box<dyn Running> {
        let (addr, tls) = ("127.0.0.1:0".parse().unwrap(), self.authority.issue("127.0.0.1"));
        let options =
            QuicServerOptions { addr, tls: Some(tls), shared_key: key(), allow_open: false, limits: Limits::default() };
        let server = QuicServer::start(options, service).await.unwrap();
        let proxy = match self.path {
            Some(path) => Some(UdpProxy::start(server.local_addr(), path, 1).await.unwrap()),
            None => None,
        };
        Box::new(Server { server, proxy, ca: self.authority.ca() })
    }

    fn transport(&self) -> Arc<dyn Transport> {
        Arc::new(QuicTransport::new(QuicOptions { shared_key: key() }))
    }
}

#[async_trait]
impl Running for Server {
    fn endpoint(&self) -> String {
        let addr = self.proxy.as_ref().map_or(self.server.local_addr(), UdpProxy::addr);
        format!("quic://{addr}")
    }

    fn ca(&self) -> Option<PathBuf> {
        Some(self.ca.clone())
    }

    async fn stop(self: Box<Self>) {
        self.server.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn quic_passes() {
    transport_suite::run(&Quic { authority: Authority::new(), path: None }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn quic_passes_over_a_bad_path() {
    let (latency, jitter) = (Duration::from_millis(2), Duration::from_millis(1));
    let path = Path { latency, jitter, loss: 0.005, duplicate: 0.01, reorder: 0.02, ..Path::default() };
    transport_suite::run(&Quic { authority: Authority::new(), path: Some(Faults::symmetric(path)) }).await;
}
