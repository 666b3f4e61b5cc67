//! What a client that has the key can make a server hold: it opens every stream, asks for everything on each, and reads
//! nothing. The server is a process of its own, so that its memory can be told from the client's.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
#[path = "it/certificates.rs"]
mod certificates;
#[allow(dead_code)]
#[path = "it/harness.rs"]
mod harness;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use antiphon_kernel::codec::{Message, encode};
use antiphon_kernel::event::Draft;
use antiphon_kernel::log::CausalContext;
use antiphon_kernel::protocol::{Delivery, FetchReply, FetchRequest, MAX_BATCH_BYTES, MAX_BATCH_EVENTS, RequestId};
use antiphon_kernel::testing::seeded_identity;
use antiphon_kernel::testing::until;
use antiphon_kernel::transport::Link;
use antiphon_quic::{ALPN, Limits};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, Endpoint, RecvStream, TransportConfig, VarInt};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use harness::{Greeting, PATIENCE, key, link, question, serve, service, soon, transport};

const MISER: u8 = 0xaa;
const FOLDER: &str = "ANTIPHON_TEST_FOLDER";
const CONNECTIONS: u64 = 8;
const STREAMS: u64 = 16;
const MIB: u64 = 1024 * 1024;
/// As published: 40 MiB of answers for all connections of one asker, and what streams and TLS take.
const AN_ASKER: u64 = 40 * MIB + CONNECTIONS * MIB;

/// Ends with the test.
struct Server(Child);

impl Server {
    /// A figure of the process in bytes, as the system counts it.
    fn memory(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with(field)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Alone it has nothing to do: it is the server of the test below.
#[tokio::test(flavor = "multi_thread")]
async fn child() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let (log, service) = service();
    for _ in 0..64 {
        let drafts = (0..5).map(|_| Draft::new("big", vec![7; 200 * 1024])).collect();
        log.append(drafts, CausalContext::default()).await.unwrap();
    }
    let authority = certificates::Authority::new();
    let server = serve(&service, authority.issue("127.0.0.1"), "127.0.0.1:0".parse().unwrap(), Limits::default()).await;
    std::fs::copy(authority.ca(), Path::new(&folder).join("ca.pem")).unwrap();
    let addr = Path::new(&folder).join("addr");
    std::fs::write(addr.with_extension("tmp"), server.local_addr().to_string()).unwrap();
    std::fs::rename(addr.with_extension("tmp"), &addr).unwrap();
    // Until it is killed, or nobody is there to do that any more.
    let _ = tokio::task::spawn_blocking(|| std::io::read_to_string(std::io::stdin())).await;
}

async fn server(folder: &Path) -> (Server, std::net::SocketAddr) {
    let mut child = Command::new(std::env::current_exe().unwrap());
    // It is killed in the end, and what it made goes with the folder.
    child.args(["--exact", "child", "--nocapture"]).env(FOLDER, folder).env("TMPDIR", folder);
    let child = child.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let addr = folder.join("addr");
    let mut read = None;
    until("the child listens", || {
        read = std::fs::read_to_string(&addr).ok();
        read.is_some()
    })
    .await;
    (Server(child), read.unwrap().parse().unwrap())
}

/// Takes little, and reads none of it.
fn miser(ca: &Path) -> ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![ALPN.to_vec()];
    let mut windows = TransportConfig::default();
    windows.stream_receive_window(VarInt::from_u32(4096)).keep_alive_interval(Some(Duration::from_secs(1)));
    let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    config.transport_config(Arc::new(windows));
    config
}

/// Opens as many streams as it may, and asks for everything on each.
async fn attack(
    endpoint: &Endpoint,
    config: &ClientConfig,
    addr: std::net::SocketAddr,
) -> (Connection, Vec<RecvStream>) {
    let connection = endpoint.connect_with(config.clone(), addr, "127.0.0.1").unwrap().await.unwrap();
    let miser = seeded_identity(MISER, "miser");
    let mut greeting = Greeting::begin(&connection).await;
    let hello = greeting.hello(&connection, &miser, key()).await;
    greeting.say(&Message::Hello(hello)).await;
    assert!(matches!(greeting.hear().await, Message::Identity(_)));
    let mut streams = vec![greeting.receive];
    for number in 1..STREAMS {
        let message = Message::Fetch(FetchRequest {
            request: RequestId { process: 1, number },
            from: miser.cortex_id,
            max_events: MAX_BATCH_EVENTS,
            max_bytes: MAX_BATCH_BYTES,
            ..question(Delivery::Live)
        });
        let (mut send, receive) = connection.open_bi().await.unwrap();
        send.write_all(&encode(&message)).await.unwrap();
        streams.push(receive);
    }
    (connection, streams)
}

async fn reads_all(link: &dyn Link) -> Duration {
    let began = Instant::now();
    for number in 0..20 {
        let request = FetchRequest { request: RequestId { process: 2, number }, ..question(Delivery::Once) };
        let reply = link.fetch(&request, PATIENCE).await.unwrap();
        assert!(matches!(reply, FetchReply::Batch(batch) if batch.events.len() == 5));
    }
    began.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_never_reads_costs_no_more_than_is_published() {
    let folder = tempfile::tempdir().unwrap();
    let (server, addr) = server(folder.path()).await;
    let ca = folder.path().join("ca.pem");
    let healthy = link(&transport(key()), addr, &ca);
    let alone = reads_all(&*healthy).await;
    let before = server.memory("VmRSS");
    let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let mut held = Vec::new();
    for _ in 0..CONNECTIONS {
        held.push(soon(attack(&endpoint, &miser(&ca), addr)).await);
    }
    let beside = reads_all(&*healthy).await;
    let spent = server.memory("VmHWM").saturating_sub(before);
    assert!(held.iter().all(|(connection, _)| connection.close_reason().is_none()), "the attack goes on");
    assert!(spent > CONNECTIONS * MIB, "{spent} bytes: that was no attack");
    assert!(spent < AN_ASKER, "{} MiB for {CONNECTIONS} connections", spent / MIB);
    assert!(beside < alone * 10 + Duration::from_secs(1), "{beside:?} beside the attack, {alone:?} alone");
    println!("{} MiB for {CONNECTIONS} connections; {beside:?} beside the attack, {alone:?} alone", spent / MIB);
}
