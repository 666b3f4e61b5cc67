//! How much a server put on the wire, by connections that still live as well: a counter that stands at 0 for weeks, and then
//! takes all of them at once, tells nobody anything.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use antiphon_transport_common::WireBytes;
use quinn::Connection;

#[derive(Clone, Default)]
pub(crate) struct Sent {
    total: WireBytes,
    live: Arc<Mutex<BTreeMap<usize, Live>>>,
}

/// A connection, and how much of what it sent is in the total.
struct Live {
    connection: Connection,
    counted: u64,
}

impl Live {
    /// What came since it was looked at last.
    fn more(&mut self) -> u64 {
        let now = self.connection.stats().udp_tx.bytes;
        now - std::mem::replace(&mut self.counted, now)
    }
}

impl Sent {
    fn live(&self) -> MutexGuard<'_, BTreeMap<usize, Live>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a connection, until what this returns is dropped.
    pub(crate) fn count(&self, connection: &Connection) -> Counting {
        let id = connection.stable_id();
        self.live().insert(id, Live { connection: connection.clone(), counted: 0 });
        Counting { sent: self.clone(), id }
    }

    /// Up to now.
    pub(crate) fn look(&self) -> WireBytes {
        self.total.add(self.live().values_mut().map(Live::more).sum());
        self.total.clone()
    }
}

/// A connection that is counted.
pub(crate) struct Counting {
    sent: Sent,
    id: usize,
}

impl Drop for Counting {
    fn drop(&mut self) {
        let ended = self.sent.live().remove(&self.id);
        if let Some(mut ended) = ended {
            self.sent.total.add(ended.more());
        }
    }
}
