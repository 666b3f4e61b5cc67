//! Who answers at an endpoint, and the token that replaces the handshake.

use std::time::Duration;

use antiphon_kernel::codec::{Message, decode, encode};
use antiphon_kernel::proof::{Channel, Identified, Introduction, Proven};
use antiphon_kernel::protocol::FetchReply;
use antiphon_kernel::service::TOKEN_FOR;
use antiphon_kernel::transport::{TransportError, TransportErrorKind};
use antiphon_transport_common::{ClientTls, Frames, failure, from_wire};
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use reqwest::{Client, Response};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::client_body::read_frame;
use crate::endpoint::Endpoint;
use crate::errors::{from_reqwest, from_status};
use crate::media::is_type;
use crate::{FRAME_CONTENT_TYPE, TOKEN_HEADER, TOKEN_SCHEME};

/// A token is replaced before it expires: a question that is parked with it continues.
const RENEW_AFTER: Duration = TOKEN_FOR.checked_div(2).expect("two is not zero");
/// When it is not presented any more.
const OVER_AFTER: Duration = TOKEN_FOR.saturating_sub(Duration::from_secs(30));
/// The largest frame of a greeting.
const MAX_GREETING: usize = 256 * 1024;

/// Who answers, and what to present there.
#[derive(Clone)]
pub(crate) struct Session {
    pub(crate) proven: Proven,
    pub(crate) authorization: HeaderValue,
    since: Instant,
}

/// The one session of a link, made when it is needed.
#[derive(Default)]
pub(crate) struct Sessions(Mutex<Option<Session>>);

impl Sessions {
    /// The session, and who answered if it is a new one.
    pub(crate) async fn get(&self, greeter: &Greeter) -> Result<(Session, Option<Identified>), TransportError> {
        // Held while greeting: questions that are asked at once share one session.
        let mut slot = self.0.lock().await;
        if let Some(session) = slot.as_ref().filter(|session| session.since.elapsed() < RENEW_AFTER) {
            return Ok((session.clone(), None));
        }
        match greeter.greet().await {
            Ok((session, identified)) => Ok((slot.insert(session).clone(), Some(identified))),
            // One that could not be renewed now holds for some minutes yet.
            Err(error) => match slot.as_ref().filter(|session| session.since.elapsed() < OVER_AFTER) {
                Some(session) => Ok((session.clone(), None)),
                None => Err(error),
            },
        }
    }

    /// Forgets a session that the server does not know any more.
    pub(crate) async fn end(&self, session: &Session) {
        let mut slot = self.0.lock().await;
        if slot.as_ref().is_some_and(|kept| kept.since == session.since) {
            *slot = None;
        }
    }
}

/// Greets the server at an endpoint.
pub(crate) struct Greeter {
    pub(crate) client: Client,
    pub(crate) endpoint: Endpoint,
    pub(crate) introduction: Introduction,
    pub(crate) tls: ClientTls,
}

impl Greeter {
    async fn greet(&self) -> Result<(Session, Identified), TransportError> {
        self.tls.refresh().await;
        let channel = Channel::Host(self.endpoint.host());
        let since = Instant::now();
        let connect = self.introduction.connect();
        let (proof, _) = self.exchange("/v1/connect", &Message::Connect(connect.clone())).await?;
        let Message::Proof(proof) = proof else { return Err(odd()) };
        let (hello, proven) = self.introduction.hello(&connect, &proof, channel).await?;
        let (identity, token) = self.exchange("/v1/hello", &Message::Hello(hello)).await?;
        let Message::Identity(identity) = identity else { return Err(odd()) };
        let identified = proven.identified(identity)?;
        let token = token.ok_or_else(|| failure(TransportErrorKind::Protocol, "it gave no token"))?;
        let authorization = [TOKEN_SCHEME.as_bytes(), b" ", token.as_bytes()].concat();
        let mut authorization = HeaderValue::from_bytes(&authorization)
            .map_err(|_| failure(TransportErrorKind::Protocol, "its token cannot stand in a header"))?;
        authorization.set_sensitive(true);
        Ok((Session { proven, authorization, since }, identified))
    }

    /// Sends a message of the greeting. The answer is the next one, or a refusal.
    async fn exchange(&self, route: &str, message: &Message) -> Result<(Message, Option<HeaderValue>), TransportError> {
        let request = self.client.post(self.endpoint.route(route)).header(CONTENT_TYPE, FRAME_CONTENT_TYPE);
        let response = request.header(ACCEPT, FRAME_CONTENT_TYPE).body(encode(message)).send().await;
        let mut response: Response = response.map_err(from_reqwest)?;
        // A refusal comes with a status that says so, and as a frame.
        if !is_type(response.headers(), FRAME_CONTENT_TYPE) {
            let status = response.status();
            let detail = "the answer to a greeting is no frame";
            let odd = || failure(TransportErrorKind::Unexpected, detail);
            return Err(if status.is_success() { odd() } else { from_status(status) });
        }
        let token = response.headers_mut().remove(TOKEN_HEADER);
        let frame = read_frame(response, Frames::capped(MAX_GREETING)).await?;
        match decode(&frame).map_err(|error| from_wire(&error))? {
            Message::Reply(FetchReply::Refused { refusal, .. }) => Err(failure((&refusal).into(), refusal.to_string())),
            message => Ok((message, token)),
        }
    }
}

fn odd() -> TransportError {
    failure(TransportErrorKind::Protocol, "it answered a greeting with something else")
}
