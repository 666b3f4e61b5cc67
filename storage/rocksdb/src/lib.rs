//! Antiphon's [`Store`](antiphon_kernel::store::Store) on RocksDB.
//!
//! ```
//! use antiphon_kernel::store::{Batch, Durability, Family, Store};
//! use antiphon_storage::{Create, RocksStore};
//!
//! # let scratch = tempfile::tempdir()?;
//! # let data_dir = scratch.path().join("alpha");
//! let store = RocksStore::open_with(&data_dir, Create::IfMissing)?;
//! let mut batch = Batch::new();
//! batch.put(Family::Meta, b"name", b"alpha");
//! store.commit(&batch, Durability::Sync)?; // survives power loss once it returned
//! assert_eq!(store.get(Family::Meta, b"name")?.as_deref(), Some(b"alpha".as_slice()));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | module | holds |
//! |---|---|
//! | `store` | [`RocksStore`]: the handle, and how it is closed and opened anew |
//! | `options` | [`Options`]: what an embedder chooses |
//! | `data_dir` | the data directory: what is in it, who may open it, what is undone when opening fails |
//! | `format` | the file `FORMAT`, which keeps an older version away from a newer store |
//! | `lock` | the file `LOCK`, which keeps two processes apart |
//! | `location` | whether the files that are open are still those that the path leads to |
//! | `marker` | where the data stand, and the file `HEAD`: how far they reached |
//! | `backup` | copies of a store, and [`StoredCopy`]: a look into one |
//! | `recovery` | what is the torn end of a write-ahead log, and what is damage |
//! | `database` | the families of an opened RocksDB: reads, writes, creation |
//! | `tuning` | every RocksDB setting, with its reason |
//! | `error` | what a RocksDB or file system error means to a caller |

mod backup;
mod data_dir;
mod database;
mod error;
mod format;
mod location;
mod lock;
mod marker;
mod options;
mod recovery;
mod store;
mod tuning;
mod wal_gap;

pub use backup::StoredCopy;
pub use format::STORE_FORMAT;
pub use lock::DirectoryLock;
pub use options::{Create, Options};
pub use store::RocksStore;
