//! What one server gives away before it says no.

use std::time::Duration;

use antiphon_transport_common::Bounds;

/// Bounds of an [`crate::HttpsServer`]. The defaults are the published ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Connections that have presented a good key.
    pub proven: Bounds,
    /// All other connections. Further ones close the oldest of the address that has most.
    pub unproven: Bounds,
    /// The longest a TLS handshake may take, and a request's head from its first byte.
    pub header: Duration,
    /// How long a connection may stay idle between requests, after it has presented a good key.
    pub keep_alive: Duration,
    /// How long any other connection may stay idle between requests.
    pub unproven_idle: Duration,
    /// The largest request body, in bytes.
    pub body_bytes: usize,
    /// The longest a request's body may take, so that dribbling it byte by byte holds nothing.
    pub idle: Duration,
    /// The longest an answer may wait for its reader; it grows with what the reader takes.
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
            keep_alive: Duration::from_secs(90),
            unproven_idle: Duration::from_secs(5),
            body_bytes: 1024 * 1024,
            idle: Duration::from_secs(30),
            write_stall: Duration::from_secs(30),
            certificate_check: Duration::from_secs(60),
            shutdown: Duration::from_secs(5),
        }
    }
}
