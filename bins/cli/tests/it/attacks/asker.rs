//! A member that asks whatever it likes: frames of its own making, over HTTP, with the shared key.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use antiphon_kernel::codec::{Message, decode, encode};
use antiphon_kernel::ids::CortexId;
use antiphon_kernel::protocol::{FetchReply, FetchRequest, Identity};

use crate::support::KEY;

pub(super) struct Asker {
    pub(super) port: u16,
    pub(super) id: CortexId,
}

impl Asker {
    /// One that gives itself an id.
    pub(super) fn new(port: u16, id: u128) -> Self {
        Self { port, id: CortexId::from_bytes(id.to_be_bytes()) }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream
    }

    pub(super) fn identity(&self) -> Identity {
        let mut stream = self.connect();
        write!(
            stream,
            "GET /v1/identity HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {KEY}\r\nconnection: close\r\n\r\n"
        )
        .unwrap();
        serde_json::from_slice(&body(stream)).unwrap()
    }

    /// Asks for everything.
    pub(super) fn question(&self, to: CortexId) -> FetchRequest {
        antiphon_kernel::testing::question(self.id, to)
    }

    /// Sends a question; the answer is there to be read.
    pub(super) fn send(&self, request: FetchRequest) -> TcpStream {
        let frame = encode(&Message::Fetch(request));
        let mut stream = self.connect();
        write!(
            stream,
            "POST /v1/fetch HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {KEY}\r\ncontent-type: {}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            antiphon_https::FRAME_CONTENT_TYPE,
            frame.len()
        )
        .unwrap();
        stream.write_all(&frame).unwrap();
        stream
    }

    pub(super) fn ask(&self, request: FetchRequest) -> FetchReply {
        match decode(&body(self.send(request)).into()).unwrap() {
            Message::Reply(reply) => reply,
            other => panic!("{other:?}"),
        }
    }
}

fn body(mut stream: TcpStream) -> Vec<u8> {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let head = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    let text = String::from_utf8_lossy(&answer[..head]).to_lowercase();
    assert!(!text.contains("transfer-encoding"), "{text}");
    answer.split_off(head)
}

/// A figure of a process in bytes, as the system counts it.
pub(super) fn memory(pid: u32, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}
