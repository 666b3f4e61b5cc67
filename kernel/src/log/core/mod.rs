//! The log's synchronous core: decisions are staged into one batch, then committed together. Plans decide; this module alone
//! stages and commits them.
//!
//! `operations`, `filling`, `epochs` and `resolving` carry out plans, `staging` stages and commits, `recovery` reads the store again, and
//! `held` shows the log to the plans.

mod epochs;
mod filling;
mod group;
mod held;
mod operations;
mod recovery;
mod resolving;
mod staging;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use staging::Staged;

use super::bringers::LastBringers;
use super::epoch_change::EpochChange;
use super::forks::Decisions;
use super::lineage::Lineage;
use super::load::Loaded;
use super::log_reader::LogReader;
use super::minted::Minted;
use super::origins::OriginNotes;
use super::{LocalIdentity, LogHead};
use crate::codec::StoredChain;
use crate::identity::Signer;
use crate::ids::{Epoch, IdGenerator, LogId, Origin};
use crate::protocol::Protocols;
use crate::store::{Store, StoreError, StoreErrorKind};
use crate::time::Timestamp;

/// Settings of a log that are local to this node.
pub struct LogOptions {
    /// The largest record that may be appended here, in bytes; 1 MiB by default. The events of one call may have as much
    /// together, or 1 MiB if that is more. What is *received* is bounded by the
    /// protocol alone, or one cortex could write what another must refuse permanently.
    pub max_append_bytes: usize,
    /// Whether the store was just restored from a backup: the log continues under a new epoch for that reason.
    pub restored: bool,
    /// The keys of the cortex; without them, those that the store keeps.
    pub keys: Option<Arc<dyn Signer>>,
    /// The log that this cortex belongs to. None: the log in the store, or else whichever comes first of the first append,
    /// which mints one, and the first events of a peer.
    pub log: Option<LogId>,
    /// The protocols that it speaks.
    pub protocols: Protocols,
    /// Entropy, for ids.
    pub entropy: Box<dyn FnMut() -> u128 + Send>,
    /// Random bits that tell this opening of the log from every other.
    pub process: u64,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            max_append_bytes: 1024 * 1024,
            restored: false,
            keys: None,
            log: None,
            protocols: Protocols::SPOKEN,
            entropy: Box::new(crate::entropy::random),
            process: crate::entropy::random() as u64,
        }
    }
}

/// The log of one cortex. One owner; readers hold a [`LogReader`].
///
/// Call `append`, `ingest` and `stage_state` any number of times, then [`Log::commit`]: what was staged becomes visible
/// and durable together or not at all. After a commit failed, [`Log::recover`] must succeed before anything is staged
/// again, because the failed batch may have reached the disk.
pub struct Log {
    view: LogReader,
    options: LogOptions,
    identity: LocalIdentity,
    lineage: Lineage,
    chains: BTreeMap<Origin, StoredChain>,
    head: LogHead,
    ids: IdGenerator,
    staged: Staged,
    /// Chains that are visible but not yet durable.
    unsynced: BTreeSet<Origin>,
    /// Whether anything is.
    dirty: bool,
    /// How often something was handed out to be published.
    published: u64,
    decisions: Decisions,
    /// The epoch that this process took because of a peer: one that lies must not make it do so without end. If the change
    /// was lost with a write that failed, it is due again.
    epoch_taken: Option<Epoch>,
    failed: bool,
    /// Whether the log must continue under a new epoch since the disk gave up what was durable.
    lost_end: bool,
    /// Origins of which events wait outside the log since a repair.
    waiting: BTreeSet<Origin>,
    /// Where the data are, if they were written in another place: the next own event begins an epoch of its own.
    moved: Option<Vec<u8>>,
    /// The epochs that this cortex began.
    minted: Minted,
    /// Which peer brought an origin last, of those that were asked about.
    bringers: LastBringers,
    /// When the batch came that is being decided about.
    ingests_at: Timestamp,
    /// Who brought each origin, and how much space it takes.
    origins: OriginNotes,
    /// The last change of epoch.
    ended: Option<EpochChange>,
}

impl Log {
    pub(super) fn assemble(
        view: LogReader,
        options: LogOptions,
        identity: LocalIdentity,
        loaded: Loaded,
        moved: Option<Vec<u8>>,
    ) -> Self {
        let Loaded { lineage, chains, head, last_id, decisions, waiting, minted, origins, owed, ended, .. } = loaded;
        view.shared.debts.begin(owed);
        Self {
            view,
            options,
            identity,
            lineage,
            chains,
            head,
            ids: IdGenerator::after(last_id),
            staged: Staged::default(),
            unsynced: BTreeSet::new(),
            dirty: false,
            published: 0,
            decisions,
            epoch_taken: None,
            failed: false,
            lost_end: false,
            waiting,
            moved,
            minted,
            bringers: BTreeMap::new(),
            ingests_at: Timestamp::from_micros(0),
            origins,
            ended,
        }
    }

    /// A reader of this log, for any thread.
    #[must_use]
    pub fn reader(&self) -> LogReader {
        self.view.clone()
    }

    /// What signs for this cortex. A log that is open has it.
    #[must_use]
    pub const fn keys(&self) -> Option<&Arc<dyn Signer>> {
        self.options.keys.as_ref()
    }

    pub(super) fn store(&self) -> &Arc<dyn Store> {
        self.view.store()
    }

    /// Bytes staged so far.
    #[must_use]
    pub(crate) fn staged_bytes(&self) -> usize {
        self.staged.bytes()
    }

    /// Whether [`Log::recover`] is due.
    #[must_use]
    pub const fn needs_recovery(&self) -> bool {
        self.failed
    }

    /// What is in memory may not be what the store holds.
    pub(super) fn fail(&mut self, why: &StoreError) {
        self.failed = true;
        self.view.shared.set_failure(Some(why));
    }

    pub(super) fn usable(&self) -> Result<(), StoreError> {
        match self.view.shared.fault() {
            Some(fault) => Err(fault.clone()),
            None if self.failed => Err(self.stopped_by()),
            None => Ok(()),
        }
    }

    /// Why nothing is written.
    pub(super) fn stopped_by(&self) -> StoreError {
        let why = self.view.shared.failed_with().unwrap_or_else(|| StoreError::new(StoreErrorKind::ReadOnly, ""));
        let (kind, why) = (why.kind(), why.detail());
        StoreError::new(kind, format!("a write failed, and nothing is written until the store is open again: {why}"))
    }
}
