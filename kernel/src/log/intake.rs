//! What is kept of events that are not allowed here: their routing parts, so that whatever depends on them can come.

use std::borrow::Cow;

use crate::codec::{Absence, RecordRef};
use crate::ids::CortexId;
use crate::protocol::EventBatch;

/// Leaves header and data out of the events of cortexes for which `is_whole` is false. What order and causality need stays, and so do all
/// digests.
pub(crate) fn leave_out_parts(batch: &mut EventBatch, is_whole: impl Fn(CortexId) -> bool) {
    for (_, record) in &mut batch.events {
        // What does not decode is refused where it is served or stored.
        let Ok(read) = RecordRef::decode(record) else { continue };
        if !is_whole(read.dot.origin().cortex()) {
            let missing = Some(Absence::Missing);
            *record = read.without(missing, missing);
        }
    }
}

/// What is taken of a batch. It has a head for each origin that it brings events of, so most batches are not looked at event by event.
pub(super) fn allowed(batch: &EventBatch, is_allowed: impl Fn(CortexId) -> bool) -> Cow<'_, EventBatch> {
    if batch.heads.iter().all(|(origin, _)| is_allowed(origin.cortex())) {
        return Cow::Borrowed(batch);
    }
    let mut batch = batch.clone();
    leave_out_parts(&mut batch, is_allowed);
    Cow::Owned(batch)
}
