//! One cortex's way to another.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use tokio::time::Instant;

use super::MemoryNetwork;
use super::paths::{Between, Paths};
use crate::codec::{Message, WireError, decode, encode};
use crate::proof::{Channel, Identified, Introduction, Proven};
use crate::protocol::{FetchReply, FetchRequest, Identity, Pushed, Refresh, Refusal};
use crate::service::{Answers, Caller, Credential, Heartbeats, Service};
use crate::transport::TransportErrorKind;
use crate::transport::{Link, Tail, TransportError};

/// The two ends have nothing in common that others do not have.
const CHANNEL: Channel<'_> = Channel::None;
/// The most answers of one run that are on their way.
const WINDOW: usize = 64;

/// What arrives of a message: itself, read back from its bytes.
fn across(message: &Message) -> Result<Message, TransportError> {
    decode(&encode(message)).map_err(|e: WireError| TransportError::new(e.kind(), e.to_string()))
}

/// What the server reads of a question, or the refusal of one that it cannot read.
fn question(request: &FetchRequest) -> Result<FetchRequest, Refusal> {
    match decode(&encode(&Message::Fetch(request.clone()))) {
        Ok(Message::Fetch(request)) => Ok(request),
        Ok(_) => Err(Refusal::Malformed),
        Err(error) => Err(Refusal::from(&error)),
    }
}

fn identity(identity: Identity) -> Result<Identity, TransportError> {
    match across(&Message::Identity(identity))? {
        Message::Identity(identity) => Ok(identity),
        _ => Err(TransportError::new(TransportErrorKind::Protocol, "an identity read back as something else")),
    }
}

fn answer(pushed: Pushed) -> Result<Pushed, TransportError> {
    match across(&pushed.into())? {
        Message::Reply(reply) => Ok(Pushed::Reply(reply)),
        Message::Heartbeat(heartbeat) => Ok(Pushed::Heartbeat(heartbeat)),
        _ => Err(TransportError::new(TransportErrorKind::Protocol, "an answer read back as something else")),
    }
}

async fn within<T>(deadline: Duration, answer: impl Future<Output = T>) -> Result<T, TransportError> {
    let late = |_| TransportError::new(TransportErrorKind::Timeout, "no answer in time");
    tokio::time::timeout(deadline, answer).await.map_err(late)
}

/// Something that is open on a path, until the path is cut.
struct Exchange {
    paths: watch::Receiver<Paths>,
    between: Between,
    cuts: u64,
}

impl Exchange {
    /// Completes when the path was cut since this began.
    async fn cut(&mut self) {
        let Self { paths, between, cuts } = self;
        if paths.wait_for(|paths| paths.cuts(between) != *cuts).await.is_err() {
            std::future::pending().await
        }
    }

    async fn run<T>(
        &mut self,
        deadline: Duration,
        work: impl Future<Output = Result<T, TransportError>>,
    ) -> Result<T, TransportError> {
        tokio::select! {
            biased;
            () = self.cut() => Err(TransportError::new(TransportErrorKind::Eof, "the path was cut")),
            done = within(deadline, work) => done?,
        }
    }
}

/// A connection: who answers, proved, and what answers there. It ends with a cut of its path.
#[derive(Clone)]
struct Session {
    caller: Caller,
    proven: Proven,
    cuts: u64,
}

#[derive(Clone)]
pub(super) struct MemoryLink {
    network: MemoryNetwork,
    between: Between,
    introduction: Introduction,
    session: Arc<tokio::sync::Mutex<Option<Session>>>,
}

impl MemoryLink {
    pub(super) fn new(network: MemoryNetwork, between: Between, introduction: Introduction) -> Self {
        Self { network, between, introduction, session: Arc::default() }
    }

    /// The connection, with a handshake if there is none that lives.
    async fn open(&self) -> Result<(Session, Exchange), TransportError> {
        let (service, exchange) = self.answering()?;
        let mut slot = self.session.lock().await;
        let lives = |session: &&Session| {
            let Session { caller, cuts, .. } = session;
            *cuts == exchange.cuts && caller.service().is(&service) && caller.refusal().is_none()
        };
        if let Some(session) = slot.as_ref().filter(lives) {
            return Ok((session.clone(), exchange));
        }
        let (caller, proven) = self.greet(&service).await?;
        let caller = caller.called_from(&format!("memory://{}", self.between.0));
        let session = Session { caller, proven, cuts: exchange.cuts };
        Ok((slot.insert(session).clone(), exchange))
    }

    async fn greet(&self, service: &Service) -> Result<(Caller, Proven), TransportError> {
        let refused = |refusal: Refusal| TransportError::new(TransportErrorKind::from(&refusal), refusal.to_string());
        let odd = || TransportError::new(TransportErrorKind::Protocol, "a greeting read back as something else");
        let Message::Connect(connect) = across(&Message::Connect(self.introduction.connect()))? else {
            return Err(odd());
        };
        let proof = service.prove(&connect, CHANNEL).await.map_err(refused)?;
        let Message::Proof(proof) = across(&Message::Proof(proof))? else { return Err(odd()) };
        let (hello, proven) = self.introduction.hello(&connect, &proof, CHANNEL).await?;
        let Message::Hello(hello) = across(&Message::Hello(hello))? else { return Err(odd()) };
        let caller = service.admit(&Credential::Hello { hello: &hello, channel: CHANNEL }).map_err(refused)?;
        Ok((caller, proven))
    }

    fn answering(&self) -> Result<(Service, Exchange), TransportError> {
        let paths = self.network.paths.subscribe();
        let refused = |detail: String| TransportError::new(TransportErrorKind::ConnectionRefused, detail);
        let (service, cuts) = {
            let paths = paths.borrow();
            let (asker, host) = &self.between;
            if paths.is_cut(&self.between) {
                return Err(refused(format!("the path from {asker} to {host} is cut")));
            }
            let service = paths.service(host).cloned();
            let service = service.ok_or_else(|| refused(format!("no cortex answers at {host}")))?;
            (service, paths.cuts(&self.between))
        };
        Ok((service, Exchange { paths, between: self.between.clone(), cuts }))
    }

    fn delay(&self) -> Duration {
        self.network.paths.borrow().delay(&self.between)
    }

    /// The time that a message takes in one direction.
    async fn travel(&self) {
        let delay = self.delay();
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
    }

    /// The answer, unless it is one that the test loses.
    fn arrived<T>(&self, answer: T) -> Result<T, TransportError> {
        if self.network.loses(&self.between) {
            return Err(TransportError::new(TransportErrorKind::Eof, "the answer was lost"));
        }
        Ok(answer)
    }
}

#[async_trait]
impl Link for MemoryLink {
    async fn identify(&self, deadline: Duration) -> Result<Identified, TransportError> {
        let (Session { caller, proven, .. }, mut exchange) = self.open().await?;
        let asked = async {
            self.travel().await;
            let identity = caller.identity();
            self.travel().await;
            self.arrived(identity)
        };
        proven.identified(identity(exchange.run(deadline, asked).await?)?)
    }

    async fn fetch(&self, request: &FetchRequest, deadline: Duration) -> Result<FetchReply, TransportError> {
        let (Session { caller, proven, .. }, mut exchange) = self.open().await?;
        proven.answers(request.to)?;
        let question = match question(request) {
            Ok(question) => question,
            Err(refusal) => return Ok(FetchReply::refused(refusal)),
        };
        let asked = async {
            self.travel().await;
            let reply = caller.fetch(question).await;
            self.travel().await;
            self.arrived(reply)
        };
        match answer(Pushed::Reply(exchange.run(deadline, asked).await?))? {
            Pushed::Reply(reply) => Ok(reply),
            Pushed::Heartbeat(_) => {
                Err(TransportError::new(TransportErrorKind::Protocol, "a heartbeat answers nothing"))
            }
        }
    }

    async fn tail(&self, request: &FetchRequest, deadline: Duration) -> Result<Option<Box<dyn Tail>>, TransportError> {
        if self.network.polling {
            return Ok(None);
        }
        let (Session { caller, proven, .. }, mut exchange) = self.open().await?;
        proven.answers(request.to)?;
        let refused = |refusal: Refusal| TransportError::new(TransportErrorKind::from(&refusal), refusal.to_string());
        let question = question(request).map_err(refused)?;
        let asked = async {
            self.travel().await;
            Ok(Run { heartbeats: caller.heartbeats(), answers: caller.answers(question) })
        };
        let run = Some(exchange.run(deadline, asked).await?);
        Ok(Some(Box::new(MemoryTail { link: self.clone(), exchange, run, travelling: VecDeque::new() })))
    }

    async fn refresh(&self, refresh: &Refresh, deadline: Duration) -> Result<(), TransportError> {
        if self.network.polling {
            return Ok(());
        }
        let Message::Refresh(refresh) = across(&Message::Refresh(refresh.clone()))? else { return Ok(()) };
        let (Session { caller, .. }, mut exchange) = self.open().await?;
        let sent = async {
            self.travel().await;
            caller.refresh(refresh);
            Ok(())
        };
        exchange.run(deadline, sent).await
    }
}

/// The answering end of a run.
struct Run {
    answers: Answers,
    heartbeats: Heartbeats,
}

impl Run {
    /// The next message, or `None` at the end. Dropping the future loses nothing.
    async fn next(&mut self) -> Option<Pushed> {
        tokio::select! {
            biased;
            reply = self.answers.next() => reply.map(Pushed::Reply),
            Some(heartbeat) = self.heartbeats.next() => Some(Pushed::Heartbeat(heartbeat)),
        }
    }
}

struct MemoryTail {
    link: MemoryLink,
    exchange: Exchange,
    /// `None` once the run ended.
    run: Option<Run>,
    /// With the time of their arrival.
    travelling: VecDeque<(Instant, Pushed)>,
}

impl MemoryTail {
    /// The next message that arrives.
    async fn arrival(
        link: &MemoryLink,
        run: &mut Option<Run>,
        travelling: &mut VecDeque<(Instant, Pushed)>,
    ) -> Option<Pushed> {
        loop {
            let first = travelling.front().map(|(at, _)| *at);
            let sends = first.is_none() || run.is_some();
            let sent = async {
                match run {
                    Some(run) if travelling.len() < WINDOW => run.next().await,
                    Some(_) => std::future::pending().await,
                    None => None,
                }
            };
            let sent = tokio::select! {
                biased;
                () = sleep_until(first) => return travelling.pop_front().map(|(_, pushed)| pushed),
                sent = sent, if sends => sent,
            };
            let Some(sent) = sent else {
                *run = None;
                if travelling.is_empty() {
                    return None;
                }
                continue;
            };
            let delay = link.delay();
            match travelling.back() {
                None if delay.is_zero() => return Some(sent),
                // Messages keep their order if the delay became shorter.
                last => {
                    let after = last.map(|(at, _)| *at);
                    travelling.push_back((after.max(Some(Instant::now() + delay)).unwrap_or_else(Instant::now), sent));
                }
            }
        }
    }
}

#[async_trait]
impl Tail for MemoryTail {
    async fn next(&mut self, deadline: Duration) -> Result<Option<Pushed>, TransportError> {
        let Self { link, exchange, run, travelling } = self;
        let arrival = async {
            match Self::arrival(link, run, travelling).await {
                Some(Pushed::Reply(reply)) => link.arrived(Some(Pushed::Reply(reply))),
                other => Ok(other),
            }
        };
        let next = exchange.run(deadline, arrival).await;
        let timed_out = matches!(&next, Err(error) if error.kind() == TransportErrorKind::Timeout);
        if next.is_err() && !timed_out {
            // The answering end must not wait until this end is dropped.
            self.run = None;
            self.travelling.clear();
        }
        next?.map(answer).transpose()
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
