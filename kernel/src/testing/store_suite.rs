//! The conformance suite of a [`Store`]: what its trait obliges an implementation to, as cases that any implementation can be put to.
//!
//! An implementer's whole test:
//!
//! ```
//! use std::collections::BTreeMap;
//! use std::sync::{Arc, Mutex};
//!
//! use antiphon_kernel::testing::MemoryStore;
//! use antiphon_kernel::testing::store_suite::{self, StoreHarness};
//! use antiphon_kernel::{Store, StoreError};
//!
//! #[derive(Default)]
//! struct InMemory(Mutex<BTreeMap<String, Arc<MemoryStore>>>);
//!
//! impl StoreHarness for InMemory {
//!     fn open(&self, name: &str) -> Result<Arc<dyn Store>, StoreError> {
//!         Ok(self.0.lock().unwrap().entry(name.to_owned()).or_default().clone())
//!     }
//!
//!     fn crash(&self, name: &str) -> bool {
//!         self.0.lock().unwrap()[name].crash(0);
//!         true
//!     }
//! }
//!
//! store_suite::run(&InMemory::default());
//! ```
//!
//! The suite cannot damage bytes that it does not know, nor cut the power of a machine: that damage is reported and that a
//! sync reaches the disk, an implementer shows by tests of their own. It has been seen to fail: broken stores are put to
//! it in its own tests.

mod batches;
mod durability;
mod families;
mod reads;
mod room;
#[cfg(test)]
mod tests;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::store::{Store, StoreError};
use room::Room;

/// How the suite opens stores of one implementation.
pub trait StoreHarness {
    /// Opens the store of this name (letters and `_`), and makes it where there is none yet.
    ///
    /// # To ensure correctness
    /// - Stores of different names share nothing.
    /// - The suite drops every clone of the last handle before it opens a name again. What was committed before must then
    ///   come from where the store keeps it, not from the process's memory.
    ///
    /// # Errors
    /// As opening the store; the suite fails with it.
    fn open(&self, name: &str) -> Result<Arc<dyn Store>, StoreError>;

    /// Takes from the store of this name, which is closed, what a power loss now could take at worst. `false` where the
    /// implementation cannot stage that; the cases of a crash then become cases of a restart.
    fn crash(&self, name: &str) -> bool {
        let _ = name;
        false
    }
}

type Case = (&'static str, fn(&Room<'_>));

/// All cases, by the names that a failure is reported under.
const CASES: [&[Case]; 4] = [reads::CASES, batches::CASES, families::CASES, durability::CASES];

/// Puts an implementation to every case.
///
/// # Panics
/// After all cases ran, if one failed; the message names each that did, and why.
pub fn run(harness: &dyn StoreHarness) {
    let mut failures = Vec::new();
    for (name, case) in CASES.into_iter().flatten() {
        let room = Room::new(harness, name);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| case(&room))) {
            failures.push(format!("case `{name}`: {}", message(panic.as_ref())));
        }
    }
    assert!(failures.is_empty(), "the store failed {} of its cases:\n{}", failures.len(), failures.join("\n"));
}

fn message(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it panicked without a message")
}
