//! The servers of a node: one service behind each transport that is configured.

use antiphon_https::{HttpsServer, ServerOptions, TlsFiles};
use antiphon_kernel::service::Service;
use antiphon_quic::{QuicServer, QuicServerOptions};
use anyhow::{Context as _, Result};

use crate::config::NodeConfig;

#[derive(Default)]
pub(crate) struct Servers {
    https: Option<HttpsServer>,
    quic: Option<QuicServer>,
}

impl Servers {
    pub(crate) async fn start(config: &NodeConfig, service: &Service) -> Result<Self> {
        let shared_key = config.shared_key()?;
        let keyed = !shared_key.is_open();
        let allow_open = config.listen.allow_open;
        let tls = config.listen.tls.as_ref();
        let tls = tls.map(|t| TlsFiles { cert: config.path(&t.cert), key: config.path(&t.key) });
        let mut servers = Self::default();
        if let Some(addr) = config.listen.quic {
            let tls = tls.clone().context("listen.quic needs listen.tls")?;
            let limits = antiphon_quic::Limits::default();
            let options = QuicServerOptions { addr, tls, shared_key, allow_open, limits };
            servers.quic = Some(QuicServer::start(options, service.clone()).await.context("listen.quic")?);
        }
        if let Some(addr) = config.listen.https {
            let limits = antiphon_https::Limits::default();
            let options = ServerOptions { addr, tls, keyed, allow_open, limits };
            servers.https = Some(HttpsServer::start(options, service.clone()).await.context("listen.https")?);
        }
        Ok(servers)
    }

    /// Says in the log where the node can be reached.
    pub(crate) fn tell(&self) {
        if let Some(server) = &self.https {
            tracing::info!(address = %server.local_addr(), "serving over HTTPS");
        }
        if let Some(server) = &self.quic {
            tracing::info!(address = %server.local_addr(), "serving over QUIC");
        }
        if self.https.is_none() && self.quic.is_none() {
            tracing::info!("serving no peers: neither listen.https nor listen.quic is set");
        }
    }

    /// Stops all in order, side by side: parked polls are answered, answers on their way get their time.
    pub(crate) async fn shutdown(self) {
        let https = async {
            if let Some(server) = self.https {
                server.shutdown().await;
            }
        };
        let quic = async {
            if let Some(server) = self.quic {
                server.shutdown().await;
            }
        };
        tokio::join!(https, quic);
    }
}
