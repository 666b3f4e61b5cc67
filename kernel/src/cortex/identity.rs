//! The identity of a caller without a log.

use std::sync::Arc;

use crate::entropy;
use crate::identity::{Keys, SharedSigner};
use crate::ids::{Epoch, LogId};
use crate::log::LocalIdentity;

/// Returns the identity of a cortex that nothing is kept of: for a caller that only asks. A new log gets its own from its keys.
#[must_use]
pub fn mint_identity(name: &str) -> LocalIdentity {
    let keys = Keys::generate();
    let identity = LocalIdentity::new(keys.cortex(), Epoch::new(entropy::random() as u64), name.to_owned());
    LocalIdentity { signer: Some(SharedSigner::new(Arc::new(keys))), ..identity }
}

/// Returns the id of a new log.
#[must_use]
pub fn mint_log() -> LogId {
    LogId::from_bytes(entropy::random().to_be_bytes())
}
