//! Cortexes of an embedder that ask each other for certificates.

use std::error::Error as _;
use std::time::Duration;

use antiphon::testing::MemoryStore;
use antiphon::{Cortex, CortexBuilder, Draft, Https, Peer, Quic, SharedKey, TlsVersion};

use crate::pki::Pki;

fn builder(name: &str) -> CortexBuilder {
    Cortex::builder(MemoryStore::new()).name(name).shared_key(SharedKey::new(&"k".repeat(32)).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cortex_lets_in_who_shows_a_certificate_over_both_transports() {
    let pki = Pki::new("ours");
    let (server, client, list) = (pki.server(), pki.client("client"), pki.publish(&[]));
    let quic = Quic::on("127.0.0.1:0").tls(&server.cert, &server.key).client_ca(pki.ca()).client_crl(&list);
    let https = Https::on("127.0.0.1:0").client_ca(pki.ca()).client_crl(&list).tls(&server.cert, &server.key);
    let alpha = builder("alpha").serve(quic).serve(https.tls_min_version(TlsVersion::Tls12)).start().await.unwrap();
    alpha.append(Draft::new("t", "x")).await.unwrap();
    for (scheme, address) in ["quic", "https"].into_iter().zip(alpha.addresses()) {
        let peer = || Peer::new("alpha", format!("{scheme}://{address}")).ca(pki.ca()).crl(&list);
        let dial = |peer: Peer| builder("bravo").transport(Quic::dial()).transport(Https::dial()).peer(peer);
        let shows = peer().client_certificate(&client.cert, &client.key);
        let bravo = dial(shows).start().await.unwrap();
        let mut durable = bravo.reader().watch_durable();
        let arrived = tokio::time::timeout(Duration::from_secs(20), durable.wait_for(|head| head.get() == 1)).await;
        arrived.expect("the event comes").unwrap();
        let shows_none = dial(peer()).start().await.unwrap();
        let mut changes = shows_none.syncer().subscribe();
        while shows_none.syncer().peers()[0].health.last_error.is_none() {
            tokio::time::timeout(Duration::from_secs(20), changes.recv()).await.expect("the peer refuses").unwrap();
        }
        let error = shows_none.syncer().peers()[0].health.last_error.unwrap();
        assert_eq!(error.as_str(), "certificate_refused", "{scheme}");
    }
}

/// A server that ignored half of what it was given would let in any client.
#[tokio::test]
async fn an_authority_or_a_list_alone_is_an_error_at_the_start() {
    let pki = Pki::new("ours");
    let (server, list) = (pki.server(), pki.publish(&[]));
    let quic = || Quic::on("127.0.0.1:0");
    let https = || Https::on("127.0.0.1:0");
    for (started, why) in [
        (builder("a").serve(quic().client_ca(pki.ca())).start().await, "no certificate of the server"),
        (builder("a").serve(https().client_ca(pki.ca())).start().await, "no certificate of the server"),
        (builder("a").serve(quic().tls(&server.cert, &server.key).client_crl(&list)).start().await, "no authority"),
        (builder("a").serve(https().tls(&server.cert, &server.key).client_crl(&list)).start().await, "no authority"),
    ] {
        let error = started.err().expect("it does not start");
        let cause = error.source().map(ToString::to_string).unwrap_or_default();
        assert!(cause.contains(why) || error.to_string().contains(why), "{why}: {error}: {cause}");
        assert_eq!(error.code().as_str(), "AP-LISTEN-006");
    }
    let list_alone = Peer::new("b", "https://b.example:1").crl(&list);
    let error = builder("a").transport(Https::dial()).peer(list_alone).start().await.err().expect("it does not start");
    assert_eq!(error.code().as_str(), "AP-CONFIG-006", "{error}");
}
