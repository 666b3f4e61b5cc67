//! Who is trusted, and who is not.

use antiphon_kernel::config::SharedKey;
use antiphon_kernel::error_code::ErrorCode;
use antiphon_kernel::health::ErrorCategory;
use antiphon_kernel::transport::Transport as _;
use antiphon_quic::{Limits, QuicServer, QuicServerOptions, ServerError, TlsFiles};

use crate::certificates::Authority;
use crate::harness::{PATIENCE, fails, key, link, node, own, peer, serve, service, soon, transport};
use crate::raw;

#[tokio::test(flavor = "multi_thread")]
async fn another_key_or_none_is_not_accepted() {
    let node = node().await;
    for wrong in [SharedKey::new("wrong-0123456789abcdef0123456789abcdef").unwrap(), SharedKey::default()] {
        let link = link(&transport(wrong), node.addr(), &node.authority.ca());
        for _ in 0..2 {
            fails(link.identify(PATIENCE).await, ErrorCategory::Auth);
        }
    }
    node.link().identify(PATIENCE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn another_authority_another_name_and_another_time_are_not_trusted() {
    let (_log, service) = service();
    let any = || "127.0.0.1:0".parse().unwrap();
    let (ours, other) = (Authority::new(), Authority::new());
    let cases = [
        (other.issue("127.0.0.1"), "another authority"),
        (ours.issue("elsewhere.example"), "another name"),
        (ours.issue_until("127.0.0.1", 2001), "ended long ago"),
    ];
    for (tls, what) in cases {
        let server = serve(&service, tls, any(), Limits::default()).await;
        let link = link(&transport(key()), server.local_addr(), &ours.ca());
        let error = fails(link.identify(PATIENCE).await, ErrorCategory::Tls);
        assert!(!error.detail().is_empty(), "{what}");
    }
    // The bundled roots do not vouch for it either; and with `ca` set, they would not count.
    let server = serve(&service, ours.issue("127.0.0.1"), any(), Limits::default()).await;
    let endpoint = format!("quic://{}", server.local_addr());
    let link = transport(key()).link(&peer(endpoint, None), &own()).unwrap();
    fails(link.identify(PATIENCE).await, ErrorCategory::Tls);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_application_is_not_spoken_to() {
    let node = node().await;
    let connecting = raw::endpoint().connect_with(raw::config(&node, b"h3"), node.addr(), "127.0.0.1").unwrap();
    let error = soon(connecting).await.unwrap_err().to_string();
    assert!(error.contains("120"), "{error}");
}

/// A session is resumed, and its early data is not accepted: somebody else could replay it.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_said_before_the_handshake_is_done() {
    let node = node().await;
    let (endpoint, config) = (raw::endpoint(), raw::config(&node, antiphon_quic::ALPN));
    for _ in 0..3 {
        let connecting = endpoint.connect_with(config.clone(), node.addr(), "127.0.0.1").unwrap();
        match connecting.into_0rtt() {
            Ok((_, accepted)) => assert!(!soon(accepted).await, "early data was accepted"),
            Err(connecting) => {
                // Kept a moment, so that the server's ticket arrives.
                let connection = soon(connecting).await.unwrap();
                let _ = soon(connection.open_bi()).await;
                soon(connection.closed()).await;
            }
        }
    }
}

#[test]
fn what_can_never_work_is_told_before_anything_is_dialled() {
    let missing = std::path::Path::new("/nonexistent/ca.pem");
    let cases = [("", None), ("https://x:1", None), ("quic://x", None), ("quic://x:1", Some(missing))];
    for (endpoint, ca) in cases {
        let linked = transport(key()).link(&peer(endpoint, ca), &own()).map(|_| ());
        fails(linked, ErrorCategory::Configuration);
    }
    transport(key()).link(&peer("quic://no-such-host.invalid:1", None), &own()).map(|_| ()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn names_and_ports_where_nobody_is_are_told_apart() {
    let no_name = transport(key()).link(&peer("quic://no-such-host.invalid:1", None), &own()).unwrap();
    fails(no_name.identify(PATIENCE).await, ErrorCategory::Dns);
    // UDP says nothing about a port where nobody listens.
    let held = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("quic://{}", held.local_addr().unwrap());
    let silent = transport(key()).link(&peer(endpoint, None), &own()).unwrap();
    fails(silent.identify(std::time::Duration::from_millis(300)).await, ErrorCategory::Timeout);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_a_key_or_certificate_does_not_open_itself() {
    let (_log, service) = service();
    let authority = Authority::new();
    let options = |addr: &str, tls, shared_key| QuicServerOptions {
        addr: addr.parse().unwrap(),
        tls: Some(tls),
        shared_key,
        allow_open: false,
        limits: Limits::default(),
    };
    let open = options("0.0.0.0:0", authority.issue("x"), SharedKey::default());
    assert!(matches!(QuicServer::start(open, service.clone()).await, Err(ServerError::OpenBeyondLoopback { .. })));
    let nowhere = TlsFiles::new("/nonexistent/cert.pem", "/nonexistent/key.pem");
    let error = QuicServer::start(options("127.0.0.1:0", nowhere, key()), service.clone()).await.unwrap_err();
    assert!(error.to_string().contains("/nonexistent/cert.pem"), "{error}");
    assert_eq!(error.code(), ErrorCode::CertificateUnusable);
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let held = std::net::UdpSocket::bind(taken).unwrap();
    let busy = options(&held.local_addr().unwrap().to_string(), authority.issue("x"), key());
    assert!(matches!(QuicServer::start(busy, service).await, Err(ServerError::Listen { .. })));
}
