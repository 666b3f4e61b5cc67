//! The corpus of `store_model`, replayed with RocksDB in place of the store in memory. Only here: a fuzzer would have to
//! build RocksDB with its instruments, and waits for no disk.

#![allow(clippy::unwrap_used)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use antiphon_fuzz::store_model::{World, check};
use antiphon_kernel::store::Store;
use antiphon_storage::{Options, RocksStore};
use tempfile::TempDir;

struct Rocks {
    /// `None` only while it is being opened again. Before the folder, so that it is closed before that is removed.
    store: Option<RocksStore>,
    folder: TempDir,
    options: Options,
}

impl Rocks {
    fn new(options: Options) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Some(RocksStore::open_with(folder.path(), options.clone()).unwrap());
        Self { store, folder, options }
    }
}

impl World for Rocks {
    fn store(&self) -> &dyn Store {
        self.store.as_ref().unwrap()
    }

    fn crash(&mut self, _keep: usize) -> Option<usize> {
        None
    }

    fn restart(&mut self) {
        self.store = None;
        self.store = Some(RocksStore::open_with(self.folder.path(), self.options.clone()).unwrap());
    }

    fn fail_commit(&mut self, _applied: bool) -> bool {
        false
    }
}

#[test]
fn rocksdb_agrees_with_the_model() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/store_model");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 8);
    // The least buffer and cache that are used: it flushes and evicts all the time.
    let mut small = Options::default();
    (small.cache_bytes, small.write_buffer_bytes) = (0, 0);
    for file in files {
        for options in [Options::default(), small.clone()] {
            let input = std::fs::read(&file).unwrap();
            let passed = catch_unwind(AssertUnwindSafe(|| check(&input, &mut Rocks::new(options)))).is_ok();
            assert!(passed, "{} fails; see above", file.display());
        }
    }
}
