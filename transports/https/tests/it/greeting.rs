//! Greetings over HTTPS: bound to the name that was dialled, and made again where a token does not hold any more.

use std::net::SocketAddr;
use std::time::Duration;

use antiphon_https::{HttpsServer, Limits, ServerOptions};
use antiphon_kernel::codec::{Message, decode, encode};
use antiphon_kernel::config::SharedKey;
use antiphon_kernel::proof::{Channel, Introduction};
use antiphon_kernel::protocol::FetchReply;
use antiphon_kernel::service::Service;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use reqwest::{Response, StatusCode};

use crate::harness::{FRAME, KEY, PATIENCE, key, link_to, node, own, peer, question, service};
use crate::routes::client;

async fn serve(service: &Service, addr: SocketAddr) -> Option<HttpsServer> {
    let names = vec!["alpha.example".to_owned()];
    let limits = Limits { shutdown: Duration::from_millis(100), ..Limits::default() };
    let options = ServerOptions { addr, tls: None, names, keyed: true, allow_open: false, limits };
    HttpsServer::start(options, service.clone()).await.ok()
}

async fn post(addr: SocketAddr, route: &str, host: &str, message: &Message) -> Response {
    let request = client().post(format!("http://{addr}{route}")).header(CONTENT_TYPE, FRAME).header(HOST, host);
    request.body(encode(message)).send().await.unwrap()
}

async fn said(response: Response) -> Message {
    assert_eq!(response.status(), StatusCode::OK);
    decode(&response.bytes().await.unwrap()).unwrap()
}

/// A server that is dialled under another name passes nothing on.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_signs_for_its_own_names_alone() {
    let (_log, service) = service(key());
    let server = serve(&service, "127.0.0.1:0".parse().unwrap()).await.unwrap();
    let addr = server.local_addr();
    let introduction = Introduction::new(&own(), &peer("https://alpha.example", None), key());
    let connect = introduction.connect();
    for other in ["evil.example", "alpha.example.evil.example", "10.0.0.1:7443"] {
        let answer = post(addr, "/v1/connect", other, &Message::Connect(connect.clone())).await;
        assert_eq!(answer.status(), StatusCode::MISDIRECTED_REQUEST, "{other}");
    }
    // Under a configured name, as a proxy passes it on.
    let answer = post(addr, "/v1/connect", "alpha.example", &Message::Connect(connect.clone())).await;
    let Message::Proof(proof) = said(answer).await else { panic!("a proof was due") };
    introduction.hello(&connect, &proof, Channel::Host("evil.example")).await.unwrap_err();
    let channel = Channel::Host("alpha.example");
    let (hello, proven) = introduction.hello(&connect, &proof, channel).await.unwrap();
    // What was signed for one name says nothing under another of the same server.
    let answer = post(addr, "/v1/hello", &addr.to_string(), &Message::Hello(hello.clone())).await;
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    let answer = post(addr, "/v1/hello", "alpha.example", &Message::Hello(hello)).await;
    let token = answer.headers()["antiphon-token"].to_str().unwrap().to_owned();
    let Message::Identity(identity) = said(answer).await else { panic!("an identity was due") };
    assert!(proven.identified(identity).unwrap().is_proven());
    for (host, status) in [
        ("alpha.example", StatusCode::OK),
        (&addr.to_string(), StatusCode::UNAUTHORIZED),
        ("evil.example", StatusCode::UNAUTHORIZED),
    ] {
        let request = client().get(format!("http://{addr}/v1/identity")).header(HOST, host);
        let answer = request.header(AUTHORIZATION, format!("Antiphon {token}")).send().await.unwrap();
        // A browser's page could send the last one: it is refused before the token is looked at.
        let refused = host == "evil.example" && answer.status() == StatusCode::FORBIDDEN;
        assert!(refused || answer.status() == status, "{host}: {}", answer.status());
    }
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_began_anew_is_greeted_again_within_the_question() {
    let (_first_log, first) = service(key());
    let server = serve(&first, "127.0.0.1:0".parse().unwrap()).await.unwrap();
    let addr = server.local_addr();
    let link = link_to(addr);
    assert!(matches!(link.fetch(&question(Duration::ZERO), PATIENCE).await.unwrap(), FetchReply::Batch(_)));
    server.shutdown().await;
    // The same cortex, as another process: it knows no token of the first.
    let (_second_log, second) = service(key());
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let server = loop {
        match serve(&second, addr).await {
            Some(server) => break server,
            None => assert!(tokio::time::Instant::now() < deadline, "the port must be free again"),
        }
        tokio::task::yield_now().await;
    };
    assert!(matches!(link.fetch(&question(Duration::ZERO), PATIENCE).await.unwrap(), FetchReply::Batch(_)));
    assert_eq!(second.pullers().iter().filter(|puller| puller.is_proven).count(), 1);
    // A replaced key ends that as well, and the reason is the key.
    second.set_keys(&[SharedKey::new(&"k".repeat(40)).unwrap()]);
    let error = link.fetch(&question(Duration::ZERO), PATIENCE).await.unwrap_err();
    assert_eq!(error.category(), antiphon_kernel::health::ErrorCategory::Auth, "{error}");
    server.shutdown().await;
}

/// The shared key itself reads, and is no cortex.
#[tokio::test(flavor = "multi_thread")]
async fn the_key_alone_proves_no_identity() {
    let node = node().await;
    node.append(2).await;
    let body = encode(&Message::Fetch(node.question(Duration::ZERO)));
    let asked = client().post(node.url("/v1/fetch")).bearer_auth(KEY).header(CONTENT_TYPE, FRAME).body(body).send();
    let Message::Reply(FetchReply::Batch(batch)) = said(asked.await.unwrap()).await else { panic!("a batch was due") };
    assert_eq!(batch.events.len(), 2);
    let pullers = node.service.pullers();
    assert!(pullers.iter().all(|puller| !puller.is_proven) && pullers.len() == 1, "{pullers:?}");
}
