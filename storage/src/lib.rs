//! Antiphon's [`Store`](antiphon_kernel::store::Store) on RocksDB column families.
//!
//! ```no_run
//! use antiphon_storage::{Create, RocksStore};
//! # fn main() -> Result<(), antiphon_kernel::store::StoreError> {
//! let store = RocksStore::open("./alpha", Create::IfMissing)?;
//! # drop(store);
//! # Ok(())
//! # }
//! ```
//!
//! | module | holds |
//! |---|---|
//! | `directory` | the data directory: its lock, its format file, what may be created in it |
//! | `options` | every RocksDB setting that a promise depends on, with the reason |
//! | `rocks` | the [`RocksStore`] itself |
//! | `errors` | what RocksDB's errors mean to a caller |

mod directory;
mod errors;
mod options;
mod rocks;

pub use directory::Create;
pub use rocks::RocksStore;
