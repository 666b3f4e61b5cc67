//! What Antiphon asks of a transport: carry a question to a peer and bring back its answer.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;

use crate::config::PeerConfig;
use crate::health::ErrorCategory;
use crate::protocol::{FetchReply, FetchRequest, Identity};

/// Why a transport brought no answer. Whatever its kind, nothing was applied and the cursor stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransportError {
    category: ErrorCategory,
    detail: String,
}

impl TransportError {
    /// A failure of this kind. `detail` is for the log alone: it is not kept, and it must hold no key.
    #[must_use]
    pub fn new(category: ErrorCategory, detail: impl Into<String>) -> Self {
        Self { category, detail: detail.into() }
    }

    /// What kind of failure.
    #[must_use]
    pub const fn category(&self) -> ErrorCategory {
        self.category
    }

    /// What exactly happened.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }
}

impl fmt::Display for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the peer {}: {}", self.category.reason(), self.detail)
    }
}

impl std::error::Error for TransportError {}

/// A way to reach peers. The scheme of a peer's endpoint picks the transport.
pub trait Transport: Send + Sync + 'static {
    /// The schemes it serves, such as `["https"]`.
    fn schemes(&self) -> &'static [&'static str];

    /// Prepares to talk to a peer. **Never connects**: an unreachable peer is an ordinary error of the first question,
    /// not a failed start. Call it again after the configuration changed.
    ///
    /// # Errors
    /// Category `configuration`: an endpoint or CA file that can never work as it stands.
    fn link(&self, peer: &PeerConfig) -> Result<Box<dyn Link>, TransportError>;
}

/// One peer, as far as a transport is concerned. Connections are its own affair: it opens them when asked, reuses them
/// between questions, and opens new ones after they broke.
///
/// # To ensure correctness
/// - An answer belongs to the question it is returned for. A late answer of an earlier question is dropped.
/// - A reply is returned whole or not at all: damage and truncation are errors ([`ErrorCategory::Corrupt`],
///   [`ErrorCategory::Eof`]), never a shorter batch.
/// - `deadline` is the longest it may take, connecting included. Dropping the future cancels the question.
/// - No more than [`crate::codec::MAX_FRAME_BYTES`] are read for a reply, whatever the peer claims.
/// - It sends the shared key only to the configured endpoint, over an authenticated channel, and follows no redirect.
/// - It retries nothing by itself: back-off is the kernel's.
#[async_trait]
pub trait Link: Send + Sync {
    /// Asks the peer who it is.
    ///
    /// # Errors
    /// [`TransportError`].
    async fn identify(&self, deadline: Duration) -> Result<Identity, TransportError>;

    /// Asks the peer for events. `request.wait` lies within `deadline`.
    ///
    /// # Errors
    /// [`TransportError`]; a refusal by the peer is an answer, not an error.
    async fn fetch(&self, request: &FetchRequest, deadline: Duration) -> Result<FetchReply, TransportError>;
}
