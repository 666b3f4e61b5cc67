//! I10: one that lies keeps nobody else from agreeing.

use super::agreement;
use crate::testing::sim::world::World;

pub(in crate::testing::sim) fn check(world: &World) -> Result<(), String> {
    agreement::check(world, true)
        .map_err(|difference| format!("I10: honest nodes do not agree while one lies: {difference}"))
}
