//! A client that greets a node over plain HTTP with messages of its own making, one request after another on one connection.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use antiphon_kernel::SharedKey;
use antiphon_kernel::codec::{Message, decode, encode};
use antiphon_kernel::config::PeerConfig;
use antiphon_kernel::identity::{Keys, SharedSigner, Signer};
use antiphon_kernel::ids::Epoch;
use antiphon_kernel::log::LocalIdentity;
use antiphon_kernel::proof::{Channel, Introduction};
use antiphon_kernel::protocol::{Connect, FetchRequest, Hello, Proof};

use crate::support::{KEY, log_id};

/// What both ends call the server.
pub(super) const HOST: &str = "127.0.0.1";

/// A cortex with these keys, as it introduces itself.
pub(super) fn cortex(keys: std::sync::Arc<dyn Signer>) -> LocalIdentity {
    let cortex = keys.statement().cortex();
    let signer = Some(SharedSigner::new(keys));
    LocalIdentity { signer, log: Some(log_id()), ..LocalIdentity::new(cortex, Epoch::new(1), "mallory".to_owned()) }
}

/// A cortex that was just made up.
pub(super) fn made_up() -> LocalIdentity {
    cortex(std::sync::Arc::new(Keys::generate()))
}

pub(super) fn introduction(own: &LocalIdentity) -> Introduction {
    let peer = PeerConfig::new("victim".parse().unwrap(), "http://127.0.0.1:1");
    Introduction::new(own, &peer, SharedKey::new(KEY).unwrap())
}

/// An answer: status, token if it has one, and body.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) token: Option<String>,
    body: Vec<u8>,
}

impl Answer {
    pub(super) fn message(self) -> Message {
        decode(&self.body.into()).unwrap()
    }
}

pub(super) struct Greeter {
    port: u16,
    stream: Option<BufReader<TcpStream>>,
}

impl Greeter {
    pub(super) fn new(port: u16) -> Self {
        Self { port, stream: None }
    }

    /// Posts a message, with these further header lines.
    pub(super) fn post(&mut self, route: &str, host: &str, headers: &str, message: &Message) -> Answer {
        let port = self.port;
        let stream = self.stream.get_or_insert_with(|| {
            let stream = TcpStream::connect((HOST, port)).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
            BufReader::new(stream)
        });
        let (frame, kind) = (encode(message), antiphon_https::FRAME_CONTENT_TYPE);
        let length = frame.len();
        let head = format!(
            "POST {route} HTTP/1.1\r\nhost: {host}\r\n{headers}accept: {kind}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n"
        );
        stream.get_mut().write_all(&[head.as_bytes(), &frame].concat()).unwrap();
        let (answer, is_last) = read(stream);
        if is_last {
            self.stream = None;
        }
        answer
    }

    pub(super) fn prove(&mut self, connect: &Connect) -> Proof {
        match self.post("/v1/connect", HOST, "", &Message::Connect(connect.clone())).message() {
            Message::Proof(proof) => proof,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn hello(&mut self, hello: &Hello) -> Answer {
        self.post("/v1/hello", HOST, "", &Message::Hello(hello.clone()))
    }

    /// The hello of a cortex to the node here, not sent.
    pub(super) fn hello_of(&mut self, own: &LocalIdentity) -> Hello {
        let asking = introduction(own);
        let connect = asking.connect();
        let proof = self.prove(&connect);
        wait(asking.hello(&connect, &proof, Channel::Host(HOST))).unwrap().0
    }

    /// Asks with a token.
    pub(super) fn fetch(&mut self, token: &str, host: &str, request: FetchRequest) -> Answer {
        self.post("/v1/fetch", host, &format!("authorization: Antiphon {token}\r\n"), &Message::Fetch(request))
    }
}

pub(super) fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Reads one answer, and whether the server ends the connection after it.
fn read(stream: &mut BufReader<TcpStream>) -> (Answer, bool) {
    let (mut status, mut token, mut length, mut is_last, mut is_chunked) = (0, None, 0, false, false);
    for number in 0.. {
        let mut line = String::new();
        assert_ne!(stream.read_line(&mut line).unwrap(), 0, "the connection ended in a head");
        let line = line.trim_end();
        if number == 0 {
            status = line.split(' ').nth(1).unwrap().parse().unwrap();
            continue;
        }
        let Some((name, value)) = line.split_once(": ") else { break };
        match name.to_lowercase().as_str() {
            "content-length" => length = value.parse().unwrap(),
            "antiphon-token" => token = Some(value.to_owned()),
            "connection" => is_last = value == "close",
            "transfer-encoding" => is_chunked = true,
            _ => {}
        }
    }
    assert!(!is_chunked, "an answer of one piece");
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    (Answer { status, token, body }, is_last)
}
