//! Servers whose certificates are revoked, and lists that say so.

use std::path::{Path, PathBuf};
use std::time::Duration;

use antiphon_https::{Limits, TlsFiles};
use antiphon_kernel::config::PeerConfig;
use antiphon_kernel::health::ErrorCategory;
use antiphon_kernel::transport::{Link, Transport, TransportError};

use crate::harness::{Node, PATIENCE, fails, key, node_with, own, peer, soon, transport};
use crate::pki::{Due, Issued, Pki};

async fn serve(shown: &Issued, limits: Limits) -> Node {
    node_with(Some(TlsFiles::new(&shown.cert, &shown.key)), limits).await
}

fn link(node: &Node, ca: PathBuf, crl: &Path) -> Result<Box<dyn Link>, TransportError> {
    let peer = peer(format!("https://{}", node.addr()), Some(&ca));
    transport(key()).link(&PeerConfig { crl: Some(crl.to_owned()), ..peer }, &own())
}

async fn identify(node: &Node, ca: PathBuf, crl: &Path) -> Result<(), TransportError> {
    link(node, ca, crl).unwrap().identify(PATIENCE).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_server_is_refused_and_another_one_of_its_authority_is_not() {
    let pki = Pki::new("ours");
    let (revoked, good) = (pki.server(), pki.client("other"));
    let node = serve(&revoked, Limits::default()).await;
    identify(&node, pki.ca(), &pki.publish(&[good.serial])).await.unwrap();
    let error = fails(identify(&node, pki.ca(), &pki.publish(&[revoked.serial])).await, ErrorCategory::Revoked);
    assert!(error.detail().contains("crl.pem") && error.detail().contains("is on the list"), "{error}");
    assert_eq!(error.to_string(), format!("the peer has a certificate that is revoked: {}", error.detail()));
    // Each attempt again.
    let link = link(&node, pki.ca(), &pki.path("crl.pem")).unwrap();
    for _ in 0..3 {
        fails(link.identify(PATIENCE).await, ErrorCategory::Revoked);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_is_outdated_or_another_authority_s_lets_no_server_in() {
    let (pki, other) = (Pki::new("ours"), Pki::new("another"));
    // An authority of the same name is another one all the same.
    let namesake = Pki::new("ours");
    let node = serve(&pki.server(), Limits::default()).await;
    for (list, why) in [
        (pki.list(&[], Due::Year(2001)), "outdated since 2001-01-01T00:00:00"),
        (other.list(&[], Due::Year(2100)), "has no list of an authority in the chain"),
        (namesake.list(&[], Due::Year(2100)), "does not hold"),
    ] {
        let file = pki.put("crl.pem", &list);
        let error = fails(identify(&node, pki.ca(), &file).await, ErrorCategory::RevocationUnknown);
        assert!(error.detail().contains("crl.pem") && error.detail().contains(why), "{why}: {error}");
    }
    let both = [other.list(&[], Due::Year(2100)), pki.list(&[], Due::Year(2100))].concat();
    identify(&node, pki.ca(), &pki.put("crl.pem", &both)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn each_authority_of_the_chain_needs_its_list() {
    let root = Pki::new("root");
    let between = root.below("between");
    let node = serve(&between.server(), Limits::default()).await;
    let (of_root, of_between) = (root.list(&[], Due::Year(2100)), between.list(&[], Due::Year(2100)));
    for one in [&of_root, &of_between] {
        let file = root.put("crl.pem", one);
        fails(identify(&node, root.ca(), &file).await, ErrorCategory::RevocationUnknown);
    }
    identify(&node, root.ca(), &root.put("crl.pem", &(of_root + &of_between))).await.unwrap();
    let revoked = root.list(&[between.serial], Due::Year(2100)) + &of_between;
    fails(identify(&node, root.ca(), &root.put("crl.pem", &revoked)).await, ErrorCategory::Revoked);
}

/// The connection is closed between questions, and a TLS session that was resumed would show no certificate.
#[tokio::test(flavor = "multi_thread")]
async fn no_session_outlives_the_list_that_it_began_under() {
    let pki = Pki::new("ours");
    let limits = Limits { keep_alive: Duration::from_millis(20), ..Limits::default() };
    let node = serve(&pki.server(), limits).await;
    let file = pki.put("crl.pem", &pki.list(&[], Due::In(Duration::from_secs(3))));
    let link = link(&node, pki.ca(), &file).unwrap();
    link.identify(PATIENCE).await.unwrap();
    let error = soon(async {
        loop {
            match link.identify(PATIENCE).await {
                Ok(_) => tokio::task::yield_now().await,
                // The server may close a connection under a request.
                Err(error) if error.category() != ErrorCategory::RevocationUnknown => {}
                Err(error) => return error,
            }
        }
    })
    .await;
    assert!(error.detail().contains("outdated since"), "{error}");
}

#[tokio::test]
async fn a_list_that_cannot_be_used_is_named_before_anything_is_dialled() {
    let pki = Pki::new("ours");
    let files = [pki.path("missing.pem"), pki.put("empty.pem", ""), pki.put("ca-instead.pem", "x"), pki.ca()];
    for file in files {
        let with = PeerConfig { crl: Some(file.clone()), ..peer("https://x:1", Some(&pki.ca())) };
        let error = fails(transport(key()).link(&with, &own()).map(drop), ErrorCategory::Configuration);
        assert!(error.detail().contains(&file.display().to_string()) && error.detail().contains("`crl`"), "{error}");
    }
    let alone = PeerConfig { crl: Some(pki.publish(&[])), ..peer("https://x:1", None) };
    let error = fails(transport(key()).link(&alone, &own()).map(drop), ErrorCategory::Configuration);
    assert!(error.detail().contains("no `ca`"), "{error}");
    let plain = PeerConfig { crl: Some(pki.publish(&[])), ..peer("http://127.0.0.1:1", Some(&pki.ca())) };
    let error = fails(transport(key()).link(&plain, &own()).map(drop), ErrorCategory::Configuration);
    assert!(error.detail().contains("https://host:port"), "{error}");
}
