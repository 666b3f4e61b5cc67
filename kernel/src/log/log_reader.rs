//! Reading the log, from any thread.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;

use super::LocalIdentity;
use super::entry::{EntryVisitor, LogEntry, LogHead};
use super::forks::WithheldFrom;
use super::load::stored_chains;
use super::marks::{group_start, read_ends, read_inception};
use super::origins::OriginNote;
use super::peers::Pinned;
use super::segments::{find_id, scan_entries, stored_digest, stored_dot};
use super::shared::{Durable, Generation, Shared};
use crate::access::{Authorizer, InForce};
use crate::clock::VClock;
use crate::codec::{Room, StoredDot};
use crate::cursor::{Cursor, Seq};
use crate::digest::Digest;
use crate::doubles::Doubles;
use crate::event::EventBytes;
use crate::identity::{Signature, start_digest};
use crate::ids::{CortexId, Dot, Epoch, EventId, Origin};
use crate::protocol::{Heads, Identity};
use crate::receipts::Receipts;
use crate::store::{Store, StoreError};
use crate::time::Timestamp;

/// What is held, as any thread may read it. Cheap to clone.
///
/// Peers are shown the durable prefix only: [`LogReader::head`], [`LogReader::heads`], [`LogReader::clock`] and
/// [`LogReader::answer`] never speak of an entry that a crash could still take back.
///
/// ```
/// use antiphon_kernel::testing::MemoryStore;
/// use antiphon_kernel::{Cortex, Draft, Seq};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let cortex = Cortex::builder(MemoryStore::new()).name("alpha").start().await?;
/// cortex.append(Draft::new("note.written", "hello")).await?;
/// let reader = cortex.reader().clone();
/// assert_eq!(reader.head().seq, Seq::new(1));
/// // At most ten entries after the beginning, and 64 KiB of them.
/// assert_eq!(reader.durable_entries(Seq::ZERO, 10, 64 * 1024)?.len(), 1);
/// cortex.stop().await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct LogReader {
    pub(super) shared: Arc<Shared>,
}

impl LogReader {
    pub(super) fn over(shared: Shared) -> Self {
        Self { shared: Arc::new(shared) }
    }

    /// Why nothing can be written at present, although everything can be read; `None` while it can.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.shared.failed_with().map(|why| why.to_string())
    }

    /// The store below.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.shared.store
    }

    /// Waits while the log is being rewritten; this blocks. False if that takes longer.
    pub(crate) fn wait_while_rewritten(&self, at_most: Duration) -> bool {
        self.shared.wait_while_rewritten(at_most)
    }

    /// How many times sequence numbers of the log came to name other events, or may have.
    pub(crate) fn rewrites(&self) -> u64 {
        self.shared.rewrites()
    }

    /// Notifies when sequence numbers of the log came to name other events: what was reported as held here, or asked on top of
    /// it, may not be true any more.
    pub(crate) fn watch_rewrites(&self) -> watch::Receiver<u64> {
        self.shared.watch_rewrites()
    }

    /// The generation of anything that is read from the store now.
    pub(crate) fn generation(&self) -> Generation {
        self.shared.generation()
    }

    /// Commits what was made from reads of this generation; `None` where that ended. It does not end meanwhile.
    pub(crate) fn as_of<T>(&self, generation: Generation, commit: impl FnOnce() -> T) -> Option<T> {
        let _stay = self.shared.stay();
        (self.generation() == generation).then(commit)
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
        self.shared.pinned()
    }

    /// The origins in this log, with who brought them and how much space they take.
    #[must_use]
    pub fn origins(&self) -> BTreeMap<Origin, OriginNote> {
        self.shared.notes().clone()
    }

    /// What does not come from a cortex because its histories differ from ours.
    #[must_use]
    pub fn withheld_from(&self, holder: CortexId) -> WithheldFrom {
        self.shared.withheld_from(holder)
    }

    /// Changes whenever a pin does.
    pub(crate) fn watch_pinned(&self) -> watch::Receiver<Arc<Pinned>> {
        self.shared.pinned.subscribe()
    }

    /// Replaces what decides what others may do.
    pub(crate) fn set_access(&self, access: InForce) {
        self.shared.access.send_replace(access);
    }

    pub(crate) fn access(&self) -> Arc<dyn Authorizer> {
        Arc::clone(&self.shared.access.borrow().0)
    }

    /// Changes when another decision about others may be due.
    pub(crate) fn watch_access(&self) -> watch::Receiver<InForce> {
        self.shared.access.subscribe()
    }

    /// Whether events that this cortex wrote are taken whole from that peer.
    pub(crate) fn takes(&self, writer: CortexId, from: CortexId) -> bool {
        writer == self.shared.durable().identity.cortex_id || self.access().takes(writer, from)
    }

    /// Who this cortex is, and in which epoch.
    #[must_use]
    pub fn local(&self) -> LocalIdentity {
        self.shared.durable().identity.clone()
    }

    /// The random bits that tell this opening of the log, since its last rewriting, from every other.
    #[must_use]
    pub fn process(&self) -> u64 {
        self.shared.process()
    }

    /// The newest durable entry.
    #[must_use]
    pub fn head(&self) -> LogHead {
        self.shared.durable().head
    }

    /// The cursor at the newest durable entry.
    #[must_use]
    pub fn head_cursor(&self) -> Cursor {
        let durable = self.shared.durable();
        let head = durable.head;
        Cursor { epoch: durable.identity.epoch, seq: head.seq, last_event: head.last_event }
    }

    /// The newest entry that reads see, durable or not.
    #[must_use]
    pub fn visible(&self) -> Seq {
        *self.shared.visible_head.borrow()
    }

    /// Changes with the newest visible entry.
    #[must_use]
    pub(crate) fn watch_visible(&self) -> watch::Receiver<Seq> {
        self.shared.visible_head.subscribe()
    }

    /// Changes with the newest durable entry.
    #[must_use]
    pub fn watch_durable(&self) -> watch::Receiver<Seq> {
        self.shared.durable_head.subscribe()
    }

    /// All chain heads, durable.
    #[must_use]
    pub fn heads(&self) -> Heads {
        Heads::new(self.shared.durable().chains.iter().map(|(&origin, &head)| (origin, head)).collect())
    }

    /// The clock: for each origin the highest counter durably held.
    #[must_use]
    pub fn clock(&self) -> VClock {
        let durable = self.shared.durable();
        let entries: Vec<_> = durable.chains.iter().map(|(&origin, head)| (origin, head.counter)).collect();
        VClock::from_sorted(&entries).expect("chains are a sorted map of at most MAX_CLOCK_ENTRIES checked counters")
    }

    /// Returns the counter at which the group begins that has an event of an origin here, or that follows on the origin's last one.
    ///
    /// # Errors
    /// [`StoreError`] where our own history cannot be read.
    pub(crate) fn group_start(&self, origin: Origin, counter: u64) -> Result<u64, StoreError> {
        group_start(&**self.store(), origin, counter)
    }

    /// Those of these cortexes of whom something is durably held, in their order.
    pub(crate) fn authors_among(&self, cortexes: &[CortexId]) -> Vec<CortexId> {
        let durable = self.shared.durable();
        let wrote = |cortex: &CortexId| {
            let first = Origin::new(*cortex, Epoch::new(0));
            durable.chains.range(first..).next().is_some_and(|(origin, _)| origin.cortex() == *cortex)
        };
        cortexes.iter().copied().filter(wrote).collect()
    }

    /// The highest number of a key statement that an origin of this cortex began with; 0 where nothing of the cortex is held.
    pub(crate) fn newest_statement(&self, cortex: CortexId) -> u64 {
        self.shared.statements.newest(cortex)
    }

    /// What this cortex says of itself before any event.
    #[must_use]
    pub fn identity(&self, time: Timestamp) -> Identity {
        let Durable { identity: local, head, .. } = self.shared.durable().clone();
        Identity {
            statement: local.statement_bytes(),
            cortex_id: local.cortex_id,
            name: local.name,
            protocol_min: local.protocols.min(),
            protocol_max: local.protocols.max(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            log: local.log,
            epoch: local.epoch,
            head: Cursor { epoch: local.epoch, seq: head.seq, last_event: head.last_event },
            floor: Seq::ZERO,
            head_time: head.time,
            time,
            digest: self.heads().fold(),
            room: Room::default(),
        }
    }

    /// Up to `limit` entries after a sequence number, in order, and no more than `max_bytes` of records beyond the first. Reads
    /// what is visible, durable or not.
    ///
    /// # Errors
    /// [`StoreError`]: damage and missing sequence numbers are errors, never a shorter answer.
    pub fn entries(&self, after: Seq, limit: usize, max_bytes: usize) -> Result<Vec<LogEntry>, StoreError> {
        self.in_place(|| self.entries_until(after, self.visible(), limit, max_bytes))
    }

    /// [`LogReader::entries`] of the durable prefix only: what peers may be shown.
    ///
    /// # Errors
    /// As [`LogReader::entries`].
    pub fn durable_entries(&self, after: Seq, limit: usize, max_bytes: usize) -> Result<Vec<LogEntry>, StoreError> {
        self.in_place(|| self.entries_until(after, self.head().seq, limit, max_bytes))
    }

    /// Visits the durable entries after a sequence number in order, without a copy of their records.
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
        let epoch = Some(self.shared.durable().identity.epoch);
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

    /// Visits the entries in `after+1..=until` in order. A sequence number that is missing is damage.
    pub(super) fn scan(&self, after: Seq, until: Seq, visit: &mut EntryVisitor<'_>) -> Result<(), StoreError> {
        scan_entries(&*self.shared.store, after, until, visit)
    }

    /// The entry at one sequence number, or `None` beyond the visible end.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn entry(&self, seq: Seq) -> Result<Option<LogEntry>, StoreError> {
        self.in_place(|| self.entry_there(seq))
    }

    /// [`LogReader::entry`] for a caller that keeps sequence numbers as they are.
    pub(super) fn entry_there(&self, seq: Seq) -> Result<Option<LogEntry>, StoreError> {
        if seq == Seq::ZERO || seq > self.visible() {
            return Ok(None);
        }
        Ok(self.entries_until(seq.prev(), seq, 1, usize::MAX)?.into_iter().next())
    }

    /// The sequence number of a dot, and its chain's digest there; `None` if it is not held.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn dot(&self, dot: Dot) -> Result<Option<StoredDot>, StoreError> {
        stored_dot(&*self.shared.store, dot.origin(), dot.counter())
    }

    /// The digest of an origin's chain at a counter; `None` where it is not held. Before the first event it is made of the inception.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn chain_digest(&self, origin: Origin, counter: u64) -> Result<Option<Digest>, StoreError> {
        if counter == 0 {
            let inception = read_inception(&*self.shared.store, origin)?;
            return Ok(inception.map(|inception| start_digest(&inception)));
        }
        stored_digest(&*self.shared.store, origin, counter)
    }

    /// How an origin begins; `None` if nothing of it is held.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn inception(&self, origin: Origin) -> Result<Option<EventBytes>, StoreError> {
        read_inception(&*self.shared.store, origin)
    }

    /// The seals of the groups of these last events, each named by its origin and counter.
    ///
    /// # Errors
    /// [`StoreError`], also if one of them ends no group that is held.
    pub fn seals(&self, groups: &[(Origin, u64)]) -> Result<Vec<Signature>, StoreError> {
        Ok(read_ends(&*self.shared.store, groups)?.into_iter().map(|end| end.seal).collect())
    }

    /// The sequence number of the event with this id, if it is held.
    ///
    /// Ids increase along each chain, so each chain is halved: some thirty segments an origin at worst, and no index that every
    /// event would have to be written to.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn find(&self, id: EventId) -> Result<Option<Seq>, StoreError> {
        self.in_place(|| self.find_there(id))
    }

    pub(super) fn find_there(&self, id: EventId) -> Result<Option<Seq>, StoreError> {
        let chains = stored_chains(&*self.shared.store)?;
        for (origin, chain) in chains.into_iter().filter(|(_, chain)| chain.last_id >= id) {
            if let Some(seq) = find_id(&*self.shared.store, origin, chain.counter, id)? {
                return Ok(Some(seq));
            }
        }
        Ok(None)
    }
}
