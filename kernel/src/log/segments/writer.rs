//! Turning entries into segments and their index entries.

use crate::codec::{SegmentBuilder, SegmentRun, encode_run};
use crate::cursor::Seq;
use crate::digest::Digest;
use crate::event::EventBytes;
use crate::ids::{Dot, Origin};
use crate::store::{Batch, Family, keys};
use crate::time::Timestamp;

/// Puts a segment with these entries into a batch, in place of the one that begins with the same entry.
pub(in crate::log) fn put_segment(first: Seq, entries: Vec<(Timestamp, EventBytes)>, to: &mut Batch) {
    let mut segment = SegmentBuilder::default();
    entries.into_iter().for_each(|(joined, record)| segment.push(joined, record));
    segment.finish(|parts| to.put_parts(Family::Log, &keys::log(first), parts));
}

/// Gathers consecutive entries, and puts each segment into a batch once it is full.
#[derive(Debug, Default)]
pub(in crate::log) struct SegmentWriter {
    first: Seq,
    entries: SegmentBuilder,
    /// Each origin of the segment, the counter of its first event there, and where its events are.
    runs: Vec<(Origin, u64, SegmentRun)>,
    /// Which of them was written to last.
    last: usize,
}

impl SegmentWriter {
    /// Adds an entry behind the last one. `before` is the digest of its chain before the event.
    pub(in crate::log) fn push(
        &mut self,
        (seq, joined): (Seq, Timestamp),
        dot: Dot,
        before: Digest,
        record: EventBytes,
        to: &mut Batch,
    ) {
        if !self.entries.takes(record.len()) {
            self.finish(to);
        }
        if self.entries.len() == 0 {
            self.first = seq;
        }
        let place = self.entries.len() as u16;
        self.entries.push(joined, record);
        let origin = dot.origin();
        if self.runs.get(self.last).is_none_or(|run| run.0 != origin) {
            // A segment has few origins or few entries.
            self.last = self.runs.iter().position(|run| run.0 == origin).unwrap_or(self.runs.len());
        }
        match self.runs.get_mut(self.last) {
            Some((_, _, run)) => run.count += 1,
            None => {
                let run = SegmentRun { segment: self.first, place, count: 1, before };
                self.runs.push((origin, dot.counter(), run));
            }
        }
    }

    /// Ends the segment that is not full yet.
    pub(in crate::log) fn finish(&mut self, to: &mut Batch) {
        if self.entries.len() == 0 {
            return;
        }
        let key = keys::log(self.first);
        self.entries.finish(|parts| to.put_parts(Family::Log, &key, parts));
        for (origin, counter, run) in self.runs.drain(..) {
            to.put(Family::Dots, &keys::dot(origin, counter), &encode_run(&run));
        }
        self.last = 0;
    }

    /// Returns the size in bytes of what no batch has yet, about.
    pub(in crate::log) const fn bytes(&self) -> usize {
        self.entries.bytes()
    }
}
