//! `docs/openapi.yaml` says what a real server answers, and a real server answers nothing else.

use std::path::Path;
use std::time::Duration;

use antiphon_https::{Bounds, Limits as ServerLimits};
use antiphon_kernel::codec::{Message, Room, encode};
use antiphon_kernel::config::FederationMode;
use antiphon_kernel::identity::Signature;
use antiphon_kernel::ids::CortexId;
use antiphon_kernel::limits::{Limits, PeerLimits};
use antiphon_kernel::proof::{Channel, Introduction};
use antiphon_kernel::protocol::{Connect, Heads, Hello, Refresh, RequestId};
use reqwest::Client;
use reqwest::header::CONTENT_TYPE;
use serde_json::{Value, json};

use crate::harness::{FRAME, KEY, Node, key, node, node_with, own, peer, question};
use crate::routes::client;

fn document() -> Value {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.yaml");
    serde_yaml::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
}

/// What a reference stands for.
fn resolved<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    match value["$ref"].as_str() {
        Some(reference) => document.pointer(reference.strip_prefix('#').unwrap()).expect(reference),
        None => value,
    }
}

/// Holds a value to a schema of the document, which may refer to others of it.
#[track_caller]
fn fits(document: &Value, schema: &Value, value: &Value) {
    let mut schema = schema.clone();
    schema["components"] = document["components"].clone();
    let validator = jsonschema::options().should_validate_formats(true).build(&schema).unwrap();
    let faults: Vec<_> = validator.iter_errors(value).map(|fault| fault.to_string()).collect();
    assert!(faults.is_empty(), "{value}: {faults:?}");
}

/// Asks, and holds the answer to what the document says of it. Returns the operation's id and the status.
async fn ask(
    document: &Value,
    node: &Node,
    (method, path): (&str, &str),
    key: &str,
    body: impl Into<reqwest::Body>,
    (name, value): (&str, &str),
) -> (String, u16) {
    let client: Client = client();
    let request = client.request(method.parse().unwrap(), node.url(path)).bearer_auth(key);
    // A greeting is a frame under any name.
    let request = if name == "host" { request.header(FRAMED.0, FRAMED.1) } else { request };
    let response = request.header(name, value).body(body).send().await.unwrap();
    let route = path.split('?').next().unwrap();
    let operation = &document["paths"][route][method.to_lowercase()];
    let id = operation["operationId"].as_str().unwrap_or_else(|| panic!("{method} {route} is not documented"));
    let status = response.status().as_u16();
    let said = resolved(document, &operation["responses"][status.to_string()]);
    assert!(said.is_object(), "{id} answers {status}, which is not documented");
    for (name, header) in said["headers"].as_object().into_iter().flatten() {
        let value = response.headers().get(name).unwrap_or_else(|| panic!("{id} {status} lacks {name}"));
        fits(document, &header["schema"], &value.to_str().unwrap().into());
    }
    let kind = response.headers().get(CONTENT_TYPE).map(|kind| kind.to_str().unwrap().to_owned());
    let body = response.bytes().await.unwrap();
    let Some(contents) = said["content"].as_object() else {
        assert!(body.is_empty(), "{id} {status} has a body");
        return (id.to_owned(), status);
    };
    let kind = kind.expect("a body has a type");
    let kind = kind.split(';').next().unwrap();
    let content = contents.get(kind).unwrap_or_else(|| panic!("{id} {status} answers {kind}: not documented"));
    if kind.ends_with("json") {
        fits(document, &content["schema"], &serde_json::from_slice(&body).unwrap());
    } else if kind.starts_with("text/") {
        fits(document, &content["schema"], &String::from_utf8_lossy(&body).into());
    } else {
        assert_eq!(&body[..2], b"AN", "{id} {status} is no frame");
    }
    (id.to_owned(), status)
}

const FRAMED: (&str, &str) = ("content-type", FRAME);

#[tokio::test(flavor = "multi_thread")]
async fn the_document_says_what_is_answered() {
    let document = document();
    let node = node().await;
    node.append(3).await;
    let request = RequestId { process: 1, number: 1 };
    let from = CortexId::from_bytes([1; 16]);
    let refresh = Refresh { request, from, known: Heads::default(), direct: Vec::new(), room: Room::default() };
    let frames = (encode(&Message::Fetch(node.question(Duration::ZERO))), encode(&Message::Refresh(refresh)));
    let long = vec![0; 1024 * 1024 + 1];
    let introduction = Introduction::new(&own(), &peer(node.url(""), None), key());
    let (connect, host) = (introduction.connect(), node.addr().to_string());
    let channel = Channel::Host(&host);
    let proof = node.service.prove(&connect, channel).await.unwrap();
    let hello = introduction.hello(&connect, &proof, channel).await.unwrap().0;
    let newer = Connect { protocol_min: 7, protocol_max: 9, ..connect.clone() };
    let stolen = Hello { signature: Signature::from_bytes([7; 64]), ..hello.clone() };
    let keyless = Hello { key: None, ..hello.clone() };
    let end = node.log.reader().head_cursor();
    let after = |more: &str| format!("/v1/events?after={end}&{more}");
    let mut seen = Vec::new();
    for (route, key, body) in [
        (("GET", "/healthz"), "", Vec::new()),
        (("GET", "/v1/identity"), KEY, Vec::new()),
        (("GET", "/v1/identity"), "wrong", Vec::new()),
        (("GET", "/v1/events"), KEY, Vec::new()),
        (("GET", &after("limit=5000&wait=0.01")), KEY, Vec::new()),
        (("GET", "/v1/events?after=00000000000000aa-1-01JD2Y7Q8M4T6V9X0Z1A3B5C7D"), KEY, Vec::new()),
        (("GET", "/v1/events?limit=0"), KEY, Vec::new()),
        (("GET", "/v1/events?since=1"), KEY, Vec::new()),
        (("GET", "/v1/events"), "", Vec::new()),
        (("POST", "/v1/connect"), "", encode(&Message::Connect(connect.clone())).to_vec()),
        (("POST", "/v1/connect"), "", encode(&Message::Connect(newer)).to_vec()),
        (("POST", "/v1/connect"), "", b"none".to_vec()),
        (("POST", "/v1/connect"), "", long.clone()),
        (("POST", "/v1/hello"), "", encode(&Message::Hello(hello.clone())).to_vec()),
        (("POST", "/v1/hello"), "", encode(&Message::Hello(stolen)).to_vec()),
        (("POST", "/v1/hello"), "", encode(&Message::Hello(keyless)).to_vec()),
        (("POST", "/v1/hello"), "", frames.0.to_vec()),
        (("POST", "/v1/hello"), "", long.clone()),
        (("POST", "/v1/fetch"), KEY, frames.0.to_vec()),
        (("POST", "/v1/fetch"), KEY, encode(&Message::Fetch(question(Duration::ZERO))).to_vec()),
        (("POST", "/v1/fetch"), KEY, b"none".to_vec()),
        (("POST", "/v1/fetch"), KEY, long.clone()),
        (("POST", "/v1/fetch"), "wrong", frames.0.to_vec()),
        (("POST", "/v1/refresh"), KEY, frames.1.to_vec()),
        (("POST", "/v1/refresh"), KEY, frames.0.to_vec()),
        (("POST", "/v1/refresh"), KEY, long),
        (("POST", "/v1/refresh"), "wrong", frames.1.to_vec()),
    ] {
        seen.push(ask(&document, &node, route, key, body, FRAMED).await);
    }
    // The first page is paid for in minutes.
    let default = Limits { bytes_out_per_second: Some(1), ..Limits::default() };
    node.service.set_limits(&PeerLimits { default, peers: Vec::new() });
    for route in [("GET", "/v1/events"), ("GET", "/v1/events"), ("POST", "/v1/fetch")] {
        seen.push(ask(&document, &node, route, KEY, frames.0.to_vec(), FRAMED).await);
    }
    node.service.set_limits(&PeerLimits::default());
    node.service.set_mode(FederationMode::Subscribe);
    seen.push(ask(&document, &node, ("GET", "/v1/events"), KEY, Vec::new(), FRAMED).await);
    let full =
        node_with(None, ServerLimits { proven: Bounds { total: 0, per_address: 0 }, ..ServerLimits::default() }).await;
    for route in [("GET", "/v1/identity"), ("GET", "/v1/events"), ("POST", "/v1/fetch"), ("POST", "/v1/refresh")] {
        seen.push(ask(&document, &full, route, KEY, Vec::new(), FRAMED).await);
        seen.push(ask(&document, &full, route, "", Vec::new(), ("origin", "http://evil.example")).await);
    }
    let greeted = introduced(&full).await;
    seen.push(ask(&document, &full, ("POST", "/v1/hello"), "", greeted, FRAMED).await);
    seen.push(ask(&document, &full, ("GET", "/healthz"), "", Vec::new(), ("host", "evil.example")).await);
    for route in [("POST", "/v1/connect"), ("POST", "/v1/hello")] {
        seen.push(ask(&document, &node, route, "", b"AN".to_vec(), ("host", "[evil")).await);
    }
    for route in [("POST", "/v1/connect"), ("POST", "/v1/hello"), ("POST", "/v1/fetch"), ("POST", "/v1/refresh")] {
        seen.push(ask(&document, &node, route, KEY, Vec::new(), (CONTENT_TYPE.as_str(), "text/plain")).await);
    }
    // And nothing is promised that was not seen here, but for what takes a broken disk or half a minute.
    for (_, path) in document["paths"].as_object().unwrap() {
        for (_, operation) in path.as_object().unwrap() {
            for status in operation["responses"].as_object().unwrap().keys() {
                let one = (operation["operationId"].as_str().unwrap().to_owned(), status.parse().unwrap());
                assert!([408, 500].contains(&one.1) || seen.contains(&one), "{one:?} was never seen");
            }
        }
    }
}

/// A hello that the node takes.
async fn introduced(node: &Node) -> Vec<u8> {
    let introduction = Introduction::new(&own(), &peer(node.url(""), None), key());
    let (connect, host) = (introduction.connect(), node.addr().to_string());
    let channel = Channel::Host(&host);
    let proof = node.service.prove(&connect, channel).await.unwrap();
    let hello = introduction.hello(&connect, &proof, channel).await.unwrap().0;
    encode(&Message::Hello(hello)).to_vec()
}

#[test]
fn the_document_is_one() {
    let document = document();
    assert_eq!(document["openapi"], "3.1.0");
    // Every schema is one, and every reference leads somewhere.
    for schema in document["components"]["schemas"].as_object().unwrap().values() {
        jsonschema::meta::validate(schema).unwrap();
    }
    let mut left = vec![&document];
    while let Some(value) = left.pop() {
        resolved(&document, value);
        left.extend(value.as_array().into_iter().flatten());
        left.extend(value.as_object().into_iter().flat_map(serde_json::Map::values));
    }
    let fault = json!({ "error": "e", "hint": "h", "more": 1 });
    let schema = &document["components"]["schemas"]["Fault"];
    assert!(!jsonschema::is_valid(schema, &fault), "the check has teeth");
}
