//! Following through the log what follows from forks, a bounded part at a time.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

use super::entry::{record_at, stored_dot};
use super::log_reader::LogReader;
use super::withheld::{Trail, Withheld};
use super::work::{MAX_SCAN, MAX_SCAN_BYTES, Work};
use crate::codec::EventRef;
use crate::cursor::Seq;
use crate::ids::Origin;
use crate::store::StoreError;

impl LogReader {
    /// A trail of what follows from these forks, as far as it was followed before; it may not have begun yet.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(super) fn trail(&self, from: BTreeMap<Origin, u64>, proven: bool) -> Result<Trail, StoreError> {
        let rewrites = self.shared.durable().rewrites;
        if let Some(known) = self.shared.followed.of(proven).recall(&from, rewrites) {
            return Ok(known);
        }
        // An event that is not here yet can only join after everything that is here now.
        let mut at = self.visible();
        for (&origin, &counter) in &from {
            if let Some(dot) = stored_dot(&**self.store(), origin, counter)? {
                at = at.min(dot.seq.prev());
            }
        }
        Ok(Trail { withheld: Withheld::of(from.clone()), from, rewrites, at })
    }

    /// Follows it towards a place; false while it is not there. A peer may name any forks: so no caller waits for what
    /// that costs, it goes no further than [`MAX_SCAN`] entries at once.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(super) fn follow_trail(
        &self,
        trail: &mut Trail,
        until: Seq,
        proven: bool,
        gone: &AtomicBool,
    ) -> Result<(bool, Work), StoreError> {
        let (mut fault, mut work) = (None, Work::default());
        if trail.at >= until {
            return Ok((true, work));
        }
        let end = until.min(Seq::new(trail.at.get().saturating_add(MAX_SCAN)));
        self.scan(trail.at, end, &mut |seq, _, record| match EventRef::decode(record) {
            Ok(event) => {
                trail.withheld.follow(&event);
                trail.at = seq;
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
        self.shared.followed.of(proven).remember(trail);
        Ok((trail.at >= until, work))
    }
}
