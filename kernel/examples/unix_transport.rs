//! A transport over Unix sockets, from nothing to the passed conformance suite: what `docs/writing-a-transport.md` walks through.
//!
//! One connection a question: it is the simplest thing that keeps every promise. `cargo run -p antiphon-kernel --example
//! unix_transport` runs the suite.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use antiphon_kernel::codec::{FRAME_HEADER_BYTES, FrameHeader, Message, decode, encode};
use antiphon_kernel::config::PeerConfig;
use antiphon_kernel::log::LocalIdentity;
use antiphon_kernel::proof::{Channel, Identified, Introduction, Proven};
use antiphon_kernel::protocol::{Delivery, FetchReply, FetchRequest, Pushed, Refresh, Refusal};
use antiphon_kernel::service::{Caller, Credential};
use antiphon_kernel::testing::transport_suite::{self, Running, TransportHarness};
use antiphon_kernel::{Link, Service, SharedKey, Tail, Transport, TransportError, TransportErrorKind};
use async_trait::async_trait;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::{JoinHandle, JoinSet};

// 1. Messages on a stream.

fn error(kind: TransportErrorKind, detail: impl std::fmt::Display) -> TransportError {
    TransportError::new(kind, detail.to_string())
}

/// The next message, or `None` where the stream ended between two. Its header says how long it is, and is checked against
/// the bound before memory is spent.
async fn receive(stream: &mut UnixStream) -> Result<Option<Message>, TransportError> {
    let mut frame = vec![0; FRAME_HEADER_BYTES];
    if stream.read(&mut frame[..1]).await.map_err(|e| error(TransportErrorKind::Reset, e))? == 0 {
        return Ok(None);
    }
    stream.read_exact(&mut frame[1..]).await.map_err(|e| error(TransportErrorKind::Eof, e))?;
    let header = FrameHeader::parse(&frame).map_err(|e| error(e.kind(), e))?;
    // Not `vec![0; length]`: what a peer claims is believed as it arrives.
    let body = stream.take(header.body_len() as u64).read_to_end(&mut frame).await;
    body.map_err(|e| error(TransportErrorKind::Reset, e))?;
    if frame.len() < FRAME_HEADER_BYTES + header.body_len() {
        return Err(error(TransportErrorKind::Eof, "the frame ended early"));
    }
    decode(&frame.into()).map(Some).map_err(|e| error(e.kind(), e))
}

async fn send(stream: &mut UnixStream, message: &Message) -> Result<(), TransportError> {
    stream.write_all(&encode(message)).await.map_err(|e| error(TransportErrorKind::Reset, e))
}

// 2. The side that answers: who asks, one message in, the caller's answers out.

/// A Unix socket has nothing that only its two ends know: a program between them could pass a proof on, and so could read
/// along. The files' permissions keep others out.
const CHANNEL: Channel<'_> = Channel::None;

/// Lets a caller in, or says why not.
async fn greet(stream: &mut UnixStream, service: &Service) -> Result<Caller, TransportError> {
    let refusal = match receive(stream).await? {
        Some(Message::Connect(connect)) => match service.prove(&connect, CHANNEL).await {
            Ok(proof) => {
                send(stream, &Message::Proof(proof)).await?;
                match receive(stream).await? {
                    Some(Message::Hello(hello)) => {
                        match service.admit(&Credential::Hello { hello: &hello, channel: CHANNEL }) {
                            Ok(caller) => return Ok(caller),
                            Err(refusal) => refusal,
                        }
                    }
                    _ => Refusal::Malformed,
                }
            }
            Err(refusal) => refusal,
        },
        _ => Refusal::Malformed,
    };
    let why = error(TransportErrorKind::from(&refusal), &refusal);
    send(stream, &Message::Reply(FetchReply::refused(refusal))).await?;
    Err(why)
}

async fn serve(mut stream: UnixStream, service: Service) -> Result<(), TransportError> {
    let caller = greet(&mut stream, &service).await?;
    send(&mut stream, &Message::Identity(caller.identity())).await?;
    match receive(&mut stream).await? {
        None => Ok(()),
        Some(Message::Refresh(refresh)) => {
            caller.refresh(refresh);
            Ok(())
        }
        Some(Message::Fetch(request)) => {
            let mut answers = caller.answers(request);
            loop {
                // Do not wait for a client that has hung up: the asker sends nothing more, so a read ends when it is gone.
                let mut nothing = [0];
                let reply = tokio::select! {
                    reply = answers.next() => reply,
                    _ = stream.read(&mut nothing) => return Ok(()),
                };
                let Some(reply) = reply else { return Ok(()) };
                send(&mut stream, &Message::Reply(reply)).await?;
            }
        }
        _ => send(&mut stream, &Message::Reply(FetchReply::refused(Refusal::Malformed))).await,
    }
}

struct UnixServer {
    path: PathBuf,
    service: Service,
    task: JoinHandle<()>,
}

impl UnixServer {
    fn start(path: PathBuf, service: Service) -> Self {
        let listener = UnixListener::bind(&path).unwrap();
        let answering = service.clone();
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    Ok((stream, _)) = listener.accept() => {
                        connections.spawn(serve(stream, answering.clone()));
                    }
                    Some(_) = connections.join_next() => {}
                }
            }
        });
        Self { path, service, task }
    }
}

impl Drop for UnixServer {
    fn drop(&mut self) {
        self.service.close();
        self.task.abort();
        let _ = std::fs::remove_file(&self.path);
    }
}

// 3. The side that asks.

struct UnixTransport {
    key: SharedKey,
}

impl Transport for UnixTransport {
    fn schemes(&self) -> &'static [&'static str] {
        &["unix"]
    }

    fn link(&self, peer: &PeerConfig, own: &LocalIdentity) -> Result<Box<dyn Link>, TransportError> {
        let path = peer.endpoint.strip_prefix("unix://").filter(|path| path.starts_with('/'));
        let path =
            path.ok_or_else(|| error(TransportErrorKind::Configuration, "write the endpoint as unix:///path"))?;
        let introduction = Introduction::new(own, peer, self.key.clone());
        Ok(Box::new(UnixLink { path: path.into(), introduction }))
    }
}

struct UnixLink {
    path: PathBuf,
    introduction: Introduction,
}

impl UnixLink {
    /// A connection on which both sides have proved who they are.
    async fn connect(&self) -> Result<(UnixStream, Proven, Identified), TransportError> {
        let stream = UnixStream::connect(&self.path).await;
        let mut stream = stream.map_err(|e| error(TransportErrorKind::ConnectionRefused, e))?;
        let connect = self.introduction.connect();
        send(&mut stream, &Message::Connect(connect.clone())).await?;
        let proof = match receive(&mut stream).await? {
            Some(Message::Proof(proof)) => proof,
            other => return Err(refused(other)),
        };
        let (hello, proven) = self.introduction.hello(&connect, &proof, CHANNEL).await?;
        send(&mut stream, &Message::Hello(hello)).await?;
        match receive(&mut stream).await? {
            Some(Message::Identity(identity)) => {
                let identified = proven.identified(identity)?;
                Ok((stream, proven, identified))
            }
            other => Err(refused(other)),
        }
    }

    /// Asks something of the cortex that it is meant for.
    async fn ask(&self, message: &Message) -> Result<UnixStream, TransportError> {
        let (mut stream, proven, _) = self.connect().await?;
        if let Message::Fetch(request) = message {
            proven.answers(request.to)?;
        }
        send(&mut stream, message).await?;
        Ok(stream)
    }
}

/// What came in the place of a greeting.
fn refused(message: Option<Message>) -> TransportError {
    match message {
        Some(Message::Reply(FetchReply::Refused { refusal, .. })) => error(TransportErrorKind::from(&refusal), refusal),
        Some(_) => error(TransportErrorKind::Protocol, "that is no greeting"),
        None => error(TransportErrorKind::Eof, "it ended without a greeting"),
    }
}

async fn within<T>(
    deadline: Duration,
    work: impl Future<Output = Result<T, TransportError>>,
) -> Result<T, TransportError> {
    let late = |_| Err(error(TransportErrorKind::Timeout, "no answer in time"));
    tokio::time::timeout(deadline, work).await.unwrap_or_else(late)
}

fn reply(message: Option<Message>) -> Result<FetchReply, TransportError> {
    match message {
        Some(Message::Reply(reply)) => Ok(reply),
        Some(_) => Err(error(TransportErrorKind::Protocol, "that is no answer")),
        None => Err(error(TransportErrorKind::Eof, "it ended without an answer")),
    }
}

#[async_trait]
impl Link for UnixLink {
    async fn identify(&self, deadline: Duration) -> Result<Identified, TransportError> {
        Ok(within(deadline, self.connect()).await?.2)
    }

    async fn fetch(&self, request: &FetchRequest, deadline: Duration) -> Result<FetchReply, TransportError> {
        let request = FetchRequest { delivery: Delivery::Once, ..request.clone() };
        within(deadline, async { reply(receive(&mut self.ask(&Message::Fetch(request)).await?).await?) }).await
    }

    // So far the suite passes. These two make the transport fast, and sparing in a mesh.

    async fn tail(&self, request: &FetchRequest, deadline: Duration) -> Result<Option<Box<dyn Tail>>, TransportError> {
        let stream = within(deadline, self.ask(&Message::Fetch(request.clone()))).await?;
        Ok(Some(Box::new(UnixTail(stream))))
    }

    async fn refresh(&self, refresh: &Refresh, deadline: Duration) -> Result<(), TransportError> {
        within(deadline, self.ask(&Message::Refresh(refresh.clone()))).await.map(|_| ())
    }
}

struct UnixTail(UnixStream);

#[async_trait]
impl Tail for UnixTail {
    async fn next(&mut self, deadline: Duration) -> Result<Option<Pushed>, TransportError> {
        match within(deadline, receive(&mut self.0)).await? {
            None => Ok(None),
            message => reply(message).map(|reply| Some(Pushed::Reply(reply))),
        }
    }
}

// 4. The conformance suite.

struct Unix<'a>(&'a Path);

#[async_trait]
impl TransportHarness for Unix<'_> {
    async fn serve(&self, name: &str, service: Service) -> Box<dyn Running> {
        Box::new(UnixServer::start(self.0.join(name), service))
    }

    fn transport(&self) -> Arc<dyn Transport> {
        Arc::new(UnixTransport { key: transport_suite::key() })
    }
}

#[async_trait]
impl Running for UnixServer {
    fn endpoint(&self) -> String {
        format!("unix://{}", self.path.display())
    }

    async fn stop(self: Box<Self>) {}
}

/// Runs the conformance suite on the transport, with sockets in this directory.
pub async fn conform(sockets: &Path) {
    transport_suite::run(&Unix(sockets)).await;
}

#[tokio::main]
async fn main() {
    let sockets = tempfile::tempdir().unwrap();
    conform(sockets.path()).await;
    println!("passed");
}
