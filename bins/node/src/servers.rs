//! The servers of a node: one service behind each transport that is configured.

use antiphon_https::{HttpsServer, ServerOptions};
use antiphon_kernel::service::Service;
use antiphon_quic::{QuicServer, QuicServerOptions};
use antiphon_transport_common::{Refreshed, ValidityPeriod};
use anyhow::{Context as _, Result};

use crate::config::NodeConfig;
use crate::expiry;

#[derive(Default)]
pub(crate) struct Servers {
    https: Option<HttpsServer>,
    quic: Option<QuicServer>,
}

impl Servers {
    pub(crate) async fn start(config: &NodeConfig, service: &Service) -> Result<Self> {
        let keys = config.shared_keys()?;
        config.check_listeners(&keys)?;
        let shared_key = keys.into_iter().next().unwrap_or_default();
        let keyed = !shared_key.is_open();
        let allow_open = config.listen.allow_open;
        let tls = config.tls_files();
        // It serves all the same, as one whose certificate ends while it runs does: it still pulls.
        if let Some(trouble) = tls.as_ref().and_then(|files| match expiry::of(&files.cert, jiff::Timestamp::now()) {
            Ok((_, soon)) => soon,
            Err(error) => Some(error.to_string()),
        }) {
            tracing::warn!("{trouble}");
        }
        let mut servers = Self::default();
        if let Some(addr) = config.listen.quic {
            let limits = antiphon_quic::Limits::default();
            let options = QuicServerOptions { addr, tls: tls.clone(), shared_key, allow_open, limits };
            servers.quic = Some(QuicServer::start(options, service.clone()).await.context("listen.quic")?);
        }
        if let Some(addr) = config.listen.https {
            let limits = antiphon_https::Limits::default();
            let options = ServerOptions { addr, tls, names: config.listen.names.clone(), keyed, allow_open, limits };
            servers.https = Some(HttpsServer::start(options, service.clone()).await.context("listen.https")?);
        }
        Ok(servers)
    }

    /// Whether any is there.
    pub(crate) const fn any(&self) -> bool {
        self.https.is_some() || self.quic.is_some()
    }

    /// How much each put on the wire so far.
    pub(crate) fn wire_sent(&self) -> Vec<(&'static str, u64)> {
        let https = self.https.as_ref().map(|server| ("https", server.sent_bytes().get()));
        let quic = self.quic.as_ref().map(|server| ("quic", server.sent_bytes().get()));
        https.into_iter().chain(quic).collect()
    }

    /// The certificate that they show, in DER form.
    pub(crate) fn certificate(&self) -> Option<Vec<u8>> {
        let quic = self.quic.as_ref().map(QuicServer::certificate);
        quic.or_else(|| self.https.as_ref().and_then(HttpsServer::certificate))
    }

    /// The period of the list of revoked client certificates that is outdated first, if there are such lists.
    pub(crate) fn list_period(&self) -> Option<ValidityPeriod> {
        let quic = self.quic.as_ref().and_then(QuicServer::list_period);
        quic.or_else(|| self.https.as_ref().and_then(HttpsServer::list_period))
    }

    /// Loads files of TLS that changed; this reads files.
    pub(crate) fn refresh_certificates(&self) -> Result<Refreshed> {
        let nothing = Refreshed::default();
        let https = self.https.as_ref().map_or(Ok(nothing), HttpsServer::refresh_certificate)?;
        let quic = self.quic.as_ref().map_or(Ok(nothing), QuicServer::refresh_certificate)?;
        Ok(Refreshed { certificate: https.certificate || quic.certificate, clients: https.clients || quic.clients })
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
