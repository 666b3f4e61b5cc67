//! The side that asks.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use antiphon_kernel::budget::{Account, Budget};
use antiphon_kernel::codec::Message;
use antiphon_kernel::config::{PeerConfig, SharedKey, TlsVersion};
use antiphon_kernel::log::LocalIdentity;
use antiphon_kernel::proof::{Identified, Introduction};
use antiphon_kernel::protocol::{Delivery, FetchReply, FetchRequest, Heartbeat, Pushed, Refresh};
use antiphon_kernel::transport::TransportErrorKind;
use antiphon_kernel::transport::{Link, Tail, Transport, TransportError};
use antiphon_transport_common::{ClientTls, Trust, configuration, failure, presentable};
use async_trait::async_trait;
use quinn::ClientConfig;
use tokio::sync::{Mutex, watch};

use crate::endpoint::Endpoint;
use crate::framed::Incoming;
use crate::session::{Session, Sockets};
use crate::{ALPN, tuning};

/// Settings of [`QuicTransport`].
#[derive(Debug, Clone, Default)]
pub struct QuicOptions {
    /// The key to present; an open one presents nothing.
    pub shared_key: SharedKey,
}

/// Reaches peers over QUIC: one connection a peer, one UDP socket an address family. Clones are the same transport.
#[derive(Clone)]
pub struct QuicTransport {
    key: Arc<RwLock<SharedKey>>,
    sockets: Arc<Sockets>,
    budget: Budget,
}

impl QuicTransport {
    /// A transport with these settings.
    #[must_use]
    pub fn new(options: QuicOptions) -> Self {
        let budget = Budget::default();
        Self { key: Arc::new(RwLock::new(options.shared_key)), sockets: Arc::default(), budget }
    }

    /// Receives within a memory budget of its own, rather than the one of the process.
    #[must_use]
    pub fn within(self, budget: Budget) -> Self {
        Self { budget, ..self }
    }

    /// Replaces the key that is presented. Links present the one that held when they were made: open them anew, as
    /// [`antiphon_kernel::cortex::Cortex::reload`] does.
    pub fn set_shared_key(&self, key: SharedKey) {
        *self.key.write().unwrap_or_else(PoisonError::into_inner) = key;
    }

    /// The key that is presented.
    #[must_use]
    pub fn shared_key(&self) -> SharedKey {
        self.key.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Transport for QuicTransport {
    fn set_keys(&self, keys: &[SharedKey]) {
        self.set_shared_key(keys.first().cloned().unwrap_or_default());
    }

    fn schemes(&self) -> &'static [&'static str] {
        &["quic"]
    }

    fn link(&self, peer: &PeerConfig, own: &LocalIdentity) -> Result<Box<dyn Link>, TransportError> {
        let endpoint = Endpoint::parse(&peer.endpoint)?;
        let introduction = Introduction::new(own, peer, self.shared_key());
        if peer.tls_min_version != TlsVersion::Tls13 {
            return Err(configuration("QUIC speaks TLS 1.3 alone; leave `tls_min_version` out, or dial https://"));
        }
        let tls = ClientTls::new(peer, trust(peer)?, ALPN)?;
        let config =
            tuning::client(tls.config()).map_err(|e| configuration(format!("TLS cannot be set up for QUIC: {e}")))?;
        let sockets = Arc::clone(&self.sockets);
        let (budget, account) = (self.budget.clone(), Account::Peer(peer.name.clone()));
        let session = Mutex::default();
        Ok(Box::new(QuicLink { sockets, tls, config, endpoint, introduction, session, budget, account }))
    }
}

/// What a server's certificate must be. With the configured id, its signature over the connection says more than any certificate.
fn trust(peer: &PeerConfig) -> Result<Trust<'_>, TransportError> {
    Ok(match (Trust::of(peer)?, peer.cortex) {
        (Trust::System, Some(_)) => Trust::Proof,
        (trust, _) => trust,
    })
}

struct QuicLink {
    sockets: Arc<Sockets>,
    tls: ClientTls,
    config: ClientConfig,
    endpoint: Endpoint,
    introduction: Introduction,
    session: Mutex<Option<Arc<Session>>>,
    budget: Budget,
    account: Account,
}

impl QuicLink {
    /// The connection, dialled if there is none that lives, and then with who answered.
    async fn session(&self) -> Result<(Arc<Session>, Option<Identified>), TransportError> {
        // Held while dialling: questions that are asked at once share one connection.
        let mut slot = self.session.lock().await;
        if let Some(session) = slot.as_ref().filter(|session| session.is_alive()) {
            return Ok((Arc::clone(session), None));
        }
        *slot = None;
        self.tls.refresh().await;
        let dialled = Session::dial(&self.sockets, &self.config, &self.endpoint, &self.introduction).await;
        let (session, identity) = dialled.map_err(|error| self.tls.explain(error))?;
        let session = Arc::clone(slot.insert(Arc::new(session)));
        Ok((session, Some(identity)))
    }

    async fn ask(&self, request: FetchRequest) -> Result<(Arc<Session>, Incoming), TransportError> {
        let session = self.session().await?.0;
        session.proven().answers(request.to)?;
        let answers = session.ask(&Message::Fetch(request), &self.budget, &self.account).await?;
        Ok((session, answers))
    }

    async fn ask_identity(&self) -> Result<Identified, TransportError> {
        let (session, identity) = self.session().await?;
        if let Some(identity) = identity {
            return Ok(identity);
        }
        match session.ask(&Message::Identify, &self.budget, &self.account).await?.next().await? {
            Some(Message::Identity(identity)) => session.proven().identified(identity),
            other => Err(unexpected(other.as_ref())),
        }
    }

    async fn ask_events(&self, request: &FetchRequest) -> Result<FetchReply, TransportError> {
        let request = FetchRequest { delivery: Delivery::Once, ..request.clone() };
        let (_session, mut answers) = self.ask(request).await?;
        match answers.next().await? {
            Some(Message::Reply(reply)) => Ok(reply),
            other => Err(unexpected(other.as_ref())),
        }
    }
}

async fn within<T>(
    key: &SharedKey,
    deadline: Duration,
    ask: impl Future<Output = Result<T, TransportError>>,
) -> Result<T, TransportError> {
    let result = tokio::time::timeout(deadline, ask)
        .await
        .unwrap_or_else(|_| Err(failure(TransportErrorKind::Timeout, format!("no whole answer within {deadline:?}"))));
    result.map_err(|error| presentable(&error, key.expose()))
}

fn unexpected(message: Option<&Message>) -> TransportError {
    match message {
        None => failure(TransportErrorKind::Eof, "it ended without an answer"),
        Some(_) => failure(TransportErrorKind::Protocol, "it answered a question with something else"),
    }
}

#[async_trait]
impl Link for QuicLink {
    async fn identify(&self, deadline: Duration) -> Result<Identified, TransportError> {
        within(self.introduction.key(), deadline, self.ask_identity()).await
    }

    async fn fetch(&self, request: &FetchRequest, deadline: Duration) -> Result<FetchReply, TransportError> {
        within(self.introduction.key(), deadline, self.ask_events(request)).await
    }

    async fn tail(&self, request: &FetchRequest, deadline: Duration) -> Result<Option<Box<dyn Tail>>, TransportError> {
        let asked = self.ask(request.clone());
        let (session, answers) = within(self.introduction.key(), deadline, asked).await?;
        let mut heartbeats = session.heartbeats();
        // The newest one there is counts as news here.
        heartbeats.mark_changed();
        Ok(Some(Box::new(QuicTail { answers, heartbeats, key: self.introduction.key().clone(), _session: session })))
    }

    async fn refresh(&self, refresh: &Refresh, deadline: Duration) -> Result<(), TransportError> {
        // For a question that is open; where there is no connection, there is none.
        let session = self.session.lock().await.as_ref().filter(|session| session.is_alive()).cloned();
        let Some(session) = session else { return Ok(()) };
        within(self.introduction.key(), deadline, session.tell(refresh)).await
    }
}

struct QuicTail {
    answers: Incoming,
    heartbeats: watch::Receiver<Option<Heartbeat>>,
    key: SharedKey,
    /// Keeps the connection, should the link dial another one meanwhile.
    _session: Arc<Session>,
}

impl QuicTail {
    async fn pushed(&mut self) -> Result<Option<Pushed>, TransportError> {
        loop {
            tokio::select! {
                biased;
                message = self.answers.next() => {
                    return match message? {
                        Some(Message::Reply(reply)) => Ok(Some(Pushed::Reply(reply))),
                        None => Ok(None),
                        other => Err(unexpected(other.as_ref())),
                    };
                }
                Ok(()) = self.heartbeats.changed() => {
                    let heartbeat = self.heartbeats.borrow_and_update().clone();
                    if let Some(heartbeat) = heartbeat {
                        return Ok(Some(Pushed::Heartbeat(heartbeat)));
                    }
                }
            }
        }
    }
}

#[async_trait]
impl Tail for QuicTail {
    async fn next(&mut self, deadline: Duration) -> Result<Option<Pushed>, TransportError> {
        let key = self.key.clone();
        within(&key, deadline, self.pushed()).await
    }
}
