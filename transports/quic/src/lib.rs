//! QUIC for Antiphon: requests, the live tail and heartbeats as streams of one connection.
//!
//! ```text
//!   QuicTransport ── link ──▶ connection ══ TLS 1.3, ALPN antiphon/2 ══▶ QuicServer ──▶ kernel Service
//!     control stream   Hello ──▶                ◀── Identity, then heartbeats; refreshes ──▶
//!     one stream a     Identify ──▶             ◀── Identity
//!     question         Fetch ──▶                ◀── batch, batch, ... as they become durable
//! ```
//!
//! Nothing is said before the hello: it carries protocol, key and identity. Batches are pushed under the flow control of
//! their own stream, so a slow reader slows itself alone; what must not wait goes by the control stream, which is sent
//! first. There is no 0-RTT: a question that an attacker could replay is never answered.

mod channel;
mod client;
mod codes;
mod endpoint;
mod errors;
mod framed;
mod limits;
mod quic;
mod sent;
mod serve;
mod server;
mod session;
mod socket;
mod tuning;

pub use antiphon_transport_common::{Bounds, CertificateError, ClientFiles, Refreshed, TlsFiles, WireBytes};
pub use client::{QuicOptions, QuicTransport};
pub use limits::Limits;
pub use quic::Quic;
pub use server::{QuicServer, QuicServerOptions, ServerError};

/// What metrics call this transport.
const TRANSPORT: &str = "quic";

/// The application protocol that both sides name in the TLS handshake.
pub const ALPN: &[u8] = b"antiphon/2";
