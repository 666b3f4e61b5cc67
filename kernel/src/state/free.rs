//! An application's own small values, read from a store before its log runs.

use std::ops::ControlFlow;

use crate::store::{Family, KeyRange, Store, StoreError, keys};

/// The value of an application's own key, read from a store before its log runs.
///
/// # Errors
/// [`StoreError`].
pub fn read_free(store: &dyn Store, key: &str) -> Result<Option<String>, StoreError> {
    let bytes = store.get(Family::Meta, &keys::state(key))?;
    Ok(bytes.map(|b| String::from_utf8_lossy(&b).into_owned()))
}

/// The keys of an application's own that begin so, from a store before its log runs.
///
/// # Errors
/// [`StoreError`].
pub fn free_keys(store: &dyn Store, prefix: &str) -> Result<Vec<String>, StoreError> {
    let (from, start) = (keys::state(""), keys::state(prefix));
    let mut found = Vec::new();
    store.scan(Family::Meta, KeyRange::prefix(&start), &mut |key, _| {
        found.push(String::from_utf8_lossy(&key[from.len()..]).into_owned());
        ControlFlow::Continue(())
    })?;
    Ok(found)
}
