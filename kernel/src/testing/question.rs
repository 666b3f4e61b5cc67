//! The plain question, for tests and benches that ask a cortex themselves.

use std::time::Duration;

use crate::codec::Room;
use crate::ids::{CortexId, Epoch};
use crate::protocol::{
    Delivery, FetchRequest, Heads, Known, MAX_BATCH_BYTES, MAX_BATCH_EVENTS, PROTOCOL_MAX, RequestId, Scope,
};

/// Returns a question for all events: one batch of the largest size, at once, without a cursor.
///
/// The request is number 1 of process 1. A caller overrides what differs with struct update syntax.
///
/// ```
/// use antiphon_kernel::CortexId;
/// use antiphon_kernel::protocol::FetchRequest;
/// use antiphon_kernel::testing::question;
///
/// let (from, to) = (CortexId::from_bytes([1; 16]), CortexId::from_bytes([7; 16]));
/// let one_event = FetchRequest { max_events: 1, ..question(from, to) };
/// # assert_eq!((one_event.from, one_event.to, one_event.after), (from, to, None));
/// ```
#[must_use]
pub fn question(from: CortexId, to: CortexId) -> FetchRequest {
    FetchRequest {
        request: RequestId { process: 1, number: 1 },
        from,
        epoch: Epoch::new(0),
        to,
        log: None,
        protocol: PROTOCOL_MAX,
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
