//! The kernel's exam, and two stores that must fail it.

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};

use antiphon_kernel::store::{Batch, Durability, Family, KeyRange, KeyValue, Store, StoreError, Visitor};
use antiphon_kernel::testing::store_suite::{self, Harness};
use antiphon_storage::{Create, RocksStore};
use tempfile::TempDir;

struct Rocks {
    directory: TempDir,
    store: Option<RocksStore>,
}

impl Rocks {
    fn fresh() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = RocksStore::open(directory.path(), Create::IfMissing).unwrap();
        Self { directory, store: Some(store) }
    }
}

impl Harness for Rocks {
    fn store(&self) -> &dyn Store {
        self.store.as_ref().unwrap()
    }

    fn restart(&mut self) {
        self.store = None;
        self.store = Some(RocksStore::open(self.directory.path(), Create::Never).unwrap());
    }
}

#[test]
fn rocksdb_passes() {
    store_suite::run(&|| Box::new(Rocks::fresh()));
}

#[derive(Clone, Copy)]
enum Fault {
    ScanStopsEarly,
    LosesLastMutation,
}

struct Broken(Rocks, Fault);

impl Harness for Broken {
    fn store(&self) -> &dyn Store {
        self
    }

    fn restart(&mut self) {
        self.0.restart();
    }
}

impl Store for Broken {
    fn get(&self, family: Family<'_>, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.0.store().get(family, key)
    }

    fn scan(&self, family: Family<'_>, range: KeyRange<'_>, visit: &mut Visitor<'_>) -> Result<(), StoreError> {
        let mut left = if matches!(self.1, Fault::ScanStopsEarly) { 2 } else { usize::MAX };
        self.0.store().scan(family, range, &mut |key, value| {
            left -= 1;
            if left == 0 { ControlFlow::Break(()) } else { visit(key, value) }
        })
    }

    fn last(&self, family: Family<'_>, prefix: &[u8]) -> Result<Option<KeyValue>, StoreError> {
        self.0.store().last(family, prefix)
    }

    fn commit(&self, batch: &Batch, durability: Durability) -> Result<(), StoreError> {
        let mut kept = Batch::new();
        let keep = if matches!(self.1, Fault::LosesLastMutation) { batch.len() - 1 } else { batch.len() };
        for change in batch.iter().take(keep) {
            match change.value {
                Some(value) => kept.put(change.family, change.key, value),
                None => kept.delete(change.family, change.key),
            }
        }
        self.0.store().commit(&kept, durability)
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.0.store().sync()
    }

    fn ensure_families(&self, names: &[&str]) -> Result<(), StoreError> {
        self.0.store().ensure_families(names)
    }

    fn reopen(&self) -> Result<(), StoreError> {
        self.0.store().reopen()
    }

    fn check(&self) -> Result<(), StoreError> {
        self.0.store().check()
    }
}

#[test]
fn broken_stores_fail() {
    for fault in [Fault::ScanStopsEarly, Fault::LosesLastMutation] {
        let result = catch_unwind(AssertUnwindSafe(|| {
            store_suite::run(&|| Box::new(Broken(Rocks::fresh(), fault)));
        }));
        assert!(result.is_err());
    }
}
