//! Checking a whole log against itself.

mod debts;
mod segment;

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::entry::damaged;
use super::log_reader::LogReader;
use super::marks::not_a_mark;
use super::segments::{damaged_segment, missing_entry, runs_in_order};
use crate::codec::{SegmentRef, StoredChain, decode_chain, decode_group_ends};
use crate::cursor::Seq;
use crate::digest::Digest;
use crate::ids::Origin;
use crate::store::{Family, KeyRange, StoreError, StoreErrorKind, keys};
use debts::check_debts;
use segment::Chains;

/// What a check of the whole log found. Clean if `faults` is empty.
#[derive(Debug, Clone, Default)]
pub struct VerifyReport {
    /// How many entries were read.
    pub events: u64,
    /// How many origins they are of.
    pub origins: usize,
    /// All chain heads, recomputed from the records and folded.
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
const PAGE_SEGMENTS: usize = 1024;
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
    let mut chains = Chains::of(view.local().log);
    let visible = view.visible();
    // The index is as of one commit, and what it counts is the log as of that one; a writer continues meanwhile.
    let tips = read_tips(view, &mut report)?;
    let counted = tips.values().fold(0_u64, |sum, chain| sum.saturating_add(chain.counter));
    let until = visible.max(Seq::new(counted));
    let mut at = Seq::ZERO;
    while at < until {
        step(VerifyStep::Events { done: at.get(), total: until.get() });
        let page = match read_page(view, at, until) {
            Ok(page) => page,
            Err(error) => {
                report.damage(error)?;
                break;
            }
        };
        for (first, value) in page {
            let segment =
                SegmentRef::decode(&value).map_err(|error| damaged_segment(&**view.store(), first, &error))?;
            chains.check(&**view.store(), (first, segment), &mut report)?;
            at = Seq::new(first.get() + segment.len() as u64 - 1);
            report.events += segment.len() as u64;
        }
    }
    step(VerifyStep::Events { done: at.get(), total: until.get() });
    // What is written meanwhile may end the group.
    if let Some(last) = chains.group.filter(|_| at >= until && until == visible) {
        report.fault(format!("entry {at}: the group of {last} has no end"));
    }
    chains.check_tips(tips, &mut report);
    if at >= until {
        check_index(view, until, chains.runs, &mut report)?;
        check_marks(view, &chains, &mut report)?;
        check_debts(view, chains.missing, &mut report)?;
    }
    let checked = view.store().check_with(&mut |done, total| step(VerifyStep::Entries { done, total }));
    if let Err(error) = checked {
        report.damage(error)?;
    }
    report.origins = chains.tips.len();
    report.digest = crate::digest::fold_heads(chains.tips.iter().map(|(&o, c)| (o, c.counter, c.digest)));
    Ok(report)
}

/// Reads the next segments. They are copied: a visitor of a scan must not ask the store anything.
fn read_page(view: &LogReader, after: Seq, until: Seq) -> Result<Vec<(Seq, Vec<u8>)>, StoreError> {
    let (mut page, mut bytes, mut fault, mut expected) = (Vec::new(), 0, None, after.next());
    view.store().scan(Family::Log, KeyRange::from(&keys::log(expected)), &mut |key, value| {
        let full = expected > until || bytes >= PAGE_BYTES || page.len() >= PAGE_SEGMENTS;
        if full || keys::seq_of_log(key) != Some(expected) {
            return ControlFlow::Break(());
        }
        match SegmentRef::decode(value) {
            Ok(segment) => {
                bytes += value.len();
                page.push((expected, value.to_vec()));
                expected = Seq::new(expected.get() + segment.len() as u64);
                ControlFlow::Continue(())
            }
            Err(error) => {
                fault = Some(error);
                ControlFlow::Break(())
            }
        }
    })?;
    // What comes before the damage is checked first.
    match fault {
        _ if !page.is_empty() => Ok(page),
        Some(error) => Err(damaged_segment(&**view.store(), expected, &error)),
        None => Err(missing_entry(expected)),
    }
}

/// Checks that the index has no entry that the log does not have. Those that the log has were compared with it.
fn check_index(view: &LogReader, until: Seq, runs: u64, report: &mut VerifyReport) -> Result<(), StoreError> {
    let (mut there, mut newer) = (0, Ok(()));
    runs_in_order(&**view.store(), &mut |run| match run {
        Ok(run) => there += u64::from(run.at.segment <= until),
        Err(error) if newer.is_ok() => newer = report.damage(error),
        Err(_) => {}
    })?;
    if there != runs {
        report.fault(format!("family `dots` has {there} entries, and the log has {runs}"));
    }
    newer
}

/// Checks that there is no seal of a group that the log does not have. Those that it has were compared with it.
fn check_marks(view: &LogReader, chains: &Chains, report: &mut VerifyReport) -> Result<(), StoreError> {
    let mut there = 0;
    view.store().scan(Family::Marks, KeyRange::prefix(&[]), &mut |key, value| {
        let Some((origin, first)) = keys::mark_of(key) else {
            report.fault(not_a_mark().to_string());
            return ControlFlow::Continue(());
        };
        // What is written meanwhile is not looked at.
        let last = chains.tips.get(&origin).map_or(0, |tip| tip.counter);
        if first > 0
            && let Ok(ends) = decode_group_ends(value)
        {
            there += ends.iter().filter(|end| end.counter <= last).count() as u64;
        }
        ControlFlow::Continue(())
    })?;
    if there != chains.groups {
        report.fault(format!("family `marks` has {there} seals, and the log has {} groups", chains.groups));
    }
    Ok(())
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
