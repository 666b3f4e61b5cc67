//! Gathering the entries of one batch: a run of whole groups.

use std::ops::ControlFlow;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::asking::OpenQuery;
use crate::codec::{Front, RecordRef};
use crate::cursor::Seq;
use crate::identity::MAX_INCEPTION_BYTES;
use crate::ids::{CortexId, Dot, EventId, Origin};
use crate::log::entry::record_at;
use crate::log::taint::Taint;
use crate::log::work::Work;
use crate::mutant::{self, Mutant};
use crate::store::StoreError;
use crate::time::Timestamp;

/// The bytes of a seal.
const SEAL_BYTES: usize = 64;
/// The most bytes that a group has in addition to its records.
const EXTRA_OF_GROUP: u64 = (SEAL_BYTES + MAX_INCEPTION_BYTES) as u64;

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
    /// The groups of the batch, each by its origin and the counter of its last event.
    pub(super) ends: Vec<(Origin, u64)>,
    /// The origins of which the first event is in the batch.
    pub(super) begun: Vec<Origin>,
    /// The last counter sent of each origin, sorted.
    pub(super) sent: Vec<(Origin, u64)>,
    /// The last entry visited, sent or skipped.
    pub(super) last: Option<Place>,
    pub(super) unreadable: Option<StoreError>,
    pub(super) held: Option<Duration>,
    /// The size of the first group, where there is no room for it.
    pub(super) lacks: Option<u64>,
    /// What was passed over.
    pub(super) passed: Work,
    /// The most bytes that are passed over.
    scan_bytes: u64,
    /// The group of which events were gathered, and not its last one.
    group: Option<OpenGroup>,
}

/// A group that is being gathered, and what was gathered before it.
#[derive(Clone, Copy)]
struct OpenGroup {
    /// The event that was gathered last.
    at: Dot,
    records: usize,
    places: usize,
    begun: usize,
    last: Option<Place>,
    /// The bytes of the group's records so far.
    bytes: u64,
    /// The counter sent of its origin before, or 0.
    sent: u64,
    /// Whether the group is only measured: there is no room for it.
    is_measured: bool,
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
            ends: Vec::new(),
            begun: Vec::new(),
            sent: Vec::new(),
            last: None,
            unreadable: None,
            held: None,
            lacks: None,
            passed: Work::default(),
            scan_bytes: asking.scan().1,
            group: None,
        }
    }

    pub(super) fn visit(&mut self, seq: Seq, joined: Timestamp, record: &[u8]) -> ControlFlow<()> {
        let is_over = self.group.is_none() && self.passed.bytes > self.scan_bytes;
        if is_over || self.asking.gone.load(Ordering::Relaxed) {
            return ControlFlow::Break(());
        }
        let front = match Front::decode(record) {
            Ok(front) => front,
            Err(fault) => {
                self.unreadable = Some(record_at(seq, &fault));
                return ControlFlow::Break(());
            }
        };
        let Front { id, dot, .. } = front;
        let late = mutant::is(Mutant::ServeById) && id < self.asking.prev.last_event;
        let tainted = match self.taint.as_mut().map(|taint| (taint, RecordRef::decode(record))) {
            None => false,
            Some((taint, Ok(event))) => taint.add(&event),
            Some((_, Err(fault))) => {
                self.unreadable = Some(record_at(seq, &fault));
                return ControlFlow::Break(());
            }
        };
        if tainted {
            // A fork that is named within a group takes the whole group.
            self.drop_group();
        }
        let wanted = !late && self.asking.scope.covers(dot.origin()) && !tainted;
        let place = Place { seq, id, time: joined };
        if wanted && dot.counter() > self.asking.counter(dot.origin()) {
            self.gather(&front, place, record)?;
        } else {
            self.passed.add(Work { entries: 1, bytes: record.len() as u64 });
        }
        self.last = Some(place);
        ControlFlow::Continue(())
    }

    /// Gathers one event. A batch ends between groups: what would go beyond a limit within one takes the group back, unless it
    /// is the first one, which travels alone.
    fn gather(&mut self, front: &Front, place: Place, record: &[u8]) -> ControlFlow<()> {
        let origin = front.dot.origin();
        let group = match self.group {
            Some(group) if group.at.precedes(front.dot) => group,
            Some(_) => {
                self.unreadable = Some(StoreError::corrupt(format!(
                    "family `log`: the group before place {} is not in one piece",
                    place.seq
                )));
                return ControlFlow::Break(());
            }
            None => {
                self.held = self.asking.held(origin, self.own, place.time, self.now);
                if self.held.is_some() {
                    return ControlFlow::Break(());
                }
                let sent = self.sent.binary_search_by_key(&origin, |sent| sent.0).map_or(0, |at| self.sent[at].1);
                OpenGroup {
                    at: front.dot,
                    records: self.records.len(),
                    places: self.places.len(),
                    begun: self.begun.len(),
                    last: self.last,
                    bytes: 0,
                    sent,
                    is_measured: false,
                }
            }
        };
        let bytes = group.bytes + record.len() as u64;
        let is_first = group.places == 0;
        // One group larger than the limit travels alone.
        let (all, room) = (group.records as u64 + bytes, self.asking.room());
        let is_full = self.places.len() >= self.asking.batch_events()
            || all > self.asking.batch_bytes()
            || all + self.extra_bytes() + EXTRA_OF_GROUP > room;
        let lacks_room = group.is_measured || bytes + EXTRA_OF_GROUP > room;
        self.group = Some(OpenGroup { at: front.dot, bytes, is_measured: lacks_room, ..group });
        if is_full && !is_first && !mutant::is(Mutant::BatchCutInGroup) {
            self.drop_group();
            return ControlFlow::Break(());
        }
        if is_full && !self.places.is_empty() && mutant::is(Mutant::BatchCutInGroup) {
            self.group = None;
            return ControlFlow::Break(());
        }
        if !lacks_room {
            self.records.extend_from_slice(record);
            self.places.push((place.seq, self.records.len()));
            if front.dot.counter() == 1 {
                self.begun.push(origin);
            }
            match self.sent.binary_search_by_key(&origin, |sent| sent.0) {
                Ok(at) => self.sent[at].1 = front.dot.counter(),
                Err(at) => self.sent.insert(at, (origin, front.dot.counter())),
            }
        }
        if front.ends_group && lacks_room {
            self.lacks = Some(bytes + EXTRA_OF_GROUP);
            self.drop_group();
            return ControlFlow::Break(());
        }
        if front.ends_group {
            self.group = None;
            self.ends.push((origin, front.dot.counter()));
        }
        ControlFlow::Continue(())
    }

    /// The bytes of the batch that are neither records nor chain heads: seals and inceptions.
    pub(super) fn extra_bytes(&self) -> u64 {
        (self.ends.len() * SEAL_BYTES + self.begun.len() * MAX_INCEPTION_BYTES) as u64
    }

    /// Takes back what was gathered of a group that does not go out.
    pub(super) fn drop_group(&mut self) {
        let Some(group) = self.group.take() else { return };
        let origin = group.at.origin();
        self.records.truncate(group.records);
        self.places.truncate(group.places);
        self.begun.truncate(group.begun);
        self.last = group.last;
        if let Ok(at) = self.sent.binary_search_by_key(&origin, |sent| sent.0) {
            match group.sent {
                0 => drop(self.sent.remove(at)),
                sent => self.sent[at].1 = sent,
            }
        }
    }
}
