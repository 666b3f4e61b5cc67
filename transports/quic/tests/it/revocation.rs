//! Servers whose certificates are revoked, and lists that say so.

use std::path::{Path, PathBuf};
use std::time::Duration;

use antiphon_kernel::config::{PeerConfig, TlsVersion};
use antiphon_kernel::health::ErrorCategory;
use antiphon_kernel::transport::{Link, Transport as _, TransportError};
use antiphon_quic::{Limits, QuicServer, TlsFiles};

use crate::harness::{PATIENCE, fails, key, own, peer, serve, service, soon, transport};
use crate::pki::{Due, Issued, Pki};

async fn server(shown: &Issued) -> QuicServer {
    let files = TlsFiles::new(&shown.cert, &shown.key);
    serve(&service().1, files, "127.0.0.1:0".parse().unwrap(), Limits::default()).await
}

fn link(server: &QuicServer, ca: PathBuf, crl: &Path) -> Box<dyn Link> {
    let peer = peer(format!("quic://{}", server.local_addr()), Some(&ca));
    transport(key()).link(&PeerConfig { crl: Some(crl.to_owned()), ..peer }, &own()).unwrap()
}

async fn identify(server: &QuicServer, ca: PathBuf, crl: &Path) -> Result<(), TransportError> {
    link(server, ca, crl).identify(PATIENCE).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_server_is_refused_and_another_one_of_its_authority_is_not() {
    let pki = Pki::new("ours");
    let (revoked, good) = (pki.server(), pki.client("other"));
    let server = server(&revoked).await;
    identify(&server, pki.ca(), &pki.publish(&[good.serial])).await.unwrap();
    let error = fails(identify(&server, pki.ca(), &pki.publish(&[revoked.serial])).await, ErrorCategory::Revoked);
    assert!(error.detail().contains("crl.pem") && error.detail().contains("is on the list"), "{error}");
    let link = link(&server, pki.ca(), &pki.path("crl.pem"));
    for _ in 0..3 {
        fails(link.identify(PATIENCE).await, ErrorCategory::Revoked);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_is_outdated_or_another_authority_s_lets_no_server_in() {
    let (pki, other) = (Pki::new("ours"), Pki::new("another"));
    // An authority of the same name is another one all the same.
    let namesake = Pki::new("ours");
    let server = server(&pki.server()).await;
    for (list, why) in [
        (pki.list(&[], Due::Year(2001)), "outdated since 2001-01-01T00:00:00"),
        (other.list(&[], Due::Year(2100)), "has no list of an authority in the chain"),
        (namesake.list(&[], Due::Year(2100)), "does not hold"),
    ] {
        let file = pki.put("crl.pem", &list);
        let error = fails(identify(&server, pki.ca(), &file).await, ErrorCategory::RevocationUnknown);
        assert!(error.detail().contains("crl.pem") && error.detail().contains(why), "{why}: {error}");
    }
}

/// Each connection is a new one, and a session of TLS that was resumed would show no certificate.
#[tokio::test(flavor = "multi_thread")]
async fn no_session_outlives_the_list_that_it_began_under() {
    let pki = Pki::new("ours");
    let shown = pki.server();
    let (_log, of) = service();
    let files = || TlsFiles::new(&shown.cert, &shown.key);
    // Each time it is greeted the server's room is needed: the connection ends, and the server's sessions stay.
    let server = serve(&of, files(), "127.0.0.1:0".parse().unwrap(), Limits::default()).await;
    let file = pki.put("crl.pem", &pki.list(&[], Due::In(Duration::from_secs(3))));
    let link = link(&server, pki.ca(), &file);
    link.identify(PATIENCE).await.unwrap();
    let mut round = 0;
    let error = soon(async {
        loop {
            // The key that let the link in is replaced, and is back before it dials again.
            round += 1;
            let other = antiphon_kernel::config::SharedKey::new(&format!("{round:032}")).unwrap();
            of.set_keys(&[other]);
            of.set_keys(&[key()]);
            match link.identify(PATIENCE).await {
                Err(error) if error.category() == ErrorCategory::RevocationUnknown => return error,
                _ => tokio::task::yield_now().await,
            }
        }
    })
    .await;
    assert!(error.detail().contains("outdated since"), "{error}");
}

#[tokio::test]
async fn what_cannot_be_used_is_named_before_anything_is_dialled() {
    let pki = Pki::new("ours");
    let plain = || peer("quic://x:1", Some(&pki.ca()));
    for (peer, why) in [
        (PeerConfig { crl: Some(pki.put("empty.pem", "")), ..plain() }, "empty.pem"),
        (PeerConfig { crl: Some(pki.publish(&[])), ..peer("quic://x:1", None) }, "no `ca`"),
        (PeerConfig { client_cert: Some(pki.ca()), ..plain() }, "`client_key`"),
        (PeerConfig { tls_min_version: TlsVersion::Tls12, ..plain() }, "TLS 1.3 alone"),
    ] {
        let error = fails(transport(key()).link(&peer, &own()).map(drop), ErrorCategory::Configuration);
        assert!(error.detail().contains(why), "{why}: {error}");
    }
    // With an id in the place of an authority, a list has none that it could be of.
    let alone = PeerConfig { crl: Some(pki.publish(&[])), cortex: Some(own().cortex_id), ..peer("quic://x:1", None) };
    fails(transport(key()).link(&alone, &own()).map(drop), ErrorCategory::Configuration);
}
