//! Criterion benches of Antiphon beside the things that they are compared with: `make criterion`. Ratios within one run are
//! what counts; times differ from machine to machine.
//!
//! | bench | measures |
//! |---|---|
//! | `vclock` | comparing and merging clocks, beside `crdts::VClock` and a hash map |
//! | `codec` | records and frames, to bytes and back |
//! | `ingest` | taking a peer's batches into a store |
//! | `replay` | replaying a log, and ingest with replay beside RocksDB's own limit |
//! | `serve` | reading a log for a peer; the end of a short log and of a long one |
//! | `path` | a cortex that catches up with another, over memory, HTTPS and QUIC |
//!
//! | modules | hold what the benches share |
//! |---|---|
//! | [`sizes`] | how much each of them does |
//! | [`events`], [`stores`], [`logs`] | what is in a log, what it stands on, and the log |
//! | [`pulls`] | questions and answers between two logs, without a transport |
//! | [`transports`], [`certificates`] | what joins two cortexes |
//! | [`hash_clock`] | a clock as anybody would write it first |
//!
//! `peers/` compares whole systems, in a program of its own.

pub mod certificates;
pub mod events;
pub mod hash_clock;
pub mod logs;
pub mod pulls;
pub mod sizes;
pub mod stores;
pub mod transports;
