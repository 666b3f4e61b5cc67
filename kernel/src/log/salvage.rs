//! Taking over from a damaged store what is whole: every event that can be read, is what its digest says, and follows on
//! what was taken over before it. The rest comes back from peers, as ordinary events.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use super::LocalIdentity;
use super::core::{Log, LogOptions};
use super::entry::{damaged, record_at};
use super::epoch_change::EpochEnd;
use super::held::{LogState, NewEvent};
use super::lineage::Lineage;
use super::marks::{put_inception, read_end};
use super::minted::{minted, put_minted};
use super::open::OpenError;
use super::rejoin::{followed_by, follows_on, is_sealed};
use super::segments::{chained, stored_run_at};
use crate::codec::{GroupEnd, RecordRef, SegmentRef, StoredChain, decode_chain, decode_identity};
use crate::cursor::Seq;
use crate::digest::Digest;
use crate::identity::{Signature, start_of};
use crate::ids::{Dot, EventId, Origin};
use crate::store::{Batch, Durability, Family, KeyRange, Store, StoreError, Unreadable as _, keys};
use crate::time::Timestamp;

/// So many sequence numbers without an entry, behind the last that is known, and the log is taken to be over.
const ENOUGH_MISSES: u64 = 4096;
/// How much is written at once.
const GROUP_BYTES: usize = 4 << 20;

/// What could be taken over.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Salvaged {
    /// How many events.
    pub kept: u64,
    /// The last sequence number up to which every event is where it was.
    pub unmoved: u64,
    /// How many stand behind a hole, or lack a cause. They wait beside the log, and join it once that came from peers.
    pub waiting: u64,
    /// What was there and could not be taken into the log: of each origin, the first and the last counter.
    pub lost: Vec<(Origin, u64, u64)>,
    /// What else could not be read, for people.
    pub notes: Vec<String>,
}

/// Makes a log in the empty store `to`, of the same cortex under a new epoch, with everything of `from` that is whole.
/// What is known of peers and what an operator decided goes along; cursors and the state of replayers do not, so that
/// peers are asked for what is missing, and replayers begin again.
///
/// # Errors
/// [`OpenError`] where not even the identity can be read, a newer version wrote an event, or `to` cannot be written.
pub fn salvage(from: &dyn Store, to: Arc<dyn Store>, now: Timestamp) -> Result<Salvaged, OpenError> {
    let identity = from.get(Family::Meta, keys::META_IDENTITY)?.ok_or(OpenError::NotInitialised)?;
    let identity = decode_identity(&identity).map_err(|e| damaged(Family::Meta, &e))?;
    Log::create(&*to, &identity)?;
    let mut salvaged = Salvaged::default();
    copy_state(from, &*to, &mut salvaged)?;
    copy_epochs(from, &*to, &identity, now, &mut salvaged)?;
    copy_inceptions(from, &*to, &identity, &mut salvaged)?;
    let mut log = Log::open(to, LogOptions::default())?;
    log.begin_epoch(EpochEnd::Repaired, now)?;
    let mut known = chains_of(from, &mut salvaged);
    take_over(&mut log, from, &mut known, &mut salvaged, now)?;
    // Where it cannot be read it is forgotten, and cursors of earlier epochs are unknown.
    let lineage = Lineage::read(from).unwrap_or_default();
    log.replace_lineage(lineage, identity.epoch, Seq::new(salvaged.unmoved))?;
    log.commit(Durability::Sync)?;
    for (&origin, &last) in &known {
        let kept = log.reader().heads().get(origin).map_or(0, |head| head.counter);
        if kept < last {
            salvaged.lost.push((origin, kept + 1, last));
        }
    }
    Ok(salvaged)
}

/// Pins, forks and decisions, and what applications keep.
fn copy_state(from: &dyn Store, to: &dyn Store, salvaged: &mut Salvaged) -> Result<(), StoreError> {
    let state = keys::state("");
    let all =
        [(Family::Pins, &[][..]), (Family::Evidence, &[]), (Family::Meta, &state), (Family::Meta, keys::META_CLAIMED)];
    for (family, prefix) in all {
        let mut changes = Batch::new();
        let read = from.scan(family, KeyRange::prefix(prefix), &mut |key, value| {
            // A debt comes with the event that it is of, if that is taken over.
            if family != Family::Evidence || !key.starts_with(keys::DEBTS) {
                changes.put(family, key, value);
            }
            ControlFlow::Continue(())
        });
        if let Err(error) = read {
            salvaged.notes.push(format!("not all of `{family}` can be read: {error}"));
        }
        to.commit(&changes, Durability::Relaxed)?;
    }
    if let Ok(Some(last)) = from.get(Family::Meta, keys::META_LAST_ID)
        && last.len() == size_of::<EventId>()
    {
        let mut changes = Batch::new();
        changes.put(Family::Meta, keys::META_LAST_ID, &last);
        to.commit(&changes, Durability::Relaxed)?;
    }
    Ok(())
}

/// Which epochs are its own, and which others came under its id.
fn copy_epochs(
    from: &dyn Store,
    to: &dyn Store,
    identity: &LocalIdentity,
    now: Timestamp,
    salvaged: &mut Salvaged,
) -> Result<(), StoreError> {
    let mut changes = Batch::new();
    match minted(from, identity) {
        Ok(minted) => minted.into_iter().for_each(|epoch| put_minted(&mut changes, epoch, now)),
        Err(error) => salvaged.notes.push(format!("which epochs this node began cannot be read whole: {error}")),
    }
    to.commit(&changes, Durability::Relaxed)
}

/// How each origin begins. Without that none of its events can join the log.
fn copy_inceptions(
    from: &dyn Store,
    to: &dyn Store,
    identity: &LocalIdentity,
    salvaged: &mut Salvaged,
) -> Result<(), StoreError> {
    let mut changes = Batch::new();
    let read = from.scan(Family::Marks, KeyRange::prefix(&[]), &mut |key, value| {
        if let Some((origin, 0)) = keys::mark_of(key) {
            match start_of(value, origin, identity.log) {
                Ok(_) => put_inception(origin, value, &mut changes),
                Err(error) => salvaged.notes.push(format!("{origin}: {error}")),
            }
        }
        ControlFlow::Continue(())
    });
    if let Err(error) = read {
        salvaged.notes.push(format!("not all of `{}` can be read: {error}", Family::Marks));
    }
    to.commit(&changes, Durability::Relaxed)
}

/// How far each origin reached, as far as that can be read.
fn chains_of(from: &dyn Store, salvaged: &mut Salvaged) -> BTreeMap<Origin, u64> {
    let mut known = BTreeMap::new();
    let read = from.scan(Family::Clocks, KeyRange::prefix(&[]), &mut |key, value| {
        if let (Some(origin), Ok(chain)) = (keys::origin_of_chain(key), decode_chain(value)) {
            known.insert(origin, chain.counter);
        }
        ControlFlow::Continue(())
    });
    if let Err(error) = read {
        salvaged.notes.push(format!("how far each origin reached cannot be read whole: {error}"));
    }
    known
}

fn take_over(
    log: &mut Log,
    from: &dyn Store,
    known: &mut BTreeMap<Origin, u64>,
    salvaged: &mut Salvaged,
    now: Timestamp,
) -> Result<(), StoreError> {
    let counted: u64 = known.values().sum();
    let last = from.last(Family::Log, &[]).ok().flatten().and_then(|(key, _)| keys::seq_of_log(&key));
    let end = counted.max(last.map_or(0, Seq::get));
    let mut reading = Reading::default();
    let (mut seq, mut misses, mut unread) = (1, 0, 0_u64);
    // Where a segment cannot be read it is not known how many entries it has: the next one begins at some number after it.
    while seq <= end || misses < ENOUGH_MISSES {
        let first = Seq::new(seq);
        seq += 1;
        match from.get(Family::Log, &keys::log(first)) {
            Ok(None) => misses += 1,
            Ok(Some(value)) => {
                misses = 0;
                match SegmentRef::decode(&value) {
                    Ok(segment) => {
                        seq = first.get() + segment.len() as u64;
                        take_segment((log, &mut reading), from, (first, segment), known, salvaged, now)?;
                    }
                    // What is damaged is lost here. What a newer version wrote is whole, and must not be left out.
                    Err(fault) if fault.is_newer() => return Err(damaged(Family::Log, &fault)),
                    Err(_) => unread += 1,
                }
            }
            Err(_) => {
                misses = 0;
                unread += 1;
            }
        }
        if log.staged_bytes() >= GROUP_BYTES {
            log.commit(Durability::Relaxed)?;
        }
    }
    reading.set_aside(log, salvaged)?;
    if unread > 0 {
        salvaged.notes.push(format!("{unread} segments of the log cannot be read"));
    }
    log.stage_last_id()?;
    log.commit(Durability::Sync)?;
    log.sync()
}

/// A group of which some events were read: a log has whole groups only.
#[derive(Default)]
struct Reading {
    /// Sequence number, time it joined, event.
    events: Vec<(Seq, Timestamp, NewEvent)>,
    /// The chain with them at its end.
    chain: Option<StoredChain>,
}

impl Reading {
    fn continues(&self, event: &RecordRef<'_>) -> bool {
        self.events.last().is_some_and(|(_, _, last)| last.dot.precedes(event.dot))
    }

    /// The group is not whole, or its seal is lost: what was read of it waits outside the log.
    fn set_aside(&mut self, log: &mut Log, salvaged: &mut Salvaged) -> Result<(), StoreError> {
        self.chain = None;
        for (place, joined, NewEvent { digest, record, .. }) in self.events.drain(..) {
            let event = RecordRef::decode(&record).map_err(|fault| record_at(place, &fault))?;
            log.stage_waiting(&event, joined, (Some(digest), None), &record)?;
            salvaged.waiting += 1;
        }
        Ok(())
    }

    /// The group is whole, and joins the log.
    fn join(&mut self, log: &mut Log, (origin, seal): (Origin, Signature), salvaged: &mut Salvaged) {
        if let Some(chain) = &self.chain {
            log.begin_chain(origin, chain.start);
        }
        for (seq, joined, event) in self.events.drain(..) {
            log.stage_new(&event, joined);
            if RecordRef::decode(&event.record).is_ok_and(|record| record.is_missing()) {
                log.stage_debt(event.dot);
            }
            salvaged.kept += 1;
            if log.head().seq == seq {
                salvaged.unmoved = seq.get();
            }
        }
        if let Some(chain) = self.chain.take() {
            log.stage_end(origin, GroupEnd::of(&chain.sealed(origin), seal));
            log.set_chain(origin, chain);
        }
    }
}

/// The seal of the group that ends at the tip of this chain: the one that is stored, or one made again by its owner. `None` where it
/// is lost, or does not hold.
fn seal_of(log: &Log, from: &dyn Store, origin: Origin, chain: &StoredChain) -> Option<Signature> {
    // A mark that cannot be read is lost, like an event.
    let stored = read_end(from, origin, chain.counter).ok().flatten().map(|end| end.seal);
    if let Some(seal) = stored.filter(|seal| is_sealed(origin, Some(chain), seal)) {
        return Some(seal);
    }
    let keys = log.keys().filter(|keys| keys.statement().working() == chain.start.key)?;
    chain.sealed(origin).sign(&**keys).ok()
}

/// Takes the entries of one segment.
fn take_segment(
    (log, reading): (&mut Log, &mut Reading),
    from: &dyn Store,
    (first, segment): (Seq, SegmentRef<'_>),
    known: &mut BTreeMap<Origin, u64>,
    salvaged: &mut Salvaged,
    now: Timestamp,
) -> Result<(), StoreError> {
    let evidence = judge(from, first, segment)?;
    let mut altered = BTreeSet::new();
    for (at, (joined, record)) in segment.iter().enumerate() {
        let Some(dot) = evidence.dots.get(at).copied().flatten() else { continue };
        if evidence.altered.contains(&dot) {
            let reached = known.entry(dot.origin()).or_insert(0);
            *reached = dot.counter().max(*reached);
            altered.insert(dot.origin());
            continue;
        }
        let seq = Seq::new(first.get() + at as u64);
        let digest = evidence.digests.get(&dot).copied();
        take_entry((log, reading), from, (seq, joined, record), digest, known, salvaged, now)?;
    }
    for origin in altered {
        let last = Seq::new(first.get() + segment.len() as u64 - 1);
        salvaged.notes.push(format!(
            "of the events of {origin} in the entries {first} to {last}, at least one is not as it was written"
        ));
    }
    Ok(())
}

/// What the index of a damaged store says of a segment's records.
#[derive(Default)]
struct Evidence {
    /// Of each entry what it is, where that can be read.
    dots: Vec<Option<Dot>>,
    /// The digest of each event's chain there, as far as the index speaks for it.
    digests: BTreeMap<Dot, Digest>,
    /// The events of groups that differ from what was digested. Which event of a group does is not known.
    altered: BTreeSet<Dot>,
}

/// The events of an origin in a segment, as they are judged.
#[derive(Default)]
struct Judged {
    counter: u64,
    /// The digest there, where it is known.
    digest: Option<Digest>,
    /// The events since the last digest that is known to be right.
    open: Vec<Dot>,
}

impl Judged {
    /// The chain has this digest here, as the store says.
    fn compare(&mut self, known: Digest, evidence: &mut Evidence) {
        let open = std::mem::take(&mut self.open);
        match self.digest {
            Some(digest) if digest != known => evidence.altered.extend(open),
            // An event before it is lost. This one is known all the same, once what is between came from peers.
            None => evidence.digests.extend(open.last().map(|last| (*last, known))),
            Some(_) => {}
        }
        self.digest = Some(known);
    }
}

fn judge(from: &dyn Store, first: Seq, segment: SegmentRef<'_>) -> Result<Evidence, StoreError> {
    let mut evidence = Evidence::default();
    let mut chains: BTreeMap<Origin, Judged> = BTreeMap::new();
    for (at, (_, record)) in segment.iter().enumerate() {
        let seq = Seq::new(first.get() + at as u64);
        let event = match RecordRef::decode(record) {
            Ok(event) => Some((event.dot, event.ends_group)),
            Err(fault) if fault.is_newer() => return Err(record_at(seq, &fault)),
            Err(_) => None,
        };
        evidence.dots.push(event.map(|(dot, _)| dot));
        let Some((dot, ends_group)) = event else { continue };
        let (origin, counter) = (dot.origin(), dot.counter());
        // Where the index cannot be read, nothing speaks against a record that the store's own checks let pass.
        let before = |counter| stored_run_at(from, origin, counter).ok().flatten();
        let begin = || Judged {
            digest: before(counter).filter(|run| run.at.segment == first).map(|run| run.at.before),
            counter: counter - 1,
            ..Judged::default()
        };
        let chain = chains.entry(origin).or_insert_with(begin);
        if chain.counter + 1 != counter {
            (chain.digest, chain.open) = (None, Vec::new());
        }
        chain.counter = counter;
        chain.open.push(dot);
        chain.digest = chain.digest.map(|before| chained(before, record));
        evidence.digests.extend(chain.digest.map(|digest| (dot, digest)));
        // What the seals say of the end of a group speaks for all its records, or against one of them.
        if ends_group && let Some(end) = read_end(from, origin, counter).ok().flatten() {
            chain.compare(end.digest, &mut evidence);
        }
    }
    // So does what the index says of the end of each chain here.
    for (origin, mut chain) in chains {
        let next = stored_run_at(from, origin, chain.counter + 1).ok().flatten().map(|run| run.at.before);
        let tip = || tip_of(from, origin).filter(|tip| tip.counter == chain.counter).map(|tip| tip.digest);
        if let Some(end) = next.or_else(tip) {
            chain.compare(end, &mut evidence);
        }
    }
    Ok(evidence)
}

fn tip_of(from: &dyn Store, origin: Origin) -> Option<StoredChain> {
    let value = from.get(Family::Clocks, &keys::chain(origin)).ok().flatten()?;
    decode_chain(&value).ok()
}

/// Takes one entry, if it is whole: into the log if it follows on what is here, and beside it if not.
fn take_entry(
    (log, reading): (&mut Log, &mut Reading),
    from: &dyn Store,
    (seq, joined, record): (Seq, Timestamp, &[u8]),
    digest: Option<Digest>,
    known: &mut BTreeMap<Origin, u64>,
    salvaged: &mut Salvaged,
    now: Timestamp,
) -> Result<(), StoreError> {
    let Ok(event) = RecordRef::decode(record) else { return Ok(()) };
    let (origin, counter) = (event.dot.origin(), event.dot.counter());
    let reached = known.entry(origin).or_insert(0);
    *reached = counter.max(*reached);
    // Any cortex may have continued an epoch of ours, under any id.
    log.raise_last_id(&event, now);
    if !reading.continues(&event) {
        reading.set_aside(log, salvaged)?;
    }
    let followed = match reading.chain.take() {
        Some(chain) => follows_on(chain, &event, log),
        None => followed_by(&event, log),
    };
    match followed {
        Some(chain) if digest.is_none_or(|digest| digest == chain.digest) => {
            let record = bytes::Bytes::copy_from_slice(record);
            let new = NewEvent { id: event.id, dot: event.dot, digest: chain.digest, record: record.clone() };
            reading.events.push((seq, joined, new));
            let seal = event.ends_group.then(|| seal_of(log, from, origin, &chain));
            reading.chain = Some(chain);
            match seal {
                Some(Some(seal)) => reading.join(log, (origin, seal), salvaged),
                Some(None) => reading.set_aside(log, salvaged)?,
                None => {}
            }
        }
        followed => {
            reading.set_aside(log, salvaged)?;
            if followed.is_none() && counter > log.counter(origin) {
                let seal = event.ends_group.then(|| read_end(from, origin, counter).ok().flatten()).flatten();
                log.stage_waiting(&event, joined, (digest, seal.map(|end| end.seal)), record)?;
                salvaged.waiting += 1;
            }
        }
    }
    Ok(())
}
