//! Connections that do not begin as they ought to: each is closed, and its room given back.

use std::time::Duration;

use antiphon_kernel::codec::{Message, Room, decode, encode};
use antiphon_kernel::config::PeerConfig;
use antiphon_kernel::health::ErrorCategory;
use antiphon_kernel::identity::Signature;
use antiphon_kernel::ids::{CortexId, LogId};
use antiphon_kernel::log::LocalIdentity;
use antiphon_kernel::proof::{Channel, Introduction};
use antiphon_kernel::protocol::{Connect, Delivery, FetchReply, FetchRequest, Hello, Protocols, Refusal};
use antiphon_kernel::testing::seeded_identity;
use antiphon_kernel::transport::Transport as _;
use antiphon_quic::{Bounds, Limits, QuicServer, QuicServerOptions};
use quinn::{Connection, ConnectionError};

use crate::harness::{
    Greeting, Node, PATIENCE, channel, fails, key, node_with, own, peer, question, service, soon, transport,
};
use crate::raw;

/// One connection at a time, so that the next one needs the room of the one before.
async fn narrow() -> Node {
    let proven = Bounds { total: 1, per_address: 1 };
    node_with(Limits { proven, header: Duration::from_millis(300), ..Limits::default() }).await
}

/// Connects as soon as there is room.
async fn connect(node: &Node) -> Connection {
    soon(async {
        loop {
            if let Ok(connection) = raw::connect(node).await {
                return connection;
            }
        }
    })
    .await
}

/// Says this on the first stream; returns what the server answered before it closed.
async fn say(connection: &Connection, bytes: &[u8]) -> Vec<u8> {
    let (mut send, mut receive) = connection.open_bi().await.unwrap();
    let _ = send.write_all(bytes).await;
    soon(receive.read_to_end(1 << 20)).await.unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_does_not_greet_is_shown_the_door() {
    let node = narrow().await;
    let first = Connect { protocol_min: 2, protocol_max: 2, nonce: [1; 32], room: Room::default() };
    let whole = encode(&Message::Connect(first));
    let huge = [&whole[..4], &[0xff; 4][..], &whole[8..]].concat();
    let long = [&whole[..4], &(1_u32 << 20).to_be_bytes()[..], &[7; 300_000][..]].concat();
    let fetch = encode(&Message::Fetch(question(Delivery::Once)));
    let garbage: Vec<u8> = (0..5000_u32).map(|n| (n * 31 % 251) as u8).collect();
    let cases: [&[u8]; 7] = [b"", &whole[..10], &whole[..whole.len() - 1], &huge, &long, &fetch, &garbage];
    for (at, bytes) in cases.into_iter().enumerate() {
        let connection = connect(&node).await;
        let answer = say(&connection, bytes).await;
        let closed = soon(connection.closed()).await;
        assert!(matches!(closed, ConnectionError::ApplicationClosed(_)), "case {at}: {closed}");
        // A wrong message is refused; what is none is not answered.
        if !answer.is_empty() {
            let refusal = decode(&answer.into()).unwrap();
            assert_eq!(refusal, Message::Reply(FetchReply::refused(Refusal::Malformed)), "case {at}");
        }
    }
    // Without even a stream.
    let silent = connect(&node).await;
    soon(silent.closed()).await;
    soon(async { while node.link().identify(PATIENCE).await.is_err() {} }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_hello_says_why() {
    let node = narrow().await;
    let strangers: [(&str, Change, Refusal); 7] = [
        ("of other protocols", |hello| (hello.protocol_min, hello.protocol_max) = (7, 9), PROTOCOL),
        ("without a key", |hello| hello.key = None, Refusal::Key),
        ("with another key's proof", |hello| hello.key = Some([7; 32]), Refusal::Key),
        ("in another's name", |hello| hello.from = CortexId::from_bytes([9; 16]), Refusal::Key),
        ("with another signature", |hello| hello.signature = Signature::from_bytes([7; 64]), Refusal::Proof),
        ("with another's statement", |hello| hello.statement = statement_of(3), Refusal::Proof),
        ("of a newer version", |hello| hello.room = Room::default().with(3, b"made up"), Refusal::Newer),
    ];
    for (what, change, refusal) in strangers {
        let connection = connect(&node).await;
        let mut greeting = Greeting::begin(&connection).await;
        let mut hello = greeting.hello(&connection, &own(), key()).await;
        change(&mut hello);
        greeting.say(&Message::Hello(hello)).await;
        assert_eq!(greeting.hear().await, Message::Reply(FetchReply::refused(refusal)), "{what}");
        soon(connection.closed()).await;
    }
    // A question by a client that speaks no common protocol learns nothing, not even who answers.
    let connection = connect(&node).await;
    let mut greeting = Greeting::begin(&connection).await;
    let other = Connect { protocol_min: 7, protocol_max: 9, nonce: [1; 32], room: Room::default() };
    greeting.say(&Message::Connect(other)).await;
    assert_eq!(greeting.hear().await, Message::Reply(FetchReply::refused(PROTOCOL)));
    soon(connection.closed()).await;
}

type Change = fn(&mut Hello);

const PROTOCOL: Refusal = Refusal::Protocol { min: 2, max: 2 };

fn statement_of(n: u8) -> Vec<u8> {
    seeded_identity(n, "other").statement_bytes()
}

/// What was seen on one connection lets no client in on another one, and a server in the middle passes no proof on.
#[tokio::test(flavor = "multi_thread")]
async fn a_proof_is_of_one_connection() {
    let node = node_with(Limits::default()).await;
    let (one, two) = (connect(&node).await, connect(&node).await);
    let (mut first, mut second) = (Greeting::begin(&one).await, Greeting::begin(&two).await);
    let hello = first.hello(&one, &own(), key()).await;
    first.say(&Message::Hello(hello.clone())).await;
    assert!(matches!(first.hear().await, Message::Identity(_)));
    second.hello(&two, &own(), key()).await;
    second.say(&Message::Hello(hello)).await;
    assert_eq!(second.hear().await, Message::Reply(FetchReply::refused(Refusal::Key)), "the proof of the key");
    soon(two.closed()).await;

    // The man in the middle: it asks the node with the victim's nonce, and passes the answer on.
    let introduction = Introduction::new(&own(), &peer("quic://x:1", None), key());
    let (mut middle, connect_of_victim) = (Greeting::begin(&one).await, introduction.connect());
    middle.say(&Message::Connect(connect_of_victim.clone())).await;
    let three = connect(&node).await;
    let mut greeting = Greeting::begin(&three).await;
    greeting.say(&Message::Connect(connect_of_victim.clone())).await;
    let Message::Proof(proof) = greeting.hear().await else { panic!("a proof was due") };
    let refused = introduction.hello(&connect_of_victim, &proof, Channel::Tls(&channel(&one))).await.unwrap_err();
    assert_eq!(refused.category(), ErrorCategory::Unproven);
    introduction.hello(&connect_of_victim, &proof, Channel::Tls(&channel(&three))).await.unwrap();
}

/// Without certificates: the server makes its own, and the id in the configuration says more.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_a_certificate_is_known_by_its_id() {
    let (log, service) = service();
    let addr = "127.0.0.1:0".parse().unwrap();
    let options =
        QuicServerOptions { addr, tls: None, shared_key: key(), allow_open: false, limits: Limits::default() };
    let server = QuicServer::start(options, service.clone()).await.unwrap();
    let endpoint = format!("quic://{}", server.local_addr());
    let of = |cortex| PeerConfig { cortex, ..peer(endpoint.clone(), None) };
    let known = transport(key()).link(&of(Some(service.local().cortex_id)), &own()).unwrap();
    assert!(known.identify(PATIENCE).await.unwrap().is_proven());
    let other = transport(key()).link(&of(Some(own().cortex_id)), &own()).unwrap();
    fails(other.identify(PATIENCE).await, ErrorCategory::Identity);
    let unknown = transport(key()).link(&of(None), &own()).unwrap();
    fails(unknown.identify(PATIENCE).await, ErrorCategory::Tls);
    server.shutdown().await;
    log.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_that_are_none_are_refused_and_the_connection_stays() {
    let node = node_with(Limits { idle: Duration::from_millis(300), ..Limits::default() }).await;
    let connection = connect(&node).await;
    let mut greeting = Greeting::begin(&connection).await;
    let hello = greeting.hello(&connection, &own(), key()).await;
    greeting.say(&Message::Hello(hello.clone())).await;
    let identity = encode(&greeting.hear().await);
    let first = &identity[..24];
    let mut control = greeting.send;
    let somebody_else =
        antiphon_kernel::protocol::FetchRequest { from: CortexId::from_bytes([9; 16]), ..question(Delivery::Once) };
    let malformed = Message::Reply(FetchReply::refused(Refusal::Malformed));
    let other = Message::Reply(FetchReply::refused(Refusal::OtherAsker));
    let cases = [
        (b"garbage garbage garbage garbage".to_vec(), malformed.clone()),
        (encode(&Message::Hello(hello)).to_vec(), malformed),
        (encode(&Message::Fetch(somebody_else)).to_vec(), other),
    ];
    for (bytes, refused) in cases {
        let (mut send, mut receive) = connection.open_bi().await.unwrap();
        send.write_all(&bytes).await.unwrap();
        let answer = soon(receive.read_to_end(1 << 20)).await.unwrap();
        assert_eq!(decode(&answer.into()).unwrap(), refused);
    }
    // Half a question is given up, and so is its stream.
    let (mut send, mut receive) = connection.open_bi().await.unwrap();
    send.write_all(first).await.unwrap();
    assert!(soon(receive.read_to_end(1 << 20)).await.is_err());
    assert!(connection.close_reason().is_none());
    // What does not belong on the control stream ends the connection.
    control.write_all(&encode(&Message::Identify)).await.unwrap();
    soon(connection.closed()).await;
}

/// A node that speaks a made-up protocol 3 as well, and adds what may be ignored, is understood. What must be understood is refused.
#[tokio::test(flavor = "multi_thread")]
async fn a_newer_version_is_answered_in_the_protocol_of_both() {
    let node = node_with(Limits::default()).await;
    node.append(1).await;
    let spoken = |min, max| LocalIdentity { protocols: Protocols::of(min, max), ..own() };
    let peer = peer(format!("quic://{}", node.addr()), Some(&node.authority.ca()));
    let link = transport(key()).link(&peer, &spoken(2, 3)).unwrap();
    assert_eq!(link.identify(PATIENCE).await.unwrap().identity().protocols(), Protocols::SPOKEN);
    let asks = async |number| {
        let room = Room::default().with(number, b"made up");
        link.fetch(&FetchRequest { room, ..question(Delivery::Once) }, PATIENCE).await.unwrap()
    };
    assert!(matches!(asks(2).await, FetchReply::Batch(batch) if batch.events.len() == 1));
    assert_eq!(asks(3).await, FetchReply::refused(Refusal::Newer));
    let only_newer = transport(key()).link(&peer, &spoken(3, 3)).unwrap();
    let error = fails(only_newer.identify(PATIENCE).await, ErrorCategory::Version);
    assert!(error.to_string().contains("protocols 2 to 2"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hello_of_another_log_is_refused_by_name() {
    let node = node_with(Limits::default()).await;
    node.append(1).await;
    let actual = node.service.identity().log.unwrap();
    let peer = peer(format!("quic://{}", node.addr()), Some(&node.authority.ca()));
    let of = |log| transport(key()).link(&peer, &LocalIdentity { log, ..own() }).unwrap();
    let error = fails(of(Some(LogId::from_bytes([9; 16]))).identify(PATIENCE).await, ErrorCategory::OtherLog);
    assert!(error.to_string().contains(&actual.to_string()), "{error}");
    for log in [None, Some(actual)] {
        of(log).identify(PATIENCE).await.unwrap();
    }
}
