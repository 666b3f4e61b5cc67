//! The identity of a new cortex.

use crate::entropy;
use crate::ids::{CortexId, Epoch, LogId};
use crate::log::LocalIdentity;
use crate::time::Timestamp;

/// Returns a new identity: a random cortex id and a first epoch.
#[must_use]
pub fn mint_identity(name: &str) -> LocalIdentity {
    let cortex_id = CortexId::from_parts(Timestamp::now().ulid_ms(), entropy::random());
    LocalIdentity::new(cortex_id, Epoch::new(entropy::random() as u64), name.to_owned())
}

/// Returns the id of a new log.
#[must_use]
pub fn mint_log() -> LogId {
    LogId::from_bytes(entropy::random().to_be_bytes())
}
