//! Reading the log, from any thread.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;

use super::LocalIdentity;
use super::forks::WithheldFrom;
use super::origins::OriginNotes;
use super::peers::Pinned;
use super::withheld::Followed;
use crate::clock::VClock;
use crate::codec::{
    EventView, StoredChain, StoredDot, StoredError, decode_chain, decode_dot, decode_log_entry, encode_noted_head,
};
use crate::cursor::{Cursor, Seq};
use crate::digest::Digest;
use crate::doubles::Doubles;
use crate::event::{CloudEventText, EventBytes, InvalidEvent};
use crate::ids::{CortexId, Dot, Epoch, EventId, Origin};
use crate::mutant::{self, Mutant};
use crate::protocol::{ChainHead, Heads, Identity, PROTOCOL_MAX, PROTOCOL_MIN};
use crate::receipts::Receipts;
use crate::store::{Durability, Family, KeyRange, Store, StoreError, keys};
use crate::time::Timestamp;

/// The newest entry of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogHead {
    /// Its place; zero in an empty log.
    pub seq: Seq,
    /// The id of the event there; all zero in an empty log.
    pub last_event: EventId,
    /// When it joined.
    pub time: Timestamp,
}

impl LogHead {
    /// The head of an empty log.
    pub const EMPTY: Self =
        Self { seq: Seq::ZERO, last_event: EventId::from_bytes([0; 16]), time: Timestamp::from_micros(0) };
}

/// One entry of the log as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// Its place in this log.
    pub seq: Seq,
    /// The epoch of the log that the place is of; `None` for an event that is kept outside of the log.
    pub epoch: Option<Epoch>,
    /// When it joined, on this cortex's clock.
    pub joined: Timestamp,
    /// The event's record.
    pub record: EventBytes,
}

impl LogEntry {
    /// The event, read in place.
    ///
    /// # Errors
    /// [`StoreError`] of kind `Corrupt` if the record was damaged after it was stored, `NewerFormat` if a newer version wrote
    /// it.
    pub fn view(&self) -> Result<EventView<'_>, StoreError> {
        EventView::decode(&self.record).map_err(|fault| self.unreadable(&fault))
    }

    /// The event's id.
    ///
    /// # Errors
    /// As [`LogEntry::view`].
    pub fn id(&self) -> Result<EventId, StoreError> {
        Ok(EventView::decode_dot(&self.record).map_err(|fault| self.unreadable(&fault))?.0)
    }

    fn unreadable(&self, fault: &InvalidEvent) -> StoreError {
        match self.epoch {
            Some(_) => record_at(self.seq, fault),
            None => StoreError::unreadable("family `evidence`: an event that was set aside", fault),
        }
    }

    /// The cursor at this entry: a reader that has it continues with the next one. `None` for an event outside of the log.
    ///
    /// # Errors
    /// As [`LogEntry::view`].
    pub fn cursor(&self) -> Result<Option<Cursor>, StoreError> {
        let id = self.id()?;
        Ok(self.epoch.map(|epoch| Cursor { epoch, seq: self.seq, last_event: id }))
    }

    /// The event as CloudEvents JSON without what this log knows of it: equal wherever the event is held.
    ///
    /// # Errors
    /// As [`LogEntry::view`].
    pub fn to_cloud_event_alone(&self) -> Result<CloudEventText<EventBytes>, StoreError> {
        Ok(CloudEventText::alone(&self.view()?, &self.record))
    }

    /// The event as CloudEvents JSON, with its cursor as `antiphoncursor`, made a piece at a time.
    ///
    /// # Errors
    /// As [`LogEntry::view`].
    pub fn to_cloud_event(&self) -> Result<CloudEventText<EventBytes>, StoreError> {
        let text = CloudEventText::owned(self.seq, self.joined, &self.view()?, &self.record);
        Ok(text.with_cursor(self.cursor()?))
    }
}

/// What a scan of the log calls with each place, the time it joined, and its record.
pub(crate) type EntryVisitor<'a> = dyn FnMut(Seq, Timestamp, &[u8]) -> ControlFlow<()> + 'a;

pub(super) struct Shared {
    pub(super) store: Arc<dyn Store>,
    /// Changes where what was asked before must not be answered any more.
    pub(super) process: AtomicU64,
    /// Odd while the log is being rewritten, and another number after each time.
    rewriting: AtomicU64,
    /// For those who wait until it is over.
    rewritten: (Mutex<()>, Condvar),
    durable: RwLock<Durable>,
    /// Held by whoever commits what relies on the meaning of places, and alone by whoever changes that.
    places: RwLock<()>,
    /// [`Durable::rewrites`], for those who wait for more of them.
    rewrites: watch::Sender<u64>,
    publishing: Mutex<()>,
    pub(super) visible_head: watch::Sender<Seq>,
    pub(super) durable_head: watch::Sender<Seq>,
    receipts: Receipts,
    doubles: Doubles,
    pinned: watch::Sender<Arc<Pinned>>,
    origins: Mutex<OriginNotes>,
    withheld: Mutex<BTreeMap<CortexId, WithheldFrom>>,
    failure: RwLock<Option<StoreError>>,
    /// That a thread of the log ended by a fault of this program's: nothing mends that but a restart.
    fault: OnceLock<StoreError>,
    pub(super) followed: Followed,
}

/// What becomes durable with the next sync.
#[derive(Debug)]
pub(super) struct Unsynced {
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
    /// How many times places of the log came to mean other events.
    pub(super) rewrites: u64,
    /// How many times the store was opened again.
    pub(super) openings: u64,
    /// The number of what was published last.
    pub(super) number: u64,
}

/// For how long what was read from the store may be relied on. It ends when places of the log come to mean other events, and
/// when the store is opened again: a batch whose commit failed may be there then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Generation {
    rewrites: u64,
    openings: u64,
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

/// What is held, as any thread may read it. Cheap to clone.
///
/// Peers are shown the durable prefix only: [`LogView::head`], [`LogView::heads`], [`LogView::clock`] and
/// [`LogView::answer`] never speak of an entry that a crash could still take back.
#[derive(Clone)]
pub struct LogView {
    pub(super) shared: Arc<Shared>,
}

pub(super) fn damaged(family: Family<'_>, fault: &StoredError) -> StoreError {
    StoreError::unreadable(format_args!("family `{family}`"), fault)
}

pub(crate) fn record_at(seq: Seq, fault: &InvalidEvent) -> StoreError {
    StoreError::unreadable(format_args!("family `log`: the record at place {seq}"), fault)
}

impl LogView {
    pub(super) fn new(
        store: Arc<dyn Store>,
        process: u64,
        durable: Durable,
        pinned: Pinned,
        origins: OriginNotes,
    ) -> Self {
        let head = durable.head.seq;
        Self {
            shared: Arc::new(Shared {
                store,
                process: AtomicU64::new(process),
                rewriting: AtomicU64::new(0),
                rewritten: Default::default(),
                followed: Followed::default(),
                receipts: Receipts::default(),
                pinned: watch::Sender::new(Arc::new(pinned)),
                origins: Mutex::new(origins),
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
            }),
        }
    }

    pub(super) fn durable(&self) -> RwLockReadGuard<'_, Durable> {
        // Nothing panics while it holds the lock for writing, and each write is one assignment.
        self.shared.durable.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn durable_mut(&self) -> RwLockWriteGuard<'_, Durable> {
        self.shared.durable.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows what became durable. Two may come in either order: each sync makes durable whatever was written before it.
    pub(super) fn publish(&self, unsynced: Unsynced) {
        // What is noted and told must not fall behind what another thread publishes meanwhile.
        let _alone = self.shared.publishing.lock().unwrap_or_else(PoisonError::into_inner);
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
        // The note of an epoch that is over must not outlive a power loss: it would not fit what is there.
        self.note(epoch, seq, if began { Durability::Sync } else { Durability::Relaxed });
        self.shared.durable_head.send_replace(seq);
    }

    /// How far the log is durable, for whoever opens it next.
    pub(super) fn note(&self, epoch: Epoch, seq: Seq, durability: Durability) {
        self.store().note(&encode_noted_head(epoch, seq), durability);
    }

    /// Why nothing can be written at present, although everything can be read; `None` while it can.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.failed_with().map(|why| why.to_string())
    }

    /// That a thread of the log ended by a fault, if one did.
    pub(super) fn fault(&self) -> Option<&StoreError> {
        self.shared.fault.get()
    }

    pub(super) fn set_fault(&self, error: StoreError) {
        // The first one counts.
        let _ = self.shared.fault.set(error);
    }

    pub(super) fn failed_with(&self) -> Option<StoreError> {
        if let Some(fault) = self.fault() {
            return Some(fault.clone());
        }
        self.shared.failure.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_failure(&self, error: Option<&StoreError>) {
        *self.shared.failure.write().unwrap_or_else(PoisonError::into_inner) = error.cloned();
    }

    /// The store below.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.shared.store
    }

    /// The log begins to be rewritten, or that is over, well or not.
    pub(super) fn note_rewriting(&self) {
        let (lock, over) = &self.shared.rewritten;
        let _held = lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.shared.rewriting.fetch_add(1, Ordering::SeqCst);
        over.notify_all();
    }

    /// Waits while the log is being rewritten; this blocks. False if that takes longer.
    pub(crate) fn wait_while_rewritten(&self, at_most: Duration) -> bool {
        let (lock, over) = &self.shared.rewritten;
        let held = lock.lock().unwrap_or_else(PoisonError::into_inner);
        let goes_on = |_: &mut ()| !self.shared.rewriting.load(Ordering::SeqCst).is_multiple_of(2);
        let waited = over.wait_timeout_while(held, at_most, goes_on);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// How many times places of the log came to mean other events, or may have.
    pub(crate) fn rewrites(&self) -> u64 {
        self.durable().rewrites
    }

    /// Tells when places of the log came to mean other events: what was told of what is held here, or asked on top of it, may
    /// not be true any more.
    pub(crate) fn watch_rewrites(&self) -> watch::Receiver<u64> {
        self.shared.rewrites.subscribe()
    }

    pub(super) fn tell_rewrites(&self) {
        let now = self.rewrites();
        self.shared.rewrites.send_if_modified(|told| std::mem::replace(told, now) != now);
    }

    /// What anything that is read from the store now belongs to.
    pub(crate) fn generation(&self) -> Generation {
        let durable = self.durable();
        let openings = if mutant::is(Mutant::OpeningForgotten) { 0 } else { durable.openings };
        Generation { rewrites: durable.rewrites, openings }
    }

    /// Commits what was made from reads of this generation; `None` where it is over. It does not end meanwhile.
    pub(crate) fn as_of<T>(&self, generation: Generation, commit: impl FnOnce() -> T) -> Option<T> {
        let _stay = self.stay();
        (self.generation() == generation).then(commit)
    }

    /// Every place means the same event until this is dropped. The holder must not ask for it again.
    pub(super) fn stay(&self) -> RwLockReadGuard<'_, ()> {
        self.shared.places.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Places are about to mean other events, or may be, until this is dropped.
    pub(super) fn move_places(&self) -> RwLockWriteGuard<'_, ()> {
        self.shared.places.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who is known to hold what was written here.
    #[must_use]
    pub fn receipts(&self) -> &Receipts {
        &self.shared.receipts
    }

    /// Of which cortexes two processes live, as far as they ask this one or are asked.
    #[must_use]
    pub fn doubles(&self) -> &Doubles {
        &self.shared.doubles
    }

    /// The cortexes that peers' names are pinned to.
    pub(crate) fn pinned(&self) -> Arc<Pinned> {
        Arc::clone(&self.shared.pinned.borrow())
    }

    pub(super) fn notes(&self) -> MutexGuard<'_, OriginNotes> {
        self.shared.origins.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What does not come from a cortex because its histories differ from ours.
    #[must_use]
    pub fn withheld_from(&self, holder: CortexId) -> WithheldFrom {
        let withheld = self.shared.withheld.lock().unwrap_or_else(PoisonError::into_inner);
        withheld.get(&holder).copied().unwrap_or_default()
    }

    pub(super) fn set_withheld(&self, withheld: BTreeMap<CortexId, WithheldFrom>) {
        *self.shared.withheld.lock().unwrap_or_else(PoisonError::into_inner) = withheld;
    }

    /// Changes whenever a pin does.
    pub(crate) fn watch_pinned(&self) -> watch::Receiver<Arc<Pinned>> {
        self.shared.pinned.subscribe()
    }

    pub(super) fn set_pinned(&self, pinned: Pinned) {
        self.shared.pinned.send_replace(Arc::new(pinned));
    }

    /// Who this cortex is, and in which epoch.
    #[must_use]
    pub fn local(&self) -> LocalIdentity {
        self.durable().identity.clone()
    }

    /// The random bits that tell this opening of the log, since its last rewriting, from every other.
    #[must_use]
    pub fn process(&self) -> u64 {
        self.shared.process.load(Ordering::Relaxed)
    }

    /// The newest durable entry.
    #[must_use]
    pub fn head(&self) -> LogHead {
        self.durable().head
    }

    /// The cursor at the newest durable entry.
    #[must_use]
    pub fn head_cursor(&self) -> Cursor {
        let durable = self.durable();
        let head = durable.head;
        Cursor { epoch: durable.identity.epoch, seq: head.seq, last_event: head.last_event }
    }

    /// The newest entry that reads see, durable or not.
    #[must_use]
    pub fn visible(&self) -> Seq {
        *self.shared.visible_head.borrow()
    }

    /// Told whenever the newest visible entry changes.
    #[must_use]
    pub fn watch_visible(&self) -> watch::Receiver<Seq> {
        self.shared.visible_head.subscribe()
    }

    /// Told whenever the newest durable entry changes.
    #[must_use]
    pub fn watch_durable(&self) -> watch::Receiver<Seq> {
        self.shared.durable_head.subscribe()
    }

    /// All chain heads, durable.
    #[must_use]
    pub fn heads(&self) -> Heads {
        Heads::new(self.durable().chains.iter().map(|(&origin, &head)| (origin, head)).collect())
    }

    /// The clock: for each origin the highest counter durably held.
    #[must_use]
    pub fn clock(&self) -> VClock {
        let durable = self.durable();
        let entries: Vec<_> = durable.chains.iter().map(|(&origin, head)| (origin, head.counter)).collect();
        VClock::from_sorted(&entries).expect("chains are a sorted map of at most MAX_CLOCK_ENTRIES checked counters")
    }

    /// Those of these cortexes of whom something is durably held, in their order.
    pub(crate) fn authors_among(&self, cortexes: &[CortexId]) -> Vec<CortexId> {
        let durable = self.durable();
        let wrote = |cortex: &CortexId| {
            let first = Origin::new(*cortex, Epoch::new(0));
            durable.chains.range(first..).next().is_some_and(|(origin, _)| origin.cortex() == *cortex)
        };
        cortexes.iter().copied().filter(wrote).collect()
    }

    /// What this cortex says of itself before any event.
    #[must_use]
    pub fn identity(&self, time: Timestamp) -> Identity {
        let Durable { identity: local, head, .. } = self.durable().clone();
        Identity {
            cortex_id: local.cortex_id,
            name: local.name,
            protocol_min: PROTOCOL_MIN,
            protocol_max: PROTOCOL_MAX,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            epoch: local.epoch,
            head: Cursor { epoch: local.epoch, seq: head.seq, last_event: head.last_event },
            head_time: head.time,
            time,
            digest: self.heads().fold(),
        }
    }

    /// Up to `limit` entries after a place, in order, and no more than `max_bytes` of records beyond the first. Reads
    /// what is visible, durable or not.
    ///
    /// # Errors
    /// [`StoreError`]: damage and missing places are errors, never a shorter answer.
    pub fn entries(&self, after: Seq, limit: usize, max_bytes: usize) -> Result<Vec<LogEntry>, StoreError> {
        self.in_place(|| self.entries_until(after, self.visible(), limit, max_bytes))
    }

    /// [`LogView::entries`] of the durable prefix only: what peers may be shown.
    ///
    /// # Errors
    /// As [`LogView::entries`].
    pub fn durable_entries(&self, after: Seq, limit: usize, max_bytes: usize) -> Result<Vec<LogEntry>, StoreError> {
        self.in_place(|| self.entries_until(after, self.head().seq, limit, max_bytes))
    }

    /// Visits the durable entries after a place in order, without a copy of their records.
    pub(crate) fn visit_durable(&self, after: Seq, visit: &mut EntryVisitor<'_>) -> Result<(), StoreError> {
        self.in_place(|| self.scan(after, self.head().seq, visit))
    }

    pub(super) fn entries_until(
        &self,
        after: Seq,
        until: Seq,
        limit: usize,
        max_bytes: usize,
    ) -> Result<Vec<LogEntry>, StoreError> {
        let (mut entries, mut bytes) = (Vec::new(), 0);
        let epoch = Some(self.durable().identity.epoch);
        self.scan(after, until, &mut |seq, joined, record| {
            bytes += record.len();
            if entries.len() >= limit || bytes > max_bytes && !entries.is_empty() {
                return ControlFlow::Break(());
            }
            entries.push(LogEntry { seq, epoch, joined, record: Bytes::copy_from_slice(record) });
            ControlFlow::Continue(())
        })?;
        Ok(entries)
    }

    /// Visits the entries in `after+1..=until` in order. A place that is missing is damage.
    pub(super) fn scan(&self, after: Seq, until: Seq, visit: &mut EntryVisitor<'_>) -> Result<(), StoreError> {
        let mut expected = after.next();
        let mut fault = None;
        let mut stopped = false;
        self.shared.store.scan(Family::Log, KeyRange::from(&keys::log(expected)), &mut |key, value| {
            if expected > until {
                return ControlFlow::Break(());
            }
            if keys::seq_of_log(key) != Some(expected) {
                return ControlFlow::Break(());
            }
            match decode_log_entry(value) {
                Ok((joined, record)) => {
                    let flow = visit(expected, joined, record);
                    stopped = flow.is_break();
                    expected = expected.next();
                    flow
                }
                Err(error) => {
                    fault = Some(damaged(Family::Log, &error));
                    ControlFlow::Break(())
                }
            }
        })?;
        if let Some(fault) = fault {
            return Err(fault);
        }
        if !stopped && expected <= until {
            return Err(StoreError::corrupt(format!("family `log`: the entry at place {expected} is missing")));
        }
        Ok(())
    }

    /// The entry at one place, or `None` beyond the visible end.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn entry(&self, seq: Seq) -> Result<Option<LogEntry>, StoreError> {
        self.in_place(|| self.entry_there(seq))
    }

    /// [`LogView::entry`] for a caller that keeps places as they are.
    pub(super) fn entry_there(&self, seq: Seq) -> Result<Option<LogEntry>, StoreError> {
        if seq == Seq::ZERO || seq > self.visible() {
            return Ok(None);
        }
        Ok(self.entries_until(seq.prev(), seq, 1, usize::MAX)?.into_iter().next())
    }

    /// Where a dot stands, and its chain's digest there; `None` if it is not held.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn dot(&self, dot: Dot) -> Result<Option<StoredDot>, StoreError> {
        stored_dot(&*self.shared.store, dot.origin(), dot.counter())
    }

    /// The digest of an origin's chain at a counter: zero before its first event, `None` where it is not held.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn chain_digest(&self, origin: Origin, counter: u64) -> Result<Option<Digest>, StoreError> {
        if counter == 0 {
            return Ok(Some(Digest::ZERO));
        }
        Ok(stored_dot(&*self.shared.store, origin, counter)?.map(|dot| dot.digest))
    }

    /// The place of the event with this id, if it is held.
    ///
    /// Ids increase along each chain, so each chain is halved: some forty reads an origin at worst, and no index that every
    /// event would have to be written to.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn find(&self, id: EventId) -> Result<Option<Seq>, StoreError> {
        self.in_place(|| self.find_there(id))
    }

    pub(super) fn find_there(&self, id: EventId) -> Result<Option<Seq>, StoreError> {
        let (mut chains, mut fault) = (Vec::new(), None);
        self.shared.store.scan(Family::Clocks, KeyRange::prefix(&[]), &mut |key, value| {
            match (keys::origin_of_chain(key), decode_chain(value)) {
                (Some(origin), Ok(chain)) => {
                    chains.extend((chain.last_id >= id).then_some((origin, chain.counter)));
                    return ControlFlow::Continue(());
                }
                (None, _) => fault = Some(StoreError::corrupt("family `clocks`: a key is not an origin")),
                (_, Err(error)) => fault = Some(damaged(Family::Clocks, &error)),
            }
            ControlFlow::Break(())
        })?;
        if let Some(fault) = fault {
            return Err(fault);
        }
        for (origin, counter) in chains {
            if let Some(seq) = self.find_in(origin, counter, id)? {
                return Ok(Some(seq));
            }
        }
        Ok(None)
    }

    /// The place of an id in one chain, up to a counter.
    fn find_in(&self, origin: Origin, last: u64, id: EventId) -> Result<Option<Seq>, StoreError> {
        let (mut low, mut high, mut found) = (1, last, None);
        while low <= high {
            let middle = low + (high - low) / 2;
            let gone = || StoreError::corrupt(format!("family `dots`: {origin}:{middle} is missing"));
            let seq = stored_dot(&*self.shared.store, origin, middle)?.ok_or_else(gone)?.seq;
            let there = self.id_there(seq)?;
            match there.cmp(&id) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => {
                    found = Some(seq);
                    break;
                }
                std::cmp::Ordering::Greater => high = middle - 1,
            }
        }
        Ok(found)
    }
}

pub(super) fn stored_dot(store: &dyn Store, origin: Origin, counter: u64) -> Result<Option<StoredDot>, StoreError> {
    store
        .get(Family::Dots, &keys::dot(origin, counter))?
        .map(|bytes| decode_dot(&bytes).map_err(|e| damaged(Family::Dots, &e)))
        .transpose()
}
