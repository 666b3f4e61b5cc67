//! Checking that exactly the events that lack a part are noted as such: what is not noted is never asked for.

use std::collections::BTreeSet;

use super::VerifyReport;
use crate::ids::Dot;
use crate::log::log_reader::LogReader;
use crate::store::StoreError;

/// How many are read at once.
const PAGE: usize = 4096;

/// Compares what is noted as missing with `missing`, the events of the log that lacked a part when they were read.
pub(super) fn check_debts(
    view: &LogReader,
    mut missing: BTreeSet<Dot>,
    report: &mut VerifyReport,
) -> Result<(), StoreError> {
    let mut after = None;
    loop {
        let page = match view.debts(after, PAGE) {
            Ok(page) => page,
            Err(error) => return report.damage(error),
        };
        for &dot in &page {
            // Looked at before and after: it may have arrived or been filled since.
            if !missing.remove(&dot) && !lacks_a_part(view, dot)? && view.is_owed(dot)? && !lacks_a_part(view, dot)? {
                report.fault(format!(
                    "family `evidence`: {dot} is noted as missing a part, and the log has no such event"
                ));
            }
        }
        match page.last() {
            Some(&last) if page.len() == PAGE => after = Some(last),
            _ => break,
        }
    }
    for dot in missing {
        // In this order: what fills a part removes the note with it.
        if !view.is_owed(dot)? && lacks_a_part(view, dot)? {
            report.fault(format!("family `evidence`: {dot} lacks a part, and nothing notes it"));
        }
    }
    Ok(())
}

/// Whether the log has this event, and it lacks a part. A record that cannot be read was reported before.
fn lacks_a_part(view: &LogReader, dot: Dot) -> Result<bool, StoreError> {
    let Some(there) = view.dot(dot)? else { return Ok(false) };
    Ok(view.entry(there.seq)?.is_some_and(|entry| entry.read().is_ok_and(|record| record.is_missing())))
}
