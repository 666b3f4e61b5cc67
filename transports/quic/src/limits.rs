//! What one server gives away before it says no.

use std::time::Duration;

use antiphon_transport_common::Bounds;

/// Bounds of a [`crate::QuicServer`]. The defaults are the published ones.
///
/// Besides these, a connection has 16 streams for questions and 256 KiB of unread questions, and the server keeps at
/// most 8 MiB of unacknowledged answers for it, and one batch of 1 MiB (or one event) a stream in hand. All connections together
/// stay within the memory budget of the service: see [`antiphon_kernel::budget`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Connections that have presented a good key.
    pub proven: Bounds,
    /// Connections that have proved their address only. Further ones close the oldest of the address that has most. Beside
    /// these 8 handshakes are let in without such a proof, 2 of one address; all others are sent a Retry.
    pub unproven: Bounds,
    /// The longest a handshake may take, and then the hello.
    pub header: Duration,
    /// The longest a question may take from the first byte of its stream.
    pub idle: Duration,
    /// The longest an answer may wait for its reader; it starts anew with whatever the reader takes.
    pub write_stall: Duration,
    /// How often certificate files are looked at for a change.
    pub certificate_check: Duration,
    /// How long a graceful stop waits for answers that are on their way.
    pub shutdown: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            proven: Bounds { total: 1024, per_address: 64 },
            unproven: Bounds { total: 128, per_address: 16 },
            header: Duration::from_secs(10),
            idle: Duration::from_secs(30),
            write_stall: Duration::from_secs(30),
            certificate_check: Duration::from_secs(60),
            shutdown: Duration::from_secs(5),
        }
    }
}
