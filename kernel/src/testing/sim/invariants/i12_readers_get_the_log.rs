//! I12: what a reader was given since it began, page after page, is the log up to its cursor: no event is skipped, doubled
//! or in another order. Asked whenever a reader reads. It holds across crashes, rollbacks, restores, lost tails, copies and
//! resolved forks, because a cursor of a log that changed before it is refused.
//!
//! One thing a node cannot know: that its log was rolled back in silence, or is a copy, before a new epoch says so. Until then
//! other events may precede the cursor's event at the cursor's sequence number, and other events the sequence number to resume
//! at. So the log of a reader may be another one there, and only there; the witness must fit all the same.

use super::i06_served_is_durable;
use crate::cursor::{Cursor, Seq};
use crate::log::CursorUnknown;
use crate::testing::sim::readers::Page;
use crate::testing::sim::world::World;

/// A cursor was accepted, and this came after it.
pub(super) fn read(world: &mut World, node: usize, which: usize, page: Page) -> Result<(), String> {
    let history = world.nodes[node].history.number;
    let Some(process) = &world.nodes[node].process else { return Ok(()) };
    let (log, head) = (process.seen.contents(), process.log.reader().head_cursor());
    let reader = &world.nodes[node].readers[which];
    let asked = reader.cursor.unwrap_or(Cursor::start(head.epoch));
    let from = reader.given.len();
    let mut replaced = None;
    if log.get(..from) != Some(reader.given.as_slice()) {
        let there = process.log.reader().entry(asked.seq).map_err(|error| format!("I12: node {node}: {error}"))?;
        let witness = there.and_then(|entry| entry.id().ok()) == Some(asked.last_event);
        if !witness || world.nodes[node].history.knows(reader.history) {
            let same = log.iter().zip(&reader.given).take_while(|(one, other)| one == other).count();
            return Err(format!(
                "I12: node {node} accepted cursor {asked} of reader {which}, which was given another log after place {same} \
                 (now {head}; histories {} and {history})",
                reader.history
            ));
        }
        replaced = log.get(..from).map(<[u32]>::to_vec);
    }
    let mut given = Vec::new();
    for (place, (seq, content)) in (from..).zip(&page.entries) {
        let expected = log.get(place).copied();
        if *seq != Seq::new(place as u64 + 1) || expected.is_none() || *content != expected {
            return Err(format!(
                "I12: node {node} gave reader {which} content {content:?} of place {seq}, and holds {expected:?} at {}",
                place + 1
            ));
        }
        given.extend(expected);
    }
    let reached = (from + given.len()) as u64;
    if page.head != head || page.next.epoch != head.epoch || page.next.seq != Seq::new(reached) {
        return Err(format!("I12: node {node} gave reader {which} cursor {} at place {reached} of {head}", page.next));
    }
    if given.len() < page.limit && page.next != head {
        return Err(format!("I12: node {node} left reader {which} at {} and holds up to {head}", page.next));
    }
    i06_served_is_durable::cursor(world, node, page.next)?;
    world.found.cursors_kept += u64::from(asked.epoch != head.epoch && from > 0);
    world.found.cursors_mistaken += u64::from(replaced.is_some());
    let reader = &mut world.nodes[node].readers[which];
    reader.given = replaced.unwrap_or_else(|| std::mem::take(&mut reader.given));
    reader.given.extend(given);
    (reader.cursor, reader.history) = (Some(page.next), history);
    Ok(())
}

/// A cursor was refused. That of an unchanged log never is.
pub(super) fn refused(world: &World, node: usize, which: usize, unknown: &CursorUnknown) -> Result<(), String> {
    let Some(process) = &world.nodes[node].process else { return Ok(()) };
    let reader = &world.nodes[node].readers[which];
    let unchanged = process.seen.contents().get(..reader.given.len()) == Some(reader.given.as_slice());
    if unchanged && unknown.cursor.epoch == process.log.reader().local().epoch {
        return Err(format!("I12: node {node} refused reader {which}, whose log is as it was: {unknown}"));
    }
    if unknown.resume.seq.get() > reader.given.len() as u64 {
        return Err(format!("I12: node {node} sends reader {which} past what it was given: {unknown}"));
    }
    Ok(())
}

/// All is well, and this reader has read to the end.
pub(in crate::testing::sim) fn at_the_head(world: &World, node: usize, which: usize) -> Result<(), String> {
    let Some(process) = &world.nodes[node].process else { return Ok(()) };
    let given = world.nodes[node].readers[which].given.len();
    if given == process.seen.len() {
        return Ok(());
    }
    Err(format!("I12: reader {which} of node {node} stays at place {given} of {}", process.seen.len()))
}
