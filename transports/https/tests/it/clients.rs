//! Clients that must show a certificate, besides the key and the proof.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use antiphon_https::{ClientFiles, Limits, TlsFiles};
use antiphon_kernel::config::{PeerConfig, SharedKey, TlsVersion};
use antiphon_kernel::health::ErrorCategory;
use antiphon_kernel::transport::{Link, Transport};
use rcgen::ExtendedKeyUsagePurpose;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, HandshakeKind, RootCertStore, SupportedProtocolVersion};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::harness::{Node, PATIENCE, fails, key, node_with, own, peer, soon, transport};
use crate::pki::{Due, Issued, Pki, copy};

/// What a server asks for is looked at this often.
const OFTEN: Duration = Duration::from_millis(20);

/// A request with the shared key.
fn request(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {}\r\n\r\n", crate::harness::KEY)
}

struct World {
    /// Of the server.
    servers: Pki,
    clients: Pki,
    ca: PathBuf,
    crl: PathBuf,
    node: Node,
}

impl World {
    async fn new(min_version: TlsVersion) -> Self {
        let (servers, clients) = (Pki::new("servers"), Pki::new("clients"));
        let shown = servers.server();
        let ca = servers.path("client-ca.pem");
        copy(&clients.ca(), &ca);
        let crl = servers.put("client-crl.pem", &clients.list(&[], Due::Year(2100)));
        let files = ClientFiles { ca: ca.clone(), crl: Some(crl.clone()) };
        let tls = TlsFiles { min_version, ..TlsFiles::new(&shown.cert, &shown.key).clients(files) };
        let node = node_with(Some(tls), Limits { certificate_check: OFTEN, ..Limits::default() }).await;
        Self { servers, clients, ca, crl, node }
    }

    fn peer(&self, shown: Option<&Issued>) -> PeerConfig {
        PeerConfig {
            client_cert: shown.map(|shown| shown.cert.clone()),
            client_key: shown.map(|shown| shown.key.clone()),
            ..peer(format!("https://{}", self.node.addr()), Some(&self.servers.ca()))
        }
    }

    fn link(&self, shown: Option<&Issued>) -> Box<dyn Link> {
        transport(key()).link(&self.peer(shown), &own()).unwrap()
    }

    /// TLS as another program speaks it.
    fn config(&self, shown: Option<&Issued>, versions: &[&'static SupportedProtocolVersion]) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.servers.ca()).unwrap()).unwrap();
        let builder = ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        Arc::new(match shown {
            None => builder.with_no_client_auth(),
            Some(shown) => {
                let chain = vec![CertificateDer::from_pem_file(&shown.cert).unwrap()];
                builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(&shown.key).unwrap()).unwrap()
            }
        })
    }

    async fn connect(&self, config: &Arc<ClientConfig>) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(self.node.addr()).await.unwrap();
        TlsConnector::from(Arc::clone(config)).connect(ServerName::try_from("127.0.0.1").unwrap(), stream).await
    }

    /// Asks who answers, with the shared key. Ends with the answer's first bytes.
    async fn ask(&self, config: &Arc<ClientConfig>) -> std::io::Result<(HandshakeKind, String)> {
        let mut stream = self.connect(config).await?;
        stream.write_all(request("/v1/identity").as_bytes()).await?;
        let mut begin = vec![0; 15];
        stream.read_exact(&mut begin).await?;
        Ok((stream.get_ref().1.handshake_kind().unwrap(), String::from_utf8(begin).unwrap()))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_shows_no_right_certificate_is_refused_in_the_handshake() {
    let world = World::new(TlsVersion::Tls13).await;
    let (right, revoked) = (world.clients.client("right"), world.clients.client("revoked"));
    copy(&world.clients.publish(&[revoked.serial]), &world.crl);
    let expired = world.clients.issue("expired", ExtendedKeyUsagePurpose::ClientAuth, 2001);
    let server = world.clients.issue("server", ExtendedKeyUsagePurpose::ServerAuth, 2100);
    let another = Pki::new("another");
    let other = another.client("other");
    let link = world.link(Some(&revoked));
    soon(async { while link.identify(PATIENCE).await.is_ok() {} }).await;
    for (shown, why) in [
        (None, "asks for a certificate"),
        (Some(&revoked), "our certificate is revoked"),
        (Some(&other), "of no authority that the peer trusts"),
        (Some(&expired), "not valid now"),
        (Some(&server), "extendedKeyUsage"),
    ] {
        let error = fails(world.link(shown).identify(PATIENCE).await, ErrorCategory::CertificateRefused);
        assert!(error.detail().contains(why), "{why}: {error}");
        // No byte of HTTP is answered, whatever the version of TLS.
        let config = world.config(shown, &[&TLS13]);
        let error = soon(world.ask(&config)).await.unwrap_err();
        let alert = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
        assert!(matches!(alert, Some(rustls::Error::AlertReceived(_))), "{why}: {error:?}");
    }
    world.link(Some(&right)).identify(PATIENCE).await.unwrap();
    let (_, said) = soon(world.ask(&world.config(Some(&right), &[&TLS13]))).await.unwrap();
    assert_eq!(said, "HTTP/1.1 200 OK");
}

/// A client of TLS 1.3 sends its first request before it learns that its certificate was refused. A socket that was closed under it would
/// take back the reason.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_still_sending_reads_why_it_was_refused() {
    let world = World::new(TlsVersion::Tls13).await;
    let mut stream = world.connect(&world.config(None, &[&TLS13])).await.unwrap();
    // The reason is here.
    soon(stream.get_ref().0.peek(&mut [0])).await.unwrap();
    for _ in 0..20 {
        stream.write_all(&[b'x'; 1024]).await.unwrap();
        stream.flush().await.unwrap();
        tokio::task::yield_now().await;
    }
    let error = soon(stream.read(&mut [0])).await.unwrap_err();
    assert!(error.to_string().contains("CertificateRequired"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_certificate_replaces_neither_the_key_nor_the_proof() {
    let world = World::new(TlsVersion::Tls13).await;
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
async fn a_revocation_ends_what_is_open_and_no_session_is_resumed_past_it() {
    for version in [&TLS13, &TLS12] {
        let world = World::new(TlsVersion::Tls12).await;
        let (right, revoked) = (world.clients.client("right"), world.clients.client("revoked"));
        let config = world.config(Some(&revoked), &[version]);
        for _ in 0..2 {
            let (kind, said) = soon(world.ask(&config)).await.unwrap();
            assert_eq!((kind, said.as_str()), (HandshakeKind::Full, "HTTP/1.1 200 OK"), "nothing is resumed");
        }
        let mut open = world.connect(&config).await.unwrap();
        let mut stays = world.connect(&world.config(Some(&right), &[version])).await.unwrap();
        // With TLS 1.3 a client is done before the server looked at its certificate. An answer says that it did.
        for stream in [&mut open, &mut stays] {
            assert_eq!(soon(answered(stream)).await.unwrap(), "HTTP/1.1 200 OK");
        }
        copy(&world.clients.publish(&[revoked.serial]), &world.crl);
        let mut rest = Vec::new();
        let _ = soon(open.read_to_end(&mut rest)).await;
        assert!(rest.is_empty(), "{}", String::from_utf8_lossy(&rest));
        soon(world.ask(&config)).await.unwrap_err();
        assert_eq!(soon(answered(&mut stays)).await.unwrap(), "HTTP/1.1 200 OK");
    }
}

/// Asks who answers on a connection that stays open, and reads the whole answer. Returns its first line.
async fn answered<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> std::io::Result<String> {
    stream.write_all(request("/v1/identity").as_bytes()).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("an answer of one piece");
    stream.read_exact(&mut vec![0; length.parse().unwrap()]).await?;
    Ok(head.lines().next().unwrap_or_default().to_uppercase())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_was_replaced_counts_without_a_restart_and_a_broken_file_does_not() {
    let world = World::new(TlsVersion::Tls13).await;
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
        while world.node.server.list_period().unwrap().until > antiphon_kernel::time::Timestamp::now() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let error = fails(world.link(Some(&new)).identify(PATIENCE).await, ErrorCategory::CertificateRefused);
    assert!(error.detail().contains("no current list"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate_that_was_replaced_is_shown_without_a_new_link() {
    let world = World::new(TlsVersion::Tls13).await;
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

#[tokio::test]
async fn a_client_certificate_that_cannot_be_used_is_named_before_anything_is_dialled() {
    let pki = Pki::new("clients");
    let (one, other) = (pki.client("one"), pki.client("other"));
    let with = |cert: Option<PathBuf>, key: Option<PathBuf>, endpoint: &str| PeerConfig {
        client_cert: cert,
        client_key: key,
        ..peer(endpoint, None)
    };
    let (cert, key_file) = (|| Some(one.cert.clone()), || Some(one.key.clone()));
    for (peer, why) in [
        (with(cert(), None, "https://x:1"), "`client_key`"),
        (with(None, key_file(), "https://x:1"), "`client_cert`"),
        (with(cert(), Some(other.key.clone()), "https://x:1"), "does not go with"),
        (with(Some(pki.path("missing.pem")), key_file(), "https://x:1"), "missing.pem"),
        (with(cert(), key_file(), "http://127.0.0.1:1"), "https://host:port"),
    ] {
        let error = fails(transport(key()).link(&peer, &own()).map(drop), ErrorCategory::Configuration);
        assert!(error.detail().contains(why), "{why}: {error}");
    }
}
