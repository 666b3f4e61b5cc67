//! Servers that are none, or bad ones.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use antiphon_kernel::codec::{Message, decode, encode};
use antiphon_kernel::log::LogHandle;
use antiphon_kernel::proof::Channel;
use antiphon_kernel::service::{Credential, Service};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// A TCP server on loopback; it ends when dropped.
pub(crate) struct Fake {
    pub(crate) addr: SocketAddr,
    accepted: Arc<AtomicU64>,
    _task: JoinSet<()>,
}

impl Fake {
    pub(crate) async fn start<F, R>(answer: F) -> Self
    where
        F: Fn(TcpStream) -> R + Send + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let accepted = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&accepted);
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                connections.spawn(answer(stream));
            }
        });
        Self { addr, accepted, _task: task }
    }

    /// One that answers each connection's first request with these bytes, then closes.
    pub(crate) async fn saying(bytes: impl Into<Vec<u8>>) -> Self {
        let bytes: Arc<[u8]> = bytes.into().into();
        Self::start(move |mut stream| {
            let bytes = Arc::clone(&bytes);
            async move {
                read_request(&mut stream).await;
                let _ = stream.write_all(&bytes).await;
                let _ = stream.shutdown().await;
            }
        })
        .await
    }

    /// One that proves who it is as a node does, and then answers a question with these bytes.
    pub(crate) async fn answering(bytes: impl Into<Vec<u8>>) -> Self {
        let bytes: Arc<[u8]> = bytes.into().into();
        Self::start(move |mut stream| {
            let bytes = Arc::clone(&bytes);
            async move {
                read_question(&mut stream).await;
                let _ = stream.write_all(&bytes).await;
                let _ = stream.shutdown().await;
            }
        })
        .await
    }

    /// One that passes everything on, to count connections.
    pub(crate) async fn relay(to: SocketAddr) -> Self {
        Self::start(move |mut from| async move {
            let mut to = TcpStream::connect(to).await.unwrap();
            let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
        })
        .await
    }

    pub(crate) fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::SeqCst)
    }
}

/// Reads a request's head and, as far as `content-length` says, its body: closing with bytes unread would be a reset.
pub(crate) async fn read_request(stream: &mut TcpStream) -> String {
    read_whole(stream).await.0
}

async fn read_whole(stream: &mut TcpStream) -> (String, Vec<u8>) {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).await.unwrap_or(0) == 0 {
            break;
        }
        bytes.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&bytes).to_lowercase();
    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    let _ = stream.read_exact(&mut body).await;
    (head, body)
}

/// Reads a request that is no greeting; greetings before it are answered as a node does. What comes back is its head.
pub(crate) async fn read_question(stream: &mut TcpStream) -> String {
    // One for all connections: the messages of a greeting may come over several.
    static GREETER: LazyLock<(LogHandle, Service)> = LazyLock::new(|| crate::harness::service(crate::harness::key()));
    let service = &GREETER.1;
    loop {
        let (head, body) = read_whole(stream).await;
        let channel = head.split("host: ").nth(1).and_then(|rest| rest.lines().next()).unwrap_or_default().to_owned();
        let channel = Channel::Host(&channel);
        let (message, token) = match decode(&body.into()) {
            Ok(Message::Connect(connect)) => {
                (Message::Proof(service.prove(&connect, channel).await.unwrap()), String::new())
            }
            Ok(Message::Hello(hello)) => {
                let caller = service.admit(&Credential::Hello { hello: &hello, channel }).unwrap();
                (Message::Identity(caller.identity()), caller.token(channel).unwrap())
            }
            _ => return head,
        };
        let (frame, kind) = (encode(&message), crate::harness::FRAME);
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nantiphon-token: {token}\r\n\r\n",
            frame.len()
        );
        let _ = stream.write_all(&[head.as_bytes(), &frame[..]].concat()).await;
    }
}

/// The head of an answer with a frame; `length` stands in it if given, else the end of the connection is its end.
pub(crate) fn frame_head(length: Option<u64>) -> Vec<u8> {
    let kind = crate::harness::FRAME;
    let length = length.map_or_else(String::new, |n| format!("content-length: {n}\r\n"));
    format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\n{length}connection: close\r\n\r\n").into_bytes()
}
