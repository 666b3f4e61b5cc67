//! A client that says what it likes.

use std::sync::Arc;

use antiphon_quic::ALPN;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::harness::Node;

/// Trusts the node, and offers early data, should anybody take it.
pub(crate) fn config(node: &Node, alpn: &[u8]) -> ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(node.authority.ca()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![alpn.to_vec()];
    tls.enable_early_data = true;
    ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()))
}

pub(crate) fn endpoint() -> Endpoint {
    Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap()
}

pub(crate) async fn connect(node: &Node) -> Result<Connection, ConnectionError> {
    endpoint().connect_with(config(node, ALPN), node.addr(), "127.0.0.1").unwrap().await
}

/// The first packet of a connection of which nothing more comes.
pub(crate) fn first_packet(node: &Node) -> Vec<u8> {
    let now = std::time::Instant::now();
    let mut endpoint = quinn_proto::Endpoint::new(Arc::default(), None, true, None);
    let (_, mut connection) = endpoint.connect(now, config(node, ALPN), node.addr(), "127.0.0.1").unwrap();
    let mut packet = Vec::new();
    let length = connection.poll_transmit(now, 1, &mut packet).expect("it begins").size;
    packet.truncate(length);
    packet
}
