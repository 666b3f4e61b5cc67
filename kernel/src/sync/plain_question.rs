//! The question that every other one of this cortex begins as.

use std::time::Duration;

use crate::codec::Room;
use crate::ids::CortexId;
use crate::log::LocalIdentity;
use crate::protocol::{Delivery, FetchRequest, Heads, Known, MAX_BATCH_BYTES, MAX_BATCH_EVENTS, RequestId, Scope};

/// Returns this cortex's question to another one, in a protocol that both speak: for all events, by a clock that holds nothing, in one
/// batch of the largest size, at once. A caller overrides what differs with struct update syntax.
pub(super) fn plain_question(
    local: &LocalIdentity,
    (to, protocol): (CortexId, u16),
    request: RequestId,
) -> FetchRequest {
    FetchRequest {
        request,
        from: local.cortex_id,
        epoch: local.epoch,
        to,
        log: local.log,
        protocol,
        after: None,
        known: Known::Full(Heads::default()),
        direct: Vec::new(),
        max_events: MAX_BATCH_EVENTS,
        max_bytes: MAX_BATCH_BYTES,
        wait: Duration::ZERO,
        delivery: Delivery::Once,
        scope: Scope::All,
        withhold: Heads::default(),
        exclude: Vec::new(),
        filter: None,
        safe: None,
        room: Room::default(),
    }
}
