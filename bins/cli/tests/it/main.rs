//! The real binary, as people use it.
#![allow(clippy::unwrap_used, missing_docs)]

mod attacks;
mod backup;
mod bad_input;
mod client;
mod commands;
mod conflicts;
mod data_dir;
mod doubles;
mod exposed;
mod federation;
mod forks;
mod guide;
mod identity;
mod import;
mod killed;
mod links;
mod messages;
mod monitor;
mod mutual_tls;
mod node;
mod payload;
#[path = "../../../../transports/common/tests/pki/mod.rs"]
mod pki;
mod progress;
mod readers;
mod repair;
mod rotation;
mod secrets;
mod start_line;
mod support;
mod versions;
