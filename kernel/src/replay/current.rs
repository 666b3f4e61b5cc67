//! Reads a replayer's families without its handle: any program that has the store can.

use std::ops::ControlFlow;

use super::build::{BuildNumber, Builds};
use crate::store::{Family, KeyRange, Store, StoreError};

/// A replayer's families in its current build, as [`read_current`] gives them.
#[derive(Clone, Copy)]
pub struct CurrentState<'a> {
    store: &'a dyn Store,
    build: Option<BuildNumber>,
}

impl CurrentState<'_> {
    /// The number of the build; `None` where the replayer has no state.
    #[must_use]
    pub const fn build(&self) -> Option<BuildNumber> {
        self.build
    }

    /// The value at a key.
    ///
    /// # Errors
    /// [`StoreError`]; kind `Misuse` for a family that does not exist.
    pub fn get(&self, family: &str, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(build) = self.build else { return Ok(None) };
        self.store.get(Family::User(family), &build.key(key))
    }

    /// Visits the keys and values of a range in ascending order, until the visitor breaks.
    ///
    /// # Errors
    /// As [`CurrentState::get`]; what was visited before an error must not be relied on.
    pub fn scan(
        &self,
        family: &str,
        range: KeyRange<'_>,
        mut visit: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let Some(build) = self.build else { return Ok(()) };
        build.scan(self.store, family, range, &mut visit)
    }
}

/// Reads a replayer's families in the build that is current now. If another build became current meanwhile, `read` runs
/// again. Keys that are read one after the other can be of different positions; [`super::ReplayHandle::read`] keeps one
/// position.
///
/// ```
/// use antiphon_kernel::replay::read_current;
/// use antiphon_kernel::testing::MemoryStore;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = MemoryStore::new();
/// // The replayer `notes` never ran here.
/// assert_eq!(read_current(&store, "notes", |state| state.get("notes", b"notes/1"))?, None);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`StoreError`], and those of `read`.
pub fn read_current<T>(
    store: &dyn Store,
    replayer: &str,
    mut read: impl FnMut(CurrentState<'_>) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    loop {
        let build = Builds::read(store, replayer)?.current();
        let value = read(CurrentState { store, build });
        if Builds::read(store, replayer)?.current() == build {
            return value;
        }
    }
}
