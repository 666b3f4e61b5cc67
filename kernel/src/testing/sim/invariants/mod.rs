//! What must hold at every step: one file each. The numbers are those of `docs/reliability.md`.

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

pub(super) use i04_clock_is_what_is_held::claims;
pub(super) use i05_applied_once::replayed;
pub(super) use i06_served_is_durable::served;
pub(super) use i08_all_agree_in_the_end::check as all_agree;
pub(super) use i09_bounds::steps as at_rest_sometimes;
pub(super) use i10_honest_agree_beside_a_liar::check as honest_agree;

use std::collections::BTreeSet;

use super::world::World;

/// The costly ones are checked at every so many-th step, and after every start.
const SAMPLE: u64 = 24;

/// After a step that may have changed this node.
pub(super) fn check(world: &mut World, node: usize) -> Result<(), String> {
    i02_contiguous_and_causal::check(world, node)?;
    i09_bounds::check(world, node)?;
    if world.steps.is_multiple_of(SAMPLE) { thorough(world, node) } else { Ok(()) }
}

/// Everything about this node.
pub(super) fn thorough(world: &mut World, node: usize) -> Result<(), String> {
    i02_contiguous_and_causal::check(world, node)?;
    i01_acknowledged_survives::check(world, node)?;
    i03_cursor_passes_nothing::check(world, node)?;
    i04_clock_is_what_is_held::check(world, node)?;
    i05_applied_once::check(world, node)
}

/// A process began. What it finds of its own is durable, acknowledged or not, and what it writes next follows from that.
pub(super) fn restarted(world: &mut World, node: usize) -> Result<(), String> {
    i02_contiguous_and_causal::check(world, node)?;
    i07_a_dot_names_one_event::check(world, node)?;
    forget_past(world, node);
    i03_cursor_passes_nothing::check(world, node)?;
    i04_clock_is_what_is_held::check(world, node)?;
    i05_applied_once::check(world, node)
}

/// Its log was put back on purpose, or events were set aside: what is not there any more was not lost by us.
pub(super) fn went_back(world: &mut World, index: usize) {
    // If it does not hold, the next check says so.
    let _ = i02_contiguous_and_causal::check(world, index);
    let node = &mut world.nodes[index];
    if let Some(process) = &node.process {
        let held: BTreeSet<_> = process.seen.iter().copied().collect();
        node.safe.retain(|content| held.contains(content));
    }
    forget_past(world, index);
}

/// What is written next follows from the last event of its own that is there, under whichever epoch it was written.
fn forget_past(world: &mut World, index: usize) {
    let cortex = super::node::cortex_id(world.nodes[index].cortex);
    let Some(process) = &world.nodes[index].process else { return };
    let epoch = world.nodes[index].own_epoch;
    let own = process.seen.iter().rev().find(|content| {
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
