//! What the writer of a log shares with its readers: durable heads, pins, notes, locks, and why nothing is written.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use tokio::sync::watch;

use super::LocalIdentity;
use super::debts::Debts;
use super::entry::LogHead;
use super::forks::WithheldFrom;
use super::origins::OriginNotes;
use super::peers::Pinned;
use super::statements::Statements;
use super::taint::TaintScans;
use crate::access::InForce;
use crate::codec::{StoredChain, encode_noted_head};
use crate::cursor::Seq;
use crate::doubles::Doubles;
use crate::ids::{CortexId, Epoch, Origin};
use crate::limits::PeerLimits;
use crate::mutant::{self, Mutant};
use crate::protocol::ChainHead;
use crate::receipts::Receipts;
use crate::store::{Durability, Store, StoreError};

/// The state that the log's one writer publishes, and that any thread may read.
pub(super) struct Shared {
    pub(super) store: Arc<dyn Store>,
    /// Changes where what was asked before must not be answered any more.
    process: AtomicU64,
    /// Odd while the log is being rewritten, and another number after each time.
    rewriting: AtomicU64,
    /// For readers that wait until the log is rewritten.
    rewritten: (Mutex<()>, Condvar),
    durable: RwLock<Durable>,
    /// Held for reading by each commit that relies on the meaning of sequence numbers, and for writing by what changes that.
    places: RwLock<()>,
    /// [`Durable::rewrites`], for those who wait for more of them.
    rewrites: watch::Sender<u64>,
    publishing: Mutex<()>,
    pub(super) visible_head: watch::Sender<Seq>,
    pub(super) durable_head: watch::Sender<Seq>,
    pub(super) receipts: Receipts,
    pub(super) doubles: Doubles,
    pub(super) pinned: watch::Sender<Arc<Pinned>>,
    /// What decides what others may do here.
    pub(super) access: watch::Sender<InForce>,
    pub(super) statements: Statements,
    origins: Mutex<OriginNotes>,
    /// What others may cost.
    limits: RwLock<Arc<PeerLimits>>,
    withheld: Mutex<BTreeMap<CortexId, WithheldFrom>>,
    failure: RwLock<Option<StoreError>>,
    /// That a thread of the log ended by a fault of this program: only a restart fixes that.
    fault: OnceLock<StoreError>,
    pub(super) taint_scans: TaintScans,
    pub(super) debts: Debts,
}

/// What becomes durable with the next sync.
#[derive(Debug)]
pub(super) struct SyncTicket {
    /// Counts up: a later one says all that an earlier one does, of head and identity.
    pub(super) number: u64,
    pub(super) identity: LocalIdentity,
    pub(super) head: LogHead,
    /// Chains that moved.
    pub(super) chains: Vec<(Origin, ChainHead)>,
}

#[derive(Debug, Clone)]
pub(super) struct Durable {
    pub(super) identity: LocalIdentity,
    pub(super) head: LogHead,
    pub(super) chains: BTreeMap<Origin, ChainHead>,
    /// How many times sequence numbers of the log came to name other events.
    pub(super) rewrites: u64,
    /// How many times the store was opened again.
    pub(super) openings: u64,
    /// The number of what was published last.
    pub(super) number: u64,
}

impl Durable {
    pub(super) fn of(
        identity: LocalIdentity,
        head: LogHead,
        chains: &BTreeMap<Origin, StoredChain>,
        rewrites: u64,
    ) -> Self {
        let chains =
            chains.iter().map(|(&origin, chain)| (origin, ChainHead { counter: chain.counter, digest: chain.digest }));
        Self { identity, head, chains: chains.collect(), rewrites, openings: 0, number: 0 }
    }
}

/// For how long what was read from the store may be relied on. It ends when sequence numbers of the log come to name other
/// events, and when the store is opened again: a batch whose commit failed may be there then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Generation {
    rewrites: u64,
    openings: u64,
}

impl Shared {
    pub(super) fn new(
        store: Arc<dyn Store>,
        process: u64,
        durable: Durable,
        pinned: Pinned,
        origins: OriginNotes,
        statements: Statements,
    ) -> Self {
        let head = durable.head.seq;
        Self {
            store,
            process: AtomicU64::new(process),
            rewriting: AtomicU64::new(0),
            rewritten: Default::default(),
            taint_scans: TaintScans::default(),
            debts: Debts::default(),
            receipts: Receipts::default(),
            pinned: watch::Sender::new(Arc::new(pinned)),
            access: watch::Sender::default(),
            statements,
            origins: Mutex::new(origins),
            limits: RwLock::default(),
            withheld: Mutex::default(),
            doubles: Doubles::new(durable.identity.cortex_id),
            places: RwLock::new(()),
            rewrites: watch::Sender::new(durable.rewrites),
            durable: RwLock::new(durable),
            publishing: Mutex::new(()),
            failure: RwLock::new(None),
            fault: OnceLock::new(),
            visible_head: watch::Sender::new(head),
            durable_head: watch::Sender::new(head),
        }
    }

    pub(super) fn process(&self) -> u64 {
        self.process.load(Ordering::Relaxed)
    }

    pub(super) fn set_process(&self, process: u64) {
        self.process.store(process, Ordering::Relaxed);
    }

    pub(super) fn durable(&self) -> RwLockReadGuard<'_, Durable> {
        // Nothing panics while it holds the lock for writing, and each write is one assignment.
        self.durable.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn durable_mut(&self) -> RwLockWriteGuard<'_, Durable> {
        self.durable.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Publishes what became durable. Two may come in either order: each sync makes durable all that was written before it.
    pub(super) fn publish(&self, unsynced: SyncTicket) {
        // What is noted and sent must not fall behind what another thread publishes meanwhile.
        let _alone = self.publishing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut durable = self.durable_mut();
        for (origin, head) in unsynced.chains {
            if durable.chains.get(&origin).is_none_or(|known| known.counter < head.counter) {
                durable.chains.insert(origin, head);
            }
        }
        if unsynced.number < durable.number {
            return;
        }
        let began = durable.identity.epoch != unsynced.identity.epoch;
        (durable.number, durable.identity, durable.head) = (unsynced.number, unsynced.identity, unsynced.head);
        let (epoch, seq) = (durable.identity.epoch, durable.head.seq);
        drop(durable);
        // The note of an epoch that ended must not outlive a power loss: it would not fit what is there.
        self.note(epoch, seq, if began { Durability::Sync } else { Durability::Relaxed });
        self.durable_head.send_replace(seq);
    }

    /// Notes how far the log is durable, for the process that opens it next.
    pub(super) fn note(&self, epoch: Epoch, seq: Seq, durability: Durability) {
        self.store.note(&encode_noted_head(epoch, seq), durability);
    }

    /// The fault by which a thread of the log ended, if one did.
    pub(super) fn fault(&self) -> Option<&StoreError> {
        self.fault.get()
    }

    pub(super) fn set_fault(&self, error: StoreError) {
        // The first one counts.
        let _ = self.fault.set(error);
    }

    pub(super) fn failed_with(&self) -> Option<StoreError> {
        if let Some(fault) = self.fault() {
            return Some(fault.clone());
        }
        self.failure.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_failure(&self, error: Option<&StoreError>) {
        *self.failure.write().unwrap_or_else(PoisonError::into_inner) = error.cloned();
    }

    /// The log begins to be rewritten, or that ended, well or not.
    pub(super) fn note_rewriting(&self) {
        let (lock, ended) = &self.rewritten;
        let _held = lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.rewriting.fetch_add(1, Ordering::SeqCst);
        ended.notify_all();
    }

    /// Waits while the log is being rewritten; this blocks. False if that takes longer.
    pub(super) fn wait_while_rewritten(&self, at_most: Duration) -> bool {
        let (lock, ended) = &self.rewritten;
        let held = lock.lock().unwrap_or_else(PoisonError::into_inner);
        let lasts = |_: &mut ()| !self.rewriting.load(Ordering::SeqCst).is_multiple_of(2);
        let waited = ended.wait_timeout_while(held, at_most, lasts);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    pub(super) fn rewrites(&self) -> u64 {
        self.durable().rewrites
    }

    pub(super) fn watch_rewrites(&self) -> watch::Receiver<u64> {
        self.rewrites.subscribe()
    }

    pub(super) fn send_rewrites(&self) {
        let now = self.rewrites();
        self.rewrites.send_if_modified(|sent| std::mem::replace(sent, now) != now);
    }

    pub(super) fn generation(&self) -> Generation {
        let durable = self.durable();
        let openings = if mutant::is(Mutant::OpeningForgotten) { 0 } else { durable.openings };
        Generation { rewrites: durable.rewrites, openings }
    }

    /// Every sequence number names the same event until this is dropped. The holder must not ask for it again.
    pub(super) fn stay(&self) -> RwLockReadGuard<'_, ()> {
        self.places.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sequence numbers are about to name other events, or may be, until this is dropped.
    pub(super) fn move_places(&self) -> RwLockWriteGuard<'_, ()> {
        self.places.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The cortexes that peers' names are pinned to.
    pub(super) fn pinned(&self) -> Arc<Pinned> {
        Arc::clone(&self.pinned.borrow())
    }

    pub(super) fn set_pinned(&self, pinned: Pinned) {
        self.pinned.send_replace(Arc::new(pinned));
    }

    pub(super) fn notes(&self) -> MutexGuard<'_, OriginNotes> {
        self.origins.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn limits(&self) -> Arc<PeerLimits> {
        Arc::clone(&self.limits.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn set_limits(&self, limits: PeerLimits) {
        *self.limits.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(limits);
    }

    pub(super) fn withheld_from(&self, holder: CortexId) -> WithheldFrom {
        let withheld = self.withheld.lock().unwrap_or_else(PoisonError::into_inner);
        withheld.get(&holder).copied().unwrap_or_default()
    }

    pub(super) fn set_withheld(&self, withheld: BTreeMap<CortexId, WithheldFrom>) {
        *self.withheld.lock().unwrap_or_else(PoisonError::into_inner) = withheld;
    }
}
