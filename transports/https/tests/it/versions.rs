//! Which versions of TLS are spoken.

use std::net::SocketAddr;
use std::sync::Arc;

use antiphon_https::{Limits, TlsFiles};
use antiphon_kernel::config::{PeerConfig, TlsVersion};
use antiphon_kernel::health::ErrorCategory;
use antiphon_kernel::transport::Transport;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ProtocolVersion, RootCertStore, ServerConfig, SupportedProtocolVersion};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::harness::{PATIENCE, fails, key, node, node_with, own, peer, soon, transport};
use crate::pki::{Issued, Pki};

/// The version that a client of these versions and the server agree on.
async fn agreed(
    pki: &Pki,
    addr: SocketAddr,
    versions: &[&'static SupportedProtocolVersion],
) -> std::io::Result<ProtocolVersion> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(pki.ca()).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(addr).await.unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let stream = soon(TlsConnector::from(Arc::new(config)).connect(name, stream)).await?;
    Ok(stream.get_ref().1.protocol_version().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_speaks_tls_1_2_only_if_it_is_configured() {
    let pki = Pki::new("ours");
    let shown = pki.server();
    for (min_version, old) in [(TlsVersion::Tls13, None), (TlsVersion::Tls12, Some(ProtocolVersion::TLSv1_2))] {
        let tls = TlsFiles { min_version, ..TlsFiles::new(&shown.cert, &shown.key) };
        let node = node_with(Some(tls), Limits::default()).await;
        let both = agreed(&pki, node.addr(), &[&TLS12, &TLS13]).await.unwrap();
        assert_eq!(both, ProtocolVersion::TLSv1_3, "the newest that both speak");
        match (agreed(&pki, node.addr(), &[&TLS12]).await, old) {
            (Ok(version), Some(old)) => assert_eq!(version, old),
            (Err(error), None) => assert!(error.to_string().contains("ProtocolVersion"), "{error}"),
            (other, _) => panic!("{min_version}: {other:?}"),
        }
    }
}

/// A proxy before a node, which ends TLS and speaks TLS 1.2 alone.
async fn old_proxy(shown: &Issued, node: SocketAddr) -> SocketAddr {
    let chain = vec![CertificateDer::from_pem_file(&shown.cert).unwrap()];
    let config = ServerConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
        .with_protocol_versions(&[&TLS12])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_file(&shown.key).unwrap())
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut outside) = acceptor.accept(stream).await else { return };
                let mut inside = TcpStream::connect(node).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut outside, &mut inside).await;
            });
        }
    });
    addr
}

/// What the proof is bound to over HTTPS is the host, so the version of TLS changes nothing of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_peer_behind_an_old_proxy_is_spoken_to_only_if_it_is_configured() {
    let (pki, node) = (Pki::new("ours"), node().await);
    let proxy = old_proxy(&pki.server(), node.addr()).await;
    let peer = peer(format!("https://{proxy}"), Some(&pki.ca()));
    let link = transport(key()).link(&peer, &own()).unwrap();
    let error = fails(link.identify(PATIENCE).await, ErrorCategory::Tls);
    assert!(error.detail().contains("no version of TLS that is accepted here"), "{error}");
    let old = PeerConfig { tls_min_version: TlsVersion::Tls12, ..peer };
    transport(key()).link(&old, &own()).unwrap().identify(PATIENCE).await.unwrap();
    // A list of revoked certificates counts there too.
    let served = pki.server();
    let revoking = PeerConfig { crl: Some(pki.publish(&[served.serial])), ..old };
    let proxy = old_proxy(&served, node.addr()).await;
    let revoking = PeerConfig { endpoint: format!("https://{proxy}"), ..revoking };
    let link = transport(key()).link(&revoking, &own()).unwrap();
    fails(link.identify(PATIENCE).await, ErrorCategory::Revoked);
}
