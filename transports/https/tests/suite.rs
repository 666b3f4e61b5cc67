//! The kernel's exam for transports, on HTTPS.
#![allow(clippy::unwrap_used)]

#[path = "it/certificates.rs"]
mod certificates;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use antiphon_fault_proxy::{Faults, Path, TcpProxy};
use antiphon_https::{HttpsOptions, HttpsServer, HttpsTransport, Limits, ServerOptions};
use antiphon_kernel::service::Service;
use antiphon_kernel::testing::transport_suite::{self, Running, TransportHarness, key};
use antiphon_kernel::transport::Transport;
use async_trait::async_trait;
use certificates::Authority;

struct Https {
    authority: Authority,
    /// What lies between client and server, if anything does.
    path: Option<Faults>,
}

struct Server {
    server: HttpsServer,
    proxy: Option<TcpProxy>,
    ca: PathBuf,
}

#[async_trait]
impl TransportHarness for Https {
    async fn serve(&self, _name: &str, service: Service) -> Box<dyn Running> {
        let (addr, tls) = ("127.0.0.1:0".parse().unwrap(), Some(self.authority.issue("127.0.0.1")));
        let options =
            ServerOptions { addr, tls, names: Vec::new(), keyed: true, allow_open: false, limits: Limits::default() };
        let server = HttpsServer::start(options, service).await.unwrap();
        let proxy = match self.path {
            Some(path) => Some(TcpProxy::start(server.local_addr(), path, 1).await.unwrap()),
            None => None,
        };
        Box::new(Server { server, proxy, ca: self.authority.ca() })
    }

    fn transport(&self) -> Arc<dyn Transport> {
        Arc::new(HttpsTransport::new(HttpsOptions { shared_key: key(), allow_plaintext_loopback: false }))
    }
}

#[async_trait]
impl Running for Server {
    fn endpoint(&self) -> String {
        let addr = self.proxy.as_ref().map_or(self.server.local_addr(), TcpProxy::addr);
        format!("https://{addr}")
    }

    fn ca(&self) -> Option<PathBuf> {
        Some(self.ca.clone())
    }

    async fn stop(self: Box<Self>) {
        self.server.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn https_passes() {
    transport_suite::run(&Https { authority: Authority::new(), path: None }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn https_passes_over_a_bad_path() {
    let (latency, jitter) = (Duration::from_millis(4), Duration::from_millis(2));
    let path = Path { latency, jitter, loss: 0.002, ..Path::default() };
    transport_suite::run(&Https { authority: Authority::new(), path: Some(Faults::symmetric(path)) }).await;
}
