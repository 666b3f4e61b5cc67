//! Connections that break, and links that go on.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use antiphon_fault_proxy::{Faults, UdpProxy};
use antiphon_kernel::protocol::{Delivery, FetchRequest, Known};
use antiphon_quic::{Limits, QuicServer};

use crate::certificates::Authority;
use crate::harness::{PATIENCE, batch, key, link, node, question, serve, service, soon, transport};

/// A server on the port of the one before; the system may take a moment to give it back.
async fn again(service: &antiphon_kernel::service::Service, authority: &Authority, addr: SocketAddr) -> QuicServer {
    let options = || antiphon_quic::QuicServerOptions {
        addr,
        tls: Some(authority.issue("127.0.0.1")),
        shared_key: key(),
        allow_open: false,
        limits: Limits::default(),
    };
    soon(async {
        loop {
            if let Ok(server) = QuicServer::start(options(), service.clone()).await {
                return server;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_restarts_with_another_certificate_is_found_again() {
    let (log, first_service) = service();
    let authority = Authority::new();
    let any = "127.0.0.1:0".parse().unwrap();
    let first = serve(&first_service, authority.issue("127.0.0.1"), any, Limits::default()).await;
    let addr = first.local_addr();
    let link = link(&transport(key()), addr, &authority.ca());
    let mut tail = link.tail(&question(Delivery::Live), PATIENCE).await.unwrap().unwrap();
    assert_eq!(batch(&mut tail).await.last.seq.get(), 0);
    first.shutdown().await;
    // The run ends, in order or not, at once and not when somebody grows impatient.
    soon(async { while let Ok(Some(_)) = tail.next(PATIENCE).await {} }).await;
    // The process that comes next has another service over the same log, and another certificate of the same authority.
    let second_service = antiphon_kernel::service::Service::new(
        log.reader().clone(),
        key(),
        antiphon_kernel::config::FederationMode::Sync,
    );
    let _second = again(&second_service, &authority, addr).await;
    log.append(vec![antiphon_kernel::event::Draft::new("t", "x")], antiphon_kernel::log::CausalContext::default())
        .await
        .unwrap();
    soon(async { while link.identify(PATIENCE).await.is_err() {} }).await;
    let mut tail = link.tail(&question(Delivery::Live), PATIENCE).await.unwrap().unwrap();
    assert_eq!(batch(&mut tail).await.last.seq.get(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_taken_up_while_it_serves() {
    let (_log, service) = service();
    let (old, new) = (Authority::new(), Authority::new());
    let files = old.issue("127.0.0.1");
    let limits = Limits { certificate_check: Duration::from_millis(20), ..Limits::default() };
    let server = serve(&service, files.clone(), "127.0.0.1:0".parse().unwrap(), limits).await;
    let before = link(&transport(key()), server.local_addr(), &old.ca());
    before.identify(PATIENCE).await.unwrap();
    let other = new.issue("127.0.0.1");
    std::fs::copy(other.key, &files.key).unwrap();
    std::fs::copy(other.cert, &files.cert).unwrap();
    let after = || link(&transport(key()), server.local_addr(), &new.ca());
    soon(async { while after().identify(PATIENCE).await.is_err() {} }).await;
    // Who is connected stays connected.
    before.identify(PATIENCE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_port_that_changes_breaks_nothing() {
    let node = node().await;
    let proxy = UdpProxy::start(node.addr(), Faults::default(), 1).await.unwrap();
    let link = link(&transport(key()), proxy.addr(), &node.authority.ca());
    let mut tail = link.tail(&question(Delivery::Live), PATIENCE).await.unwrap().unwrap();
    batch(&mut tail).await;
    for n in 1..=5 {
        proxy.rebind();
        // The server learns the new address from what the client says next.
        link.identify(PATIENCE).await.unwrap();
        node.append(1).await;
        assert_eq!(batch(&mut tail).await.last.seq.get(), n);
    }
}

/// The server's process is killed, and another one listens: it cannot know the connection, and says so, in a way that only
/// somebody with the federation's key can.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_to_a_process_that_is_gone_is_noticed_at_once() {
    let (gone, next) = (node().await, node().await);
    let proxy = UdpProxy::start(gone.addr(), Faults::default(), 1).await.unwrap();
    let link = link(&transport(key()), proxy.addr(), &gone.authority.ca());
    let mut tail = link.tail(&question(Delivery::Live), PATIENCE).await.unwrap().unwrap();
    batch(&mut tail).await;
    proxy.set_upstream(next.addr());
    let began = Instant::now();
    // What the client says now reaches the process that does not know it.
    let asked = async { while link.identify(Duration::from_secs(2)).await.is_ok() {} };
    soon(asked).await;
    let ended = async { while let Ok(Some(_)) = tail.next(PATIENCE).await {} };
    soon(ended).await;
    assert!(began.elapsed() < Duration::from_secs(15), "it was noticed by silence only");
}

/// What a run brought is not brought again by the next one.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_goes_on_where_the_one_before_was_cut() {
    let node = node().await;
    node.append(500).await;
    let link = node.link();
    let (mut request, mut events) = (question(Delivery::Live), 0);
    while events < 500 {
        let mut tail = link.tail(&request, PATIENCE).await.unwrap().unwrap();
        let batch = batch(&mut tail).await;
        events += batch.events.len();
        request = FetchRequest { after: Some(batch.last), known: Known::Full(batch.heads), ..request };
    }
    assert_eq!(events, 500);
}
