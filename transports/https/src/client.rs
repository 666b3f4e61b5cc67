//! The side that asks.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use antiphon_kernel::budget::{Account, Budget};
use antiphon_kernel::codec::{Message, decode, encode};
use antiphon_kernel::config::{PeerConfig, SharedKey};
use antiphon_kernel::log::LocalIdentity;
use antiphon_kernel::proof::{Identified, Introduction};
use antiphon_kernel::protocol::{Delivery, FetchReply, FetchRequest, Identity, MAX_WAIT, Pushed, Refresh};
use antiphon_kernel::transport::TransportErrorKind;
use antiphon_kernel::transport::{Link, Tail, Transport, TransportError};
use antiphon_transport_common::{ClientTls, Frames, Trust, configuration, failure, from_wire, presentable};
use async_trait::async_trait;
use bytes::Bytes;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use reqwest::{Client, RequestBuilder, Response, StatusCode};

use crate::FRAME_CONTENT_TYPE;
use crate::client_body::{Answers, read_capped, read_frame};
use crate::endpoint::Endpoint;
use crate::errors::{from_reqwest, from_status};
use crate::media::is_type;
use crate::resolver::LoopbackOnly;
use crate::session::{Greeter, Session, Sessions};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an answer may take to begin, beyond the time that its question may be parked. An answer that is long in coming is
/// one thing, silence another: until it is noticed, a peer behind a partition looks well.
const HEAD_GRACE: Duration = Duration::from_secs(20);
/// How long a peer may stay silent beyond the time it may park a poll.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// Shorter than a server keeps idle connections, so that the server is rarely the one to close.
const POOL_IDLE: Duration = Duration::from_secs(75);
const MAX_IDENTITY_BYTES: usize = 256 * 1024;

/// Settings of [`HttpsTransport`].
#[derive(Debug, Clone, Default)]
pub struct HttpsOptions {
    /// The key to prove; an open one proves nothing.
    pub shared_key: SharedKey,
    /// Whether `http://` may be dialled, on loopback addresses only. For tests and for one machine.
    pub allow_plaintext_loopback: bool,
}

/// Reaches peers over HTTPS. Clones are the same transport.
#[derive(Debug, Clone)]
pub struct HttpsTransport {
    key: Arc<RwLock<SharedKey>>,
    allow_plaintext_loopback: bool,
    budget: Budget,
}

impl HttpsTransport {
    /// A transport with these settings.
    #[must_use]
    pub fn new(options: HttpsOptions) -> Self {
        let HttpsOptions { shared_key, allow_plaintext_loopback } = options;
        let budget = Budget::default();
        Self { key: Arc::new(RwLock::new(shared_key)), allow_plaintext_loopback, budget }
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

impl Transport for HttpsTransport {
    fn set_keys(&self, keys: &[SharedKey]) {
        self.set_shared_key(keys.first().cloned().unwrap_or_default());
    }

    fn schemes(&self) -> &'static [&'static str] {
        // `http` is listed even where it is not allowed: the refusal then says why.
        &["https", "http"]
    }

    fn link(&self, peer: &PeerConfig, own: &LocalIdentity) -> Result<Box<dyn Link>, TransportError> {
        let endpoint = Endpoint::parse(&peer.endpoint, self.allow_plaintext_loopback)?;
        let tls = tls(&endpoint, peer)?;
        let client = client(&endpoint, &tls)?;
        let introduction = Introduction::new(own, peer, self.shared_key());
        let (budget, account) = (self.budget.clone(), Account::Peer(peer.name.clone()));
        let greeter = Greeter { client, endpoint, introduction, tls };
        Ok(Box::new(HttpsLink { greeter, sessions: Sessions::default(), budget, account }))
    }
}

fn tls(endpoint: &Endpoint, peer: &PeerConfig) -> Result<ClientTls, TransportError> {
    let needs_tls = peer.crl.is_some() || peer.client_cert.is_some() || peer.client_key.is_some();
    if endpoint.is_plaintext() && needs_tls {
        return Err(configuration(
            "plain http has no certificates; write the endpoint as https://host:port, or remove `crl`, `client_cert` and `client_key`",
        ));
    }
    ClientTls::new(peer, Trust::of(peer)?, b"http/1.1")
}

fn client(endpoint: &Endpoint, tls: &ClientTls) -> Result<Client, TransportError> {
    let mut builder = Client::builder()
        .tls_backend_preconfigured(tls.config())
        .https_only(!endpoint.is_plaintext())
        // A redirect could lead anywhere, and a proxy from the environment would see whom we talk to.
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .retry(reqwest::retry::never())
        .referer(false)
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(READ_TIMEOUT + MAX_WAIT)
        // One for polls, one for what is told meanwhile.
        .pool_max_idle_per_host(2)
        .pool_idle_timeout(POOL_IDLE)
        .tcp_nodelay(true)
        .user_agent(concat!("antiphon/", env!("CARGO_PKG_VERSION")));
    if endpoint.is_plaintext() {
        builder = builder.dns_resolver(LoopbackOnly);
    }
    builder
        .build()
        .map_err(|e| configuration(format!("no HTTP client can be made of it: {}", from_reqwest(e).detail())))
}

struct HttpsLink {
    greeter: Greeter,
    sessions: Sessions,
    budget: Budget,
    account: Account,
}

impl HttpsLink {
    fn frames(&self) -> Frames {
        Frames::default().charged_to(self.budget.clone(), self.account.clone())
    }

    /// Sends a request with the token of the session. A server that does not know it, such as one that was restarted, has answered
    /// nothing: it is greeted again, once.
    async fn send(
        &self,
        request: impl Fn(&Client, &Endpoint) -> RequestBuilder + Sync,
    ) -> Result<(Session, Response), TransportError> {
        let mut again = false;
        // Any request may open a connection.
        self.greeter.tls.refresh().await;
        loop {
            let (session, new) = self.sessions.get(&self.greeter).await?;
            let asked = request(&self.greeter.client, &self.greeter.endpoint);
            let asked = asked.header(AUTHORIZATION, session.authorization.clone());
            let response = asked.send().await.map_err(from_reqwest)?;
            if response.status() != StatusCode::UNAUTHORIZED || again || new.is_some() {
                return Ok((session, response));
            }
            again = true;
            self.sessions.end(&session).await;
        }
    }

    async fn ask_identity(&self) -> Result<Identified, TransportError> {
        if let (_, Some(identified)) = self.sessions.get(&self.greeter).await? {
            return Ok(identified);
        }
        let request = |client: &Client, endpoint: &Endpoint| {
            client.get(endpoint.route("/v1/identity")).header(ACCEPT, "application/json")
        };
        let (session, response) = self.send(request).await?;
        if response.status() != StatusCode::OK {
            return Err(from_status(response.status()));
        }
        expect_type(&response, "application/json")?;
        let body = read_capped(response, MAX_IDENTITY_BYTES).await?;
        let identity: Identity = serde_json::from_slice(&body)
            .map_err(|e| failure(TransportErrorKind::Unexpected, format!("its identity does not read as one: {e}")))?;
        identity.room.check().map_err(|rule| {
            let kind = if rule.is_newer() { TransportErrorKind::Newer } else { TransportErrorKind::Protocol };
            failure(kind, rule.to_string())
        })?;
        session.proven.identified(identity)
    }

    /// Sends a question; what comes back is frames.
    async fn ask(&self, request: FetchRequest) -> Result<Response, TransportError> {
        let (due, to) = (request.wait + HEAD_GRACE, request.to);
        let body = encode(&Message::Fetch(request));
        let request = |client: &Client, endpoint: &Endpoint| {
            let request = client.post(endpoint.route("/v1/fetch")).header(CONTENT_TYPE, FRAME_CONTENT_TYPE);
            request.header(ACCEPT, FRAME_CONTENT_TYPE).body(body.clone())
        };
        let late = |_| Err(failure(TransportErrorKind::Timeout, format!("no answer began within {due:?}")));
        let (session, response) = tokio::time::timeout(due, self.send(request)).await.unwrap_or_else(late)?;
        // The one that answers is the one that was greeted.
        session.proven.answers(to)?;
        // A refusal of a malformed question is an answer too, and comes as a frame.
        let answered = match response.status() {
            StatusCode::OK => true,
            // So does that of a caller over its quota. A proxy's own comes without a frame.
            StatusCode::BAD_REQUEST | StatusCode::TOO_MANY_REQUESTS => is_type(response.headers(), FRAME_CONTENT_TYPE),
            _ => false,
        };
        if !answered {
            return Err(from_status(response.status()));
        }
        expect_type(&response, FRAME_CONTENT_TYPE)?;
        Ok(response)
    }

    async fn ask_events(&self, request: &FetchRequest) -> Result<FetchReply, TransportError> {
        let response = self.ask(FetchRequest { delivery: Delivery::Once, ..request.clone() }).await?;
        reply(&read_frame(response, self.frames()).await?)
    }

    async fn tell(&self, refresh: &Refresh) -> Result<(), TransportError> {
        let body = encode(&Message::Refresh(refresh.clone()));
        let request = |client: &Client, endpoint: &Endpoint| {
            let request = client.post(endpoint.route("/v1/refresh")).header(CONTENT_TYPE, FRAME_CONTENT_TYPE);
            request.body(body.clone())
        };
        match self.send(request).await?.1.status() {
            StatusCode::NO_CONTENT => Ok(()),
            status => Err(from_status(status)),
        }
    }

    async fn within<T>(
        &self,
        deadline: Duration,
        ask: impl Future<Output = Result<T, TransportError>>,
    ) -> Result<T, TransportError> {
        let explained = async { ask.await.map_err(|error| self.greeter.tls.explain(error)) };
        within(self.greeter.introduction.key(), deadline, explained).await
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

fn reply(frame: &Bytes) -> Result<FetchReply, TransportError> {
    match decode(frame) {
        Ok(Message::Reply(reply)) => Ok(reply),
        Ok(_) => Err(failure(TransportErrorKind::Protocol, "it answered a question with something else")),
        Err(error) => Err(from_wire(&error)),
    }
}

fn expect_type(response: &Response, expected: &str) -> Result<(), TransportError> {
    if is_type(response.headers(), expected) {
        return Ok(());
    }
    Err(failure(TransportErrorKind::Unexpected, format!("the answer's content type is not {expected}")))
}

#[async_trait]
impl Link for HttpsLink {
    async fn identify(&self, deadline: Duration) -> Result<Identified, TransportError> {
        self.within(deadline, self.ask_identity()).await
    }

    async fn fetch(&self, request: &FetchRequest, deadline: Duration) -> Result<FetchReply, TransportError> {
        self.within(deadline, self.ask_events(request)).await
    }

    /// As far as HTTP goes: batch after batch until we have caught up. What comes later is asked for by the next poll,
    /// which parks; an answer that never ends would wait in whatever buffers answers on the way.
    async fn tail(&self, request: &FetchRequest, deadline: Duration) -> Result<Option<Box<dyn Tail>>, TransportError> {
        let request = FetchRequest { delivery: Delivery::CatchUp, ..request.clone() };
        let response = self.within(deadline, self.ask(request)).await?;
        Ok(Some(Box::new(HttpsTail {
            frames: Answers::new(response, self.frames()),
            key: self.greeter.introduction.key().clone(),
        })))
    }

    async fn refresh(&self, refresh: &Refresh, deadline: Duration) -> Result<(), TransportError> {
        self.within(deadline, self.tell(refresh)).await
    }
}

struct HttpsTail {
    frames: Answers,
    key: SharedKey,
}

#[async_trait]
impl Tail for HttpsTail {
    async fn next(&mut self, deadline: Duration) -> Result<Option<Pushed>, TransportError> {
        let frame = within(&self.key, deadline, self.frames.next()).await?;
        let reply = frame.map(|frame| reply(&frame)).transpose();
        Ok(reply.map_err(|error| presentable(&error, self.key.expose()))?.map(Pushed::Reply))
    }
}
