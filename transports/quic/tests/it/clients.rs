//! Clients that must show a certificate, besides the key and the proof.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use antiphon_kernel::codec::{Message, encode};
use antiphon_kernel::config::{PeerConfig, SharedKey};
use antiphon_kernel::health::ErrorCategory;
use antiphon_kernel::proof::Introduction;
use antiphon_kernel::protocol::Delivery;
use antiphon_kernel::service::Service;
use antiphon_kernel::transport::{Link, Transport as _};
use antiphon_quic::{ALPN, ClientFiles, Limits, QuicServer, TlsFiles};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, ConnectionError, ReadError, ReadExactError};
use rcgen::ExtendedKeyUsagePurpose;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::harness::{PATIENCE, batch, fails, key, own, peer, question, serve, service, soon, transport};
use crate::pki::{Due, Issued, Pki, copy};
use crate::raw;

struct World {
    servers: Pki,
    clients: Pki,
    ca: PathBuf,
    crl: PathBuf,
    service: Service,
    server: QuicServer,
    _log: antiphon_kernel::log::LogHandle,
}

impl World {
    async fn new() -> Self {
        let (servers, clients) = (Pki::new("servers"), Pki::new("clients"));
        let shown = servers.server();
        let ca = servers.path("client-ca.pem");
        copy(&clients.ca(), &ca);
        let crl = servers.put("client-crl.pem", &clients.list(&[], Due::Year(2100)));
        let files = ClientFiles { ca: ca.clone(), crl: Some(crl.clone()) };
        let tls = TlsFiles::new(&shown.cert, &shown.key).clients(files);
        let limits = Limits { certificate_check: Duration::from_millis(20), ..Limits::default() };
        let (log, service) = service();
        let server = serve(&service, tls, "127.0.0.1:0".parse().unwrap(), limits).await;
        Self { servers, clients, ca, crl, service, server, _log: log }
    }

    fn peer(&self, shown: Option<&Issued>) -> PeerConfig {
        PeerConfig {
            client_cert: shown.map(|shown| shown.cert.clone()),
            client_key: shown.map(|shown| shown.key.clone()),
            ..peer(format!("quic://{}", self.server.local_addr()), Some(&self.servers.ca()))
        }
    }

    fn link(&self, shown: Option<&Issued>) -> Box<dyn Link> {
        transport(key()).link(&self.peer(shown), &own()).unwrap()
    }

    /// QUIC as another program speaks it, which resumes sessions and sends early data if the server lets it.
    fn config(&self, shown: &Issued) -> ClientConfig {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.servers.ca()).unwrap()).unwrap();
        let chain = vec![CertificateDer::from_pem_file(&shown.cert).unwrap()];
        let mut tls = rustls::ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(&shown.key).unwrap())
            .unwrap();
        tls.alpn_protocols = vec![ALPN.to_vec()];
        tls.enable_early_data = true;
        ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()))
    }

    /// Opens a connection, and begins a greeting. What the server says of the certificate comes after the client's side of the handshake.
    async fn connect(&self, endpoint: &quinn::Endpoint, config: &ClientConfig) -> Result<Connection, ConnectionError> {
        let connecting = endpoint.connect_with(config.clone(), self.server.local_addr(), "127.0.0.1").unwrap();
        let connection = soon(connecting).await?;
        let (mut send, mut receive) = connection.open_bi().await?;
        let connect = Introduction::new(&own(), &self.peer(None), key()).connect();
        let _ = send.write_all(&encode(&Message::Connect(connect))).await;
        // The proof of the server begins.
        match soon(receive.read_exact(&mut [0])).await {
            Ok(()) => Ok(connection),
            Err(ReadExactError::ReadError(ReadError::ConnectionLost(error))) => Err(error),
            Err(other) => panic!("{other}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_shows_no_right_certificate_is_refused_in_the_handshake() {
    let world = World::new().await;
    let (right, revoked) = (world.clients.client("right"), world.clients.client("revoked"));
    copy(&world.clients.publish(&[revoked.serial]), &world.crl);
    soon(async { while world.link(Some(&revoked)).identify(PATIENCE).await.is_ok() {} }).await;
    let expired = world.clients.issue("expired", ExtendedKeyUsagePurpose::ClientAuth, 2001);
    let server = world.clients.issue("server", ExtendedKeyUsagePurpose::ServerAuth, 2100);
    let another = Pki::new("another");
    let other = another.client("other");
    for (shown, why) in [
        (None, "asks for a certificate"),
        (Some(&revoked), "our certificate is revoked"),
        (Some(&other), "of no authority that the peer trusts"),
        (Some(&expired), "not valid now"),
        (Some(&server), "extendedKeyUsage"),
    ] {
        let error = fails(world.link(shown).identify(PATIENCE).await, ErrorCategory::CertificateRefused);
        assert!(error.detail().contains(why), "{why}: {error}");
    }
    world.link(Some(&right)).identify(PATIENCE).await.unwrap();
    // An id in the place of an authority changes nothing of what the client shows.
    let by_id = |shown| PeerConfig { ca: None, cortex: Some(world.service.identity().cortex_id), ..world.peer(shown) };
    let link = |shown| transport(key()).link(&by_id(shown), &own()).unwrap();
    link(Some(&right)).identify(PATIENCE).await.unwrap();
    fails(link(None).identify(PATIENCE).await, ErrorCategory::CertificateRefused);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_certificate_replaces_neither_the_key_nor_the_proof() {
    let world = World::new().await;
    let right = world.clients.client("right");
    for wrong in [SharedKey::new("wrong-0123456789abcdef0123456789abcdef").unwrap(), SharedKey::default()] {
        let link = transport(wrong).link(&world.peer(Some(&right)), &own()).unwrap();
        fails(link.identify(PATIENCE).await, ErrorCategory::Auth);
    }
    // It is no identity: the cortex that the proof names is another one.
    let other = PeerConfig { cortex: Some(own().cortex_id), ..world.peer(Some(&right)) };
    let link = transport(key()).link(&other, &own()).unwrap();
    fails(link.identify(PATIENCE).await, ErrorCategory::Identity);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_ends_what_is_open_and_lets_no_client_in_again() {
    let world = World::new().await;
    let (right, revoked) = (world.clients.client("right"), world.clients.client("revoked"));
    let (endpoint, config) = (raw::endpoint(), world.config(&revoked));
    let open = world.connect(&endpoint, &config).await.unwrap();
    let (link, stays) = (world.link(Some(&revoked)), world.link(Some(&right)));
    let mut runs = Vec::new();
    for link in [&link, &stays] {
        let mut run = link.tail(&question(Delivery::Live), PATIENCE).await.unwrap().unwrap();
        assert_eq!(batch(&mut run).await.last.seq.get(), 0);
        runs.push(run);
    }
    copy(&world.clients.publish(&[revoked.serial]), &world.crl);
    let closed = soon(open.closed()).await;
    assert!(matches!(closed, ConnectionError::ApplicationClosed(_)), "{closed}");
    let cut = soon(async {
        loop {
            match runs[0].next(PATIENCE).await {
                Ok(Some(_)) => {}
                ended => return ended,
            }
        }
    })
    .await;
    assert!(matches!(cut, Ok(None) | Err(_)));
    let error = world.connect(&endpoint, &config).await.unwrap_err();
    assert!(matches!(error, ConnectionError::ConnectionClosed(_)), "{error}");
    fails(link.identify(PATIENCE).await, ErrorCategory::CertificateRefused);
    // Another client's run continues.
    let draft = antiphon_kernel::event::Draft::new("t", "x");
    world._log.append(vec![draft], antiphon_kernel::log::CausalContext::default()).await.unwrap();
    assert_eq!(batch(&mut runs[1]).await.last.seq.get(), 1);
}

/// No file changes, so the sessions of the server stay: one that was resumed would show no certificate, and count on.
#[tokio::test(flavor = "multi_thread")]
async fn no_session_of_a_client_outlives_the_list_that_it_began_under() {
    let world = World::new().await;
    let right = world.clients.client("right");
    std::fs::write(&world.crl, world.clients.list(&[], Due::In(Duration::from_secs(3)))).unwrap();
    soon(async {
        while !world.server.refresh_certificate().unwrap().clients
            && world.server.list_period().unwrap().until.as_micros() > 4_000_000_000_000_000
        {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let (endpoint, config) = (raw::endpoint(), world.config(&right));
    world.connect(&endpoint, &config).await.unwrap();
    let refused = soon(async {
        loop {
            if let Err(error) = world.connect(&endpoint, &config).await {
                return error;
            }
        }
    })
    .await;
    assert!(matches!(refused, ConnectionError::ConnectionClosed(_)), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_was_replaced_counts_without_a_restart_and_a_broken_file_does_not() {
    let world = World::new().await;
    let (old, next) = (world.clients.client("old"), Pki::new("next"));
    let new = next.client("new");
    let passes = async |shown: &Issued| world.link(Some(shown)).identify(PATIENCE).await.is_ok();
    assert!(passes(&old).await && !passes(&new).await);
    std::fs::write(&world.ca, "broken").unwrap();
    for _ in 0..20 {
        assert!(passes(&old).await, "the previous one stays in use");
    }
    copy(&next.ca(), &world.ca);
    copy(&next.publish(&[]), &world.crl);
    soon(async { while !passes(&new).await {} }).await;
    assert!(!passes(&old).await);
    // A certificate of the server that cannot be used keeps no old list in use.
    std::fs::write(world.servers.path("server.pem"), "broken").unwrap();
    copy(&next.publish(&[new.serial]), &world.crl);
    soon(async { while passes(&new).await {} }).await;
    // An outdated list lets no client in.
    world.servers.put("client-crl.pem", &next.list(&[], Due::Year(2001)));
    soon(async {
        while world.server.list_period().unwrap().until > antiphon_kernel::time::Timestamp::now() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let error = fails(world.link(Some(&new)).identify(PATIENCE).await, ErrorCategory::CertificateRefused);
    assert!(error.detail().contains("no current list"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate_that_was_replaced_is_shown_without_a_new_link() {
    let world = World::new().await;
    let (shown, next) = (world.clients.client("shown"), world.clients.client("next"));
    let link = world.link(Some(&shown));
    link.identify(PATIENCE).await.unwrap();
    copy(&world.clients.publish(&[shown.serial]), &world.crl);
    // What was open may be cut in the middle of a question first.
    let refused = async || {
        let category = link.identify(PATIENCE).await.map_err(|error| error.category());
        category.err() == Some(ErrorCategory::CertificateRefused)
    };
    soon(async { while !refused().await {} }).await;
    std::fs::write(&shown.cert, "broken").unwrap();
    assert!(refused().await);
    shown.replace_by(&next);
    soon(async { while link.identify(PATIENCE).await.is_err() {} }).await;
}
