//! RocksDB as a store, through the public API and through the files that it leaves.
#![allow(clippy::unwrap_used, missing_docs)]

mod copies;
mod crash;
mod files;
mod incarnations;
mod keys;
mod location;
mod log_damage;
mod opening;
mod refusals;
mod suite;
mod table_damage;
