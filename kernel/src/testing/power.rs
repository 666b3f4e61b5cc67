//! A store that loses its power.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use super::MemoryStore;
use crate::identity::{KeyError, Signer};
use crate::store::{Batch, Durability, Family, KeyRange, KeyValue, Store, StoreError, StoreErrorKind, Visitor};

/// One process's access to a [`MemoryStore`]. It ends with the process: threads that outlive a crash change nothing.
#[derive(Clone)]
pub(super) struct PoweredStore {
    store: Arc<MemoryStore>,
    on: Arc<RwLock<bool>>,
}

impl PoweredStore {
    pub(super) fn new(store: Arc<MemoryStore>) -> Self {
        Self { store, on: Arc::new(RwLock::new(true)) }
    }

    /// Loses everything that is not durable. No call through this access succeeds from now on.
    pub(super) fn crash(&self) {
        let mut on = self.on.write().unwrap_or_else(PoisonError::into_inner);
        *on = false;
        self.store.crash(0);
    }

    /// The power stays on until this is dropped.
    fn on(&self) -> Result<RwLockReadGuard<'_, bool>, StoreError> {
        let on = self.on.read().unwrap_or_else(PoisonError::into_inner);
        if *on { Ok(on) } else { Err(StoreError::new(StoreErrorKind::Io, "the test cut the power")) }
    }
}

impl Store for PoweredStore {
    fn get(&self, family: Family<'_>, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let _on = self.on()?;
        self.store.get(family, key)
    }

    fn scan(&self, family: Family<'_>, range: KeyRange<'_>, visit: &mut Visitor<'_>) -> Result<(), StoreError> {
        let _on = self.on()?;
        self.store.scan(family, range, visit)
    }

    fn scan_floor(&self, family: Family<'_>, range: KeyRange<'_>, visit: &mut Visitor<'_>) -> Result<(), StoreError> {
        let _on = self.on()?;
        self.store.scan_floor(family, range, visit)
    }

    fn last(&self, family: Family<'_>, prefix: &[u8]) -> Result<Option<KeyValue>, StoreError> {
        let _on = self.on()?;
        self.store.last(family, prefix)
    }

    fn commit(&self, batch: &Batch, durability: Durability) -> Result<(), StoreError> {
        let _on = self.on()?;
        self.store.commit(batch, durability)
    }

    fn sync(&self) -> Result<(), StoreError> {
        let _on = self.on()?;
        self.store.sync()
    }

    fn ensure_families(&self, names: &[&str]) -> Result<(), StoreError> {
        let _on = self.on()?;
        self.store.ensure_families(names)
    }

    fn reopen(&self) -> Result<(), StoreError> {
        let _on = self.on()?;
        self.store.reopen()
    }

    fn check(&self) -> Result<(), StoreError> {
        let _on = self.on()?;
        self.store.check()
    }

    fn check_with(&self, report: &mut dyn FnMut(u64, u64)) -> Result<(), StoreError> {
        let _on = self.on()?;
        self.store.check_with(report)
    }

    fn fingerprint(&self) -> Result<Option<Vec<u8>>, StoreError> {
        let _on = self.on()?;
        self.store.fingerprint()
    }

    fn free_bytes(&self) -> Result<Option<u64>, StoreError> {
        let _on = self.on()?;
        self.store.free_bytes()
    }

    fn note(&self, bytes: &[u8], durability: Durability) {
        if let Ok(_on) = self.on() {
            self.store.note(bytes, durability);
        }
    }

    fn noted(&self) -> Option<Vec<u8>> {
        let _on = self.on().ok()?;
        self.store.noted()
    }

    fn keys(&self) -> Result<Option<Arc<dyn Signer>>, KeyError> {
        self.store.keys()
    }

    fn create_keys(&self) -> Result<Option<Arc<dyn Signer>>, KeyError> {
        self.store.create_keys()
    }
}
