//! One connection to a peer: dialled, greeted, and listened to.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use antiphon_kernel::budget::{Account, Budget};
use antiphon_kernel::codec::Message;
use antiphon_kernel::proof::{Channel, Identified, Introduction, Proven};
use antiphon_kernel::protocol::{FetchReply, Heartbeat, Refresh};
use antiphon_kernel::transport::TransportError;
use antiphon_kernel::transport::TransportErrorKind;
use antiphon_transport_common::{Frames, failure};
use quinn::{ClientConfig, Connection, Endpoint as UdpEndpoint, SendStream, TokioRuntime};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::channel::channel;
use crate::codes;
use crate::endpoint::Endpoint;
use crate::errors::{from_connect, from_connection};
use crate::framed::{Incoming, send, send_last};
use crate::tuning;

/// How long one address may take to shake hands before the next is tried.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a greeting may take: a server waits no longer for it either. One that stopped in the middle may send nothing any more.
const GREET_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest frame that a control stream brings.
const MAX_CONTROL: usize = 256 * 1024;

/// The sockets to dial from, one for each family, made when they are first needed: a link may be made outside of a
/// runtime, and must not fail because of a socket.
#[derive(Default)]
pub(crate) struct Sockets {
    v4: Mutex<Option<UdpEndpoint>>,
    v6: Mutex<Option<UdpEndpoint>>,
}

impl Sockets {
    fn of(&self, remote: SocketAddr) -> Result<UdpEndpoint, TransportError> {
        let (slot, any): (_, SocketAddr) = match remote {
            SocketAddr::V4(_) => (&self.v4, (Ipv4Addr::UNSPECIFIED, 0).into()),
            SocketAddr::V6(_) => (&self.v6, (Ipv6Addr::UNSPECIFIED, 0).into()),
        };
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(endpoint) = &*slot {
            return Ok(endpoint.clone());
        }
        let endpoint = crate::socket::bind(any)
            .and_then(|socket| UdpEndpoint::new(tuning::endpoint(), None, socket, Arc::new(TokioRuntime)))
            .map_err(|e| failure(TransportErrorKind::Unexpected, format!("no UDP socket to dial from: {e}")))?;
        Ok(slot.insert(endpoint).clone())
    }
}

pub(crate) struct Session {
    connection: Connection,
    proven: Proven,
    control: tokio::sync::Mutex<SendStream>,
    heartbeat: watch::Receiver<Option<Heartbeat>>,
    listener: JoinHandle<()>,
}

impl Session {
    /// Dials a peer's addresses in turn, and greets who answers first.
    pub(crate) async fn dial(
        sockets: &Sockets,
        config: &ClientConfig,
        peer: &Endpoint,
        introduction: &Introduction,
    ) -> Result<(Self, Identified), TransportError> {
        let mut last = None;
        for address in peer.resolve().await? {
            let connected = async {
                let connecting = sockets
                    .of(address)?
                    .connect_with(config.clone(), address, peer.host())
                    .map_err(|e| from_connect(&e))?;
                connecting.await.map_err(|e| from_connection(&e))
            };
            match tokio::time::timeout(CONNECT_TIMEOUT, connected).await {
                Ok(Ok(connection)) => {
                    let late = |_| Err(failure(TransportErrorKind::Timeout, "no greeting completes there"));
                    let greeted = tokio::time::timeout(GREET_TIMEOUT, Self::greet(connection, introduction));
                    return greeted.await.unwrap_or_else(late);
                }
                Ok(Err(error)) => last = Some(error),
                Err(_) => last = Some(failure(TransportErrorKind::Timeout, "no handshake completes there")),
            }
        }
        Err(last.unwrap_or_else(|| failure(TransportErrorKind::Dns, "the host name has no address")))
    }

    async fn greet(connection: Connection, introduction: &Introduction) -> Result<(Self, Identified), TransportError> {
        let channel = channel(&connection)?;
        let (mut control, answers) = connection.open_bi().await.map_err(|e| from_connection(&e))?;
        let connect = introduction.connect();
        send(&mut control, &Message::Connect(connect.clone())).await?;
        // A proof, an identity, and heartbeats.
        let mut answers = Incoming::new(answers, Frames::capped(MAX_CONTROL));
        let proof = match answers.next().await? {
            Some(Message::Proof(proof)) => proof,
            other => return Err(ungreeted(other)),
        };
        let (hello, proven) = introduction.hello(&connect, &proof, Channel::Tls(&channel)).await?;
        send(&mut control, &Message::Hello(hello)).await?;
        let identified = match answers.next().await? {
            Some(Message::Identity(identity)) => proven.identified(identity)?,
            other => return Err(ungreeted(other)),
        };
        let (beat, heartbeat) = watch::channel(None);
        let listener = tokio::spawn(async move {
            while let Ok(Some(Message::Heartbeat(heartbeat))) = answers.next().await {
                beat.send_replace(Some(heartbeat));
            }
        });
        let control = tokio::sync::Mutex::new(control);
        Ok((Self { connection, proven, control, heartbeat, listener }, identified))
    }

    /// The cortex at the other end.
    pub(crate) const fn proven(&self) -> &Proven {
        &self.proven
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.connection.close_reason().is_none()
    }

    /// Asks one question; its answers come on a stream of their own.
    pub(crate) async fn ask(
        &self,
        question: &Message,
        budget: &Budget,
        account: &Account,
    ) -> Result<Incoming, TransportError> {
        let (mut asking, answers) = self.connection.open_bi().await.map_err(|e| from_connection(&e))?;
        send_last(&mut asking, question).await?;
        Ok(Incoming::new(answers, Frames::default().charged_to(budget.clone(), account.clone())))
    }

    pub(crate) async fn tell(&self, refresh: &Refresh) -> Result<(), TransportError> {
        let mut control = self.control.lock().await;
        send(&mut control, &Message::Refresh(refresh.clone())).await
    }

    /// The newest heartbeat, and those to come.
    pub(crate) fn heartbeats(&self) -> watch::Receiver<Option<Heartbeat>> {
        self.heartbeat.clone()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.listener.abort();
        self.connection.close(codes::DONE, b"");
    }
}

/// What came in the place of a proof or an identity.
fn ungreeted(message: Option<Message>) -> TransportError {
    match message {
        Some(Message::Reply(FetchReply::Refused { refusal, .. })) => failure((&refusal).into(), refusal.to_string()),
        Some(_) => failure(TransportErrorKind::Protocol, "it answered a greeting with something else"),
        None => failure(TransportErrorKind::Eof, "it did not answer the greeting"),
    }
}
