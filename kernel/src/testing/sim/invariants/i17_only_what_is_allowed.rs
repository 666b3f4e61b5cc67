//! I17: of a cortex that may not write at a node, the node has routing parts alone.

use crate::codec::{Part, RecordRef};
use crate::cursor::Seq;
use crate::testing::sim::world::World;

fn has_bytes(part: &Part<'_>) -> bool {
    matches!(part, Part::There([_, ..]))
}

pub(in crate::testing::sim) fn check(world: &World) -> Result<(), String> {
    for node in &world.nodes {
        let (Some(refused), Some(process)) = (node.refuses, &node.process) else { continue };
        let entries = process.log.reader().entries(Seq::ZERO, usize::MAX, usize::MAX);
        for entry in entries.map_err(|error| format!("I17: {error}"))? {
            let record = RecordRef::decode(&entry.record).map_err(|error| format!("I17: {error}"))?;
            if record.dot.origin().cortex() == refused && (has_bytes(&record.attributes) || has_bytes(&record.body)) {
                return Err(format!(
                    "I17: node {} holds {} whole, whose cortex may not write there",
                    node.index, record.dot
                ));
            }
        }
    }
    Ok(())
}
