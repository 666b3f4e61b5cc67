//! Where one case is examined: a store of its own, and short words for what every case does.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::StoreHarness;
use crate::store::{Batch, Durability, Family, KeyRange, KeyValue, Store, StoreError, StoreErrorKind};

/// One case's store, by name.
pub(super) struct Room<'a> {
    harness: &'a dyn StoreHarness,
    name: &'a str,
}

impl<'a> Room<'a> {
    pub(super) fn new(harness: &'a dyn StoreHarness, name: &'a str) -> Self {
        Self { harness, name }
    }

    /// The store, as the first or a later opening finds it.
    pub(super) fn open(&self) -> Arc<dyn Store> {
        self.harness.open(self.name).unwrap_or_else(|error| panic!("the store does not open: {error}"))
    }

    /// Closes the store and opens it again.
    pub(super) fn restart(&self, store: Arc<dyn Store>) -> Arc<dyn Store> {
        drop(store);
        self.open()
    }

    /// Closes the store, loses what was not durable, and opens it again. Whether anything could be lost.
    pub(super) fn crash(&self, store: Arc<dyn Store>) -> (Arc<dyn Store>, bool) {
        drop(store);
        let crashed = self.harness.crash(self.name);
        (self.open(), crashed)
    }
}

/// A result that must be good.
#[track_caller]
pub(super) fn good<T>(result: Result<T, StoreError>) -> T {
    result.unwrap_or_else(|error| panic!("it failed: {error}"))
}

/// A result that must be an error of kind `Misuse`.
#[track_caller]
pub(super) fn misuse<T>(what: &str, result: Result<T, StoreError>) {
    match result {
        Ok(_) => panic!("{what} of a family that does not exist succeeds"),
        Err(error) => {
            assert_eq!(error.kind(), StoreErrorKind::Misuse, "{what} of a family that does not exist: {error}")
        }
    }
}

/// A batch of puts.
pub(super) fn puts(family: Family<'_>, entries: &[(&[u8], &[u8])]) -> Batch {
    let mut batch = Batch::new();
    for (key, value) in entries {
        batch.put(family, key, value);
    }
    batch
}

/// Commits puts durably.
#[track_caller]
pub(super) fn put(store: &dyn Store, family: Family<'_>, entries: &[(&[u8], &[u8])]) {
    good(store.commit(&puts(family, entries), Durability::Sync));
}

/// Everything in a range.
pub(super) fn read(store: &dyn Store, family: Family<'_>, range: KeyRange<'_>) -> Result<Vec<KeyValue>, StoreError> {
    let mut seen = Vec::new();
    store.scan(family, range, &mut |key, value| {
        seen.push((key.to_vec(), value.to_vec()));
        ControlFlow::Continue(())
    })?;
    Ok(seen)
}

/// Everything that a floor scan of a range visits.
pub(super) fn floor(store: &dyn Store, family: Family<'_>, range: KeyRange<'_>) -> Result<Vec<KeyValue>, StoreError> {
    let mut seen = Vec::new();
    store.scan_floor(family, range, &mut |key, value| {
        seen.push((key.to_vec(), value.to_vec()));
        ControlFlow::Continue(())
    })?;
    Ok(seen)
}

/// The keys in a range.
#[track_caller]
pub(super) fn keys(store: &dyn Store, family: Family<'_>, range: KeyRange<'_>) -> Vec<Vec<u8>> {
    good(read(store, family, range)).into_iter().map(|(key, _)| key).collect()
}

/// Everything in a family.
#[track_caller]
pub(super) fn all(store: &dyn Store, family: Family<'_>) -> Vec<KeyValue> {
    good(read(store, family, KeyRange::from(b"")))
}
