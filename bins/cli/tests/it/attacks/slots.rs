//! Crowds that would take all connections of a node.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use antiphon_kernel::config::{PeerConfig, SharedKey};
use antiphon_kernel::ids::PeerName;
use antiphon_kernel::internals::cortex::mint_identity;
use antiphon_kernel::transport::Transport as _;
use antiphon_quic::{QuicOptions, QuicTransport};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use quinn::crypto::rustls::QuicClientConfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::support::{KEY, Place, free_port};

/// A connection from one of the addresses of loopback.
async fn from(last: u8, port: u16) -> TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::new(127, 0, 0, last), 0).into()).unwrap();
    let stream = socket.connect((Ipv4Addr::LOCALHOST, port).into()).await.unwrap().into_std().unwrap();
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

/// Asks on a connection; `None` where the node closed it.
fn ask(stream: &mut TcpStream, path: &str, key: Option<&str>) -> Option<u16> {
    let key = key.map(|key| format!("authorization: Bearer {key}\r\n")).unwrap_or_default();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n{key}\r\n").as_bytes()).ok()?;
    let mut answer = [0; 65_536];
    let read = stream.read(&mut answer).ok()?;
    String::from_utf8_lossy(&answer[..read]).split(' ').nth(1)?.parse().ok()
}

/// As many connections from as many addresses as asked for, each held open after one request.
async fn crowd(addresses: u8, each: usize, port: u16, path: &str) -> Vec<TcpStream> {
    let mut held = Vec::new();
    for n in 0..usize::from(addresses) * each {
        let mut stream = from(2 + u8::try_from(n % usize::from(addresses)).unwrap(), port).await;
        let _ = ask(&mut stream, path, None);
        held.push(stream);
    }
    held
}

fn many_files() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
}

#[tokio::test]
async fn sixteen_addresses_without_the_key_keep_no_peer_out() {
    many_files();
    let port = free_port();
    let place =
        Place::new(&format!("node: {{ name: alpha, data_dir: data }}\nlisten: {{ https: \"127.0.0.1:{port}\" }}\n"));
    let _serving = place.serve();
    let mut known = from(1, port).await;
    assert_eq!(ask(&mut known, "/v1/identity", Some(KEY)), Some(200));
    let mut held = crowd(16, 64, port, "/healthz").await;
    let mut peer = from(1, port).await;
    assert_eq!(ask(&mut peer, "/v1/identity", Some(KEY)), Some(200), "it gets in");
    held.extend(crowd(16, 10, port, "/healthz").await);
    assert_eq!(ask(&mut peer, "/v1/identity", Some(KEY)), Some(200), "and stays");
    assert_eq!(ask(&mut known, "/v1/identity", Some(KEY)), Some(200));
    let open = held.iter_mut().filter_map(|stream| ask(stream, "/healthz", None)).count();
    assert!(open <= 128, "the crowd holds {open}");
}

#[tokio::test]
async fn two_addresses_do_not_keep_prometheus_out() {
    let port = free_port();
    let place =
        Place::new(&format!("node: {{ name: alpha, data_dir: data }}\nlisten: {{ metrics: \"127.0.0.1:{port}\" }}\n"));
    let _serving = place.serve();
    let held = crowd(2, 64, port, "/healthz").await;
    for last in [1, 2] {
        let mut prometheus = from(last, port).await;
        assert_eq!(ask(&mut prometheus, "/metrics", None), Some(200), "from 127.0.0.{last}");
    }
    drop(held);
}

/// The first packet of a QUIC connection of which nothing more comes.
fn first_packet(place: &Place, node: SocketAddr) -> Vec<u8> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(place.dir.path().join("certs/ca.pem")).unwrap()).unwrap();
    let mut tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![antiphon_quic::ALPN.to_vec()];
    let config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    let now = std::time::Instant::now();
    let mut endpoint = quinn_proto::Endpoint::new(Arc::default(), None, true, None);
    let (_, mut connection) = endpoint.connect(now, config, node, "localhost").unwrap();
    let mut packet = Vec::new();
    let length = connection.poll_transmit(now, 1, &mut packet).unwrap().size;
    packet.truncate(length);
    packet
}

#[tokio::test(flavor = "multi_thread")]
async fn seventy_forged_packets_do_not_lock_out_the_peer_that_they_name() {
    let port = free_port();
    let place = Place::bare(&format!(
        "node: {{ name: alpha, data_dir: data }}\nlisten:\n  quic: 127.0.0.1:{port}\n  tls: {{ cert: certs/alpha.pem, key: \
         certs/alpha.key }}\n"
    ));
    let certs = place.dir.path().join("certs");
    assert_eq!(place.run(&["dev-certs", "--dir", certs.to_str().unwrap(), "alpha"]).0, 0);
    assert_eq!(place.run(&crate::support::INIT).0, 0);
    let _serving = place.serve();
    let node = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    // Never read from: the sender of a forged address does not see the replies.
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for _ in 0..70 {
        socket.send_to(&first_packet(&place, node), node).unwrap();
    }
    let transport = QuicTransport::new(QuicOptions { shared_key: SharedKey::new(KEY).unwrap() });
    let peer = PeerConfig {
        ca: Some(certs.join("ca.pem")),
        ..PeerConfig::new(PeerName::new("alpha").unwrap(), format!("quic://127.0.0.1:{port}"))
    };
    let link = transport.link(&peer, &mint_identity("bravo")).unwrap();
    link.identify(Duration::from_secs(10)).await.unwrap();
}
