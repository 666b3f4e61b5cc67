//! The identity of a caller without a log.

use std::sync::Arc;

use crate::entropy;
use crate::identity::{Keys, Signer as _};
use crate::ids::Epoch;
use crate::log::LocalIdentity;

/// Returns the identity of a cortex that nothing is kept of: for a caller that only asks. A new log gets its own from its keys.
#[must_use]
pub fn mint_identity(name: &str) -> LocalIdentity {
    let keys = Keys::generate();
    LocalIdentity {
        cortex_id: keys.cortex(),
        statement: Some(Arc::new(keys.statement().clone())),
        epoch: Epoch::new(entropy::random() as u64),
        name: name.to_owned(),
    }
}
