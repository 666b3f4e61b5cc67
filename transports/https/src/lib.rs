//! HTTPS for Antiphon: the transport that polls a peer, and the server that answers.
//!
//! ```text
//!   HttpsTransport ── link ──▶ reqwest client ══ TLS 1.3 ══▶  HttpsServer ──▶ kernel Service
//!     one connection per peer,     POST /v1/fetch   frames      own accept loop, limits
//!     reused between polls         POST /v1/connect, hello      before memory is spent
//!                                  GET  /v1/identity JSON
//!                                  GET  /v1/events   CloudEvents, for people
//! ```
//!
//! Neither side trusts a length that the other one claims: bytes are counted as they arrive. Plain HTTP is there for
//! one machine only: both sides refuse it beyond loopback, because events and tokens would travel in clear.

mod accept;
mod client;
mod client_body;
mod counted_io;
mod endpoint;
mod errors;
mod guarded_io;
mod host_names;
mod https;
mod limits;
mod listening;
mod media;
mod request_body;
mod resolver;
mod routes;
mod server;
mod session;
mod site_guard;
mod web;

pub use antiphon_transport_common::{Bounds, CertificateError, ClientFiles, Refreshed, TlsFiles, WireBytes};
pub use client::{HttpsOptions, HttpsTransport};
pub use https::Https;
pub use limits::Limits;
pub use server::{HttpsServer, ServerError, ServerOptions};
pub use web::WebServer;

/// What metrics call this transport.
const TRANSPORT: &str = "https";

/// The content type of Antiphon frames.
pub const FRAME_CONTENT_TYPE: &str = "application/vnd.antiphon.frame";
/// The content type of a batch of CloudEvents.
const EVENTS_CONTENT_TYPE: &str = "application/cloudevents-batch+json";
/// The header of `POST /v1/hello` with the token that replaces it.
const TOKEN_HEADER: &str = "antiphon-token";
/// The scheme of the header `Authorization` with such a token.
const TOKEN_SCHEME: &str = "Antiphon";
/// The header of `GET /v1/events` with the cursor at the newest durable entry of the log.
const HEAD_HEADER: &str = "antiphon-head";
/// The header of `GET /v1/events` with the cursor to give as `after` of the next question.
const NEXT_HEADER: &str = "antiphon-next";
