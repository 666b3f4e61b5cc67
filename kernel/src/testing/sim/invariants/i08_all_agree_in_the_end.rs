//! I8: once everything is mended, all hold the same and have replayed it.

use super::agreement;
use crate::testing::sim::world::World;

pub(in crate::testing::sim) fn check(world: &World) -> Result<(), String> {
    agreement::check(world, false).map_err(|difference| format!("I8: they do not agree: {difference}"))
}
