//! The ingest rule, as a pure decision: which events of a peer's batch to store, or why none.
//!
//! For an event with dot `(o, c)`: at or below what is held, it is known, and its digest must be the one held; exactly
//! one above, with all its causes held and a chain digest that agrees with the batch's, it is new; anything else is a
//! hole. Each origin begins with a valid inception, and each new group has its owner's seal. A batch is taken whole or not at all.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use super::ahead::Ahead;
use super::asked::{IngestError, SentQuery};
use super::held::LogState;
use super::origins::{OWN_ORIGINS, RESERVED_ORIGINS, Reservation};
use super::quotas::check_quotas;
use crate::clock::MAX_CLOCK_ENTRIES;
use crate::codec::{EventRef, Front, GroupEnd, RecordRef, StoredChain};
use crate::cursor::Seq;
use crate::digest::Digest;
use crate::event::{EventBytes, InvalidEvent, check_id};
use crate::identity::{ChainStart, Signature, start_digest, start_of};
use crate::ids::{Dot, EventId, LogId, Origin};
use crate::mutant::{self, Mutant};
use crate::protocol::{EventBatch, MAX_GROUP_BYTES, MAX_GROUP_EVENTS, Scope};
use crate::rule::Rule;

/// An event to store.
#[derive(Debug, Clone)]
pub struct PlannedEvent<'a> {
    /// Its id.
    pub id: EventId,
    /// Its dot.
    pub dot: Dot,
    /// Its chain's digest there.
    pub digest: Digest,
    /// Its record, where the batch has it.
    pub bytes: &'a EventBytes,
    /// Whether a part of it is missing.
    pub is_missing: bool,
}

/// A batch that may be stored: what to write, in order.
#[derive(Debug, Clone, Default)]
pub struct IngestPlan<'a> {
    /// The new events.
    pub events: Vec<PlannedEvent<'a>>,
    /// Origins that take one of the reserved places.
    pub reserved: BTreeSet<Origin>,
    /// The tips of the chains they extend.
    pub chains: BTreeMap<Origin, StoredChain>,
    /// How many events of the batch were known.
    pub known: usize,
    /// Origins whose histories differed once and agree now.
    pub healed: Vec<Origin>,
    /// How the new origins begin.
    pub inceptions: Vec<(Origin, &'a EventBytes)>,
    /// The ends of the new groups.
    pub(super) ends: Vec<(Origin, GroupEnd)>,
}

/// Decides over a batch: [`IngestPlan`], or why nothing of it may be stored.
///
/// # Errors
/// [`IngestError`], each meaning that nothing may be stored and no cursor moved.
pub fn plan_ingest<'a>(
    batch: &'a EventBatch,
    asked: &SentQuery,
    held: &dyn LogState,
) -> Result<IngestPlan<'a>, IngestError> {
    plan_computed(batch, asked, held, &Ahead::default())
}

/// The same, with what was computed of the batch before.
pub(super) fn plan_computed<'a>(
    batch: &'a EventBatch,
    asked: &SentQuery,
    held: &dyn LogState,
    ahead: &Ahead,
) -> Result<IngestPlan<'a>, IngestError> {
    check_envelope(batch, asked)?;
    if let (Some(actual), Some(ours)) = (batch.log, held.identity().log)
        && actual != ours
    {
        return Err(IngestError::OtherLog { actual, ours });
    }
    let plan = IngestPlan { events: Vec::with_capacity(batch.events.len()), ..IngestPlan::default() };
    let mut planning = Planning {
        held,
        asked,
        plan,
        new_origins: 0,
        seen: BTreeMap::new(),
        group: None,
        log: held.identity().log.or(batch.log),
        inceptions: batch.inceptions.iter().map(|(origin, inception)| (*origin, inception)).collect(),
        starts: BTreeMap::new(),
        seals: batch.seals.iter().enumerate(),
        ahead: ahead.for_batch(batch),
        place: 0,
    };
    for (place, (seq, bytes)) in batch.events.iter().enumerate() {
        planning.place = place;
        planning.event(*seq, bytes)?;
    }
    if let Some(group) = planning.group {
        return Err(IngestError::Protocol { rule: Rule::GroupCut, event: Some(group.at) });
    }
    planning.check_rest()?;
    check_quotas(&planning.plan, asked.to, held)?;
    planning.compare_heads(batch, asked)?;
    planning.check_withheld(asked)?;
    Ok(planning.plan)
}

const fn broken(rule: Rule) -> IngestError {
    IngestError::Protocol { rule, event: None }
}

fn check_envelope(batch: &EventBatch, asked: &SentQuery) -> Result<(), IngestError> {
    if batch.request != asked.request {
        return Err(IngestError::OtherQuestion { answered: batch.request, asked: asked.request });
    }
    let bytes: u64 = batch.events.iter().map(|e| e.1.len() as u64).sum();
    let (prev, last, head) = (&batch.prev, &batch.last, &batch.head);
    let places_increase = batch.events.is_sorted_by(|a, b| a.0 < b.0);
    let within =
        batch.events.first().is_none_or(|e| e.0 > prev.seq) && batch.events.last().is_none_or(|e| e.0 <= last.seq);
    let rules = [
        (batch.from == asked.to, Rule::OtherSender),
        (batch.events.is_empty() || batch.log.is_some(), Rule::LogMissing),
        (batch.clocks.is_empty() || batch.clocks.len() == batch.seals.len(), Rule::ClockHashes),
        (prev.epoch == last.epoch && last.epoch == head.epoch, Rule::SeveralEpochs),
        (prev.seq <= last.seq && last.seq <= head.seq, Rule::CursorsRunBackwards),
        (prev.seq != last.seq || prev == last, Rule::TwoEventsAtOneSeq),
        (places_increase && within, Rule::EventsOutsideRun),
        // One group larger than the limits travels alone.
        (batch.events.len() <= asked.max_events as usize || is_one_group(batch), Rule::TooManyEvents),
        (bytes <= asked.max_bytes || is_one_group(batch), Rule::TooManyBytes),
    ];
    match rules.into_iter().find(|(kept, _)| !kept) {
        Some((_, rule)) => Err(broken(rule)),
        None if asked.after.map_or(batch.part > 0, |after| after != *prev) => Err(IngestError::Gap { prev: *prev }),
        None => Ok(()),
    }
}

fn is_one_group(batch: &EventBatch) -> bool {
    let ends = batch.events.iter().position(|(_, record)| Front::decode(record).is_ok_and(|front| front.ends_group));
    ends.is_none_or(|end| end + 1 == batch.events.len())
}

/// A group of which the last event did not come yet.
#[derive(Clone, Copy)]
struct OpenGroup {
    /// The newest event of it.
    at: Dot,
    events: usize,
    bytes: usize,
}

struct Planning<'h, 'a> {
    held: &'h dyn LogState,
    asked: &'h SentQuery,
    plan: IngestPlan<'a>,
    /// How many origins of the plan nothing is held of.
    new_origins: usize,
    /// The batch's own chains, as far as they were recomputed.
    seen: BTreeMap<Origin, (u64, Digest)>,
    group: Option<OpenGroup>,
    /// The log of all this.
    log: Option<LogId>,
    /// How origins begin of which the first event comes.
    inceptions: BTreeMap<Origin, &'a EventBytes>,
    /// What the chains begin with whose first event came.
    starts: BTreeMap<Origin, ChainStart>,
    /// The seals of the groups that were not reached yet, with their places in the batch.
    seals: std::iter::Enumerate<std::slice::Iter<'a, Signature>>,
    /// What was computed of the batch before.
    ahead: Option<&'h Ahead>,
    /// The place of the present event in the batch.
    place: usize,
}

impl<'a> Planning<'_, 'a> {
    fn tip(&self, origin: Origin) -> Option<&StoredChain> {
        self.plan.chains.get(&origin).or_else(|| self.held.chain(origin))
    }

    fn counter(&self, origin: Origin) -> u64 {
        self.tip(origin).map_or(0, |chain| chain.counter)
    }

    fn digest_at(&self, origin: Origin, counter: u64) -> Result<Option<Digest>, IngestError> {
        match (counter, self.tip(origin)) {
            (0, Some(tip)) => Ok(Some(tip.start.digest)),
            (0, None) => Ok(self.starts.get(&origin).map(|start| start.digest)),
            (_, Some(tip)) if tip.counter == counter => Ok(Some(tip.digest)),
            (_, Some(tip)) if tip.counter < counter => Ok(None),
            _ => Ok(self.held.digest_at(origin, counter)?),
        }
    }

    /// What a chain head at this counter says. One of counter 0 says that nothing is held, and has no digest.
    fn told_at(&self, origin: Origin, counter: u64) -> Result<Option<Digest>, IngestError> {
        if counter == 0 { Ok(Some(Digest::ZERO)) } else { self.digest_at(origin, counter) }
    }

    fn event(&mut self, seq: Seq, bytes: &'a EventBytes) -> Result<(), IngestError> {
        let invalid = |source| {
            let event = EventRef::decode_dot(bytes).ok().map(|(_, dot)| dot);
            IngestError::Invalid { seq, event, source }
        };
        let view = RecordRef::decode(bytes).map_err(invalid)?;
        check_id(view.id).map_err(invalid)?;
        self.in_group(&view, bytes.len())?;
        let (origin, counter) = (view.dot.origin(), view.dot.counter());
        if self.asked.excludes(origin) {
            return Err(IngestError::Protocol { rule: Rule::Excluded, event: Some(view.dot) });
        }
        let held = self.counter(origin);
        let skips = mutant::is(Mutant::SkipHoleCheck);
        if counter > held + 1 && !skips {
            return Err(IngestError::Hole { dot: view.dot, held });
        }
        let digest = self.chain_digest(&view)?;
        if counter <= held {
            if self.digest_at(origin, counter)? != Some(digest) {
                return Err(IngestError::Fork { origin, counter });
            }
            self.plan.known += 1;
        } else if self.held.decided(origin, counter).is_some_and(|keep| keep != digest) {
            return Err(IngestError::Fork { origin, counter });
        } else {
            self.extend(&view, digest).map_err(|e| match e {
                Extend::Invalid(source) => invalid(source),
                Extend::Ingest(error) => error,
            })?;
            let is_missing = view.is_missing();
            self.plan.events.push(PlannedEvent { id: view.id, dot: view.dot, digest, bytes, is_missing });
        }
        if view.ends_group {
            self.check_seal(&view, counter > held)?;
        }
        self.seen.insert(origin, (counter, digest));
        Ok(())
    }

    /// The owner of the origin sealed the group that ends with this event. Of a group that is held the same was checked before.
    fn check_seal(&mut self, last: &RecordRef<'_>, is_new: bool) -> Result<(), IngestError> {
        let broken = |rule| IngestError::Protocol { rule, event: Some(last.dot) };
        let (place, seal) = self.seals.next().ok_or_else(|| broken(Rule::SealMissing))?;
        if !is_new {
            return Ok(());
        }
        let origin = last.dot.origin();
        if let Some(tip) = self.tip(origin) {
            // Behind a hole the digest is another one, so the seal would do what the broken rule does not.
            let is_skipped = mutant::is(Mutant::SealNotChecked) || mutant::is(Mutant::SkipHoleCheck);
            let (key, sealed) = (&tip.start.key, tip.sealed(origin));
            let is_known = self.ahead.is_some_and(|ahead| ahead.is_sealed(place, key, &sealed, seal));
            if !is_skipped && !is_known && !sealed.is_sealed_by(key, seal) {
                return Err(broken(Rule::SealWrong));
            }
            let end = GroupEnd::of(&sealed, *seal);
            self.plan.ends.push((origin, end));
        }
        Ok(())
    }

    /// Each seal and each inception belongs to the events.
    fn check_rest(&self) -> Result<(), IngestError> {
        if self.seals.len() > 0 {
            return Err(broken(Rule::SealsTooMany));
        }
        if self.starts.len() < self.inceptions.len() {
            return Err(broken(Rule::InceptionUnasked));
        }
        Ok(())
    }

    /// A group comes whole and in one piece, and only its first event has dependencies: so it is tainted as a whole or not at all.
    fn in_group(&mut self, view: &RecordRef<'_>, bytes: usize) -> Result<(), IngestError> {
        let broken = |rule| Err(IngestError::Protocol { rule, event: Some(view.dot) });
        let before = self.group.take();
        match before {
            Some(group) if !group.at.precedes(view.dot) => return broken(Rule::GroupCut),
            Some(_) if !view.deps.is_empty() => return broken(Rule::GroupDeps),
            _ => {}
        }
        let (events, before) = before.map_or((0, 0), |group| (group.events, group.bytes));
        let group = OpenGroup { at: view.dot, events: events + 1, bytes: before + bytes };
        if group.events > MAX_GROUP_EVENTS || group.bytes > MAX_GROUP_BYTES {
            return broken(Rule::GroupTooLarge);
        }
        self.group = (!view.ends_group).then_some(group);
        Ok(())
    }

    /// What the chain of a first event begins with. A batch may have more inceptions than can be taken, so each is verified only here.
    fn begin(&mut self, first: Dot) -> Result<ChainStart, IngestError> {
        let origin = first.origin();
        let missing = IngestError::Protocol { rule: Rule::InceptionMissing, event: Some(first) };
        let inception = *self.inceptions.get(&origin).ok_or(missing)?;
        let start = match self.held.chain(origin) {
            // What is held was verified.
            Some(chain) if start_digest(inception) == chain.start.digest => chain.start,
            Some(_) => return Err(IngestError::Fork { origin, counter: 1 }),
            None if mutant::is(Mutant::InceptionNotChecked) => ChainStart::verified(inception),
            None => {
                start_of(inception, origin, self.log).map_err(|source| IngestError::Inception { origin, source })?
            }
        };
        self.starts.insert(origin, start);
        Ok(start)
    }

    /// The event's chain digest, on top of what this batch sent before it, or else of what is held.
    fn chain_digest(&mut self, view: &RecordRef<'_>) -> Result<Digest, IngestError> {
        let (origin, counter) = (view.dot.origin(), view.dot.counter());
        let before = match self.seen.get(&origin) {
            Some(&(seen, digest)) if seen + 1 == counter => Some(digest),
            Some(_) => {
                return Err(IngestError::Protocol { rule: Rule::EventsDoNotFollow, event: Some(view.dot) });
            }
            None if counter == 1 => Some(self.begin(view.dot)?.digest),
            None => self.digest_at(origin, counter - 1)?,
        };
        let before = before.or(mutant::is(Mutant::SkipHoleCheck).then_some(Digest::ZERO));
        let before = before.ok_or(IngestError::Hole { dot: view.dot, held: self.counter(origin) })?;
        let computed = self.ahead.and_then(|ahead| ahead.digest_after(self.place, before));
        Ok(computed.unwrap_or_else(|| view.digest_after(before)))
    }

    /// Whether a cause is not held, or came from somebody else since the question: then it may be another one.
    fn lacks(&self, origin: Origin, counter: u64) -> bool {
        let compared = || match self.asked.scope {
            Scope::All => true,
            scope => {
                counter <= self.asked.held.counter(origin)
                    || scope.covers(origin) && self.seen.get(&origin).is_some_and(|seen| counter <= seen.0)
            }
        };
        self.counter(origin) < counter || !compared()
    }

    /// Puts the event at the end of its chain in the plan. What a plan that fails has in it counts for nothing.
    fn extend(&mut self, view: &RecordRef<'_>, digest: Digest) -> Result<(), Extend> {
        let origin = view.dot.origin();
        if let Some((needs_origin, needs_counter)) = view.deps.iter().find(|&(o, c)| self.lacks(o, c)) {
            let missing = IngestError::MissingCause { dot: view.dot, needs_origin, needs_counter };
            return Err(Extend::Ingest(missing));
        }
        let chain = match self.plan.chains.entry(origin) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let held = self.held.chain(origin);
                if held.is_none() {
                    // Any holder of the key can make origins up, in the name of any cortex, and must keep neither this one
                    // nor an honest peer from going on.
                    let origins = self.held.origins() + self.new_origins;
                    if origins >= MAX_CLOCK_ENTRIES - RESERVED_ORIGINS {
                        let near = self.held.is_near(origin).map_err(|e| Extend::Ingest(e.into()))?;
                        let Reservation { filled, quota } = self.held.reservation(self.asked.to);
                        let full = origins >= MAX_CLOCK_ENTRIES - OWN_ORIGINS;
                        if !near || full || filled + self.plan.reserved.len() >= quota {
                            return Err(Extend::Ingest(IngestError::TooManyOrigins { origin }));
                        }
                        self.plan.reserved.insert(origin);
                    }
                    self.new_origins += 1;
                }
                if let (None, Some(inception)) = (held, self.inceptions.get(&origin)) {
                    self.plan.inceptions.push((origin, inception));
                }
                let start = self.starts.get(&origin).copied().unwrap_or(ChainStart::NONE);
                entry.insert(held.cloned().unwrap_or_else(|| StoredChain::of(start)))
            }
        };
        if chain.counter > 0 {
            if view.id <= chain.last_id {
                return Err(Extend::Invalid(InvalidEvent::IdNotIncreasing { id: view.id, previous: chain.last_id }));
            }
            if let Some((origin, _)) = view.deps.iter().find(|&(o, c)| chain.clock.get(o) >= c) {
                return Err(Extend::Invalid(InvalidEvent::StaleDeps { origin }));
            }
        }
        if !view.deps.is_empty() {
            let merged = chain.clock.merge_capped(&view.deps, MAX_CLOCK_ENTRIES - 1);
            merged.map_err(|e| Extend::Invalid(e.into()))?;
        }
        chain.advance(view, digest);
        Ok(())
    }

    /// Both sides' digests at one counter, really compared, before anything is committed.
    fn compare_heads(&mut self, batch: &EventBatch, asked: &SentQuery) -> Result<(), IngestError> {
        let withheld = |origin, counter| asked.withhold.get(origin).is_some_and(|ours| ours.counter <= counter);
        for (&origin, &(counter, digest)) in &self.seen {
            let Some(theirs) = batch.heads.get(origin).filter(|head| head.counter == counter) else {
                return Err(IngestError::Protocol { rule: Rule::HeadMissing, event: Dot::new(origin, counter) });
            };
            if theirs.digest != digest && !mutant::is(Mutant::SkipHoleCheck) {
                return Err(IngestError::Fork { origin, counter });
            }
            if withheld(origin, counter) {
                self.plan.healed.push(origin);
            }
        }
        for (origin, theirs) in batch.heads.iter().filter(|(o, _)| !self.seen.contains_key(o)) {
            if theirs.counter == 0 && theirs.digest != Digest::ZERO {
                return Err(broken(Rule::CounterOutOfRange));
            }
            if asked.withhold.get(origin) == Some(theirs) {
                self.plan.healed.push(origin);
                continue;
            }
            // Its version went, when it resolved another fork or was set back: nothing differs by now.
            if asked.withhold.get(origin).is_some_and(|ours| theirs.counter < ours.counter)
                && self.told_at(origin, theirs.counter)? == Some(theirs.digest)
            {
                self.plan.healed.push(origin);
                continue;
            }
            // It resolved a fork of its own meanwhile: what we know of its version is out of date.
            if asked.withhold.get(origin).is_some_and(|ours| ours.counter == theirs.counter)
                && self.held.other_version(origin, asked.to)?.is_some_and(|known| known != theirs.digest)
            {
                return Err(IngestError::Fork { origin, counter: theirs.counter });
            }
            match self.told_at(origin, theirs.counter)? {
                Some(ours) if ours == theirs.digest && withheld(origin, theirs.counter) => {
                    self.plan.healed.push(origin);
                }
                // Behind the known difference a head is told only where that one is over: then there is another.
                Some(ours)
                    if ours != theirs.digest
                        && asked.withhold.get(origin).is_none_or(|known| known.counter != theirs.counter) =>
                {
                    return Err(IngestError::Fork { origin, counter: theirs.counter });
                }
                None if mutant::is(Mutant::MergeBlindly) => {
                    let held = self.tip(origin).cloned().unwrap_or_default();
                    let chain = StoredChain { counter: theirs.counter, digest: theirs.digest, ..held };
                    self.plan.chains.insert(origin, chain);
                }
                // Not held here yet: nothing was compared, and nothing is claimed.
                _ => {}
            }
        }
        Ok(())
    }

    /// Nothing that depends on another version than ours may come in: its causes are not the ones we hold.
    fn check_withheld(&self, asked: &SentQuery) -> Result<(), IngestError> {
        for (origin, ours) in asked.withhold.iter().filter(|(origin, _)| !self.plan.healed.contains(origin)) {
            let mut tainted = self.plan.chains.iter().filter(|(_, chain)| chain.clock.get(origin) >= ours.counter);
            if let Some((&writer, chain)) = tainted.next() {
                return Err(IngestError::Protocol {
                    rule: Rule::DependsOnFork,
                    event: Dot::new(writer, chain.counter),
                });
            }
        }
        // Of what these wrote, another version may be held here than by the peer.
        if !asked.exclude.is_empty() {
            let depends = |chain: &StoredChain| chain.clock.iter().any(|(origin, _)| asked.excludes(origin));
            if let Some((&writer, chain)) = self.plan.chains.iter().find(|(_, chain)| depends(chain)) {
                let event = Dot::new(writer, chain.counter);
                return Err(IngestError::Protocol { rule: Rule::DependsOnExcluded, event });
            }
        }
        Ok(())
    }
}

enum Extend {
    Invalid(InvalidEvent),
    Ingest(IngestError),
}
