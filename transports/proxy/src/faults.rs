//! What a path does.

use std::time::Duration;

/// What one direction of the path does. The default is a perfect path.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Path {
    /// How long everything takes, one way.
    pub latency: Duration,
    /// Up to so much longer, by entropy. Order is kept.
    pub jitter: Duration,
    /// How many bytes a second get through.
    pub bytes_per_second: Option<u64>,
    /// How likely a datagram is lost. For TCP, which loses nothing, what a loss of each segment does to its pace is
    /// modelled: see the crate's `congestion` module.
    pub loss: f64,
    /// How likely a datagram comes twice.
    pub duplicate: f64,
    /// How likely a datagram is overtaken by those after it.
    pub reorder: f64,
    /// TCP: after so many bytes of a connection in this direction, it is closed.
    pub cut_after: Option<u64>,
    /// Nothing gets through. Datagrams vanish; a TCP stream stands still, and goes on where it was when this ends.
    pub blackhole: bool,
}

/// What both directions do.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Faults {
    /// From the client to the server.
    pub to_server: Path,
    /// From the server to the client.
    pub to_client: Path,
}

impl Faults {
    /// The same in both directions.
    #[must_use]
    pub const fn symmetric(path: Path) -> Self {
        Self { to_server: path, to_client: path }
    }

    /// How long a byte takes there and back, jitter aside.
    #[must_use]
    pub(crate) const fn round_trip(&self) -> Duration {
        self.to_server.latency.saturating_add(self.to_client.latency)
    }

    pub(crate) const fn of(&self, direction: Direction) -> &Path {
        match direction {
            Direction::ToServer => &self.to_server,
            Direction::ToClient => &self.to_client,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    ToServer,
    ToClient,
}

impl Direction {
    pub(crate) const fn opposite(self) -> Self {
        match self {
            Self::ToServer => Self::ToClient,
            Self::ToClient => Self::ToServer,
        }
    }
}
