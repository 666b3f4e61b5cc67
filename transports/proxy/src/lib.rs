//! A path with faults between a client and a server on one machine: latency, jitter, a bandwidth limit, loss, duplication,
//! reordering, a cut after so many bytes, resets, half-open connections, a blackhole in one direction. For tests and
//! benches, where the system's own means (`tc netem`) are missing or ask for too many rights.
//!
//! ```no_run
//! # async fn example(server: std::net::SocketAddr) -> std::io::Result<()> {
//! use antiphon_fault_proxy::{Faults, Path, UdpProxy};
//! use std::time::Duration;
//!
//! let path = Path { latency: Duration::from_millis(50), loss: 0.01, ..Path::default() };
//! let proxy = UdpProxy::start(server, Faults::symmetric(path), 1).await?;
//! // Dial `proxy.addr()` instead of the server.
//! # Ok(())
//! # }
//! ```
//!
//! What happens to a piece of data, and when it leaves, is decided by pure values ([`Path`], a line, a congestion window)
//! that get the time as an argument; sockets and timers are thin around them. All entropy comes from a seed.

mod congestion;
mod entropy;
mod faults;
mod line;
mod tcp;
mod udp;

pub use faults::{Faults, Path};
pub use tcp::TcpProxy;
pub use udp::UdpProxy;
