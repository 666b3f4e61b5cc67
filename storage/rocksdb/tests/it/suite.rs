//! The kernel's exam.

use std::sync::Arc;

use antiphon_kernel::store::{Store, StoreError};
use antiphon_kernel::testing::store_suite::{self, StoreHarness};
use antiphon_storage::{Options, RocksStore};
use tempfile::TempDir;

struct Rocks(TempDir, Options);

impl StoreHarness for Rocks {
    fn open(&self, name: &str) -> Result<Arc<dyn Store>, StoreError> {
        Ok(Arc::new(RocksStore::open_with(self.0.path().join(name), self.1.clone())?))
    }
}

#[test]
fn it_does_what_a_store_must() {
    store_suite::run(&Rocks(tempfile::tempdir().unwrap(), Options::default()));
}

#[test]
fn so_it_does_when_it_flushes_and_evicts_all_the_time() {
    let mut options = Options::default();
    (options.cache_bytes, options.write_buffer_bytes) = (0, 0); // the least that is used
    store_suite::run(&Rocks(tempfile::tempdir().unwrap(), options));
}
