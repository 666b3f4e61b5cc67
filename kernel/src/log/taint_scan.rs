//! Scans the log for events that are tainted by forks, a bounded part at a time.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::entry::record_at;
use super::log_reader::LogReader;
use super::segments::stored_seq;
use super::taint::{Excluded, Taint, TaintScan};
use super::work::{MAX_SCAN, MAX_SCAN_BYTES, Work};
use crate::codec::RecordRef;
use crate::cursor::Seq;
use crate::ids::Origin;
use crate::store::StoreError;

impl LogReader {
    /// Returns the scan for events that are tainted by these forks and cortexes, as far as it came before; it may not have begun yet.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(super) fn taint_scan(
        &self,
        named: BTreeMap<Origin, u64>,
        excluded: Excluded,
        proven: bool,
    ) -> Result<TaintScan, StoreError> {
        let rewrites = self.shared.durable().rewrites;
        if let Some(known) = self.shared.taint_scans.of(proven).recall(&named, &excluded, rewrites) {
            return Ok(known);
        }
        let firsts: Vec<_> = {
            let durable = self.shared.durable();
            durable.chains.keys().copied().filter(|origin| excluded.contains(&origin.cortex())).collect()
        };
        let from = self.group_starts(&named)?;
        // An event that is not here yet can only join after everything that is here now.
        let mut at = self.visible();
        for (origin, counter) in from.iter().map(|(&o, &c)| (o, c)).chain(firsts.into_iter().map(|o| (o, 1))) {
            if let Some(seq) = stored_seq(&**self.store(), origin, counter)? {
                at = at.min(seq.prev());
            }
        }
        Ok(TaintScan { taint: Taint::of(from, Arc::clone(&excluded)), from: named, excluded, rewrites, at })
    }

    /// Returns the forks with the first counter of the group in which each begins. A group crosses whole or not at all: an event
    /// may depend on a part of it that both histories have.
    pub(super) fn group_starts(&self, forks: &BTreeMap<Origin, u64>) -> Result<BTreeMap<Origin, u64>, StoreError> {
        forks.iter().map(|(&origin, &from)| Ok((origin, self.group_start(origin, from)?))).collect()
    }

    /// Continues a scan towards a sequence number; false while it is not there. A peer may name any forks, and no caller may wait
    /// for what that costs: one call reads no more than [`MAX_SCAN`] entries.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(super) fn scan_taint(
        &self,
        scan: &mut TaintScan,
        until: Seq,
        proven: bool,
        gone: &AtomicBool,
    ) -> Result<(bool, Work), StoreError> {
        let (mut fault, mut work) = (None, Work::default());
        if scan.at >= until {
            return Ok((true, work));
        }
        let end = until.min(Seq::new(scan.at.get().saturating_add(MAX_SCAN)));
        self.scan(scan.at, end, &mut |seq, _, record| match RecordRef::decode(record) {
            Ok(event) => {
                scan.taint.add(&event);
                scan.at = seq;
                work.add(Work { entries: 1, bytes: record.len() as u64 });
                let more = work.bytes < MAX_SCAN_BYTES && !gone.load(Ordering::Relaxed);
                if more { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            }
            Err(error) => {
                fault = Some(record_at(seq, &error));
                ControlFlow::Break(())
            }
        })?;
        fault.map_or(Ok(()), Err)?;
        self.shared.taint_scans.of(proven).remember(scan);
        Ok((scan.at >= until, work))
    }
}
