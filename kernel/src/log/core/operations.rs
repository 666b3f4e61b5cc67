//! Appending, taking what peers send, and letting events rejoin.

use super::Log;
use super::group::data_bytes;
use crate::clock::VClock;
use crate::codec::{RecordRef, encode_cursor};
use crate::digest::Digest;
use crate::event::Draft;
use crate::identity::{ChainStart, Signature};
use crate::ids::{EventId, IdGenerator, LogId, Origin, PeerName};
use crate::log::ahead::Ahead;
use crate::log::append::{AppendError, Appended, Drafts};
use crate::log::asked::{IngestError, Ingested, SentQuery};
use crate::log::bring_back::{BringBackError, BringBackPlan, BroughtBack, plan_bring_back};
use crate::log::bringers::note_bringer;
use crate::log::epoch::{plan_epoch, shows_lost};
use crate::log::epoch_change::EpochEnd;
use crate::log::exclusions::excluded;
use crate::log::forks::{evidence_of, withhold_from};
use crate::log::ingest::{IngestPlan, plan_computed};
use crate::log::intake::allowed;
use crate::log::minted::{last_id_within, note_claimed};
use crate::log::origins::OriginNote;
use crate::log::peers::{read_cursor, read_pin};
use crate::log::rejoin::{plan_rejoin, put_waiting, read_waiting};
use crate::mutant::{self, Mutant};
use crate::protocol::{EventBatch, Scope};
use crate::store::{Batch, Durability, Family, StoreError, keys};
use crate::time::Timestamp;

impl Log {
    /// Turns drafts into events of this cortex, in order, and stages them. Their causal clock is what `context` says the
    /// application saw, on top of this origin's own history.
    ///
    /// # Errors
    /// [`AppendError`]; then none of them is staged.
    pub fn append(&mut self, drafts: &[Draft], context: &VClock, now: Timestamp) -> Result<Vec<Appended>, AppendError> {
        self.usable()?;
        let next = self.next_epoch();
        let epoch = next.unwrap_or(self.identity.epoch);
        let entropy: Vec<u128> = drafts.iter().map(|_| (self.options.entropy)()).collect();
        let max_bytes = self.options.max_append_bytes;
        let log = match self.identity.log {
            Some(log) => log,
            None => LogId::from_bytes((self.options.entropy)().to_be_bytes()),
        };
        let inception = self.begins(epoch, log, next.map(|_| EpochEnd::Copied))?;
        let start = inception.as_ref().map_or(ChainStart::NONE, |(start, _)| *start);
        let wanted = Drafts { drafts, context, epoch, max_bytes, now, entropy: &entropy, start };
        let plan = self.plan_in_group(&wanted)?;
        if plan.events.is_empty() {
            return Ok(Vec::new());
        }
        self.ids = IdGenerator::after(plan.last_id);
        if let Some(next) = next {
            let epoch = plan_epoch(next, EpochEnd::Copied, now, self)?;
            self.stage_epoch(epoch)?;
        }
        // Before the events are staged: the group stays open, and the id of the log is there once they are.
        if self.identity.log.is_none() {
            self.stage_log(log)?;
        }
        if let Some((_, inception)) = inception {
            self.stage_inception(plan.origin, &inception);
        }
        let seqs = std::iter::successors(Some(self.head.seq.next()), |seq| Some(seq.next()));
        let appended = plan.events.iter().zip(seqs).map(|(event, seq)| Appended { seq, id: event.id, dot: event.dot });
        let appended = appended.collect();
        self.stage_group(plan, data_bytes(drafts), now);
        Ok(appended)
    }

    /// Takes a peer's answer: its new events, the chains they extend, and the peer's cursor, staged together.
    ///
    /// # Errors
    /// [`IngestError`]; then nothing of the batch is staged.
    pub fn ingest(
        &mut self,
        peer: &PeerName,
        asked: &SentQuery,
        batch: &EventBatch,
        now: Timestamp,
    ) -> Result<Ingested, IngestError> {
        self.ingest_computed(peer, asked, (batch, &Ahead::default()), now)
    }

    /// The same, with what was computed of the batch before.
    ///
    /// # Errors
    /// [`IngestError`]; then nothing of the batch is staged.
    pub(crate) fn ingest_computed(
        &mut self,
        peer: &PeerName,
        asked: &SentQuery,
        (batch, ahead): (&EventBatch, &Ahead),
        now: Timestamp,
    ) -> Result<Ingested, IngestError> {
        self.usable()?;
        self.close_group()?;
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
        // Withheld was what was known when it was asked: a cursor must not pass what is wanted by now.
        if self.staged.forks.contains(&asked.to) || asked.withhold != withhold_from(&**self.store(), asked.to)? {
            return Err(IngestError::NotAsked);
        }
        if asked.exclude != excluded(store, peer)? {
            return Err(IngestError::NotAsked);
        }
        let batch = &*allowed(batch, |writer| self.view.takes(writer, asked.to) || mutant::is(Mutant::NotAllowedTaken));
        self.ingests_at = now;
        let plan = match plan_computed(batch, asked, self, ahead) {
            Ok(plan) => plan,
            // It cannot be stored before its causes, and yet it shows what we lost.
            Err(error @ IngestError::MissingCause { .. }) if shows_lost(batch, self) => {
                self.leave_epoch(peer, now)?;
                return Err(error);
            }
            Err(error) => return Err(error),
        };
        let over = evidence_of(&**self.store(), &plan.healed, asked.to)?;
        self.check_own(peer, &plan, now)?;
        let claimed = note_claimed(plan.chains.keys(), (peer, now), &self.minted, self);
        self.stage_state(&claimed)?;
        let (chains, bringers) = (&self.chains, &mut self.bringers);
        let held = |origin| chains.get(&origin).map_or(0, |chain| chain.counter);
        let brought = note_bringer(&**self.view.store(), plan.chains.keys(), (peer, now), bringers, &held)?;
        self.stage_state(&brought)?;
        let (stored, known) = (plan.events.len(), plan.known);
        if mutant::is(Mutant::CursorBeforeData) {
            let mut changes = Batch::new();
            changes.put(Family::Cursors, &keys::peer_cursor(peer), &encode_cursor(&batch.last));
            self.store().commit(&changes, Durability::Relaxed)?;
        }
        let mut begun = Vec::new();
        for (&origin, chain) in plan.chains.iter().filter(|(origin, _)| !self.chains.contains_key(origin)) {
            let reserved = plan.reserved.contains(&origin);
            let note = OriginNote { brought_by: Some(peer.clone()), reserved, ..OriginNote::default() };
            self.origins.insert(origin, note);
            self.staged.begun.insert(origin);
            begun.push((origin, chain.start));
        }
        begun.into_iter().for_each(|(origin, start)| self.begin_chain(origin, start));
        plan.inceptions.iter().for_each(|(origin, inception)| self.stage_inception(*origin, inception));
        if self.identity.log.is_none()
            && let Some(log) = batch.log.filter(|_| !plan.events.is_empty())
        {
            tracing::info!(%peer, %log, "the first events that came are of this log: this node belongs to it from now on");
            self.stage_log(log)?;
        }
        for event in plan.events {
            self.stage_event(event.id, event.dot, event.digest, event.bytes, now);
            if event.is_missing {
                self.stage_debt(event.dot);
            }
        }
        for (origin, chain) in plan.chains {
            self.set_chain(origin, chain);
        }
        plan.ends.into_iter().for_each(|(origin, end)| self.stage_end(origin, end));
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
        let withholds = !asked.withhold.is_empty() || !asked.exclude.is_empty();
        let whole = asked.scope == Scope::All && !withholds && self.waiting.is_empty();
        let most = whole.then_some(self.head.seq);
        Ok(Ingested { stored, known, cursor: batch.last, most, healed: plan.healed.len() })
    }

    /// Events that follow on our own chain and that we do not have: this store went back in time. They were seen, chained
    /// to our own digest, so it is no mere claim; what follows is appended under a new epoch, and they are stored like
    /// those of any cortex.
    fn check_own(&mut self, peer: &PeerName, plan: &IngestPlan<'_>, now: Timestamp) -> Result<(), IngestError> {
        let own = self.identity.origin();
        let Some(lost) = plan.events.iter().find(|event| event.dot.origin() == own) else { return Ok(()) };
        let dot = lost.dot;
        if self.leave_epoch(peer, now)? { Ok(()) } else { Err(IngestError::OwnEpoch { dot }) }
    }

    /// Stages what waits and can join by now, and forgets what came from peers meanwhile. Returns how much that was; call
    /// it again after the commit until it is nothing.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn rejoin(&mut self, now: Timestamp) -> Result<u64, StoreError> {
        self.close_group()?;
        let mut done = 0;
        for origin in self.waiting.clone() {
            self.usable()?;
            let Some(waits) = read_waiting(&**self.store(), origin, self)? else {
                self.waiting.remove(&origin);
                continue;
            };
            let plan = plan_rejoin(origin, waits, self)?;
            let joined = plan.events.len();
            if let Some(chain) = plan.chain.as_ref().filter(|_| !plan.events.is_empty()) {
                self.begin_chain(origin, chain.start);
            }
            for event in &plan.events {
                self.stage_new(event, now);
                if RecordRef::decode(&event.record).is_ok_and(|record| record.is_missing()) {
                    self.stage_debt(event.dot);
                }
            }
            if let Some(chain) = plan.chain {
                self.set_chain(origin, chain);
            }
            plan.groups.into_iter().for_each(|end| self.stage_end(origin, end));
            if plan.ends {
                self.waiting.remove(&origin);
            }
            let mut gone = Batch::new();
            plan.gone.iter().for_each(|&counter| gone.delete(Family::Evidence, &keys::waiting(origin, counter)));
            self.stage_state(&gone)?;
            if joined > 0 {
                tracing::info!(%origin, events = joined, "events that waited behind a hole join the log");
            }
            if let Some(fault) = plan.fault {
                return Err(fault);
            }
            done += plan.gone.len() as u64;
        }
        Ok(done)
    }

    /// Stages that an event of a damaged log waits outside of this one.
    pub(in crate::log) fn stage_waiting(
        &mut self,
        event: &RecordRef<'_>,
        joined: Timestamp,
        (digest, seal): (Option<Digest>, Option<Signature>),
        record: &[u8],
    ) -> Result<(), StoreError> {
        let mut changes = Batch::new();
        put_waiting(&mut changes, event, joined, (digest, seal), record);
        self.stage_state(&changes)?;
        self.waiting.insert(event.dot.origin());
        Ok(())
    }

    /// Makes the next own id greater than this one, unless it is too far ahead of the clock, if an own epoch has it.
    pub(in crate::log) fn raise_last_id(&mut self, event: &RecordRef<'_>, now: Timestamp) {
        let origin = event.dot.origin();
        if origin.cortex() == self.identity.cortex_id && self.minted.contains(&origin.epoch()) {
            self.ids = IdGenerator::after(self.ids.last().max(last_id_within(event.id, now)));
        }
    }

    pub(in crate::log) fn stage_last_id(&mut self) -> Result<(), StoreError> {
        let mut changes = Batch::new();
        changes.put(Family::Meta, keys::META_LAST_ID, &self.ids.last().to_bytes());
        self.stage_state(&changes)
    }

    /// Appends events that were set aside, as new ones of this cortex: those that it wrote itself, or all. They claim to have
    /// seen nothing, so what was written meanwhile on the same subject is not superseded. An event that is in the log again
    /// as it was is passed over. Events and the note that they came back commit together, so none comes back twice. One page
    /// at a time; commits at once, and what was staged before with it.
    ///
    /// # Errors
    /// [`BringBackError`]; then nothing of this page came back.
    pub fn bring_back(&mut self, all: bool, now: Timestamp) -> Result<BroughtBack, BringBackError> {
        self.usable()?;
        self.commit(Durability::Sync)?;
        let (own, minted) = (self.identity.cortex_id, &self.minted);
        let is_wanted = |origin: Origin| all || origin.cortex() == own && minted.contains(&origin.epoch());
        let BringBackPlan { mut done, drafts, ids, changes } = plan_bring_back(&self.view, &is_wanted)?;
        let appended = self.append(&drafts, &VClock::new(), now).map_err(|source| {
            let at = if let AppendError::Draft { index, .. } = source { index } else { 0 };
            let id = ids.get(at).copied().unwrap_or(EventId::from_bytes([0; 16]));
            BringBackError::Append { id, source }
        })?;
        done.appended = appended.len() as u64;
        self.stage_state(&changes)?;
        self.commit(Durability::Sync)?;
        Ok(done)
    }
}
