//! Gathering the entries of one batch.

use std::ops::ControlFlow;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::asking::OpenQuery;
use crate::codec::{EventRef, RecordRef};
use crate::cursor::Seq;
use crate::ids::{CortexId, EventId, Origin};
use crate::log::entry::record_at;
use crate::log::taint::Taint;
use crate::log::work::{MAX_SCAN_BYTES, Work};
use crate::mutant::{self, Mutant};
use crate::store::StoreError;
use crate::time::Timestamp;

/// The entries of one batch as they are gathered.
pub(super) struct Run<'a> {
    pub(super) asking: &'a OpenQuery,
    pub(super) own: CortexId,
    pub(super) now: Option<Timestamp>,
    /// What must not cross. Each record is looked at again as it goes out, which costs nothing where nothing differs.
    pub(super) taint: Option<Taint>,
    /// The records of the batch, one behind the other.
    pub(super) records: Vec<u8>,
    /// The sequence number of each, and where it ends.
    pub(super) places: Vec<(Seq, usize)>,
    /// The last counter sent of each origin, sorted.
    pub(super) sent: Vec<(Origin, u64)>,
    /// The last entry visited, sent or skipped.
    pub(super) last: Option<Place>,
    pub(super) unreadable: Option<StoreError>,
    pub(super) held: Option<Duration>,
    /// The size of the first event, where there is no room for it.
    pub(super) lacks: Option<u64>,
    /// What was passed over.
    pub(super) passed: Work,
}

#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) seq: Seq,
    pub(super) id: EventId,
    pub(super) time: Timestamp,
}

impl<'a> Run<'a> {
    pub(super) fn new(asking: &'a OpenQuery, own: CortexId, now: Option<Timestamp>) -> Self {
        Self {
            asking,
            own,
            now,
            taint: asking.taint_scan.as_ref().map(|scan| scan.taint.clone()),
            records: Vec::new(),
            places: Vec::new(),
            sent: Vec::new(),
            last: None,
            unreadable: None,
            held: None,
            lacks: None,
            passed: Work::default(),
        }
    }

    pub(super) fn visit(&mut self, seq: Seq, joined: Timestamp, record: &[u8]) -> ControlFlow<()> {
        if self.passed.bytes > MAX_SCAN_BYTES || self.asking.gone.load(Ordering::Relaxed) {
            return ControlFlow::Break(());
        }
        let (id, dot) = match EventRef::decode_dot(record) {
            Ok(of) => of,
            Err(fault) => {
                self.unreadable = Some(record_at(seq, &fault));
                return ControlFlow::Break(());
            }
        };
        let late = mutant::is(Mutant::ServeById) && id < self.asking.prev.last_event;
        let tainted = match self.taint.as_mut().map(|taint| (taint, RecordRef::decode(record))) {
            None => false,
            Some((taint, Ok(event))) => taint.add(&event),
            Some((_, Err(fault))) => {
                self.unreadable = Some(record_at(seq, &fault));
                return ControlFlow::Break(());
            }
        };
        let wanted = !late && self.asking.scope.covers(dot.origin()) && !tainted;
        if wanted && dot.counter() > self.asking.counter(dot.origin()) {
            self.held = self.asking.held(dot.origin(), self.own, joined, self.now);
            let bytes = (self.records.len() + record.len()) as u64;
            // One event larger than the limit travels alone.
            let most = self.asking.max_bytes.min(self.asking.room());
            let full = self.places.len() >= self.asking.max_events || bytes > most && !self.places.is_empty();
            if full || self.held.is_some() {
                return ControlFlow::Break(());
            }
            if bytes > self.asking.room() {
                self.lacks = Some(bytes);
                return ControlFlow::Break(());
            }
            self.records.extend_from_slice(record);
            self.places.push((seq, self.records.len()));
            match self.sent.binary_search_by_key(&dot.origin(), |s| s.0) {
                Ok(at) => self.sent[at].1 = dot.counter(),
                Err(at) => self.sent.insert(at, (dot.origin(), dot.counter())),
            }
        } else {
            self.passed.add(Work { entries: 1, bytes: record.len() as u64 });
        }
        self.last = Some(Place { seq, id, time: joined });
        ControlFlow::Continue(())
    }
}
