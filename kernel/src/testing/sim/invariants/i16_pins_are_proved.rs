//! I16: a peer is pinned to the cortex that it is, whatever it says.

use super::super::node::cortex_id;
use crate::ids::CortexId;

/// A node pins the peer with this number to a cortex.
pub(in super::super) fn pinned(peer: usize, cortex: CortexId) -> Result<(), String> {
    let is = cortex_id(peer);
    if cortex == is { Ok(()) } else { Err(format!("I16: peer {peer} is {is}, and was pinned as {cortex}")) }
}
