//! Whether nodes hold the same and have replayed it: what I8 and I10 ask at different times.

use crate::digest::{Digest, fold_heads};
use crate::log::forks;
use crate::testing::sim::node::{Node, Process};
use crate::testing::sim::world::World;

/// Among all nodes, or the honest ones and their events only.
pub(super) fn check(world: &World, honest: bool) -> Result<(), String> {
    let digests = digests(world, honest);
    if digests.windows(2).all(|pair| pair[0] == pair[1]) && all_replayed(world) {
        // Beside a liar the list is never empty for long.
        if honest { Ok(()) } else { none_listed(world) }
    } else {
        Err(difference(world, honest))
    }
}

fn nodes(world: &World, honest: bool) -> impl Iterator<Item = &Node> {
    world.nodes.iter().filter(move |node| !(honest && world.byzantine.is(node.index)))
}

fn digests(world: &World, honest: bool) -> Vec<Digest> {
    let digest = |process: &Process| {
        let heads = process.log.reader().heads();
        let counted = heads.iter().filter(|(origin, _)| !(honest && world.byzantine.is_cortex(origin.cortex())));
        fold_heads(counted.map(|(origin, head)| (origin, head.counter, head.digest)))
    };
    nodes(world, honest).filter_map(|node| node.process.as_ref()).map(digest).collect()
}

fn all_replayed(world: &World) -> bool {
    let mut processes = world.nodes.iter().filter_map(|node| node.process.as_ref());
    processes.all(|process| {
        let (replay, view) = (&process.replay, process.log.reader());
        let builds = replay.builds();
        let settled = builds.filling.is_none() && builds.emptying.is_empty();
        replay.position() == view.visible() && replay.parked() as u64 <= view.owed() && settled
    })
}

/// Where nothing differs, no fork is listed: an operator would look for what to do about it for ever.
fn none_listed(world: &World) -> Result<(), String> {
    for node in nodes(world, false) {
        let listed = forks(&*node.store).map_err(|error| error.to_string())?;
        if let Some(fork) = listed.first() {
            let pulls = difference(world, false);
            return Err(format!("node {} lists a fork where nothing differs: {fork:?}{pulls}", node.index));
        }
    }
    Ok(())
}

fn difference(world: &World, honest: bool) -> String {
    let of = |node: &Node| {
        let Some(process) = &node.process else { return format!("\n  node {} is down", node.index) };
        let view = process.log.reader();
        let heads: Vec<_> = view.heads().iter().map(|(o, h)| format!("{o}:{} {}", h.counter, h.digest)).collect();
        let pull = |(peer, pull): (&usize, &crate::testing::sim::node::Pull)| {
            format!("{peer} {:?} {:?}", pull.machine.phase(), pull.machine.health().last_error)
        };
        let pulls: Vec<_> = process.pulls.iter().map(pull).collect();
        let forked = forks(&*node.store).map(|forks| forks.len()).unwrap_or(0);
        format!(
            "\n  node {} (epoch {}): replayed {} of {}, {} parked, {forked} forks, pulls {}\n    {}",
            node.index,
            view.local().epoch,
            process.replay.position(),
            view.visible(),
            process.replay.parked(),
            pulls.join(", "),
            heads.join("\n    ")
        )
    };
    nodes(world, honest).map(of).collect()
}
