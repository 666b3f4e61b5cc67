//! A store with damage that stays: one entry of it cannot be read, is missing, or reads otherwise than it was written,
//! until it is fixed or overwritten. The store below is whole, so that a fix costs nothing.

use std::ops::{ControlFlow, Deref};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::identity::{KeyError, Signer};
use crate::store::{Batch, Durability, Family, KeyRange, KeyValue, Store, StoreError, StoreErrorKind, Visitor};
use crate::testing::MemoryStore;

/// What is wrong with an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Harm {
    /// The store says that it is damaged: what every store owes.
    Unreadable,
    /// The store does not know of it: more than it may forget, and what is above must notice all the same.
    Missing,
    /// It reads so: past the store's own checks, and for the digests to find.
    Flipped(Vec<u8>),
}

#[derive(Debug, Clone)]
pub(super) struct Damage {
    pub(super) family: Family<'static>,
    pub(super) key: Vec<u8>,
    pub(super) harm: Harm,
}

impl Damage {
    /// Visits what a scan of its family finds, as the damage makes it.
    fn visit(
        &self,
        visit: &mut Visitor<'_>,
        scan: impl FnOnce(&mut Visitor<'_>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut fault = None;
        scan(&mut |key, value| match &self.harm {
            _ if self.key != key => visit(key, value),
            Harm::Missing => ControlFlow::Continue(()),
            Harm::Flipped(value) => visit(key, value),
            Harm::Unreadable => {
                fault = Some(unreadable(self));
                ControlFlow::Break(())
            }
        })?;
        fault.map_or(Ok(()), Err)
    }
}

#[derive(Default)]
struct State {
    damage: Option<Damage>,
    /// Whether the damage is looked past, as the invariants do.
    aside: bool,
    /// Counts what changed what is stored.
    writes: u64,
}

/// Below is a [`MemoryStore`], and what is done to that directly is done behind the kernel's back.
pub(super) struct Disk {
    below: MemoryStore,
    state: Mutex<State>,
}

impl Disk {
    pub(super) fn over(below: MemoryStore) -> Self {
        Self { below, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change is one assignment.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn harm(&self, damage: Damage) {
        self.state().damage = Some(damage);
    }

    pub(super) fn mend(&self) {
        self.state().damage = None;
    }

    pub(super) fn harmed(&self) -> Option<Harm> {
        self.state().damage.as_ref().map(|damage| damage.harm.clone())
    }

    /// Whether something may read otherwise than it was written, with no word of the store's.
    pub(super) fn lies(&self) -> bool {
        matches!(self.harmed(), Some(Harm::Flipped(_)))
    }

    /// Looks past the damage, or not any more.
    pub(super) fn look_past(&self, aside: bool) {
        self.state().aside = aside;
    }

    /// Grows with everything that is written or made durable.
    pub(super) fn writes(&self) -> u64 {
        self.state().writes
    }

    fn damage(&self, family: Family<'_>) -> Option<Damage> {
        let state = self.state();
        state.damage.as_ref().filter(|damage| !state.aside && damage.family == family).cloned()
    }

    fn wrote(&self, batch: &Batch) {
        let mut state = self.state();
        state.writes += 1;
        let overwrites = |damage: &Damage| batch.iter().any(|c| c.family == damage.family && c.key == damage.key);
        if state.damage.as_ref().is_some_and(overwrites) {
            state.damage = None;
        }
    }
}

impl Deref for Disk {
    type Target = MemoryStore;

    fn deref(&self) -> &MemoryStore {
        &self.below
    }
}

fn unreadable(damage: &Damage) -> StoreError {
    StoreError::new(StoreErrorKind::Corrupt, format!("family `{}`: {:?} cannot be read", damage.family, damage.key))
}

impl Store for Disk {
    fn get(&self, family: Family<'_>, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        match self.damage(family).filter(|damage| damage.key == key) {
            None => self.below.get(family, key),
            Some(damage) => match &damage.harm {
                Harm::Unreadable => Err(unreadable(&damage)),
                Harm::Missing => Ok(None),
                Harm::Flipped(value) => Ok(Some(value.clone())),
            },
        }
    }

    fn scan(&self, family: Family<'_>, range: KeyRange<'_>, visit: &mut Visitor<'_>) -> Result<(), StoreError> {
        let Some(damage) = self.damage(family) else { return self.below.scan(family, range, visit) };
        damage.visit(visit, |visit| self.below.scan(family, range, visit))
    }

    fn scan_floor(&self, family: Family<'_>, range: KeyRange<'_>, visit: &mut Visitor<'_>) -> Result<(), StoreError> {
        let Some(damage) = self.damage(family) else { return self.below.scan_floor(family, range, visit) };
        let mut first = None;
        self.below.scan_floor(family, range, &mut |key, _| {
            first = Some(key.to_vec());
            ControlFlow::Break(())
        })?;
        if damage.harm == Harm::Missing && first.is_some_and(|first| first == damage.key) {
            // Then it begins at the key before.
            let mut before = Vec::new();
            self.below.scan(family, KeyRange::prefix(range.prefix), &mut |key, _| {
                before.clear();
                before.extend_from_slice(key);
                if key < damage.key.as_slice() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })?;
            return self.scan(family, KeyRange { from: &before, prefix: range.prefix }, visit);
        }
        damage.visit(visit, |visit| self.below.scan_floor(family, range, visit))
    }

    fn last(&self, family: Family<'_>, prefix: &[u8]) -> Result<Option<KeyValue>, StoreError> {
        let last = self.below.last(family, prefix)?;
        let Some(damage) = self.damage(family).filter(|d| last.as_ref().is_some_and(|l| l.0 == d.key)) else {
            return Ok(last);
        };
        match &damage.harm {
            Harm::Unreadable => Err(unreadable(&damage)),
            Harm::Flipped(value) => Ok(Some((damage.key.clone(), value.clone()))),
            Harm::Missing => {
                let mut before = None;
                self.scan(family, KeyRange::prefix(prefix), &mut |key, value| {
                    before = Some((key.to_vec(), value.to_vec()));
                    ControlFlow::Continue(())
                })?;
                Ok(before)
            }
        }
    }

    fn commit(&self, batch: &Batch, durability: Durability) -> Result<(), StoreError> {
        self.wrote(batch);
        self.below.commit(batch, durability)
    }

    fn sync(&self) -> Result<(), StoreError> {
        if self.below.pending() > 0 {
            self.state().writes += 1;
        }
        self.below.sync()
    }

    fn ensure_families(&self, names: &[&str]) -> Result<(), StoreError> {
        self.below.ensure_families(names)
    }

    fn reopen(&self) -> Result<(), StoreError> {
        self.below.reopen()
    }

    fn check(&self) -> Result<(), StoreError> {
        let state = self.state();
        match state.damage.as_ref().filter(|d| d.harm == Harm::Unreadable && !state.aside) {
            Some(damage) => Err(unreadable(damage)),
            None => self.below.check(),
        }
    }

    fn free_bytes(&self) -> Result<Option<u64>, StoreError> {
        self.below.free_bytes()
    }

    fn check_location(&self) -> Result<(), StoreError> {
        self.below.check_location()
    }

    fn fingerprint(&self) -> Result<Option<Vec<u8>>, StoreError> {
        self.below.fingerprint()
    }

    fn note(&self, bytes: &[u8], durability: Durability) {
        self.below.note(bytes, durability);
    }

    fn noted(&self) -> Option<Vec<u8>> {
        self.below.noted()
    }

    fn keys(&self) -> Result<Option<Arc<dyn Signer>>, KeyError> {
        self.below.keys()
    }
}
