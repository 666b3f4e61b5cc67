//! The log: what a cortex holds, in the order it came to hold it.
//!
//! ```text
//!   append ──▶ ┌──────────────┐   one batch    ┌───────┐
//!   ingest ──▶ │ Log (core)   │ ─────────────▶ │ Store │
//!   state  ──▶ │ stage … commit│               └───────┘
//!              └──────┬───────┘                    ▲
//!                     │ publishes heads            │ reads
//!                     ▼                            │
//!                   Shared                         │
//!                     ▲                            │
//!               LogReader (any thread): entries, answer, heads, clock
//! ```
//!
//! [`Log`] is synchronous and owns every decision; [`LogHandle`] puts it on the one writer thread with group commit.

mod acknowledge;
mod ahead;
mod answer;
mod append;
mod asked;
mod bounded;
mod bring_back;
mod bringers;
mod content;
mod core;
mod costs;
mod debts;
mod decoded;
mod entry;
mod epoch;
mod epoch_change;
mod exclusions;
mod fill;
mod findings;
mod forks;
mod handle;
mod held;
mod ingest;
mod intake;
mod lineage;
mod load;
mod log_reader;
mod marks;
mod minted;
mod open;
mod operation;
mod origins;
mod outside;
mod peers;
mod quotas;
mod reader;
mod refusing;
mod rejoin;
mod replayed;
mod rotation;
mod salvage;
mod segments;
mod set_aside;
mod shared;
mod statements;
mod syncs;
mod taint;
mod taint_scan;
mod verify;
mod watched;
mod work;
mod writer;

pub(crate) use ahead::{Ahead, Lookahead};
pub use append::{AppendError, Appended, InDoubt};
pub use content::{EntryContent, Unread};
pub(crate) use entry::record_at;
pub use entry::{LogEntry, LogHead};
pub(crate) use exclusions::put_exclusions;
pub use exclusions::{Exclusion, ExclusionCause};
pub use forks::{Fork, WithheldFrom, forks};
pub use handle::LogHandle;
pub(crate) use intake::leave_out_parts;
pub(crate) use internals::*;
pub use log_reader::LogReader;
pub use open::OpenError;
pub use operation::CausalContext;
pub(crate) use peers::{Pinned, read_failure, read_health, read_seen};
pub use reader::{CursorUnknown, LogPage, Mismatch, ReadError};
#[cfg(any(test, feature = "testing"))]
pub(crate) use replayed::stored_position;
pub(crate) use replayed::{Replayed, position_in};
pub use rotation::RotateError;
pub use set_aside::{ResolveError, Resolved};
pub(crate) use shared::Generation;
pub use verify::{VerifyReport, VerifyStep, verify, verify_with};
pub(crate) use work::Work;

pub(crate) mod internals {
    pub use super::answer::{AskerHead, NextBatch, OpenQuery};
    pub use super::asked::{IngestError, Ingested, SentQuery};
    pub use super::bounded::Bounded;
    pub use super::bring_back::{BringBackError, BroughtBack};
    pub use super::bringers::{Bringers, bringers, brought_by};
    pub use super::core::{Log, LogOptions};
    pub use super::costs::{AdviceReason, ForkCost};
    pub(crate) use super::debts::FilledSince;
    pub use super::epoch_change::{EpochChange, EpochEnd, read_epoch_change};
    pub use super::exclusions::{excluded, exclusions};
    pub use super::fill::{Filled, NotFilled};
    pub use super::findings::{ForkFinding, NotAFork, NotedFork};
    pub use super::forks::withhold_from;
    pub use super::held::LogState;
    pub use super::ingest::{IngestPlan, PlannedEvent, plan_ingest};
    pub use super::minted::{ClaimedEpoch, NewEpochError, claimed_epochs, read_epoch_peer};
    pub use super::open::missing_of_noted;
    pub use super::origins::{OriginNote, Reservation};
    pub use super::outside::{OutsideKey, event_outside, events_beside, keys_outside};
    pub use super::peers::{Pin, put_pin, read_cursor, read_pin, read_pins};
    pub use super::reader::{History, belongs};
    pub use super::refusing::AppendsRefused;
    pub use super::salvage::{Salvaged, salvage};
}

use crate::identity::SharedSigner;
use crate::ids::{CortexId, Epoch, LogId, Origin};
use crate::protocol::Protocols;

/// Who this cortex is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalIdentity {
    /// Its id.
    pub cortex_id: CortexId,
    /// The epoch it writes under.
    pub epoch: Epoch,
    /// The name it gives itself; decoration.
    pub name: String,
    /// The log that it belongs to. None while it holds no event and was given none: it mints one with its first append, or
    /// takes that of the first events that it ingests.
    pub log: Option<LogId>,
    /// What signs for the cortex of an open log. It is not stored.
    pub signer: Option<SharedSigner>,
    /// The protocols that it speaks; not stored.
    pub protocols: Protocols,
}

impl LocalIdentity {
    /// Returns a cortex that belongs to no log yet.
    #[must_use]
    pub const fn new(cortex_id: CortexId, epoch: Epoch, name: String) -> Self {
        Self { cortex_id, epoch, name, log: None, signer: None, protocols: Protocols::SPOKEN }
    }

    /// Returns the key statement in bytes, as peers get it; none if there is no statement.
    #[must_use]
    pub fn statement_bytes(&self) -> Vec<u8> {
        self.signer.as_ref().map(|signer| signer.statement().to_bytes()).unwrap_or_default()
    }

    /// Returns whether a peer of this log may be talked to: of the same log, or one of the two belongs to none yet.
    #[must_use]
    pub fn accepts(&self, log: Option<LogId>) -> bool {
        match (self.log, log) {
            (Some(ours), Some(theirs)) => ours == theirs,
            _ => true,
        }
    }

    /// The origin of what it appends now.
    #[must_use]
    pub const fn origin(&self) -> Origin {
        Origin::new(self.cortex_id, self.epoch)
    }
}
