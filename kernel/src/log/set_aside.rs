//! Ending a fork: the losing suffix of an origin, and what depends on it, leave the log and are kept as evidence. A pure
//! decision, next to what the store must forget with it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use bytes::Bytes;

use super::debts::forget_debt;
use super::entry::{missing, record_at};
use super::forks::{Fork, forks};
use super::held::LogState;
use super::segments::SegmentWriter;
use super::taint::{Excluded, Taint};
use crate::codec::{RecordRef, StoredChain, encode_log_entry};
use crate::cursor::Seq;
use crate::digest::Digest;
use crate::error_code::ErrorCode;
use crate::identity::ChainStart;
use crate::ids::Origin;
use crate::replay::Builds;
use crate::store::{Batch, Family, KeyRange, Store, StoreError, StoreErrorKind, keys};

/// The most that is rewritten at once: it is one batch, in memory.
const MAX_REWRITE_BYTES: usize = 1 << 30;

/// What became of a fork.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The origin.
    pub origin: Origin,
    /// From which counter on its histories differed.
    pub from: u64,
    /// How many events left the log; 0 where the version that was kept is the one held here.
    pub set_aside: u64,
}

/// Why a fork was not resolved. Where a write failed it may have been all the same, wholly; else nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// No fork that is known here has a version of this digest.
    #[error("no fork known here has a version {keep}; known are: {known}")]
    Unknown {
        /// The digest.
        keep: Digest,
        /// Those that there are.
        known: String,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ResolveError {
    /// The stable code of this failure.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Unknown { .. } => ErrorCode::ForkUnknownVersion,
            Self::Store(error) => error.code(),
        }
    }
}

/// Finds the fork that a digest decides, and whether our version is kept.
pub(super) fn choose(known: &[Fork], keep: Digest) -> Result<(&Fork, bool), ResolveError> {
    if let Some(fork) = known.iter().find(|fork| fork.ours == keep) {
        return Ok((fork, true));
    }
    if let Some(fork) = known.iter().find(|fork| fork.theirs == keep) {
        return Ok((fork, false));
    }
    let versions = known.iter().flat_map(|fork| [fork.ours.to_string(), fork.theirs.to_string()]);
    let known = versions.collect::<Vec<_>>().join(", ");
    let known = if known.is_empty() { "none".to_owned() } else { known };
    Err(ResolveError::Unknown { keep, known })
}

/// What is left of an origin that loses events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Kept {
    /// Its tip as of the last event that stays, with the full clock.
    pub(super) tip: StoredChain,
    /// Bytes of its records.
    pub(super) bytes: u64,
    /// How many events stay.
    pub(super) events: u64,
}

/// Which events leave the log, and where those that stay move to.
#[derive(Debug)]
pub(super) struct SetAsidePlan {
    /// The segments and dots that are written again, and the evidence.
    pub(super) changes: Batch,
    /// The first event that leaves.
    pub(super) first: Seq,
    /// How many events leave.
    pub(super) events: u64,
    /// From which counter on each origin's events leave.
    pub(super) gone: Taint,
    /// What is left of those origins; nothing of the others.
    pub(super) kept: BTreeMap<Origin, Kept>,
}

/// Plans that an origin's events from a counter on, and all that depends on them, leave the log, which closes ranks.
pub(super) fn plan_set_aside(origin: Origin, from: u64, held: &dyn LogState) -> Result<SetAsidePlan, StoreError> {
    let (head, epoch) = (held.head().seq, held.identity().epoch);
    let gone_from = held.seq(origin, from)?.ok_or_else(|| missing(origin, from))?;
    let mut gone = Taint::of(BTreeMap::from([(origin, from)]), Excluded::default());
    let mut changes = Batch::new();
    // Everything from the segment on that holds the first event that leaves is written again.
    let mut segments = held.segments_from(gone_from)?;
    segments.iter().for_each(|&first| changes.delete(Family::Log, &keys::log(first)));
    segments.reverse();
    let (mut next, mut old_runs, mut written) = (None::<Seq>, BTreeSet::new(), SegmentWriter::default());
    let (mut first, mut events, mut fault) = (head.next(), 0, None);
    let mut kept: BTreeMap<Origin, Kept> = BTreeMap::new();
    let mut digests: BTreeMap<Origin, Digest> = BTreeMap::new();
    let starts = |origin| held.chain(origin).map_or(ChainStart::NONE, |chain| chain.start);
    held.visit(&mut |seq, joined, record| {
        let event = match RecordRef::decode(record) {
            Ok(event) => event,
            Err(error) => {
                fault = Some(record_at(seq, &error));
                return ControlFlow::Break(());
            }
        };
        if segments.pop_if(|first| *first <= seq).is_some() {
            next.get_or_insert(seq);
            old_runs.clear();
        }
        let (author, counter) = (event.dot.origin(), event.dot.counter());
        if next.is_some() && old_runs.insert(author) {
            changes.delete(Family::Dots, &keys::dot(author, counter));
        }
        let digest = digests.entry(author).or_insert_with(|| starts(author).digest);
        let before = std::mem::replace(digest, event.digest_after(*digest));
        if gone.add(&event) {
            events += 1;
            first = first.min(seq);
            changes.put_parts(Family::Evidence, &keys::set_aside(epoch, seq), &[&encode_log_entry(joined), record]);
            if event.is_missing() {
                forget_debt(&mut changes, event.dot);
            }
        } else {
            let Kept { tip, bytes, events } =
                kept.entry(author).or_insert_with(|| Kept { tip: StoredChain::of(starts(author)), ..Kept::default() });
            (*bytes, *events) = (*bytes + record.len() as u64, *events + 1);
            if let Err(error) = tip.clock.merge(&event.deps) {
                fault = Some(StoreError::corrupt(format!("the clock at place {seq}: {error}")));
                return ControlFlow::Break(());
            }
            tip.advance(&event, *digest);
            if let Some(seq) = &mut next {
                let record = Bytes::copy_from_slice(record);
                written.push((*seq, joined), event.dot, before, record, &mut changes);
                *seq = seq.next();
            }
        }
        if changes.bytes() > MAX_REWRITE_BYTES {
            let why = "more than 1 GiB of the log would have to be rewritten at once; begin a new node and let it \
                       pull what is to be kept";
            fault = Some(StoreError::new(StoreErrorKind::NoSpace, why));
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    })?;
    fault.map_or(Ok(()), Err)?;
    are_whole(&digests, held)?;
    if first != gone_from {
        return Err(missing(origin, from));
    }
    written.finish(&mut changes);
    kept.retain(|origin, _| gone.reaches(*origin, u64::MAX));
    Ok(SetAsidePlan { changes, first, events, gone, kept })
}

/// What leaves the log is decided by what its records say, so they must be those that were written.
fn are_whole(digests: &BTreeMap<Origin, Digest>, held: &dyn LogState) -> Result<(), StoreError> {
    let read = |origin| digests.get(origin).copied().unwrap_or_default();
    match held.chains().iter().find(|(origin, chain)| read(origin) != chain.digest) {
        Some((origin, _)) => {
            Err(StoreError::corrupt(format!("family `log`: the records of {origin} are not those that were digested")))
        }
        None => Ok(()),
    }
}

/// Adds to a batch that peers are asked from the beginning: cursors pass events that are no longer held.
pub(super) fn begin_again(store: &dyn Store, origin: Origin, changes: &mut Batch) -> Result<(), StoreError> {
    store.scan(Family::Cursors, KeyRange::prefix(&[]), &mut |key, _| {
        if keys::is_cursor(key) {
            changes.delete(Family::Cursors, key);
        }
        ControlFlow::Continue(())
    })?;
    forget_forks(store, origin, changes)
}

/// Adds to a batch that no build of a replayer is current: they hold events that leave the log. No replayer may commit between
/// this and the commit of the batch.
pub(super) fn void_builds(store: &dyn Store, changes: &mut Batch) -> Result<(), StoreError> {
    let mut replayers = Vec::new();
    store.scan(Family::Replay, KeyRange::prefix(&[]), &mut |key, _| {
        replayers.extend(keys::replayer_of_builds(key).map(str::to_owned));
        ControlFlow::Continue(())
    })?;
    for replayer in replayers {
        Builds::read(store, &replayer)?.voided().put(&replayer, changes);
    }
    Ok(())
}

/// Adds to a batch that the forks of an origin are not known any more. They are found again where they still exist.
pub(super) fn forget_forks(store: &dyn Store, origin: Origin, changes: &mut Batch) -> Result<(), StoreError> {
    for fork in forks(store)?.iter().filter(|fork| fork.origin == origin) {
        changes.delete(Family::Evidence, &keys::fork(origin, fork.holder));
        // What it kept from crossing lies behind the cursor.
        changes.delete(Family::Cursors, &keys::peer_cursor(&fork.peer));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::VClock;
    use crate::codec::{EncodedDraft, SegmentRef, decode_run, encode_record};
    use crate::event::Draft;
    use crate::ids::{Dot, Epoch, EventId};
    use crate::log::held::NewEvent;
    use crate::log::held::tests::{Few, cortex};
    use crate::time::Timestamp;

    fn origin(n: u8) -> Origin {
        Origin::new(cortex(n), Epoch::new(1))
    }

    fn push(held: &mut Few, of: Origin, causes: &[(Origin, u64)]) {
        let mut chain = held.chains.get(&of).cloned().unwrap_or_default();
        chain.counter += 1;
        let dot = Dot::new(of, chain.counter).unwrap();
        let mut deps = VClock::new();
        causes.iter().for_each(|&(origin, counter)| deps.raise(origin, counter).unwrap());
        let id = EventId::from_parts(held.head().seq.get() + 1, 0);
        let draft = EncodedDraft { id, dot, deps: &deps, time: Timestamp::from_micros(0) };
        let record = encode_record(&Draft::new("t", "x"), &draft);
        (chain.digest, chain.last_id) = (RecordRef::decode(&record).unwrap().digest_after(chain.digest), id);
        held.push(&NewEvent { id, dot, digest: chain.digest, record }, chain);
    }

    /// 2:1, 3:1, 2:2 (forked), 4:1 (saw 2:2), 3:2.
    fn held() -> Few {
        let mut held = Few::new();
        push(&mut held, origin(2), &[]);
        push(&mut held, origin(3), &[]);
        push(&mut held, origin(2), &[]);
        push(&mut held, origin(4), &[(origin(2), 2)]);
        push(&mut held, origin(3), &[]);
        held
    }

    #[test]
    fn what_depends_on_a_fork_leaves_and_the_rest_closes_ranks() {
        let held = held();
        let plan = plan_set_aside(origin(2), 2, &held).unwrap();
        assert_eq!((plan.first, plan.events), (Seq::new(3), 2));
        assert_eq!(plan.gone.iter().collect::<Vec<_>>(), [(origin(2), 2), (origin(4), 1)]);
        assert_eq!(plan.kept.keys().collect::<Vec<_>>(), [&origin(2)], "nothing is left of origin 4");
        assert_eq!((plan.kept[&origin(2)].tip.counter, plan.kept[&origin(2)].events), (1, 1));
        // Entries 1 and 2 are a segment and stay; 3 and 4 leave, and 5 moves to the place of 3.
        let changes = |family| {
            let of = plan.changes.iter().filter(move |change| change.family == family);
            of.map(|change| (change.key.to_vec(), change.value.is_some())).collect::<Vec<_>>()
        };
        let log = |seq| keys::log(Seq::new(seq)).to_vec();
        let expected = [(log(3), false), (log(4), false), (log(5), false), (log(3), true)];
        assert_eq!(changes(Family::Log), expected);
        let dot = |n, counter| keys::dot(origin(n), counter).to_vec();
        let expected = [(dot(2, 2), false), (dot(4, 1), false), (dot(3, 2), false), (dot(3, 2), true)];
        assert_eq!(changes(Family::Dots), expected);
    }

    #[test]
    fn a_segment_is_cut_where_its_second_event_leaves() {
        let held = held();
        let plan = plan_set_aside(origin(3), 1, &held).unwrap();
        assert_eq!((plan.first, plan.events), (Seq::new(2), 2), "3:1 and 3:2");
        let written = plan.changes.iter().filter(|change| change.family == Family::Log && change.value.is_some());
        let written: Vec<_> = written.map(|change| (keys::seq_of_log(change.key), change.value.unwrap())).collect();
        assert_eq!(written.len(), 1);
        let segment = SegmentRef::decode(written[0].1).unwrap();
        assert_eq!((written[0].0, segment.len()), (Some(Seq::new(1)), 3), "2:1, 2:2 and 4:1");
        let dots: Vec<_> = plan.changes.iter().filter(|change| change.family == Family::Dots).collect();
        let runs =
            dots.iter().filter_map(|change| Some((keys::dot_of(change.key)?, decode_run(change.value?).unwrap())));
        let runs: Vec<_> = runs.map(|(dot, run)| (dot, run.place, run.count)).collect();
        assert_eq!(runs, [((origin(2), 1), 0, 2), ((origin(4), 1), 2, 1)]);
    }

    #[test]
    fn damaged_records_decide_nothing() {
        let mut held = held();
        held.chains.entry(origin(3)).and_modify(|chain| chain.digest = Digest::ZERO);
        assert_eq!(plan_set_aside(origin(2), 2, &held).unwrap_err().kind(), StoreErrorKind::Corrupt);
    }
}
