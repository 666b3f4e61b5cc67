//! The test kit: a store and a network in memory, federations of cortexes, and the conformance suites for implementers.
//!
//! `docs/guides/testing.md` shows how a program tests itself with it.

mod author;
mod federation;
mod handshake;
mod memory_store;
mod network;
mod power;
mod question;
mod seeded;
pub mod sim;
mod simulation;
pub mod store_suite;
pub mod transport_suite;
mod until;

use crate::ids::LogId;

/// The log of the cortexes of a [`Federation`]. Tests give it to cortexes that append before they first meet.
pub const LOG: LogId = LogId::from_bytes(*b"antiphon-testing");

pub use crate::service::tamper::Tamper;
pub use author::{Author, Written, answer_of, retain, rewrite};
pub use federation::Federation;
pub use handshake::HandshakeOf;
pub use memory_store::{CommitFault, MemoryStore};
pub use network::MemoryNetwork;
pub use question::question;
pub use seeded::{seeded_cortex, seeded_identity, seeded_keys};
pub use simulation::simulate;
pub use until::until;
