//! One connection of a peer's: its hello, its control stream, its questions.

use std::sync::Arc;
use std::time::Duration;

use antiphon_kernel::codec::Message;
use antiphon_kernel::proof::Channel;
use antiphon_kernel::protocol::{FetchReply, FetchRequest, MAX_RUN_BYTES, Refusal};
use antiphon_kernel::service::{Caller, Credential, Service};
use antiphon_kernel::transport::TransportError;
use antiphon_kernel::transport::TransportErrorKind;
use antiphon_transport_common::{Certificate, Frames, Rejected, Slot, address_text, failure};
use bytes::Bytes;
use quinn::{Connection, RecvStream, SendStream};
use rustls::pki_types::CertificateDer;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::channel::channel;
use crate::errors::{from_closed, from_connection, from_write};
use crate::framed::{Incoming, send, send_last};
use crate::limits::Limits;
use crate::sent::Sent;
use crate::{TRANSPORT, codes};

/// A question, or news of what is held: chain heads of at most 1,024 origins, a clock of as many, as many ids twice, and the room.
const MAX_QUESTION: usize = 256 * 1024;
/// What must not wait behind bulk data goes first.
const CONTROL_PRIORITY: i32 = 1;

/// Completes when the server closes, or is gone.
pub(crate) async fn closed(closing: &mut watch::Receiver<bool>) {
    // The guard that `wait_for` brings must not live on into another await.
    let _ = closing.wait_for(|closing| *closing).await;
}

pub(crate) struct Visit {
    pub(crate) service: Service,
    pub(crate) limits: Arc<Limits>,
    pub(crate) closing: watch::Receiver<bool>,
    pub(crate) certificate: Arc<Certificate>,
    pub(crate) slot: Slot,
    pub(crate) sent: Sent,
}

impl Visit {
    pub(crate) async fn run(mut self, incoming: quinn::Incoming) -> Result<(), TransportError> {
        let late = |_| failure(TransportErrorKind::Timeout, "no hello in time");
        let mut closing = self.closing.clone();
        // Before the handshake: what changes during it counts as well.
        let watch = self.certificate.watch();
        let handshake = async {
            let connection = incoming.accept().map_err(|e| from_connection(&e))?;
            let connection = timeout(self.limits.header, connection).await.map_err(late)?;
            connection.map_err(|e| from_connection(&e))
        };
        let connection = tokio::select! {
            connection = handshake => connection.inspect_err(count)?,
            () = closed(&mut closing) => return Ok(()),
            () = self.slot.evicted() => return Err(crowded_out()),
        };
        let _counting = self.sent.count(&connection);
        // A client that finished the handshake got our packets at its address.
        if !self.slot.validate() {
            connection.close(codes::BUSY, b"");
            return Err(crowded_out());
        }
        let refused = watch.refused(shown(&connection));
        let mut refused = std::pin::pin!(refused);
        let greeted = async { timeout(self.limits.header, self.greet(&connection)).await.map_err(late)? };
        let Greeted { control, news, caller } = tokio::select! {
            greeted = greeted => greeted.inspect_err(count)?,
            () = closed(&mut closing) => {
                connection.close(codes::STOPPING, b"");
                return Ok(());
            }
            () = self.slot.evicted() => {
                connection.close(codes::BUSY, b"");
                return Err(crowded_out());
            }
            why = &mut refused => {
                connection.close(codes::GREET_AGAIN, b"");
                return Err(not_accepted(&why));
            }
        };
        let peer = Peer { caller, limits: self.limits };
        let mut questions = JoinSet::new();
        let mut code = None;
        let ended = tokio::select! {
            ended = peer.control(control, news) => ended,
            ended = peer.accept(&connection, &mut questions) => ended,
            () = peer.caller.revoked() => {
                code = Some(match peer.caller.refusal() {
                    Some(Refusal::Key) | None => codes::KEY,
                    Some(_) => codes::GREET_AGAIN,
                });
                Ok(())
            }
            () = self.slot.evicted() => {
                code = Some(codes::BUSY);
                Err(crowded_out())
            }
            why = &mut refused => {
                code = Some(codes::GREET_AGAIN);
                Err(not_accepted(&why))
            }
            () = closed(&mut self.closing) => {
                // The door gives all connections together their time.
                while questions.join_next().await.is_some() {}
                Ok(())
            }
        };
        let code = code.unwrap_or(match &ended {
            Ok(()) => codes::STOPPING,
            Err(_) => codes::PROTOCOL,
        });
        connection.close(code, b"");
        ended
    }

    /// Who answers, and then who asks. Nothing else is read or answered before.
    async fn greet(&self, connection: &Connection) -> Result<Greeted, TransportError> {
        let channel = channel(connection)?;
        let (mut control, news) = connection.accept_bi().await.map_err(|e| from_connection(&e))?;
        let mut news = Incoming::new(news, Frames::capped(MAX_QUESTION));
        let greeted = self.exchange(&mut control, &mut news, Channel::Tls(&channel)).await;
        let refusal = match greeted {
            Ok(caller) => {
                // The stream is open: it was accepted just now.
                let _ = control.set_priority(CONTROL_PRIORITY);
                send(&mut control, &Message::Identity(caller.identity())).await?;
                news.charge_to(self.service.budget().clone(), caller.account());
                return Ok(Greeted { control, news, caller });
            }
            Err(Ungreeted::Refused(refusal)) => refusal,
            Err(Ungreeted::Broken(error)) => {
                connection.close(codes::PROTOCOL, b"that is no greeting");
                return Err(error);
            }
        };
        let code = match refusal {
            Refusal::Key => codes::KEY,
            Refusal::Busy => codes::BUSY,
            _ => codes::PROTOCOL,
        };
        let detail = format!("the greeting was refused: {refusal}");
        let reply = FetchReply::refused(refusal);
        Rejected::count_reply(TRANSPORT, &reply);
        send_last(&mut control, &Message::Reply(reply)).await?;
        // Until it is read, or the peer closes; the time for the greeting bounds both.
        let _ = control.stopped().await;
        connection.close(code, b"");
        Err(failure(TransportErrorKind::Auth, detail))
    }

    async fn exchange(
        &self,
        control: &mut SendStream,
        incoming: &mut Incoming,
        channel: Channel<'_>,
    ) -> Result<Caller, Ungreeted> {
        let Message::Connect(connect) = first(incoming).await? else { return Err(Refusal::Malformed.into()) };
        let proof = self.service.prove(&connect, channel).await?;
        send(control, &Message::Proof(proof)).await?;
        let Message::Hello(hello) = first(incoming).await? else { return Err(Refusal::Malformed.into()) };
        let caller = self.service.admit(&Credential::Hello { hello: &hello, channel })?;
        if self.slot.prove() { Ok(caller) } else { Err(Refusal::Busy.into()) }
    }
}

/// Why a greeting came to nothing.
enum Ungreeted {
    Refused(Refusal),
    Broken(TransportError),
}

impl From<Refusal> for Ungreeted {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<TransportError> for Ungreeted {
    fn from(error: TransportError) -> Self {
        // A reader of another version understands this refusal if any.
        if error.kind() == TransportErrorKind::Newer { Self::Refused(Refusal::Newer) } else { Self::Broken(error) }
    }
}

/// The next message of a greeting.
async fn first(incoming: &mut Incoming) -> Result<Message, Ungreeted> {
    Ok(incoming.next().await?.ok_or(Refusal::Malformed)?)
}

fn crowded_out() -> TransportError {
    failure(TransportErrorKind::Busy, "another connection needed its room")
}

fn not_accepted(why: &str) -> TransportError {
    failure(TransportErrorKind::Tls, format!("the client's certificate is not accepted any more: {why}"))
}

/// The certificate that a client showed, and those between it and the authority.
fn shown(connection: &Connection) -> Option<Vec<CertificateDer<'static>>> {
    connection.peer_identity()?.downcast().ok().map(|chain| *chain)
}

/// What a hello brings.
struct Greeted {
    control: SendStream,
    news: Incoming,
    caller: Caller,
}

/// Counts those that did not come as far as a hello. One that was refused is counted already.
fn count(error: &TransportError) {
    match error.kind() {
        TransportErrorKind::Timeout => Rejected::Timeout.count(TRANSPORT),
        TransportErrorKind::Tls | TransportErrorKind::CertificateRefused => Rejected::Tls.count(TRANSPORT),
        TransportErrorKind::Protocol | TransportErrorKind::TooLarge | TransportErrorKind::Unexpected => {
            Rejected::Malformed.count(TRANSPORT)
        }
        _ => {}
    }
}

/// A peer that has proved itself.
struct Peer {
    caller: Caller,
    limits: Arc<Limits>,
}

impl Peer {
    /// Heartbeats one way, refreshes the other, until the connection ends.
    async fn control(&self, mut control: SendStream, mut news: Incoming) -> Result<(), TransportError> {
        let beat = async {
            let mut heartbeats = self.caller.heartbeats();
            while let Some(heartbeat) = heartbeats.next().await {
                send(&mut control, &Message::Heartbeat(heartbeat)).await?;
            }
            // The service closes; whoever closed it ends the connection.
            std::future::pending::<Result<(), TransportError>>().await
        };
        let listen = async {
            loop {
                match news.next().await? {
                    Some(Message::Refresh(refresh)) if Some(refresh.from) == self.caller.cortex() => {
                        self.caller.refresh(refresh);
                    }
                    Some(_) => {
                        return Err(failure(TransportErrorKind::Protocol, "that does not belong on a control stream"));
                    }
                    // It has nothing more to tell; its questions stay open.
                    None => std::future::pending().await,
                }
            }
        };
        tokio::select! {
            ended = beat => ended,
            ended = listen => ended,
        }
    }

    async fn accept(&self, connection: &Connection, questions: &mut JoinSet<()>) -> Result<(), TransportError> {
        loop {
            tokio::select! {
                stream = connection.accept_bi() => {
                    let (answers, question) = stream.map_err(|e| from_connection(&e))?;
                    // A connection may change its address.
                    let caller = self.caller.called_from(&address_text(connection.remote_address()));
                    questions.spawn(question_task(caller, Arc::clone(&self.limits), answers, question));
                }
                Some(ended) = questions.join_next() => {
                    if let Err(error) = ended {
                        tracing::error!(%error, "an answer ended by a fault of ours");
                    }
                }
            }
        }
    }
}

async fn question_task(caller: Caller, limits: Arc<Limits>, mut answers: SendStream, question: RecvStream) {
    let charged = Frames::capped(MAX_QUESTION).charged_to(caller.service().budget().clone(), caller.account());
    let mut question = Incoming::new(question, charged);
    let asked = timeout(limits.idle, question.next()).await;
    let answered = match asked {
        Ok(Ok(Some(Message::Identify))) => send_last(&mut answers, &Message::Identity(caller.identity())).await,
        Ok(Ok(Some(Message::Fetch(request)))) => run(&caller, &limits, request, &mut answers).await,
        Ok(other) => {
            Rejected::Malformed.count(TRANSPORT);
            let newer = matches!(&other, Err(error) if error.kind() == TransportErrorKind::Newer);
            let refusal = if newer { Refusal::Newer } else { Refusal::Malformed };
            send_last(&mut answers, &Message::Reply(FetchReply::refused(refusal))).await
        }
        Err(_) => Err(failure(TransportErrorKind::Timeout, "the question did not come whole in time")),
    };
    if let Err(error) = answered {
        tracing::debug!(%error, peer = ?caller.cortex(), "an answer ended early");
        // Closed already where the peer gave it up.
        let _ = answers.reset(codes::STALLED);
    }
}

/// Answer after answer, each made when the one before was taken by the stream.
async fn run(
    caller: &Caller,
    limits: &Limits,
    mut request: FetchRequest,
    stream: &mut SendStream,
) -> Result<(), TransportError> {
    // What a stream's reader does not take stands in our memory.
    request.max_bytes = request.max_bytes.min(MAX_RUN_BYTES);
    let mut answers = caller.answers(request);
    let gone = stream.stopped();
    let mut gone = std::pin::pin!(gone);
    loop {
        let reply = tokio::select! {
            reply = answers.next() => reply,
            // Whoever stops listening to an open run frees it at once.
            _ = &mut gone => return Ok(()),
        };
        let Some(reply) = reply else { break };
        Rejected::count_reply(TRANSPORT, &reply);
        let frame = answers.frame(reply);
        write(stream, limits.write_stall, frame).await?;
    }
    stream.finish().map_err(from_closed)?;
    // Until it arrived: a connection that closes takes with it what is still on its way.
    let _ = timeout(limits.write_stall, gone).await;
    Ok(())
}

/// Writes one frame, as fast as the reader takes it; one that takes nothing for too long is given up.
async fn write(stream: &mut SendStream, stall: Duration, frame: Bytes) -> Result<(), TransportError> {
    let mut frame = [frame];
    let mut frame = &mut frame[..];
    while !frame.is_empty() {
        let written = timeout(stall, stream.write_chunks(frame))
            .await
            .map_err(|_| failure(TransportErrorKind::Timeout, "the peer does not take the answer"))?
            .map_err(|e| from_write(&e))?;
        frame = &mut frame[written.chunks..];
    }
    Ok(())
}
