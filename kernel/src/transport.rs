//! What Antiphon asks of a transport: carry a question to a peer and bring back its answer.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::config::{PeerConfig, SharedKey};
use crate::error_code::ErrorCode;
use crate::health::{ErrorCategory, Failure};
use crate::log::LocalIdentity;
use crate::proof::Identified;
use crate::protocol::{FetchReply, FetchRequest, Pushed, Refresh, Refusal};
use crate::service::Service;

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident;)+) => {
        /// The failures that a transport can report. What a peer does wrong in its answers, and what fails in this node, is found by
        /// the kernel: see [`ErrorCategory`], which has all of them.
        ///
        /// ```
        /// use antiphon_kernel::{TransportError, TransportErrorKind};
        ///
        /// let error = TransportError::new(TransportErrorKind::Timeout, "no answer within 15 s");
        /// assert_eq!(error.kind(), TransportErrorKind::Timeout);
        /// ```
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum TransportErrorKind { $($(#[$doc])* $kind,)+ }

        impl TransportErrorKind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$kind),+];

            /// The category of a peer's failure that this is.
            #[must_use]
            pub const fn category(self) -> ErrorCategory {
                match self { $(Self::$kind => ErrorCategory::$kind,)+ }
            }

            /// The stable code of this kind.
            #[must_use]
            pub const fn code(self) -> ErrorCode {
                self.category().code()
            }
        }
    };
}

kinds! {
    /// No process listens at the endpoint.
    ConnectionRefused;
    /// No answer came in time.
    Timeout;
    /// The host name does not resolve.
    Dns;
    /// There is no trusted TLS session.
    Tls;
    /// The peer's certificate is revoked.
    Revoked;
    /// Whether the peer's certificate is revoked is not known: no list that is current covers it.
    RevocationUnknown;
    /// The peer does not accept the certificate that it was shown, or asks for one.
    CertificateRefused;
    /// One side speaks TLS, and the other does not.
    Scheme;
    /// The connection broke.
    Reset;
    /// The answer ended early.
    Eof;
    /// The shared key was not accepted.
    Auth;
    /// The peer redirects. Redirects are never followed.
    Redirect;
    /// The answer is larger than a frame may be.
    TooLarge;
    /// The answer was damaged on the way.
    Corrupt;
    /// The peer broke the transport's protocol.
    Protocol;
    /// The two sides have no protocol in common.
    Version;
    /// The peer belongs to another log.
    OtherLog;
    /// The peer does not prove that it is the cortex that it says it is.
    Unproven;
    /// The peer proves that it is another cortex than the configured one.
    Identity;
    /// The peer does not accept our proof of identity.
    ProofRefused;
    /// The peer does not allow us to read its log.
    NotAllowed;
    /// The peer has no room now.
    Busy;
    /// The peer does not serve its log.
    NotServing;
    /// The peer reports a failure of its own.
    PeerFault;
    /// The peer sends what only a newer version reads.
    Newer;
    /// The endpoint answers, but not as an Antiphon node does.
    Unexpected;
    /// The endpoint or its authorities can never be used as configured.
    Configuration;
}

impl From<&Refusal> for TransportErrorKind {
    /// The kind of a refusal that came in the place of a greeting or an identity. A refusal of a fetch is an answer.
    fn from(refusal: &Refusal) -> Self {
        match refusal {
            Refusal::Key => Self::Auth,
            Refusal::Busy => Self::Busy,
            Refusal::NotServing => Self::NotServing,
            Refusal::Internal => Self::PeerFault,
            Refusal::Protocol { .. } | Refusal::Newer => Self::Version,
            Refusal::OtherLog { .. } => Self::OtherLog,
            Refusal::Proof => Self::ProofRefused,
            Refusal::NotAllowed => Self::NotAllowed,
            _ => Self::Protocol,
        }
    }
}

/// Why a transport brought no answer. Whatever its kind, nothing was applied and the cursor did not move.
///
/// ```
/// use std::error::Error as _;
///
/// use antiphon_kernel::{TransportError, TransportErrorKind};
///
/// let broke = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
/// let error = TransportError::new(TransportErrorKind::Reset, broke.to_string()).caused_by(broke);
/// assert!(error.source().is_some());
/// ```
#[derive(Debug, Clone)]
pub struct TransportError {
    kind: TransportErrorKind,
    detail: String,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl TransportError {
    /// A failure of this kind. `detail` is for the log and the peer's state: it is not stored, and it must hold no key.
    #[must_use]
    pub fn new(kind: TransportErrorKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), source: None }
    }

    /// The same, with the error of the network stack that caused it.
    #[must_use]
    pub fn caused_by(self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self { source: Some(Arc::new(source)), ..self }
    }

    /// The same, with another detail.
    #[must_use]
    pub fn with_detail(self, detail: impl Into<String>) -> Self {
        Self { detail: detail.into(), ..self }
    }

    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> TransportErrorKind {
        self.kind
    }

    /// The category of the peer's failure that it is.
    #[must_use]
    pub const fn category(&self) -> ErrorCategory {
        self.kind.category()
    }

    /// The stable code of this failure.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        self.kind.code()
    }

    /// What exactly happened.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }
}

impl fmt::Display for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the peer {}", self.category().reason())?;
        // A cause is printed after this, and the detail of such an error is its text.
        if self.source.is_some() { Ok(()) } else { write!(f, ": {}", self.detail) }
    }
}

/// By kind and detail: the source is for logs.
impl PartialEq for TransportError {
    fn eq(&self, other: &Self) -> bool {
        (self.kind, &self.detail) == (other.kind, &other.detail)
    }
}

impl Eq for TransportError {}

impl std::error::Error for TransportError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn std::error::Error + 'static))
    }
}

impl From<TransportError> for Failure {
    fn from(error: TransportError) -> Self {
        Self { category: error.category(), detail: error.detail }
    }
}

/// Why a transport does not answer peers.
///
/// ```
/// use std::error::Error;
///
/// use antiphon_kernel::ServeError;
/// use antiphon_kernel::error_code::ErrorCode;
///
/// let taken = std::io::Error::from(std::io::ErrorKind::AddrInUse);
/// let error = ServeError { transport: "direct", code: ErrorCode::ListenAddress, source: taken.into() };
/// assert_eq!(error.code().as_str(), "AP-LISTEN-003");
/// assert!(error.source().is_some_and(|source| source.is::<std::io::Error>()));
/// ```
#[derive(Debug, thiserror::Error)]
#[error("the transport `{transport}` does not answer peers")]
pub struct ServeError {
    /// The transport's first scheme.
    pub transport: &'static str,
    /// The code of what failed; [`ErrorCode::StartServe`] if no code says more.
    pub code: ErrorCode,
    /// What failed: an address that is taken, a certificate that cannot be used.
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

impl ServeError {
    /// The stable code of this failure.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        self.code
    }
}

/// What answers peers on behalf of a transport. Dropping it ends it at once.
///
/// ```
/// use antiphon_kernel::{Server, Service};
/// use async_trait::async_trait;
///
/// /// Accepts connections in a task, which ends when this is dropped.
/// struct Listener {
///     address: String,
///     service: Service,
///     accepting: tokio::task::JoinHandle<()>,
/// }
///
/// #[async_trait]
/// impl Server for Listener {
///     fn address(&self) -> String {
///         self.address.clone()
///     }
///
///     async fn shutdown(self: Box<Self>) {
///         // Parked questions are answered now. Answers that are being sent would get some seconds here.
///         self.service.close();
///     }
/// }
///
/// impl Drop for Listener {
///     fn drop(&mut self) {
///         self.accepting.abort();
///     }
/// }
/// ```
#[async_trait]
pub trait Server: Send + Sync {
    /// Where it answers: `host:port`, or whatever the transport's endpoints have after `scheme://`.
    fn address(&self) -> String;

    /// Ends it in order: answers that are being sent get the transport's published time.
    async fn shutdown(self: Box<Self>);
}

/// A way to reach peers, and to answer them where it has an address. The scheme of a peer's endpoint selects the transport.
///
/// ```
/// use std::time::Duration;
///
/// use antiphon_kernel::config::PeerConfig;
/// use antiphon_kernel::log::LocalIdentity;
/// use antiphon_kernel::proof::Identified;
/// use antiphon_kernel::protocol::{FetchReply, FetchRequest};
/// use antiphon_kernel::service::{Caller, Credential};
/// use antiphon_kernel::testing::MemoryStore;
/// use antiphon_kernel::{Cortex, Draft, Link, Peer, Service, Transport, TransportError, TransportErrorKind};
/// use async_trait::async_trait;
///
/// # struct Direct(Caller);
/// #
/// # #[async_trait]
/// # impl Link for Direct {
/// #     async fn identify(&self, _: Duration) -> Result<Identified, TransportError> {
/// #         Ok(Identified::claimed(self.0.identity()))
/// #     }
/// #
/// #     async fn fetch(&self, request: &FetchRequest, _: Duration) -> Result<FetchReply, TransportError> {
/// #         Ok(self.0.fetch(request.clone()).await)
/// #     }
/// # }
/// #
/// /// Reaches one cortex of the same process, at `direct://bravo`. It proves nothing: both ends are this program.
/// struct InProcess(Service);
///
/// impl Transport for InProcess {
///     fn schemes(&self) -> &'static [&'static str] {
///         &["direct"]
///     }
///
///     fn link(&self, peer: &PeerConfig, _: &LocalIdentity) -> Result<Box<dyn Link>, TransportError> {
///         if peer.endpoint != "direct://bravo" {
///             return Err(TransportError::new(TransportErrorKind::Configuration, "write it as direct://bravo"));
///         }
///         let caller = self.0.admit(&Credential::Key(None));
///         let refused = |refusal| TransportError::new(TransportErrorKind::from(&refusal), refusal.to_string());
///         Ok(Box::new(Direct(caller.map_err(refused)?)))
///     }
/// }
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let bravo = Cortex::builder(MemoryStore::new()).name("bravo").start().await?;
/// bravo.append(Draft::new("note.written", "hello")).await?;
/// let alpha = Cortex::builder(MemoryStore::new())
///     .transport(InProcess(bravo.service().clone()))
///     .peer(Peer::new("bravo", "direct://bravo").unproven())
///     .start()
///     .await?;
/// alpha.reader().watch_durable().wait_for(|head| head.get() == 1).await?;
/// # alpha.stop().await;
/// # bravo.stop().await;
/// # Ok(())
/// # }
/// ```
#[async_trait]
pub trait Transport: Send + Sync + 'static {
    /// The schemes it serves, such as `["https"]`.
    fn schemes(&self) -> &'static [&'static str];

    /// Prepares to talk to a peer as `own`. **Never connects**: an unreachable peer is an ordinary error of the first question,
    /// not a failed start. Call it again after the configuration changed.
    ///
    /// # Errors
    /// [`TransportErrorKind::Configuration`]: an endpoint or CA file that can never work.
    fn link(&self, peer: &PeerConfig, own: &LocalIdentity) -> Result<Box<dyn Link>, TransportError>;

    /// Receives the shared keys, before the first link and again when they change. The first is presented to peers; none means
    /// open mode. Links keep the key that they were made with.
    ///
    /// Optional: a transport that presents no key ignores them.
    fn set_keys(&self, keys: &[SharedKey]) {
        let _ = keys;
    }

    /// Begins to answer peers for a cortex. `None`, the default: the transport has no address and only dials.
    ///
    /// # Errors
    /// [`ServeError`]; nothing is left behind.
    async fn serve(&self, service: &Service) -> Result<Option<Box<dyn Server>>, ServeError> {
        let _ = service;
        Ok(None)
    }
}

#[async_trait]
impl<T: Transport + ?Sized> Transport for Arc<T> {
    fn schemes(&self) -> &'static [&'static str] {
        (**self).schemes()
    }

    fn link(&self, peer: &PeerConfig, own: &LocalIdentity) -> Result<Box<dyn Link>, TransportError> {
        (**self).link(peer, own)
    }

    fn set_keys(&self, keys: &[SharedKey]) {
        (**self).set_keys(keys);
    }

    async fn serve(&self, service: &Service) -> Result<Option<Box<dyn Server>>, ServeError> {
        (**self).serve(service).await
    }
}

/// One peer, as far as a transport is concerned. Connections are its own affair: it opens them when asked, reuses them
/// between questions, and opens new ones after they broke.
///
/// # To ensure correctness
/// - An answer belongs to the question it is returned for. A late answer of an earlier question is dropped.
/// - A reply is returned whole or not at all: damage and truncation are errors ([`TransportErrorKind::Corrupt`],
///   [`TransportErrorKind::Eof`]), never a shorter batch.
/// - The replies of a run come in the order they were sent, each once; one that cannot be brought ends the run.
/// - `deadline` is the longest it may take, connecting included. Dropping the future cancels the question, and leaves the
///   link usable.
/// - Questions may be asked side by side; one that waits delays no other.
/// - No more than [`crate::codec::MAX_FRAME_BYTES`] are read for a reply, whatever the peer claims.
/// - It sends no shared key. Questions are asked in the name that the hello proved, and answered for no other.
/// - It follows no redirect.
/// - It retries nothing: back-off is the kernel's.
///
/// [`crate::testing::transport_suite`] puts an implementation to each of these.
///
/// ```
/// use std::time::Duration;
///
/// use antiphon_kernel::proof::Identified;
/// use antiphon_kernel::protocol::{FetchReply, FetchRequest};
/// use antiphon_kernel::service::{Caller, Credential};
/// use antiphon_kernel::testing::MemoryStore;
/// use antiphon_kernel::{Cortex, Link, TransportError};
/// use async_trait::async_trait;
///
/// /// A peer in the same process, which proves nothing.
/// struct Direct(Caller);
///
/// #[async_trait]
/// impl Link for Direct {
///     async fn identify(&self, _: Duration) -> Result<Identified, TransportError> {
///         Ok(Identified::claimed(self.0.identity()))
///     }
///
///     async fn fetch(&self, request: &FetchRequest, _: Duration) -> Result<FetchReply, TransportError> {
///         Ok(self.0.fetch(request.clone()).await)
///     }
/// }
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let bravo = Cortex::builder(MemoryStore::new()).name("bravo").start().await?;
/// let link = Direct(bravo.service().admit(&Credential::Key(None))?);
/// assert_eq!(link.identify(Duration::from_secs(5)).await?.identity().name, "bravo");
/// bravo.stop().await;
/// # Ok(())
/// # }
/// ```
#[async_trait]
pub trait Link: Send + Sync {
    /// Asks the peer who it is, now: what it said earlier does not count. [`crate::proof`] has what the two exchange before. A
    /// transport that cannot prove who answers says [`Identified::claimed`].
    ///
    /// # Errors
    /// [`TransportError`].
    async fn identify(&self, deadline: Duration) -> Result<Identified, TransportError>;

    /// Asks the peer for one batch of events, whatever `request.delivery` says. `request.wait` lies within `deadline`.
    ///
    /// # Errors
    /// [`TransportError`]; a refusal by the peer is an answer, not an error.
    async fn fetch(&self, request: &FetchRequest, deadline: Duration) -> Result<FetchReply, TransportError>;

    /// Opens a run of answers to one question, as far as the transport can: at most what `request.delivery` asks for.
    ///
    /// Optional. `None`, the default, says that this transport brings one answer a question; the kernel then polls with
    /// [`Link::fetch`], and everything but latency and throughput is the same.
    ///
    /// # Errors
    /// [`TransportError`].
    async fn tail(&self, request: &FetchRequest, deadline: Duration) -> Result<Option<Box<dyn Tail>>, TransportError> {
        let _ = (request, deadline);
        Ok(None)
    }

    /// Sends the peer what this cortex holds by now, for a question that is still open. Must not wait behind its answers.
    ///
    /// Optional: by default nothing is sent, and events that arrived from other peers meanwhile are sent again.
    ///
    /// # Errors
    /// [`TransportError`]; the kernel continues without it.
    async fn refresh(&self, refresh: &Refresh, deadline: Duration) -> Result<(), TransportError> {
        let _ = (refresh, deadline);
        Ok(())
    }
}

/// A run of answers, in the order they were sent. A slow reader slows the sender down; nothing piles up in between beyond
/// the transport's published window. Dropping it ends the run at both ends.
///
/// ```
/// use std::time::Duration;
///
/// use antiphon_kernel::protocol::Pushed;
/// use antiphon_kernel::service::Answers;
/// use antiphon_kernel::{Tail, TransportError, TransportErrorKind};
/// use async_trait::async_trait;
///
/// /// The answers of a service in the same process.
/// struct Here(Answers);
///
/// #[async_trait]
/// impl Tail for Here {
///     async fn next(&mut self, deadline: Duration) -> Result<Option<Pushed>, TransportError> {
///         match tokio::time::timeout(deadline, self.0.next()).await {
///             Ok(reply) => Ok(reply.map(Pushed::Reply)),
///             Err(late) => Err(TransportError::new(TransportErrorKind::Timeout, late.to_string())),
///         }
///     }
/// }
/// ```
#[async_trait]
pub trait Tail: Send {
    /// The next one, or `None` where the server ended the run in order.
    ///
    /// # Errors
    /// [`TransportError`], which ends the run; [`TransportErrorKind::Timeout`] if nothing came within `deadline`.
    async fn next(&mut self, deadline: Duration) -> Result<Option<Pushed>, TransportError>;
}
