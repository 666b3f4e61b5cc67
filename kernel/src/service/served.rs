//! How much was sent.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::protocol::{EventBatch, FetchReply};

/// What a service sent to peers since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Served {
    /// Batches, empty ones too.
    pub batches: u64,
    /// Events in them.
    pub events: u64,
    /// Bytes of those events.
    pub bytes: u64,
    /// Refusals.
    pub refusals: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    batches: AtomicU64,
    events: AtomicU64,
    bytes: AtomicU64,
    refusals: AtomicU64,
}

impl Counters {
    pub(super) fn count(&self, reply: &FetchReply) {
        match reply {
            FetchReply::Batch(EventBatch { events, .. }) => {
                self.batches.fetch_add(1, Ordering::Relaxed);
                self.events.fetch_add(events.len() as u64, Ordering::Relaxed);
                self.bytes.fetch_add(events.iter().map(|e| e.1.len() as u64).sum(), Ordering::Relaxed);
            }
            FetchReply::Refused(_) => {
                self.refusals.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    pub(super) fn read(&self) -> Served {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Served {
            batches: of(&self.batches),
            events: of(&self.events),
            bytes: of(&self.bytes),
            refusals: of(&self.refusals),
        }
    }
}
