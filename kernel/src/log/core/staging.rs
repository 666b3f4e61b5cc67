//! Staging changes of a log, and committing them together.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::Log;
use super::group::OpenGroup;
use crate::codec::{GroupEnd, StoredChain, StoredDot, encode_chain};
use crate::cursor::{Cursor, Seq};
use crate::digest::Digest;
use crate::event::EventBytes;
use crate::identity::ChainStart;
use crate::ids::{CortexId, Dot, EventId, Origin, PeerName};
use crate::log::LogHead;
use crate::log::forks::read_withheld;
use crate::log::held::NewEvent;
use crate::log::load::or_none;
use crate::log::marks::{MarkWriter, put_inception};
use crate::log::origins::put_origin_note;
use crate::log::peers::read_pinned;
use crate::log::segments::{SegmentWriter, put_segment};
use crate::log::shared::SyncTicket;
use crate::mutant::{self, Mutant};
use crate::protocol::ChainHead;
use crate::store::{Batch, Durability, Family, StoreError, keys};
use crate::time::Timestamp;

#[derive(Default)]
pub(super) struct Staged {
    pub(super) batch: Batch,
    /// Entries that the batch does not have yet.
    segment: SegmentWriter,
    /// Ends of groups that the batch does not have yet.
    marks: MarkWriter,
    dots: HashMap<Origin, StagedDots>,
    pub(super) chains: BTreeSet<Origin>,
    pub(super) cursors: HashMap<PeerName, Option<Cursor>>,
    /// With whom another fork is known than the store says, or one less.
    pub(super) forks: BTreeSet<CortexId>,
    /// The origins of which peers brought the first event.
    pub(super) begun: BTreeSet<Origin>,
    /// Whether a pin is set or removed.
    pub(super) pins: bool,
    /// Whether a fork is known that was not, or ended.
    pub(super) known_forks: bool,
    /// Whether an own event is staged.
    pub(super) own: bool,
    /// The own group that is open. It is the newest entry of the log, but for its last event, which is not in the batch.
    pub(super) group: Option<OpenGroup>,
    /// How many events and bytes of data the group has that the next own events join.
    pub(super) gathered: (usize, usize),
    /// How many events are staged of which a part is missing.
    pub(super) debts: u64,
    /// Events that get a part.
    pub(super) filled: BTreeSet<Dot>,
    /// The segments with those events in them, by the sequence number of their first entry.
    pub(super) rewritten: BTreeMap<Seq, Vec<(Timestamp, EventBytes)>>,
    /// Where those of them are that have every part then.
    pub(super) settled: Vec<Seq>,
}

/// The events of an origin that are staged: their counters follow on one another.
#[derive(Debug)]
struct StagedDots {
    first: u64,
    dots: Vec<StoredDot>,
}

impl Staged {
    /// Returns a staged event's sequence number and digest.
    pub(super) fn dot(&self, origin: Origin, counter: u64) -> Option<StoredDot> {
        let staged = self.dots.get(&origin)?;
        staged.dots.get(usize::try_from(counter.checked_sub(staged.first)?).ok()?).copied()
    }

    /// Returns the size of everything staged in bytes, about.
    pub(super) fn bytes(&self) -> usize {
        self.batch.bytes()
            + self.segment.bytes()
            + self.marks.bytes()
            + self.group.as_ref().map_or(0, OpenGroup::staged_bytes)
    }
}

impl Log {
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

    pub(in crate::log) fn stage_new(&mut self, event: &NewEvent, now: Timestamp) {
        self.stage_event(event.id, event.dot, event.digest, &event.record, now);
    }

    /// Stages an event whose chain is already known here beyond it.
    pub(super) fn stage_after(&mut self, event: &NewEvent, before: Digest, now: Timestamp) {
        self.stage_on(before, (event.id, event.dot, event.digest), &event.record, now);
    }

    pub(in crate::log) fn set_chain(&mut self, origin: Origin, chain: StoredChain) {
        self.chains.insert(origin, chain);
        self.staged.chains.insert(origin);
        self.staged.own |= origin == self.identity.origin();
    }

    /// Stages the end of a group whose events are staged.
    pub(in crate::log) fn stage_end(&mut self, origin: Origin, end: GroupEnd) {
        self.staged.marks.push(origin, end, &mut self.staged.batch);
    }

    /// Stages how an origin begins.
    pub(in crate::log) fn stage_inception(&mut self, origin: Origin, inception: &[u8]) {
        self.view.shared.statements.note(origin, inception);
        put_inception(origin, inception, &mut self.staged.batch);
    }

    /// Puts one event at the end of the log, before its chain is set.
    pub(super) fn stage_event(&mut self, id: EventId, dot: Dot, digest: Digest, record: &EventBytes, now: Timestamp) {
        self.stage_on(self.digest_before(dot), (id, dot, digest), record, now);
    }

    /// Puts one event at the end of the log. Its sequence number is assigned here and nowhere else.
    fn stage_on(
        &mut self,
        before: Digest,
        (id, dot, digest): (EventId, Dot, Digest),
        record: &EventBytes,
        now: Timestamp,
    ) {
        let seq = self.head.seq.next();
        // A log's times never run backwards, so that lag in seconds is never negative.
        let time = now.max(self.head.time);
        let Staged { segment, batch, dots, .. } = &mut self.staged;
        segment.push((seq, time), dot, before, record.clone(), batch);
        let note = self.origins.entry(dot.origin()).or_default();
        (note.bytes, note.events) = (note.bytes + record.len() as u64, note.events + 1);
        let first = dot.counter();
        let staged = dots.entry(dot.origin()).or_insert_with(|| StagedDots { first, dots: Vec::new() });
        staged.dots.push(StoredDot { seq, digest });
        self.head = LogHead { seq, last_event: id, time };
    }

    /// The digest of a chain before an event that is about to be staged.
    fn digest_before(&self, dot: Dot) -> Digest {
        let before = dot.counter() - 1;
        if let Some(staged) = self.staged.dot(dot.origin(), before) {
            return staged.digest;
        }
        let tip = self.chains.get(&dot.origin());
        debug_assert!(
            tip.map_or(0, |tip| tip.counter) == before || mutant::is(Mutant::SkipHoleCheck),
            "{dot} follows on what is held"
        );
        tip.map_or(Digest::ZERO, |tip| tip.digest)
    }

    /// Begins the chain of an origin of which nothing is held, before its first event is staged.
    pub(in crate::log) fn begin_chain(&mut self, origin: Origin, start: ChainStart) {
        self.chains.entry(origin).or_insert_with(|| StoredChain::of(start));
    }

    /// Commits everything staged as one batch and publishes it. With nothing staged it does nothing.
    ///
    /// # Errors
    /// [`StoreError`]: everything staged is in doubt, and recovery is due.
    pub fn commit(&mut self, durability: Durability) -> Result<(), StoreError> {
        self.usable()?;
        self.close_group()?;
        let Staged { segment, marks, batch, rewritten, .. } = &mut self.staged;
        segment.finish(batch);
        marks.finish(batch);
        for (first, entries) in std::mem::take(rewritten) {
            put_segment(first, entries, batch);
        }
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
        self.staged.begun.clear();
        self.staged.own = false;
        self.staged.filled.clear();
        let settled = std::mem::take(&mut self.staged.settled);
        self.view.shared.debts.changed(std::mem::take(&mut self.staged.debts), settled);
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
    pub(in crate::log) fn take_unsynced(&mut self) -> Option<SyncTicket> {
        if !std::mem::take(&mut self.dirty) {
            return None;
        }
        self.published += 1;
        let head = |origin| {
            let chain = &self.chains[&origin];
            (origin, ChainHead { counter: chain.counter, digest: chain.digest })
        };
        let chains = std::mem::take(&mut self.unsynced).into_iter().map(head).collect();
        Some(SyncTicket { number: self.published, identity: self.identity.clone(), head: self.head, chains })
    }
}
