//! The highest number of a key statement that each cortex began an origin with, as far as the log knows.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::marks::read_inception;
use crate::codec::StoredChain;
use crate::identity::Inception;
use crate::ids::{CortexId, Origin};
use crate::store::{Store, StoreError};

/// Kept in memory: it is asked for with each handshake, on threads that must not read the store.
#[derive(Debug, Default)]
pub(super) struct Statements(Mutex<BTreeMap<CortexId, u64>>);

impl Statements {
    /// Reads them all: one small read for each origin.
    pub(super) fn read(store: &dyn Store, chains: &BTreeMap<Origin, StoredChain>) -> Result<Self, StoreError> {
        let statements = Self::default();
        for &origin in chains.keys() {
            if let Some(inception) = read_inception(store, origin)? {
                statements.note(origin, &inception);
            }
        }
        Ok(statements)
    }

    /// Notes how an origin begins. Its inception was verified: the root key signed the number.
    pub(super) fn note(&self, origin: Origin, inception: &[u8]) {
        let Some(number) = Inception::number_in(inception) else { return };
        let mut newest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = newest.entry(origin.cortex()).or_default();
        *known = number.max(*known);
    }

    /// The highest number of a cortex; 0 where nothing of it is held.
    pub(super) fn newest(&self, cortex: CortexId) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&cortex).copied().unwrap_or(0)
    }
}
