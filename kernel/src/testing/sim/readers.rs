//! Readers of a node's log, such as HTTP clients and `log --after`. Each keeps a cursor outside of the store, so the cursor
//! outlives whatever happens to the log. Their randomness is their own: a run is the same with and without readers.

use std::ops::ControlFlow;

use super::invariants;
use super::network::{Micros, SECOND};
use super::world::World;
use crate::codec::EventRef;
use crate::cursor::{Cursor, Seq};
use crate::log::{CursorUnknown, LogReader, ReadError};
use crate::store::StoreError;

/// A reader reads after one in this many steps of its node.
const PACE: u64 = 8;
/// The longest absence of a slow reader.
const ABSENCE: Micros = 45 * SECOND;

/// One reader.
#[derive(Debug, Clone, Default)]
pub(super) struct Reader {
    /// The cursor to read on after; `None` before the first page.
    pub(super) cursor: Option<Cursor>,
    /// The history of the log that gave the cursor out.
    pub(super) history: usize,
    /// The contents that it was given since it began, up to its cursor.
    pub(super) given: Vec<u32>,
    /// It does not read before then.
    away_until: Micros,
}

/// What one read returned.
pub(super) struct Page {
    /// Each entry's sequence number, and its content; `None` for a record that no node wrote.
    pub(super) entries: Vec<(Seq, Option<u32>)>,
    pub(super) next: Cursor,
    pub(super) head: Cursor,
    /// How many entries were asked for.
    pub(super) limit: usize,
}

impl World {
    /// Sometimes, a reader of a node reads a page.
    pub(super) fn read_sometimes(&mut self, node: usize) -> Result<(), String> {
        if !self.reading_chance.one_in(PACE) {
            return Ok(());
        }
        // A flipped record reaches readers as it is, because no digest is checked for them.
        if !self.nodes[node].is_up() || self.nodes[node].store.lies() {
            return Ok(());
        }
        let which = self.reading_chance.index(self.nodes[node].readers.len());
        if self.nodes[node].readers[which].away_until > self.now {
            return Ok(());
        }
        self.read(node, which)
    }

    /// All readers of a node read to its head.
    pub(super) fn read_to_the_head(&mut self, node: usize) -> Result<(), String> {
        for which in 0..self.nodes[node].readers.len() {
            // A reader that is refused needs two reads more.
            let most = self.nodes[node].process.as_ref().map_or(0, |process| process.log.reader().visible().get()) + 3;
            for _ in 0..most {
                self.read(node, which)?;
            }
            invariants::at_the_head(self, node, which)?;
        }
        Ok(())
    }

    fn read(&mut self, node: usize, which: usize) -> Result<(), String> {
        self.learn(node)?;
        let entropy = &mut self.reading_chance;
        let slow = which > 0;
        let limit = if slow { 64 } else { 1 + entropy.index(8) };
        let (streams, restarts) = (entropy.one_in(2), entropy.one_in(3));
        if slow && entropy.one_in(2) {
            self.nodes[node].readers[which].away_until = self.now + entropy.below(ABSENCE);
        }
        let Some(process) = &self.nodes[node].process else { return Ok(()) };
        let (view, after) = (process.log.reader(), self.nodes[node].readers[which].cursor);
        let read = if streams { stream(&view, after.as_ref(), limit) } else { page(&view, after.as_ref(), limit) };
        match read {
            Ok(read) => {
                let content = |(seq, record): (Seq, Vec<u8>)| (seq, self.truth.content(&record));
                let entries = read.entries.into_iter().map(content).collect();
                let page = Page { entries, next: read.next, head: read.head, limit };
                invariants::read(self, node, which, page)
            }
            Err(ReadError::CursorUnknown(unknown)) => self.refused(node, which, &unknown, restarts),
            Err(ReadError::Store(error)) => self.read_failed(node, &error),
        }
    }

    /// The cursor was refused: the reader begins again, or reads on after the cursor that the error names.
    fn refused(&mut self, node: usize, which: usize, unknown: &CursorUnknown, restarts: bool) -> Result<(), String> {
        self.say(|| format!("reader {which} of node {node}: {unknown}"));
        invariants::refused(self, node, which, unknown)?;
        self.found.cursors_refused += 1;
        let reader = &mut self.nodes[node].readers[which];
        let resume = unknown.resume;
        if restarts || resume.seq == Seq::ZERO {
            *reader = Reader { away_until: reader.away_until, ..Reader::default() };
        } else {
            reader.given.truncate(usize::try_from(resume.seq.get()).unwrap_or(usize::MAX));
            reader.cursor = Some(resume);
        }
        Ok(())
    }

    /// A reader that meets damage gets an error, and reads later.
    fn read_failed(&self, node: usize, error: &StoreError) -> Result<(), String> {
        let store = &self.nodes[node].store;
        if error.kind() == crate::store::StoreErrorKind::Corrupt && store.harmed().is_some() {
            return Ok(());
        }
        Err(format!("I12: a reader of node {node} cannot read what is whole: {error}"))
    }
}

struct Read {
    entries: Vec<(Seq, Vec<u8>)>,
    next: Cursor,
    head: Cursor,
}

/// As a client of `/v1/events` reads.
fn page(view: &LogReader, after: Option<&Cursor>, limit: usize) -> Result<Read, ReadError> {
    let page = view.page(after, limit, usize::MAX)?;
    let entries = page.entries.into_iter().map(|entry| (entry.seq, entry.record.to_vec())).collect();
    Ok(Read { entries, next: page.next, head: page.head })
}

/// As a client reads that takes each event's own cursor.
fn stream(view: &LogReader, after: Option<&Cursor>, limit: usize) -> Result<Read, ReadError> {
    let (mut entries, mut last) = (Vec::new(), None);
    let (from, head) = view.visit_after(after, &mut |epoch, seq, _, record| {
        // No node wrote a record that does not decode; the invariant reports it.
        let id = EventRef::decode_dot(record).map_or(Cursor::start(epoch).last_event, |(id, _)| id);
        last = Some(Cursor { epoch, seq, last_event: id });
        entries.push((seq, record.to_vec()));
        if entries.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    Ok(Read { entries, next: last.unwrap_or(from), head })
}
