//! The builder keeps what it is given, in whatever order, and checks it at the start.

use std::time::Duration;

use antiphon::testing::MemoryStore;
use antiphon::{Config, Cortex, Draft, Https, Peer, Quic, SharedKey, StartError};

fn key() -> SharedKey {
    SharedKey::new(&"k".repeat(32)).unwrap()
}

/// The error with its causes, as a program prints it.
fn said(error: &StartError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

async fn arrives(cortex: &Cortex) {
    let mut durable = cortex.reader().watch_durable();
    let event = durable.wait_for(|head| head.get() == 1);
    tokio::time::timeout(Duration::from_secs(20), event).await.expect("the event comes").unwrap();
}

/// Two nodes over HTTPS on loopback. `arrange` gives the key and the configuration in some order.
async fn converge(arrange: impl Fn(antiphon::CortexBuilder, Config) -> antiphon::CortexBuilder) {
    let plain = |address: &str| Https::on(address).allow_plaintext_loopback();
    let alpha = Cortex::builder(MemoryStore::new()).name("alpha").serve(plain("127.0.0.1:0"));
    let alpha = alpha.shared_key(key()).start().await.unwrap();
    let address = alpha.addresses().remove(0);
    let alpha_id = alpha.reader().local().cortex_id;
    let interval = Some(antiphon::Interval::new(Duration::from_millis(50)).unwrap());
    let config = Config { interval, ..Config::default() };
    let bravo = Cortex::builder(MemoryStore::new()).name("bravo").transport(Https::dial().allow_plaintext_loopback());
    let bravo = bravo.peer(Peer::new("alpha", format!("http://{address}")).cortex(alpha_id));
    let bravo = arrange(bravo, config).start().await.unwrap();
    alpha.append(Draft::new("t", "x")).await.unwrap();
    arrives(&bravo).await;
    assert_eq!(bravo.reader().heads().fold(), alpha.reader().heads().fold());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_order_of_calls_loses_a_key_or_a_peer() {
    converge(|builder, config| builder.shared_key(key()).config(config)).await;
    converge(|builder, config| builder.config(config).shared_key(key())).await;
    converge(|builder, config| builder.config(Config { shared_key: key(), ..config })).await;
    converge(|builder, config| builder.config(Config { shared_key: key(), ..config.clone() }).config(config)).await;
}

async fn fails(peer: Peer) -> String {
    let builder = Cortex::builder(MemoryStore::new()).transport(Quic::dial()).transport(Https::dial());
    match builder.peer(peer).start().await {
        Err(error) => error.to_string(),
        Ok(_) => panic!("it started"),
    }
}

#[tokio::test]
async fn a_file_that_is_not_there_is_an_error_at_the_start_with_its_path() {
    let error = fails(Peer::new("bravo", "quic://bravo.example:7443").ca("/nowhere/ca.pem")).await;
    assert!(error.contains("bravo") && error.contains("/nowhere/ca.pem"), "{error}");
    let error = fails(Peer::new("bravo", "https://bravo.example:7443").ca("/nowhere/ca.pem")).await;
    assert!(error.contains("bravo") && error.contains("/nowhere/ca.pem"), "{error}");
    let error = fails(Peer::new("bravo", "carrier://bravo")).await;
    assert!(error.contains("carrier"), "{error}");
    let quic = Quic::on("127.0.0.1:0").tls("/nowhere/alpha.pem", "/nowhere/alpha.key");
    let error = said(&Cortex::builder(MemoryStore::new()).serve(quic).start().await.err().unwrap());
    assert!(error.contains("/nowhere/alpha.pem"), "{error}");
    for text in ["nonsense", "127.0.0.1"] {
        let error = said(&Cortex::builder(MemoryStore::new()).serve(Https::on(text)).start().await.err().unwrap());
        assert!(error.contains(text) && error.contains("0.0.0.0:7443"), "{error}");
    }
}

/// What the builder names of a peer holds before the first contact: another cortex at its address is not pulled.
#[tokio::test(flavor = "multi_thread")]
async fn a_named_cortex_alone_is_pulled() {
    let plain = Https::on("127.0.0.1:0").allow_plaintext_loopback();
    let alpha = Cortex::builder(MemoryStore::new()).name("alpha").serve(plain).start().await.unwrap();
    alpha.append(Draft::new("t", "x")).await.unwrap();
    let endpoint = format!("http://{}", alpha.addresses().remove(0));
    let stranger = antiphon::kernel::internals::cortex::mint_identity("x").cortex_id;
    let dial = || Https::dial().allow_plaintext_loopback();
    let bravo = Cortex::builder(MemoryStore::new()).transport(dial());
    let bravo = bravo.peer(Peer::new("alpha", &endpoint).cortex(stranger)).start().await.unwrap();
    let mut changes = bravo.syncer().subscribe();
    loop {
        let peer = bravo.syncer().peers().remove(0);
        if let Some(error) = peer.health.last_error {
            assert_eq!(error.as_str(), "identity");
            break;
        }
        let change = tokio::time::timeout(Duration::from_secs(20), changes.recv()).await;
        assert!(change.is_ok(), "the peer was not refused: {peer:?}");
    }
    assert_eq!(bravo.reader().visible().get(), 0);
}

#[tokio::test]
async fn a_pin_and_another_named_cortex_do_not_go_together() {
    let plain = Https::on("127.0.0.1:0").allow_plaintext_loopback();
    let alpha = Cortex::builder(MemoryStore::new()).name("alpha").serve(plain).start().await.unwrap();
    alpha.append(Draft::new("t", "x")).await.unwrap();
    let endpoint = format!("http://{}", alpha.addresses().remove(0));
    let store = std::sync::Arc::new(MemoryStore::new());
    let dial = || Https::dial().allow_plaintext_loopback();
    let bravo = Cortex::builder(store.clone()).transport(dial()).peer(Peer::new("alpha", &endpoint));
    let bravo = bravo.start().await.unwrap();
    arrives(&bravo).await;
    drop(bravo);
    let stranger = antiphon::kernel::internals::cortex::mint_identity("x").cortex_id;
    let bravo = Cortex::builder(store).transport(dial()).peer(Peer::new("alpha", &endpoint).cortex(stranger).paused());
    let error = bravo.start().await.err().unwrap();
    assert!(matches!(error, StartError::Pinned { .. }), "{error}");
}
