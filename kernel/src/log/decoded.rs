//! Reading entries of a family that all decode, or an error: a part of them must never pass for all.

use std::ops::ControlFlow;

use super::entry::damaged;
use crate::codec::StoredError;
use crate::store::{Family, KeyRange, Store, StoreError};

/// Returns the entries under a prefix, decoded, in the order of their keys. `wrong_key` is the error for a key that does not decode.
///
/// # Errors
/// [`StoreError`].
pub(super) fn read_decoded<K, V>(
    store: &dyn Store,
    family: Family<'_>,
    prefix: &[u8],
    key: impl Fn(&[u8]) -> Option<K>,
    value: impl Fn(&[u8]) -> Result<V, StoredError>,
    wrong_key: impl Fn() -> StoreError,
) -> Result<Vec<(K, V)>, StoreError> {
    let (mut found, mut fault) = (Vec::new(), None);
    store.scan(family, KeyRange::prefix(prefix), &mut |of, bytes| {
        match (key(of), value(bytes)) {
            (Some(key), Ok(value)) => {
                found.push((key, value));
                return ControlFlow::Continue(());
            }
            (None, _) => fault = Some(wrong_key()),
            (_, Err(error)) => fault = Some(damaged(family, &error)),
        }
        ControlFlow::Break(())
    })?;
    fault.map_or(Ok(found), Err)
}
