//! Checking a whole log against itself.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::entry::{damaged, record_at, stored_dot};
use super::log_reader::LogReader;
use crate::causes::WithCauses;
use crate::codec::{Front, RecordRef, StoredChain, decode_chain};
use crate::cursor::Seq;
use crate::digest::Digest;
use crate::ids::{Dot, Origin};
use crate::store::{Family, KeyRange, StoreError, StoreErrorKind, Unreadable as _, keys};

/// What a check of the whole log found. Clean if `faults` is empty.
#[derive(Debug, Clone, Default)]
pub struct VerifyReport {
    /// How many entries were read.
    pub events: u64,
    /// How many origins they are of.
    pub origins: usize,
    /// All chain heads, recomputed from the records alone and folded.
    pub digest: Digest,
    /// What does not fit together, each with its sequence number; at most `VerifyReport::MAX_FAULTS`.
    pub faults: Vec<String>,
}

/// How far a check of the whole log has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VerifyStep {
    /// Events that were compared with the rest of the log.
    Events {
        /// How many of them were.
        done: u64,
        /// How many there are.
        total: u64,
    },
    /// Entries of the store, of which each byte is read.
    Entries {
        /// How many of them were read.
        done: u64,
        /// How many the store estimates to have.
        total: u64,
    },
}

/// How much is read at once.
const PAGE_EVENTS: usize = 1024;
const PAGE_BYTES: usize = 8 * 1024 * 1024;

impl VerifyReport {
    /// Where a report stops listing.
    pub(crate) const MAX_FAULTS: usize = 100;

    /// Whether nothing was found.
    #[must_use]
    pub const fn is_clean(&self) -> bool {
        self.faults.is_empty()
    }

    /// Notes damage. What a newer version wrote is none: that ends the check.
    fn damage(&mut self, error: StoreError) -> Result<(), StoreError> {
        if error.kind() == StoreErrorKind::NewerFormat {
            return Err(error);
        }
        self.fault(error.to_string());
        Ok(())
    }

    fn fault(&mut self, fault: String) {
        if self.faults.len() < Self::MAX_FAULTS {
            self.faults.push(fault);
        }
    }
}

/// Reads every record of the log: sequence numbers without gaps, counters without gaps, causes before effects, digests and indexes
/// as they must be; then every byte of the store, as far as the store can check itself. The log may be written meanwhile: what
/// comes later is not looked at. If sequence numbers come to mean other events meanwhile, it begins again.
///
/// # Errors
/// [`StoreError`] where the store cannot even be read, of kind `NewerFormat` if it has a value of a newer version.
pub fn verify(view: &LogReader) -> Result<VerifyReport, StoreError> {
    verify_with(view, &mut |_| {})
}

/// As [`verify`], and reports now and then how far the check has come.
///
/// # Errors
/// As [`verify`].
pub fn verify_with(view: &LogReader, report: &mut dyn FnMut(VerifyStep)) -> Result<VerifyReport, StoreError> {
    loop {
        let before = view.settled_rewrites();
        let found = look(view, report);
        let clean = found.as_ref().is_ok_and(VerifyReport::is_clean);
        if clean || view.settled_rewrites() == before {
            return found;
        }
    }
}

fn look(view: &LogReader, step: &mut dyn FnMut(VerifyStep)) -> Result<VerifyReport, StoreError> {
    let mut report = VerifyReport::default();
    let mut chains: BTreeMap<Origin, StoredChain> = BTreeMap::new();
    let visible = view.visible();
    // The index is as of one commit, and what it counts is the log as of that one; a writer continues meanwhile.
    let tips = read_tips(view, &mut report)?;
    let counted = tips.values().fold(0_u64, |sum, chain| sum.saturating_add(chain.counter));
    let until = visible.max(Seq::new(counted));
    let (mut at, mut group) = (Seq::ZERO, None);
    while at < until {
        step(VerifyStep::Events { done: at.get(), total: until.get() });
        // Read in pages: a visitor of a scan must not ask the store anything.
        let entries = match view.entries_until(at, until, PAGE_EVENTS, PAGE_BYTES) {
            Ok(entries) => entries,
            Err(error) => {
                report.damage(error)?;
                break;
            }
        };
        for entry in &entries {
            at = entry.seq;
            if let Err(fault) = check_entry(view, entry.seq, &entry.record, &mut chains)? {
                report.fault(format!("place {at}: {fault}"));
            }
            if let Ok(front) = Front::decode(&entry.record) {
                if group.is_some_and(|last: Dot| !last.precedes(front.dot)) {
                    report.fault(format!("place {at}: {} comes within a group of another origin", front.dot));
                }
                group = (!front.ends_group).then_some(front.dot);
            }
            report.events += 1;
        }
    }
    step(VerifyStep::Events { done: at.get(), total: until.get() });
    // What is written meanwhile may end the group.
    if let Some(last) = group.filter(|_| until == visible) {
        report.fault(format!("place {at}: the group of {last} has no end"));
    }
    check_tips(&chains, tips, &mut report);
    let checked = view.store().check_with(&mut |done, total| step(VerifyStep::Entries { done, total }));
    if let Err(error) = checked {
        report.damage(error)?;
    }
    report.origins = chains.len();
    report.digest = crate::digest::fold_heads(chains.iter().map(|(&o, c)| (o, c.counter, c.digest)));
    Ok(report)
}

fn check_entry(
    view: &LogReader,
    seq: Seq,
    record: &[u8],
    chains: &mut BTreeMap<Origin, StoredChain>,
) -> Result<Result<(), String>, StoreError> {
    let event = match RecordRef::decode(record) {
        Ok(event) => event,
        Err(error) if error.is_newer() => return Err(record_at(seq, &error)),
        Err(error) => return Ok(Err(WithCauses(&error).to_string())),
    };
    let (origin, counter) = (event.dot.origin(), event.dot.counter());
    let cause = event.deps.iter().find(|&(o, c)| chains.get(&o).map_or(0, |chain| chain.counter) < c);
    let chain = chains.entry(origin).or_default();
    if counter != chain.counter + 1 {
        return Ok(Err(format!("{} follows counter {} of its chain", event.dot, chain.counter)));
    }
    *chain = StoredChain {
        counter,
        digest: event.digest_after(chain.digest),
        last_id: event.id,
        clock: chain.clock.clone(),
    };
    let digest = chain.digest;
    if let Some((origin, counter)) = cause {
        return Ok(Err(format!("{} comes before its cause {origin}:{counter}", event.dot)));
    }
    if chain.clock.merge(&event.deps).is_err() {
        return Ok(Err(format!("{}: its clock exceeds the bound", event.dot)));
    }
    let dot = stored_dot(&**view.store(), origin, counter)?;
    if dot.is_none_or(|dot| dot.seq != seq || dot.digest != digest) {
        return Ok(Err(format!("family `dots` does not say this of {}", event.dot)));
    }
    Ok(Ok(()))
}

/// What the index says of each chain's end.
fn read_tips(view: &LogReader, report: &mut VerifyReport) -> Result<BTreeMap<Origin, StoredChain>, StoreError> {
    let (mut tips, mut newer) = (BTreeMap::new(), Ok(()));
    view.store().scan(Family::Clocks, KeyRange::prefix(&[]), &mut |key, value| {
        match (keys::origin_of_chain(key), decode_chain(value)) {
            (Some(origin), Ok(chain)) => {
                tips.insert(origin, chain);
            }
            (_, Err(error)) => newer = report.damage(damaged(Family::Clocks, &error)),
            (None, _) => report.fault("family `clocks`: a key is not an origin".to_owned()),
        }
        if newer.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    newer.map(|()| tips)
}

fn check_tips(
    chains: &BTreeMap<Origin, StoredChain>,
    mut tips: BTreeMap<Origin, StoredChain>,
    report: &mut VerifyReport,
) {
    for (origin, chain) in chains {
        if tips.remove(origin).as_ref() != Some(chain) {
            report.fault(format!("family `clocks` does not say what the log says of {origin}"));
        }
    }
    for origin in tips.keys() {
        report.fault(format!("family `clocks` names {origin}, of which the log has nothing"));
    }
}
