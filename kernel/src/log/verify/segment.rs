//! Checking one segment after the other: counters, causes, digests, and what the index says of them.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use super::VerifyReport;
use crate::causes::WithCauses;
use crate::codec::{RecordRef, SegmentRef, SegmentRun, StoredChain};
use crate::cursor::Seq;
use crate::digest::Digest;
use crate::identity::{ChainStart, start_of};
use crate::ids::{Dot, LogId, Origin};
use crate::log::entry::record_at;
use crate::log::marks::{read_end, read_inception};
use crate::log::rejoin::is_sealed;
use crate::log::segments::stored_run_at;
use crate::store::{Store, StoreError, Unreadable as _};

/// The chains as far as the log was read.
#[derive(Default)]
pub(super) struct Chains {
    /// The tip of each, from the records.
    pub(super) tips: BTreeMap<Origin, StoredChain>,
    /// The first and the last entry of the last segment with events of an origin.
    segments: BTreeMap<Origin, (Seq, Seq)>,
    /// How many entries the index must have.
    pub(super) runs: u64,
    /// The last event that was read, if its group continues after it.
    pub(super) group: Option<Dot>,
    /// How many groups the log has.
    pub(super) groups: u64,
    /// The events that lack a part.
    pub(super) missing: BTreeSet<Dot>,
    /// The log that the origins belong to.
    log: Option<LogId>,
}

/// The events of one origin in the segment that is checked.
struct Found {
    counter: u64,
    run: SegmentRun,
    /// What the index says of them.
    stored: Option<SegmentRun>,
}

impl Chains {
    /// The chains of an empty log.
    pub(super) fn of(log: Option<LogId>) -> Self {
        Self { log, ..Self::default() }
    }

    /// Checks a segment that follows on those before.
    pub(super) fn check(
        &mut self,
        store: &dyn Store,
        (first, segment): (Seq, SegmentRef<'_>),
        report: &mut VerifyReport,
    ) -> Result<(), StoreError> {
        let mut found: BTreeMap<Origin, Found> = BTreeMap::new();
        for (place, (_, record)) in (0..).zip(segment.iter()) {
            let seq = Seq::new(first.get() + u64::from(place));
            let event = match RecordRef::decode(record) {
                Ok(event) => event,
                Err(error) if error.is_newer() => return Err(record_at(seq, &error)),
                Err(error) => {
                    report.fault(format!("entry {seq}: {}", WithCauses(&error)));
                    continue;
                }
            };
            if self.group.is_some_and(|last| !last.precedes(event.dot)) {
                report.fault(format!("entry {seq}: {} comes within a group of other events", event.dot));
            }
            self.group = (!event.ends_group).then_some(event.dot);
            if event.is_missing() {
                self.missing.insert(event.dot);
            }
            let (origin, counter) = (event.dot.origin(), event.dot.counter());
            let held = |origin| self.tips.get(&origin).map_or(0, |chain| chain.counter);
            if let Some((cause, counter)) = event.deps.iter().find(|&(cause, counter)| held(cause) < counter) {
                report.fault(format!("entry {seq}: {} comes before its cause {cause}:{counter}", event.dot));
            }
            if counter != held(origin) + 1 {
                report.fault(format!("entry {seq}: {} follows counter {} of its chain", event.dot, held(origin)));
            }
            let chain = match self.tips.entry(origin) {
                Entry::Occupied(entry) => entry.into_mut(),
                Entry::Vacant(entry) => entry.insert(StoredChain::of(read_start(store, origin, self.log, report)?)),
            };
            let stored = match found.get_mut(&origin) {
                Some(found) => {
                    found.run.count += 1;
                    None
                }
                None => {
                    let stored = read_run(store, origin, counter, report)?;
                    let run = SegmentRun { segment: first, place, count: 1, before: chain.digest };
                    found.insert(origin, Found { counter, run, stored });
                    stored
                }
            };
            if let Some(stored) = stored.filter(|stored| stored.before != chain.digest) {
                report.fault(differ(origin, self.segments.get(&origin)));
                // What comes later is compared with what was digested.
                chain.digest = stored.before;
            }
            chain.advance(&event, event.digest_after(chain.digest));
            if chain.clock.merge(&event.deps).is_err() {
                report.fault(format!("entry {seq}: the clock of {} exceeds the bound", event.dot));
            }
            if event.ends_group {
                self.groups += 1;
                chain.digest = check_seal(store, (seq, event.dot), chain, report)?;
            }
        }
        let last = Seq::new(first.get() + segment.len() as u64 - 1);
        for (origin, Found { counter, run, stored }) in found {
            self.segments.insert(origin, (first, last));
            self.runs += 1;
            // Its digest was compared above.
            if stored.is_none_or(|stored| SegmentRun { before: run.before, ..stored } != run) {
                report.fault(format!(
                    "family `dots` does not say where {origin}:{counter} is: in entries {first} to {last}"
                ));
            }
        }
        Ok(())
    }

    /// Compares the ends of the chains with what the family `clocks` says of them.
    pub(super) fn check_tips(&self, mut stored: BTreeMap<Origin, StoredChain>, report: &mut VerifyReport) {
        for (&origin, tip) in &self.tips {
            match stored.remove(&origin) {
                Some(stored) if stored == *tip => {}
                Some(stored) if stored.digest != tip.digest && stored.counter == tip.counter => {
                    report.fault(differ(origin, self.segments.get(&origin)));
                }
                _ => report.fault(format!("family `clocks` does not say what the log says of {origin}")),
            }
        }
        for origin in stored.keys() {
            report.fault(format!("family `clocks` names {origin}, of which the log has nothing"));
        }
    }
}

fn read_run(
    store: &dyn Store,
    origin: Origin,
    counter: u64,
    report: &mut VerifyReport,
) -> Result<Option<SegmentRun>, StoreError> {
    match stored_run_at(store, origin, counter) {
        Ok(run) => Ok(run.map(|run| run.at)),
        Err(error) => report.damage(error).map(|()| None),
    }
}

/// Reads how an origin begins, and checks that its cortex said so.
fn read_start(
    store: &dyn Store,
    origin: Origin,
    log: Option<LogId>,
    report: &mut VerifyReport,
) -> Result<ChainStart, StoreError> {
    let inception = match read_inception(store, origin) {
        Ok(inception) => inception,
        Err(error) => return report.damage(error).map(|()| ChainStart::NONE),
    };
    let Some(inception) = inception else {
        report.fault(format!("family `marks`: the inception of {origin} is missing"));
        return Ok(ChainStart::NONE);
    };
    Ok(start_of(&inception, origin, log).unwrap_or_else(|error| {
        report.fault(format!("family `marks`: {origin}: {}", WithCauses(&error)));
        ChainStart::NONE
    }))
}

/// Checks that the owner of an origin sealed the group that ends at the tip of its chain. Returns the digest that was sealed: what comes
/// later is compared with that one.
fn check_seal(
    store: &dyn Store,
    (seq, last): (Seq, Dot),
    chain: &StoredChain,
    report: &mut VerifyReport,
) -> Result<Digest, StoreError> {
    let origin = last.origin();
    match read_end(store, origin, last.counter()) {
        Ok(None) => report.fault(format!("family `marks`: the seal of {last} is missing")),
        Ok(Some(end)) if end.digest != chain.digest => {
            report.fault(format!("entry {seq}: the group that ends with {last} is not the one that was sealed"));
            return Ok(end.digest);
        }
        Ok(Some(end)) if end.clock != chain.sealed(origin).clock => {
            report.fault(format!("family `marks`: the clock of {last} is another one in the log"));
        }
        Ok(Some(end)) if !is_sealed(origin, Some(chain), &end.seal) => {
            report.fault(format!("family `marks`: the seal of {last} was not made by the origin's key"));
        }
        Ok(Some(_)) => {}
        Err(error) => report.damage(error)?,
    }
    Ok(chain.digest)
}

/// Names the segment whose records of an origin have another digest than the index or the clock says.
fn differ(origin: Origin, segment: Option<&(Seq, Seq)>) -> String {
    match segment {
        Some((first, last)) => {
            format!("entries {first} to {last}: the records of {origin} are not those that were digested")
        }
        None => format!("family `dots`: {origin} begins with a digest of events that are not there"),
    }
}
