//! Why a server does not answer with events.

use std::time::Duration;

use crate::codec::WireError;
use crate::cursor::Seq;
use crate::digest::Digest;
use crate::error_code::ErrorCode;
use crate::health::{ErrorCategory, Failure};
use crate::ids::{CortexId, LogId, Origin};

/// Why a server does not answer with events.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The cursor is of another epoch, or lies beyond the first event that `known` lacks: continue from the clock.
    #[error("the cursor is unknown here")]
    CursorUnknown,
    /// The log no longer reaches back that far.
    #[error("the log begins after {floor}")]
    CursorTooOld {
        /// The last sequence number that is gone.
        floor: Seq,
    },
    /// At this counter, asker and server hold different histories of one origin.
    #[error("two histories of {origin} differ at counter {counter}")]
    Fork {
        /// The origin.
        origin: Origin,
        /// The counter that was compared.
        counter: u64,
        /// The server's digest there.
        digest: Digest,
    },
    /// It is set to `subscribe`.
    #[error("it does not serve its log (mode subscribe)")]
    NotServing,
    /// It is another cortex than the one addressed.
    #[error("it is cortex {actual}")]
    WrongCortex {
        /// Who it is.
        actual: CortexId,
    },
    /// It does not speak that protocol.
    #[error("it speaks protocols {min} to {max}")]
    Protocol {
        /// The oldest it speaks.
        min: u16,
        /// The newest it speaks.
        max: u16,
    },
    /// It does not remember what `known` was: send it whole.
    #[error("it wants `known` in full")]
    KnownMissing,
    /// It has no room for another request now, or is about to stop.
    #[error("it is busy")]
    Busy,
    /// The request does not decode.
    #[error("it could not read the request")]
    Malformed,
    /// It failed inside; its own log says why.
    #[error("it failed inside")]
    Internal,
    /// The shared key is missing or another.
    #[error("it does not accept the shared key")]
    Key,
    /// It belongs to another log.
    #[error("it belongs to log {actual}")]
    OtherLog {
        /// Which.
        actual: LogId,
    },
    /// The request has what only a newer version reads.
    #[error("it needs a newer version to read the request")]
    Newer,
    /// The request names a filter, and it serves none.
    #[error("it serves no filter")]
    Filter,
    /// The asker's proof of identity does not hold: it is too old, of another connection, or made with a key that was replaced.
    #[error("it does not accept our proof of identity")]
    Proof,
    /// The question names another asker than the connection proved.
    #[error("it says that the question names another cortex than the connection proved")]
    OtherAsker,
    /// The asker is not allowed to read anything here.
    #[error("it does not allow us to read its log")]
    NotAllowed,
    /// The asker used up its quota.
    #[error("our quota there is used up for the next {} s", after.as_secs_f64().ceil())]
    OverQuota {
        /// The time after which to ask again, to the millisecond.
        after: Duration,
    },
}

impl Refusal {
    /// The stable code of this failure.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::CursorUnknown => ErrorCode::RefusalCursorUnknown,
            Self::CursorTooOld { .. } => ErrorCode::RefusalCursorTooOld,
            Self::Fork { .. } => ErrorCode::RefusalFork,
            Self::NotServing => ErrorCode::RefusalNotServing,
            Self::WrongCortex { .. } => ErrorCode::RefusalWrongCortex,
            Self::Protocol { .. } => ErrorCode::RefusalProtocol,
            Self::KnownMissing => ErrorCode::RefusalKnownMissing,
            Self::Busy => ErrorCode::RefusalBusy,
            Self::Malformed => ErrorCode::RefusalMalformed,
            Self::Internal => ErrorCode::RefusalInternal,
            Self::Key => ErrorCode::RefusalKey,
            Self::OtherLog { .. } => ErrorCode::RefusalOtherLog,
            Self::Newer => ErrorCode::RefusalNewer,
            Self::Filter => ErrorCode::RefusalFilter,
            Self::Proof => ErrorCode::RefusalProof,
            Self::OtherAsker => ErrorCode::RefusalOtherAsker,
            Self::NotAllowed => ErrorCode::RefusalNotAllowed,
            Self::OverQuota { .. } => ErrorCode::RefusalOverQuota,
        }
    }
}

impl Refusal {
    /// Its kind in the peer's health, whatever transport it came over.
    #[must_use]
    pub const fn category(&self) -> ErrorCategory {
        match self {
            Self::CursorUnknown | Self::KnownMissing | Self::Malformed | Self::Filter | Self::OtherAsker => {
                ErrorCategory::Protocol
            }
            Self::CursorTooOld { .. } => ErrorCategory::TooOld,
            Self::Fork { .. } => ErrorCategory::Fork,
            Self::NotServing => ErrorCategory::NotServing,
            Self::WrongCortex { .. } => ErrorCategory::Identity,
            Self::OtherLog { .. } => ErrorCategory::OtherLog,
            Self::Protocol { .. } | Self::Newer => ErrorCategory::Version,
            Self::Busy => ErrorCategory::Busy,
            Self::Internal => ErrorCategory::PeerFault,
            Self::Key => ErrorCategory::Auth,
            Self::Proof => ErrorCategory::ProofRefused,
            Self::NotAllowed => ErrorCategory::NotAllowed,
            Self::OverQuota { .. } => ErrorCategory::OverQuota,
        }
    }
}

impl From<&Refusal> for Failure {
    fn from(refusal: &Refusal) -> Self {
        Self::new(refusal.category(), refusal)
    }
}

impl From<&WireError> for Refusal {
    /// The refusal of a request that does not decode.
    fn from(error: &WireError) -> Self {
        if error.is_newer() { Self::Newer } else { Self::Malformed }
    }
}
