//! What must hold, one file each. The numbers are those of `docs/reliability.md`.
//!
//! After every step, for the node that it concerns: I1, I2, I4, I5, I7 and I14 of everything that is new, and of one older sequence
//! number of the log, another at each step; I3 for every cursor that moved; and how often it took a new epoch (I9). Where a
//! node says something: I3 that an answer leaves nothing out, I6 that all of it is durable, I9 that it is no larger than asked.
//! Where a node notes what a peer holds: I11. Where a reader reads: I12.
//! Where a node pins a peer: I16.
//! Where a node refuses or begins to answer, and where a peer shows it its own origin: I15. Everything about a node, read again from its whole
//! store: at every start; in every 16th run after each step that wrote to it; in the others at every 24th step. I8, I10, I13 and I17
//! are asked at the end of a run, when all faults ended. Damage to a disk is looked past while a check reads.

mod agreement;
mod i01_acknowledged_survives;
mod i02_contiguous_and_causal;
mod i03_cursor_passes_nothing;
mod i04_clock_is_what_is_held;
mod i05_applied_once;
mod i06_served_is_durable;
mod i07_a_dot_names_one_event;
mod i08_all_agree_in_the_end;
mod i09_bounds;
mod i10_honest_agree_beside_a_liar;
mod i11_acknowledged_is_held;
mod i12_readers_get_the_log;
mod i13_debts_are_paid;
mod i14_only_what_was_written;
mod i15_knows_what_it_lost;
mod i16_pins_are_proved;
mod i17_only_what_is_allowed;

pub(super) use i04_clock_is_what_is_held::claims;
pub(super) use i05_applied_once::replayed;
pub(super) use i08_all_agree_in_the_end::check as all_agree;
pub(super) use i09_bounds::{actions, asked, asking, steps as at_rest_sometimes};
pub(super) use i10_honest_agree_beside_a_liar::check as honest_agree;
pub(super) use i12_readers_get_the_log::at_the_head;
pub(super) use i13_debts_are_paid::check as debts_paid;
pub(super) use i14_only_what_was_written::both_were_written;
pub(super) use i15_knows_what_it_lost::{Own, noted_lost, shows_lost};
pub(super) use i16_pins_are_proved::pinned;
pub(super) use i17_only_what_is_allowed::check as only_allowed;

use std::collections::BTreeMap;

use super::readers::Page;
use super::world::World;
use crate::cursor::{Cursor, Seq};
use crate::ids::{CortexId, Origin};
use crate::log::{CursorUnknown, Fork, LogEntry};
use crate::protocol::{FetchReply, FetchRequest, Heads, Known, Scope};

/// Where a node is not looked at as a whole after each step that wrote to it, it is at every so many-th step.
const SAMPLE: u64 = 24;
/// In every so many-th run it is.
const THOROUGH: u64 = 16;

/// After a step that concerned this node.
pub(super) fn check(world: &mut World, node: usize) -> Result<(), String> {
    past_damage(world, node, |world| {
        i02_contiguous_and_causal::check(world, node)?;
        i14_only_what_was_written::check(world, node)?;
        i01_acknowledged_survives::check(world, node)?;
        settled(world, node)?;
        i09_bounds::check(world, node)?;
        let writes = world.nodes[node].store.writes();
        let Some(process) = world.process(node) else { return Ok(()) };
        let wrote = process.seen.checked != writes;
        if if world.seed.is_multiple_of(THOROUGH) { wrote } else { world.steps.is_multiple_of(SAMPLE) } {
            whole(world, node)?;
        }
        Ok(())
    })
}

fn past_damage(
    world: &mut World,
    node: usize,
    check: impl FnOnce(&mut World) -> Result<(), String>,
) -> Result<(), String> {
    world.nodes[node].store.look_past(true);
    let checked = check(world);
    world.nodes[node].store.look_past(false);
    checked
}

/// What a process that just began owes as well.
fn settled(world: &mut World, node: usize) -> Result<(), String> {
    i04_clock_is_what_is_held::check(world, node)?;
    i03_cursor_passes_nothing::check(world, node)?;
    i05_applied_once::check(world, node)
}

fn whole(world: &mut World, node: usize) -> Result<(), String> {
    i01_acknowledged_survives::whole(world, node)?;
    i03_cursor_passes_nothing::whole(world, node)?;
    i04_clock_is_what_is_held::whole(world, node)?;
    i05_applied_once::whole(world, node)?;
    let writes = world.nodes[node].store.writes();
    if let Some(process) = world.process(node) {
        process.seen.checked = writes;
    }
    Ok(())
}

/// Everything about this node.
pub(super) fn thorough(world: &mut World, node: usize) -> Result<(), String> {
    check(world, node)?;
    past_damage(world, node, |world| whole(world, node))
}

/// A process began. What it finds of its own is durable, acknowledged or not, and what it writes next follows from that.
/// What it has lost is asked about later: it may have been put back on purpose.
pub(super) fn restarted(world: &mut World, node: usize) -> Result<(), String> {
    past_damage(world, node, |world| {
        i02_contiguous_and_causal::check(world, node)?;
        settled(world, node)?;
        forget_past(world, node);
        i04_clock_is_what_is_held::whole(world, node)?;
        i05_applied_once::whole(world, node)
    })
}

/// The most events and bytes that an answer may bring, whose events, and what the asker is known to hold, where nothing is
/// withheld.
pub(super) type Terms = ((u32, u64), Scope, Option<BTreeMap<Origin, u64>>);

/// A node answers: of a question that is open, with the most that was asked for and what the asker is known to hold.
pub(super) fn served(world: &mut World, node: usize, open: Option<&Terms>, reply: &FetchReply) -> Result<(), String> {
    past_damage(world, node, |world| {
        i06_served_is_durable::served(world, node, reply)?;
        let FetchReply::Batch(batch) = reply else { return Ok(()) };
        let Some((most, scope, advertised)) = open else { return Ok(()) };
        i09_bounds::served(node, *most, batch)?;
        let Some(advertised) = advertised else { return Ok(()) };
        i02_contiguous_and_causal::check(world, node)?;
        i03_cursor_passes_nothing::complete(world, node, batch, *most, *scope, advertised)
    })
}

/// A node asks.
pub(super) fn asks(world: &mut World, node: usize, request: &FetchRequest) -> Result<(), String> {
    i09_bounds::question(node, request)?;
    if let Known::Full(known) = &request.known { advertised(world, node, known, None) } else { Ok(()) }
}

/// A node tells how far it holds its chains, and how far its log reaches.
pub(super) fn advertised(world: &mut World, node: usize, heads: &Heads, cursor: Option<Cursor>) -> Result<(), String> {
    past_damage(world, node, |world| {
        i06_served_is_durable::heads(world, node, heads)?;
        i11_acknowledged_is_held::advertised(world, node, heads);
        cursor.map_or(Ok(()), |cursor| i06_served_is_durable::cursor(world, node, cursor))
    })
}

/// A node noted that a cortex holds events of its own.
pub(super) fn acknowledged(world: &mut World, node: usize, holder: CortexId, noted: &Heads) -> Result<(), String> {
    past_damage(world, node, |world| i11_acknowledged_is_held::check(world, node, holder, noted))
}

/// A reader of a node got a page.
pub(super) fn read(world: &mut World, node: usize, which: usize, page: Page) -> Result<(), String> {
    past_damage(world, node, |world| i12_readers_get_the_log::read(world, node, which, page))
}

/// A reader's cursor was refused by a node.
pub(super) fn refused(world: &mut World, node: usize, which: usize, unknown: &CursorUnknown) -> Result<(), String> {
    past_damage(world, node, |world| i12_readers_get_the_log::refused(world, node, which, unknown))
}

/// The log of a node now, damaged or not.
pub(super) fn log(world: &mut World, node: usize) -> Result<Vec<LogEntry>, String> {
    let mut entries = Vec::new();
    past_damage(world, node, |world| {
        let Some(process) = world.process(node) else { return Ok(()) };
        entries = process.log.reader().entries(Seq::ZERO, usize::MAX, usize::MAX).map_err(|e| e.to_string())?;
        Ok(())
    })?;
    Ok(entries)
}

/// A fork was resolved, and the log was read again.
pub(super) fn set_aside(world: &mut World, node: usize, before: &[LogEntry], fork: &Fork) -> Result<(), String> {
    i01_acknowledged_survives::set_aside(world, node, before, fork)
}

/// Its log was put back on purpose, or events were set aside: what is not there any more was not lost by us.
pub(super) fn went_back(world: &mut World, index: usize) {
    // If it does not hold, the next check says so.
    let _ = past_damage(world, index, |world| i02_contiguous_and_causal::check(world, index));
    let node = &mut world.nodes[index];
    if let Some(process) = &mut node.process {
        node.safe.retain(|&content| process.seen.holds(content));
        process.seen.safe = 0;
    }
    forget_past(world, index);
}

/// What is written next follows from the last event of its own that is there, under whichever epoch it was written.
fn forget_past(world: &mut World, index: usize) {
    let cortex = super::node::cortex_id(world.nodes[index].cortex);
    let Some(process) = &world.nodes[index].process else { return };
    let epoch = world.nodes[index].own_epoch;
    let own = process.seen.contents().iter().rev().find(|content| {
        let origin = world.truth.contents[**content as usize].dot.origin();
        origin.cortex() == cortex && origin.epoch() == epoch
    });
    let past = own.map(|&content| {
        let mut past = (*world.truth.contents[content as usize].past).clone();
        past.insert(content);
        past
    });
    world.nodes[index].own_past = std::rc::Rc::new(past.unwrap_or_default());
}
