//! A question that was asked of a peer, and what became of its answer.

use super::exclusions::ExclusionCause;
use crate::clock::MAX_CLOCK_ENTRIES;
use crate::cursor::{Cursor, Seq};
use crate::error_code::ErrorCode;
use crate::event::InvalidEvent;
use crate::health::ErrorCategory;
use crate::identity::InvalidInception;
use crate::ids::{CortexId, Dot, LogId, Origin};
use crate::protocol::{FetchRequest, Heads, RequestId, Scope};
use crate::rule::Rule;
use crate::store::StoreError;

/// What was asked for: an answer is measured against it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentQuery {
    /// The request's id.
    pub request: RequestId,
    /// Whom it was addressed to.
    pub to: CortexId,
    /// The cursor it went on from, or none where it went by the clock.
    pub after: Option<Cursor>,
    /// The most events it allowed.
    pub max_events: u32,
    /// The most bytes of events it allowed.
    pub max_bytes: u64,
    /// Whose events; unless everybody's, the answer moves no cursor.
    pub scope: Scope,
    /// Where the histories were found to differ, with our digests there.
    pub withhold: Heads,
    /// What the question said is held, where it is not about everybody's events: causes are not in the answer then, and only
    /// those were compared. With [`Scope::All`] it is not looked at.
    pub held: Heads,
    /// The cortexes that the question excludes, in order.
    pub exclude: Vec<CortexId>,
}

impl SentQuery {
    /// What a question about everybody's events allows its answer to be.
    #[must_use]
    pub fn of(request: &FetchRequest) -> Self {
        Self {
            request: request.request,
            to: request.to,
            after: request.after,
            max_events: request.max_events,
            max_bytes: request.max_bytes,
            scope: request.scope,
            withhold: request.withhold.clone(),
            held: Heads::default(),
            exclude: request.exclude.clone(),
        }
    }

    /// Whether the question excludes the cortex of an origin.
    pub(super) fn excludes(&self, origin: Origin) -> bool {
        self.exclude.binary_search(&origin.cortex()).is_ok()
    }
}

/// Why a batch was not taken. Nothing of it was stored, and the cursor did not move.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IngestError {
    /// It answers no request that is still open: late, repeated, or from before a reset. Dropped in silence.
    #[error("the answer belongs to no open request")]
    NotAsked,
    /// It answers another question than the one that it was sent for: the peer's doing.
    #[error("it answers question {answered}, and question {asked} was asked", answered = .answered.number, asked = .asked.number)]
    OtherQuestion {
        /// Which it answers.
        answered: RequestId,
        /// Which was asked.
        asked: RequestId,
    },
    /// It does not begin at our cursor: an answer before it was lost, or the server does not answer what it was asked.
    #[error("the batch begins after {prev}, and our cursor is another")]
    Gap {
        /// Where it begins.
        prev: Cursor,
    },
    /// It breaks a rule of the protocol.
    #[error("{rule}{}", named(.event))]
    Protocol {
        /// The rule.
        rule: Rule,
        /// The event at which it shows, if it is about one.
        event: Option<Dot>,
    },
    /// It is of another log than this cortex.
    #[error("the batch is of log {actual}, and this node belongs to log {ours}")]
    OtherLog {
        /// The log of the batch.
        actual: LogId,
        /// Ours.
        ours: LogId,
    },
    /// It holds an event that is not valid.
    #[error("seq {seq} of the peer's log{} is not valid", named(.event))]
    Invalid {
        /// Its sequence number in the peer's log.
        seq: Seq,
        /// Which it is, where that much of it decodes.
        event: Option<Dot>,
        /// What is wrong.
        source: InvalidEvent,
    },
    /// It begins an origin, and not as the origin's cortex would.
    #[error("the inception of {origin} is not valid")]
    Inception {
        /// The origin.
        origin: Origin,
        /// What is wrong.
        source: InvalidInception,
    },
    /// It skips an event of a chain.
    #[error("there is a hole before {dot}: {held} are held")]
    Hole {
        /// The event after the hole.
        dot: Dot,
        /// The highest counter held of its origin.
        held: u64,
    },
    /// It holds an event without one of its causes.
    #[error("{dot} depends on {needs_origin}:{needs_counter}, which is not held")]
    MissingCause {
        /// The event.
        dot: Dot,
        /// The origin of its cause.
        needs_origin: Origin,
        /// The counter of its cause.
        needs_counter: u64,
    },
    /// Two histories of one origin differ.
    #[error("two histories of {origin} differ at counter {counter}")]
    Fork {
        /// The origin.
        origin: Origin,
        /// The counter that was compared.
        counter: u64,
    },
    /// An origin beyond the bound of a clock.
    #[error("{origin} would be origin number {}, beyond the bound of a clock", MAX_CLOCK_ENTRIES + 1)]
    TooManyOrigins {
        /// The origin.
        origin: Origin,
    },
    /// It goes beyond a quota of the cortex that wrote a part of it, or of the peer.
    #[error("the quota leaves no room for more of cortex {cortex}: {cause}")]
    OverQuota {
        /// The cortex that wrote it.
        cortex: CortexId,
        /// Which quota.
        cause: ExclusionCause,
        /// How much of it the batch has: bytes of events, or origins.
        need: u64,
    },
    /// It holds an event of our own current epoch that we do not have, although this process changed its epoch already for
    /// that reason: either the store went back in time again under it, or the peer makes events up.
    #[error("it holds our own {dot}, which we do not have, and this process took a new epoch for that reason before")]
    OwnEpoch {
        /// The event.
        dot: Dot,
    },
    /// Our own store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl IngestError {
    /// The stable code of this failure.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::NotAsked => ErrorCode::IngestNotAsked,
            Self::OtherQuestion { .. } => ErrorCode::IngestOtherQuestion,
            Self::Gap { .. } => ErrorCode::IngestGap,
            Self::Protocol { .. } => ErrorCode::IngestProtocol,
            Self::OtherLog { .. } => ErrorCode::IngestOtherLog,
            Self::Invalid { .. } => ErrorCode::IngestInvalid,
            Self::Inception { source, .. } => source.code(),
            Self::Hole { .. } => ErrorCode::IngestHole,
            Self::MissingCause { .. } => ErrorCode::IngestMissingCause,
            Self::Fork { .. } => ErrorCode::IngestFork,
            Self::TooManyOrigins { .. } => ErrorCode::IngestTooManyOrigins,
            Self::OverQuota { .. } => ErrorCode::IngestOverQuota,
            Self::OwnEpoch { .. } => ErrorCode::IngestOwnEpoch,
            Self::Store(error) => error.code(),
        }
    }
}

fn named(event: &Option<Dot>) -> String {
    event.map(|dot| format!(" (event {dot})")).unwrap_or_default()
}

impl IngestError {
    /// Whether asking again by clock instead of cursor may help, once.
    #[must_use]
    pub const fn is_hole(&self) -> bool {
        matches!(self, Self::Hole { .. } | Self::MissingCause { .. })
    }

    /// Its kind in the peer's health.
    #[must_use]
    pub const fn category(&self) -> ErrorCategory {
        match self {
            Self::NotAsked => ErrorCategory::Store,
            Self::Invalid { source: InvalidEvent::UnknownVersion { .. }, .. }
            | Self::Inception { source: InvalidInception::Version(_), .. } => ErrorCategory::Version,
            Self::OtherQuestion { .. }
            | Self::Gap { .. }
            | Self::Protocol { .. }
            | Self::Invalid { .. }
            | Self::Inception { .. }
            | Self::Hole { .. }
            | Self::MissingCause { .. } => ErrorCategory::Protocol,
            Self::OtherLog { .. } => ErrorCategory::OtherLog,
            Self::Fork { .. } => ErrorCategory::Fork,
            Self::TooManyOrigins { .. } => ErrorCategory::TooManyOrigins,
            Self::OverQuota { .. } => ErrorCategory::QuotasHere,
            Self::OwnEpoch { .. } => ErrorCategory::Rollback,
            Self::Store(_) => ErrorCategory::Store,
        }
    }
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ingested {
    /// How many events were new.
    pub stored: usize,
    /// How many were known already.
    pub known: usize,
    /// Where the batch ended.
    pub cursor: Cursor,
    /// The greatest sequence number that such a cursor can truly have: each event up to it is held here. Unknown where some are
    /// withheld, or wait.
    pub most: Option<Seq>,
    /// How many histories that had differed agree now: what was withheld is to be asked for.
    pub healed: usize,
}
