//! Connections that do not begin as they ought to: each is closed, and its room given back.

use std::time::Duration;

use antiphon_kernel::codec::{Message, Room, decode, encode};
use antiphon_kernel::health::ErrorCategory;
use antiphon_kernel::ids::LogId;
use antiphon_kernel::log::LocalIdentity;
use antiphon_kernel::protocol::{Delivery, FetchReply, FetchRequest, Hello, Protocols, Refusal};
use antiphon_kernel::transport::Transport as _;
use antiphon_quic::{Bounds, Limits};
use quinn::{Connection, ConnectionError};

use crate::harness::{Node, PATIENCE, fails, hello, key, node_with, own, peer, question, soon, transport};
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
    let whole = encode(&Message::Hello(hello()));
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
    let other = Hello { protocol_min: 7, protocol_max: 9, ..hello() };
    let keyless = Hello { key: antiphon_kernel::config::SharedKey::default(), ..hello() };
    let newer = Hello { room: Room::default().with(3, b"made up"), ..hello() };
    let refused = [(other, Refusal::Protocol { min: 2, max: 2 }), (keyless, Refusal::Key), (newer, Refusal::Newer)];
    for (hello, refusal) in refused {
        let connection = connect(&node).await;
        let answer = say(&connection, &encode(&Message::Hello(hello))).await;
        assert_eq!(decode(&answer.into()).unwrap(), Message::Reply(FetchReply::refused(refusal)));
        soon(connection.closed()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_that_are_none_are_refused_and_the_connection_stays() {
    let node = node_with(Limits { idle: Duration::from_millis(300), ..Limits::default() }).await;
    let connection = connect(&node).await;
    let (mut control, mut answers) = connection.open_bi().await.unwrap();
    control.write_all(&encode(&Message::Hello(hello()))).await.unwrap();
    let mut first = [0; 24];
    soon(answers.read_exact(&mut first)).await.unwrap();
    let somebody_else = antiphon_kernel::protocol::FetchRequest {
        from: antiphon_kernel::ids::CortexId::from_bytes([9; 16]),
        ..question(Delivery::Once)
    };
    let malformed = Message::Reply(FetchReply::refused(Refusal::Malformed));
    let cases = [b"garbage garbage garbage garbage".to_vec(), encode(&Message::Hello(hello())).to_vec()];
    let cases = cases.into_iter().chain([encode(&Message::Fetch(somebody_else)).to_vec()]);
    for bytes in cases {
        let (mut send, mut receive) = connection.open_bi().await.unwrap();
        send.write_all(&bytes).await.unwrap();
        let answer = soon(receive.read_to_end(1 << 20)).await.unwrap();
        assert_eq!(decode(&answer.into()).unwrap(), malformed);
    }
    // Half a question is given up, and so is its stream.
    let (mut send, mut receive) = connection.open_bi().await.unwrap();
    send.write_all(&first).await.unwrap();
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
    assert_eq!(link.identify(PATIENCE).await.unwrap().protocols(), Protocols::SPOKEN);
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
