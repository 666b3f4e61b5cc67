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
mod answer;
mod append;
mod asked;
mod bounded;
mod bring_back;
mod bringers;
mod core;
mod costs;
mod decoded;
mod entry;
mod epoch;
mod epoch_change;
mod findings;
mod forks;
mod handle;
mod held;
mod ingest;
mod lineage;
mod load;
mod log_reader;
mod minted;
mod open;
mod operation;
mod origins;
mod outside;
mod peers;
mod reader;
mod refusing;
mod rejoin;
mod salvage;
mod set_aside;
mod shared;
mod syncs;
mod trails;
mod verify;
mod watched;
mod withheld;
mod work;
mod writer;

pub use answer::{NextBatch, OpenQuery};
pub use append::{AppendError, Appended, InDoubt};
pub use asked::{IngestError, Ingested, SentQuery};
pub use bounded::Bounded;
pub use bring_back::{BringBackError, BroughtBack};
pub use bringers::{Bringers, bringers, brought_by};
pub use core::{Log, LogOptions};
pub use costs::{AdviceReason, ForkCost};
pub(crate) use entry::record_at;
pub use entry::{LogEntry, LogHead};
pub use epoch_change::{EpochChange, EpochEnd, read_epoch_change};
pub use findings::{ForkFinding, NotAFork};
pub use forks::{Fork, WithheldFrom, forks, withhold_from};
pub use handle::LogHandle;
pub use held::LogState;
pub use ingest::{IngestPlan, PlannedEvent, plan_ingest};
pub use log_reader::LogReader;
pub use minted::{ClaimedEpoch, NewEpochError, claimed_epochs, read_epoch_peer};
pub use open::{OpenError, missing_of_noted};
pub use operation::CausalContext;
pub use origins::{OriginNote, Reservation};
pub use outside::{OutsideKey, event_outside, events_beside, keys_outside};
pub(crate) use peers::Pinned;
pub(crate) use peers::read_failure;
pub use peers::{Pin, put_pin, read_cursor, read_health, read_pin, read_pins, read_seen};
pub use reader::{CursorUnknown, History, LogPage, Mismatch, ReadError, belongs};
pub use refusing::AppendsRefused;
pub use salvage::{Salvaged, salvage};
pub use set_aside::{ResolveError, Resolved};
pub(crate) use shared::Generation;
pub use verify::{VerifyReport, VerifyStep, verify, verify_with};
pub use work::Work;

use crate::ids::{CortexId, Epoch, Origin};

/// Who this cortex is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalIdentity {
    /// Its id.
    pub cortex_id: CortexId,
    /// The epoch it writes under.
    pub epoch: Epoch,
    /// The name it gives itself; decoration.
    pub name: String,
}

impl LocalIdentity {
    /// The origin of what it appends now.
    #[must_use]
    pub const fn origin(&self) -> Origin {
        Origin::new(self.cortex_id, self.epoch)
    }
}
