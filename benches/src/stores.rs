//! What a log stands on.

use std::sync::Arc;

use antiphon_kernel::store::Store;
use antiphon_kernel::testing::MemoryStore;
use antiphon_storage::{Create, RocksStore};
use tempfile::TempDir;

/// The stores that are measured beside each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// In memory: what is left is ours.
    Memory,
    /// On RocksDB, in a temporary directory.
    Rocks,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Memory, Self::Rocks];

    /// As it stands in a bench's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Rocks => "rocksdb",
        }
    }

    /// A store with nothing in it.
    ///
    /// # Panics
    /// Where there is no room for it: a bench cannot go on then.
    #[must_use]
    pub fn fresh(self) -> Fresh {
        match self {
            Self::Memory => Fresh { store: Arc::new(MemoryStore::new()), _directory: None },
            Self::Rocks => {
                let directory = tempfile::tempdir().expect("there is room for a temporary directory");
                let store =
                    RocksStore::open_with(directory.path(), Create::IfMissing).expect("an empty directory will do");
                Fresh { store: Arc::new(store), _directory: Some(directory) }
            }
        }
    }
}

/// A store, which is gone from the disk with this.
pub struct Fresh {
    store: Arc<dyn Store>,
    _directory: Option<TempDir>,
}

impl Fresh {
    /// The store.
    #[must_use]
    pub fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.store)
    }
}
