//! A store against a model that does everything the obvious way: whatever is put, deleted, lost and opened again, both
//! hold the same.
//!
//! Each step is a byte that names it (see `step`) and a few that shape it.

mod model;
mod steps;

use antiphon_kernel::store::Store;
use antiphon_kernel::testing::{CommitFault, MemoryStore};

pub(crate) use steps::step;

/// A store, and what can be done to the machine that it runs on.
pub trait World {
    /// The store as it is open now.
    fn store(&self) -> &dyn Store;

    /// Power loss: of the commits that were not durable, at most the first `keep` are still there. Returns how many there
    /// were that could have been lost; `None` where this cannot be staged.
    fn crash(&mut self, keep: usize) -> Option<usize>;

    /// Closes the store in order and opens it again.
    fn restart(&mut self);

    /// Makes the next commit fail: with effect nevertheless, or without. `false` where this cannot be staged.
    fn fail_commit(&mut self, applied: bool) -> bool;
}

impl World for MemoryStore {
    fn store(&self) -> &dyn Store {
        self
    }

    fn crash(&mut self, keep: usize) -> Option<usize> {
        let pending = self.pending();
        assert_eq!(Self::crash(self, keep), pending);
        Some(pending)
    }

    fn restart(&mut self) {}

    fn fail_commit(&mut self, applied: bool) -> bool {
        self.fail_commits([if applied { CommitFault::Applied } else { CommitFault::Lost }]);
        true
    }
}

/// Puts the store in memory through what `data` says.
///
/// # Panics
/// Where the store differs from the model.
pub fn run(data: &[u8]) {
    check(data, &mut MemoryStore::new());
}

/// Puts an empty store of any kind through what `data` says.
///
/// # Panics
/// Where the store differs from the model.
pub fn check(data: &[u8], world: &mut dyn World) {
    steps::take(data, world);
}
