//! What the machine asks its caller to do, and what the caller reports back.

use std::time::Duration;

use crate::health::{ErrorCategory, PeerHealth};
use crate::identity::PublicKey;
use crate::ids::{CortexId, Origin};
use crate::log::{Ingested, NotedFork};
use crate::protocol::EventBatch;
use crate::time::Timestamp;

/// A moment, as the machine needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Time since some fixed moment; never runs backwards.
    pub monotonic: Duration,
    /// The wall clock, for what is shown to people.
    pub wall: Timestamp,
}

/// What looking into a fork found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inspected {
    /// A fork that is new here, or the end of a known one.
    News,
    /// A fork that is known. Each question to the peer lists it, so the peer should have left it out of its answer.
    Listed,
}

impl Inspected {
    /// Returns what a stored fork means for the exchange.
    #[must_use]
    pub(crate) const fn from_fork(noted: &NotedFork) -> Self {
        if noted.listed { Self::Listed } else { Self::News }
    }
}

/// What the machine wants done.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Ask for the peer's identity; pass the answer to [`PeerMachine::handle_identity`] with this number.
    ///
    /// [`PeerMachine::handle_identity`]: super::PeerMachine::handle_identity
    Identify {
        /// Names the question.
        number: u64,
    },
    /// Pin the peer to this cortex, durably, before the next action: at the first contact, and when its key statement is newer.
    Pin {
        /// The cortex that the peer proved to be.
        cortex_id: CortexId,
        /// Its root key.
        root: PublicKey,
        /// The number of its key statement.
        statement: u64,
    },
    /// Get what the peer has after the stored cursor (or by the clock alone), whether it was pushed or must be requested.
    /// Pass an answer to [`PeerMachine::handle_reply`], and a heartbeat to [`PeerMachine::handle_heartbeat`], with this
    /// number.
    ///
    /// [`PeerMachine::handle_reply`]: super::PeerMachine::handle_reply
    /// [`PeerMachine::handle_heartbeat`]: super::PeerMachine::handle_heartbeat
    Fetch {
        /// Names the question.
        number: u64,
        /// The cortex it is addressed to.
        to: CortexId,
        /// Leave the cursor out: the peer compares clocks.
        by_clock: bool,
        /// Send a new request, instead of taking the next answer to the open one.
        new_request: bool,
        /// Ask for what this cortex wrote, and for nothing else.
        own: bool,
        /// How long the peer may park it.
        wait: Duration,
    },
    /// Give this batch to the log; pass the outcome to [`PeerMachine::handle_ingested`] with this number.
    ///
    /// [`PeerMachine::handle_ingested`]: super::PeerMachine::handle_ingested
    Ingest {
        /// Names the question that it answers.
        number: u64,
        /// The batch.
        batch: Box<EventBatch>,
    },
    /// Find where the peer's history of an origin parts from ours, keep that with the evidence, and pass the outcome to
    /// [`PeerMachine::handle_inspected`] with this number.
    ///
    /// [`PeerMachine::handle_inspected`]: super::PeerMachine::handle_inspected
    Inspect {
        /// Names the question.
        number: u64,
        /// The cortex it is addressed to.
        to: CortexId,
        /// The origin.
        origin: Origin,
        /// A counter at which the histories are said to differ.
        counter: u64,
    },
    /// Call [`PeerMachine::handle_timer`] with this token at that monotonic time. Replaces any earlier timer.
    ///
    /// [`PeerMachine::handle_timer`]: super::PeerMachine::handle_timer
    Timer {
        /// Names the timer.
        token: u64,
        /// When it fires.
        at: Duration,
    },
    /// Store this health, and report the news to the operator.
    Save {
        /// The health.
        health: PeerHealth,
        /// What to report.
        news: News,
    },
}

/// What deserves a line in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// The first failure of its kind: explain it.
    Failed(ErrorCategory),
    /// The same failure again: be brief.
    StillFailing(ErrorCategory),
    /// Reachable again.
    Recovered,
    /// All is well, as before.
    None,
}

/// Where an answer came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// It was requested just now.
    Asked,
    /// It came on a run that was open already.
    Pushed,
}

/// What the log made of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IngestOutcome {
    /// Stored.
    Done(Ingested),
    /// A hole: worth asking once by clock.
    Hole,
    /// It answered no open question: ask again.
    NotAsked,
    /// It does not begin at our cursor, or answers another question: something was lost. Ask again.
    Gap,
    /// The peer's history of an origin differs from ours at a counter.
    Fork(Origin, u64),
    /// The cortex of an event that cannot be taken is excluded from now on, or less is asked for. Nothing was stored: ask again.
    Excluded,
    /// It failed.
    Failed(ErrorCategory),
}
