//! The identity of a new cortex.

use crate::entropy;
use crate::ids::{CortexId, Epoch};
use crate::log::LocalIdentity;
use crate::time::Timestamp;

/// Returns a new identity: a random cortex id and a first epoch.
#[must_use]
pub fn mint_identity(name: &str) -> LocalIdentity {
    LocalIdentity {
        cortex_id: CortexId::from_parts(Timestamp::now().ulid_ms(), entropy::random()),
        epoch: Epoch::new(entropy::random() as u64),
        name: name.to_owned(),
    }
}
