//! The log's synchronous core: decisions are staged into one batch, then committed together.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, RwLockWriteGuard};

use super::entry::{missing, stored_dot};
use super::epoch::EpochEnd;
use super::forks::{Decisions, forget_evidence, forks, read_withheld, withhold_from};
use super::ingest::{Asked, Held, IngestError, IngestPlan, Ingested, plan_ingest};
use super::lineage::Lineage;
use super::minted::Minted;
use super::open::{Loaded, or_none};
use super::origins::{OriginNote, OriginNotes, Reservation, put_origin_note};
use super::peers::{read_pin, read_pinned};
use super::shared::{Durable, Unsynced};
use super::view::LogView;
use super::{LocalIdentity, LogHead, read_cursor};
use crate::codec::{StoredChain, StoredDot, encode_chain, encode_cursor, encode_dot, encode_log_entry};
use crate::cursor::Cursor;
use crate::digest::Digest;
use crate::event::EventBytes;
use crate::ids::{CortexId, Dot, Epoch, EventId, IdGenerator, Origin, PeerName};
use crate::mutant::{self, Mutant};
use crate::protocol::{ChainHead, EventBatch, Scope};
use crate::store::{Batch, Durability, Family, Store, StoreError, StoreErrorKind, keys};
use crate::time::Timestamp;

/// Settings of a log that are this node's own affair.
pub struct LogOptions {
    /// The largest record that may be appended here, in bytes; 1 MiB by default. What is *received* is bounded by the
    /// protocol alone, or one cortex could write what another must refuse for ever.
    pub max_append_bytes: usize,
    /// Whether the store was just restored from a backup: the log goes on under a new epoch for that reason.
    pub restored: bool,
    /// Chance, for ids.
    pub entropy: Box<dyn FnMut() -> u128 + Send>,
    /// Random bits that tell this opening of the log from every other.
    pub process: u64,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            max_append_bytes: 1024 * 1024,
            restored: false,
            entropy: Box::new(crate::entropy::random),
            process: crate::entropy::random() as u64,
        }
    }
}

/// The log of one cortex. One owner; readers hold a [`LogView`].
///
/// Call `append`, `ingest` and `stage_state` any number of times, then [`Log::commit`]: what was staged becomes visible
/// and durable together or not at all. After a commit failed, [`Log::recover`] must succeed before anything is staged
/// again, because the failed batch may have reached the disk.
pub struct Log {
    pub(super) view: LogView,
    pub(super) options: LogOptions,
    pub(super) identity: LocalIdentity,
    pub(super) lineage: Lineage,
    pub(super) chains: BTreeMap<Origin, StoredChain>,
    pub(super) head: LogHead,
    pub(super) ids: IdGenerator,
    pub(super) staged: Staged,
    /// Chains that are visible but not yet durable.
    unsynced: BTreeSet<Origin>,
    /// Whether anything is.
    dirty: bool,
    /// How often something was handed out to be published.
    published: u64,
    pub(super) decisions: Decisions,
    /// The epoch that this process took because of a peer: one that lies must not make it do so for ever. If the change
    /// was lost with a write that failed, it is due again.
    pub(super) epoch_taken: Option<Epoch>,
    failed: bool,
    /// Whether the log is to go on under a new epoch since the disk gave up what was durable.
    lost_end: bool,
    /// Origins of which events wait beside the log since a repair.
    pub(super) waiting: BTreeSet<Origin>,
    /// Where the data are, if they were written in another place: the next own event begins an epoch of its own.
    pub(super) moved: Option<Vec<u8>>,
    /// The epochs that this cortex began.
    pub(super) minted: Minted,
    /// Which peer brought an origin last, of those that were asked about.
    pub(super) bringers: BTreeMap<Origin, Option<PeerName>>,
    /// Who brought each origin, and how much space it takes.
    origins: OriginNotes,
}

#[derive(Default)]
pub(super) struct Staged {
    batch: Batch,
    pub(super) dots: HashMap<(Origin, u64), StoredDot>,
    chains: BTreeSet<Origin>,
    cursors: HashMap<PeerName, Option<Cursor>>,
    /// With whom another fork is known than the store says, or one less.
    pub(super) forks: BTreeSet<CortexId>,
    /// Whether a pin is set or removed.
    pins: bool,
    /// Whether a fork is known that was not, or is over.
    known_forks: bool,
    own: bool,
}

impl Log {
    pub(super) fn assemble(
        view: LogView,
        options: LogOptions,
        identity: LocalIdentity,
        loaded: Loaded,
        moved: Option<Vec<u8>>,
    ) -> Self {
        let Loaded { lineage, chains, head, last_id, decisions, waiting, minted, origins, .. } = loaded;
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
            origins,
        }
    }

    /// A reader of this log, for any thread.
    #[must_use]
    pub fn view(&self) -> LogView {
        self.view.clone()
    }

    pub(super) fn store(&self) -> &Arc<dyn Store> {
        self.view.store()
    }

    /// Bytes staged so far.
    #[must_use]
    pub fn staged_bytes(&self) -> usize {
        self.staged.batch.bytes()
    }

    /// Whether [`Log::recover`] is due.
    #[must_use]
    pub const fn needs_recovery(&self) -> bool {
        self.failed
    }

    /// Takes a peer's answer: its new events, the chains they extend, and the peer's cursor, staged together.
    ///
    /// # Errors
    /// [`IngestError`]; then nothing of the batch is staged.
    pub fn ingest(
        &mut self,
        peer: &PeerName,
        asked: &Asked,
        batch: &EventBatch,
        now: Timestamp,
    ) -> Result<Ingested, IngestError> {
        self.usable()?;
        // An answer is applied only by the process that asked for it, to the pin and cursor it asked with.
        let store = &**self.view.store();
        let pinned = read_pin(store, peer)?.is_some_and(|pin| pin.cortex_id == asked.to);
        let ours = asked.request.process == self.options.process || mutant::is(Mutant::AnswersOutlive);
        if !ours || !pinned {
            return Err(IngestError::NotAsked);
        }
        let current = match self.staged.cursors.get(peer) {
            Some(&cursor) => cursor,
            None => read_cursor(store, peer)?,
        };
        if asked.after.is_some() && asked.after != current {
            return Err(IngestError::NotAsked);
        }
        // Withheld was what stood there when it was asked: a cursor must not pass what is wanted by now.
        if self.staged.forks.contains(&asked.to) || asked.withhold != withhold_from(&**self.store(), asked.to)? {
            return Err(IngestError::NotAsked);
        }
        let plan = match plan_ingest(batch, asked, &*self) {
            Ok(plan) => plan,
            // It cannot be taken before its causes, and yet it shows what we lost.
            Err(error @ IngestError::MissingCause { .. }) if self.shows_lost(batch) => {
                self.leave_epoch(peer, now)?;
                return Err(error);
            }
            Err(error) => return Err(error),
        };
        let over = self.evidence_of_healed(&plan, asked.to)?;
        self.check_own(peer, &plan, now)?;
        self.note_claimed(peer, &plan, now)?;
        self.note_bringer(peer, &plan, now)?;
        let (stored, known) = (plan.events.len(), plan.known);
        if mutant::is(Mutant::CursorBeforeData) {
            let mut changes = Batch::new();
            changes.put(Family::Cursors, &keys::peer_cursor(peer), &encode_cursor(&batch.last));
            self.store().commit(&changes, Durability::Relaxed)?;
        }
        for &origin in plan.chains.keys().filter(|origin| !self.chains.contains_key(origin)) {
            let reserved = plan.reserved.contains(&origin);
            let note = OriginNote { brought_by: Some(peer.clone()), reserved, ..OriginNote::default() };
            self.origins.insert(origin, note);
        }
        for event in plan.events {
            self.stage_event(event.id, event.dot, event.digest, event.bytes, now);
        }
        for (origin, chain) in plan.chains {
            self.set_chain(origin, chain);
        }
        self.staged.batch.extend(&over);
        for &origin in &plan.healed {
            tracing::info!(%peer, %origin, "the histories agree again");
            self.staged.batch.delete(Family::Evidence, &keys::fork(origin, asked.to));
            self.staged.known_forks = true;
            self.staged.forks.insert(asked.to);
        }
        if !plan.healed.is_empty() {
            // It passed what was withheld, and must not pass what is to come.
            self.staged.batch.delete(Family::Cursors, &keys::peer_cursor(peer));
            self.staged.cursors.insert(peer.clone(), None);
        } else if asked.scope == Scope::All && current != Some(batch.last) {
            self.staged.batch.put(Family::Cursors, &keys::peer_cursor(peer), &encode_cursor(&batch.last));
            self.staged.cursors.insert(peer.clone(), Some(batch.last));
        }
        let whole = asked.scope == Scope::All && asked.withhold.is_empty() && self.waiting.is_empty();
        let most = whole.then_some(self.head.seq);
        Ok(Ingested { stored, known, cursor: batch.last, most, healed: plan.healed.len() })
    }

    /// What was kept as evidence of forks that are over.
    fn evidence_of_healed(&self, plan: &IngestPlan, holder: CortexId) -> Result<Batch, StoreError> {
        let mut over = Batch::new();
        if !plan.healed.is_empty() {
            let known = forks(&**self.store())?;
            for fork in known.iter().filter(|fork| fork.holder == holder && plan.healed.contains(&fork.origin)) {
                forget_evidence(&**self.store(), fork, &known, &mut over)?;
            }
        }
        Ok(over)
    }

    /// Events that follow on our own chain and that we do not have: this store went back in time. They were seen, chained
    /// to our own digest, so it is no mere claim; what follows is appended under a new epoch, and they are stored like
    /// anybody's.
    fn check_own(&mut self, peer: &PeerName, plan: &IngestPlan, now: Timestamp) -> Result<(), IngestError> {
        let own = self.identity.origin();
        let Some(lost) = plan.events.iter().find(|event| event.dot.origin() == own) else { return Ok(()) };
        let dot = lost.dot;
        if self.leave_epoch(peer, now)? { Ok(()) } else { Err(IngestError::OwnEpoch { dot }) }
    }

    /// Adds changes of peers' or an application's state to what is staged.
    ///
    /// # Errors
    /// [`StoreError`] while recovery is due.
    pub fn stage_state(&mut self, changes: &Batch) -> Result<(), StoreError> {
        self.usable()?;
        for change in changes.iter().filter(|c| c.family == Family::Cursors) {
            self.staged.cursors.retain(|peer, _| keys::peer_cursor(peer) != change.key);
        }
        self.staged.pins |= changes.iter().any(|c| c.family == Family::Pins);
        self.staged.known_forks |=
            changes.iter().any(|c| c.family == Family::Evidence && c.key.starts_with(keys::FORKS));
        self.staged.batch.extend(changes);
        Ok(())
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

    pub(super) fn set_chain(&mut self, origin: Origin, chain: StoredChain) {
        self.chains.insert(origin, chain);
        self.staged.chains.insert(origin);
        self.staged.own |= origin == self.identity.origin();
    }

    /// Puts one event at the end of the log. Its place is assigned here and nowhere else.
    pub(super) fn stage_event(&mut self, id: EventId, dot: Dot, digest: Digest, record: &EventBytes, now: Timestamp) {
        let seq = self.head.seq.next();
        // A log's times never run backwards, so that lag in seconds is never negative.
        let time = now.max(self.head.time);
        let batch = &mut self.staged.batch;
        batch.put_parts(Family::Log, &keys::log(seq), &[&encode_log_entry(time), record]);
        let note = self.origins.entry(dot.origin()).or_default();
        (note.bytes, note.events) = (note.bytes + record.len() as u64, note.events + 1);
        let stored = StoredDot { seq, digest };
        batch.put(Family::Dots, &keys::dot(dot.origin(), dot.counter()), &encode_dot(&stored));
        self.staged.dots.insert((dot.origin(), dot.counter()), stored);
        self.head = LogHead { seq, last_event: id, time };
    }

    /// Commits everything staged as one batch and publishes it. With nothing staged it does nothing.
    ///
    /// # Errors
    /// [`StoreError`]: everything staged is in doubt, and recovery is due.
    pub fn commit(&mut self, durability: Durability) -> Result<(), StoreError> {
        self.usable()?;
        if self.staged.batch.is_empty() {
            return Ok(());
        }
        for origin in &self.staged.chains {
            self.staged.batch.put(Family::Clocks, &keys::chain(*origin), &encode_chain(&self.chains[origin]));
            if let Some(note) = self.origins.get(origin) {
                put_origin_note(&mut self.staged.batch, *origin, note);
            }
        }
        if self.staged.own {
            self.staged.batch.put(Family::Meta, keys::META_LAST_ID, &self.ids.last().to_bytes());
        }
        if let Err(error) = self.view.store().commit(&self.staged.batch, durability) {
            self.fail(&error);
            return Err(error);
        }
        let notes = self.staged.chains.iter().filter_map(|origin| Some((*origin, self.origins.get(origin)?.clone())));
        self.view.shared.notes().extend(notes);
        self.unsynced.append(&mut self.staged.chains);
        self.dirty = true;
        self.staged.batch.clear();
        self.staged.dots.clear();
        self.staged.cursors.clear();
        self.staged.forks.clear();
        self.staged.own = false;
        if std::mem::take(&mut self.staged.known_forks) {
            self.view.shared.set_withheld(or_none("forks", read_withheld(&**self.view.store())));
        }
        if std::mem::take(&mut self.staged.pins) {
            self.view.shared.set_pinned(or_none("pins", read_pinned(&**self.view.store())));
        }
        self.view.shared.visible_head.send_replace(self.head.seq);
        if durability == Durability::Sync {
            self.publish_durable();
        }
        Ok(())
    }

    /// Makes everything that was committed durable, and publishes it.
    ///
    /// # Errors
    /// [`StoreError`]: recovery is due.
    pub fn sync(&mut self) -> Result<(), StoreError> {
        self.usable()?;
        if let Err(error) = self.view.store().sync() {
            self.fail(&error);
            return Err(error);
        }
        self.publish_durable();
        Ok(())
    }

    /// Whether something was committed that a crash could still take back, and that no sync was begun for.
    #[must_use]
    pub const fn unsynced(&self) -> bool {
        self.dirty
    }

    fn publish_durable(&mut self) {
        if let Some(unsynced) = self.take_unsynced() {
            self.view.shared.publish(unsynced);
        }
    }

    /// What was committed since this was asked last and is not durable yet: to be published after the next sync.
    pub(super) fn take_unsynced(&mut self) -> Option<Unsynced> {
        if !std::mem::take(&mut self.dirty) {
            return None;
        }
        self.published += 1;
        let head = |origin| {
            let chain = &self.chains[&origin];
            (origin, ChainHead { counter: chain.counter, digest: chain.digest })
        };
        let chains = std::mem::take(&mut self.unsynced).into_iter().map(head).collect();
        Some(Unsynced { number: self.published, identity: self.identity.clone(), head: self.head, chains })
    }

    /// After a failed write: opens the store again and reads what really is there, before another place is assigned.
    ///
    /// # Errors
    /// [`StoreError`]: recovery stays due.
    pub fn recover(&mut self) -> Result<(), StoreError> {
        let view = self.view.clone();
        let read = self.read_again(false, view.shared.move_places());
        view.shared.send_rewrites();
        read.inspect_err(|error| view.shared.set_failure(Some(error)))
    }

    /// The same after the log was made shorter on purpose, by whoever moved its places.
    pub(super) fn recover_rewritten(&mut self, moving: RwLockWriteGuard<'_, ()>) -> Result<(), StoreError> {
        let read = self.read_again(true, moving);
        self.view.shared.send_rewrites();
        read.inspect_err(|error| self.view.shared.set_failure(Some(error)))
    }

    fn read_again(&mut self, rewritten: bool, moving: RwLockWriteGuard<'_, ()>) -> Result<(), StoreError> {
        let (was_durable, was_visible) = (self.view.head().seq, self.view.visible());
        let knew = self.store().lost_end();
        let reopened = self.store().reopen();
        // Also where it failed: it may be open for reading then.
        self.view.shared.durable_mut().openings += 1;
        reopened?;
        // Said once: what fails after it must not make that forgotten.
        self.lost_end |= !rewritten && !knew && self.store().lost_end();
        self.store().sync()?;
        let state = super::open::load(&**self.store())?;
        if let Some(identity) = state.identity {
            self.identity = identity;
        }
        self.lineage = state.lineage;
        self.decisions = state.decisions;
        self.waiting = state.waiting;
        self.moved = super::open::moved_to(&**self.store())?;
        self.minted = state.minted;
        self.bringers.clear();
        self.view.shared.set_pinned(state.pinned);
        self.view.shared.set_withheld(or_none("forks", read_withheld(&**self.store())));
        *self.view.shared.notes() = state.origins.clone();
        self.origins = state.origins;
        self.chains = state.chains;
        self.head = state.head;
        self.ids = IdGenerator::after(state.last_id.max(self.ids.last()));
        self.staged = Staged::default();
        self.unsynced.clear();
        self.dirty = false;
        let mut durable = self.view.shared.durable_mut();
        // Whoever replayed what is gone must not take what comes to its places for replayed.
        let rewrites = durable.rewrites + u64::from(self.head.seq < was_visible);
        let openings = durable.openings;
        *durable = Durable::of(self.identity.clone(), self.head, &self.chains, rewrites);
        (durable.openings, durable.number) = (openings, self.published);
        drop(durable);
        // Readers go by these heads: one that begins between would look for events that are gone.
        self.view.shared.visible_head.send_replace(self.head.seq);
        self.view.shared.durable_head.send_replace(self.head.seq);
        drop(moving);
        self.failed = false;
        self.lost_end |= !rewritten && self.head.seq < was_durable;
        if self.lost_end {
            tracing::error!(had = was_durable.get(), has = self.head.seq.get(), "the log lost its end");
            // The disk gave up what it had said to have, and peers may hold it: as if it were found at the next start. Until
            // the new epoch is durable that stays to be done, however often it fails.
            self.begin_epoch(EpochEnd::LostTail, self.head.time)?;
            self.commit(Durability::Sync)?;
            self.lost_end = false;
        } else {
            // It may be shorter than what was noted: where events were set aside, for one.
            self.view.shared.note(self.identity.epoch, self.head.seq, Durability::Sync);
        }
        self.view.shared.set_failure(None);
        Ok(())
    }
}

impl Held for Log {
    fn chain(&self, origin: Origin) -> Option<&StoredChain> {
        self.chains.get(&origin)
    }

    fn origins(&self) -> usize {
        self.chains.len()
    }

    fn is_near(&self, origin: Origin) -> Result<bool, StoreError> {
        if origin.cortex() == self.identity.cortex_id {
            return Ok(self.minted.contains(&origin.epoch()));
        }
        Ok(self.view.pinned().contains_key(&origin.cortex()))
    }

    fn reservation(&self, peer: CortexId) -> Reservation {
        let pinned = self.view.pinned();
        Reservation::of(&self.origins, pinned.get(&peer), pinned.len())
    }

    fn decided(&self, origin: Origin, counter: u64) -> Option<Digest> {
        self.decisions.get(&(origin, counter)).copied()
    }

    fn other_version(&self, origin: Origin, holder: CortexId) -> Result<Option<Digest>, StoreError> {
        let known = super::forks::forks(&**self.store())?;
        Ok(known.into_iter().find(|fork| fork.origin == origin && fork.holder == holder).map(|fork| fork.theirs))
    }

    fn digest_at(&self, origin: Origin, counter: u64) -> Result<Option<Digest>, StoreError> {
        if let Some(staged) = self.staged.dots.get(&(origin, counter)) {
            return Ok(Some(staged.digest));
        }
        match stored_dot(&**self.view.store(), origin, counter)? {
            Some(dot) => Ok(Some(dot.digest)),
            // "Not held" would leave two histories uncompared.
            None if self.chains.get(&origin).is_some_and(|tip| tip.counter >= counter) => Err(missing(origin, counter)),
            None => Ok(None),
        }
    }
}
