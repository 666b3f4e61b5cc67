//! What a store must hold: one flat map, read by looking at every key.

use std::collections::{BTreeMap, BTreeSet};

use antiphon_kernel::store::KERNEL_FAMILIES;

/// The embedder's families that a step may name. They are there once they were made.
pub(super) const USER_FAMILIES: [&str; 2] = ["view", "view.2"];

type Keys = BTreeMap<(String, Vec<u8>), Vec<u8>>;

/// A family, a key, and its new value or none.
pub(super) type Change = (String, Vec<u8>, Option<Vec<u8>>);

pub(super) struct Model {
    families: BTreeSet<String>,
    /// What would be there after a crash that kept the first 0, 1, 2, … commits of those not yet durable.
    moments: Vec<Keys>,
}

impl Model {
    pub(super) fn new() -> Self {
        let families = KERNEL_FAMILIES.iter().map(|family| family.name().to_owned()).collect();
        Self { families, moments: vec![Keys::new()] }
    }

    fn now(&self) -> &Keys {
        self.moments.last().expect("there is always one")
    }

    pub(super) fn has(&self, family: &str) -> bool {
        self.families.contains(family)
    }

    pub(super) fn families(&self) -> impl Iterator<Item = &str> {
        self.families.iter().map(String::as_str)
    }

    pub(super) fn ensure(&mut self, family: &str) {
        self.families.insert(family.to_owned());
    }

    pub(super) fn commit(&mut self, changes: &[Change]) {
        let mut keys = self.now().clone();
        for (family, key, value) in changes {
            let place = (family.clone(), key.clone());
            match value {
                Some(value) => drop(keys.insert(place, value.clone())),
                None => drop(keys.remove(&place)),
            }
        }
        self.moments.push(keys);
    }

    pub(super) fn sync(&mut self) {
        self.moments.drain(..self.moments.len() - 1);
    }

    /// How many commits a crash could take.
    pub(super) fn pending(&self) -> usize {
        self.moments.len() - 1
    }

    pub(super) fn crash(&mut self, keep: usize) {
        self.moments.truncate(keep + 1);
        self.sync();
    }

    pub(super) fn get(&self, family: &str, key: &[u8]) -> Option<Vec<u8>> {
        self.now().get(&(family.to_owned(), key.to_vec())).cloned()
    }

    /// In ascending order.
    pub(super) fn scan(&self, family: &str, from: &[u8], prefix: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let wanted = |name: &str, key: &[u8]| name == family && key >= from && key.starts_with(prefix);
        let found = self.now().iter().filter(|((name, key), _)| wanted(name, key));
        found.map(|((_, key), value)| (key.clone(), value.clone())).collect()
    }
}
