//! The real binary, as people use it.
#![allow(clippy::unwrap_used, missing_docs)]

mod attacks;
mod backup;
mod bad_input;
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
mod node;
mod payload;
mod progress;
mod readers;
mod repair;
mod secrets;
mod start_line;
mod support;
mod versions;
