//! RocksDB as a store, through the public API only.
#![allow(clippy::unwrap_used, missing_docs)]

mod damage;
mod directory;
mod suite;
