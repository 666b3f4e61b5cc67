//! Keys made of a number, the same in every run.

use std::sync::{Arc, OnceLock};

use crate::identity::{Keys, SharedSigner, Signer};
use crate::ids::{CortexId, Epoch};
use crate::log::LocalIdentity;

/// Made once each: a key costs more than a simulated step.
static KEYS: [OnceLock<(CortexId, Arc<Keys>)>; 256] = [const { OnceLock::new() }; 256];

fn keys(number: u8) -> &'static (CortexId, Arc<Keys>) {
    KEYS[usize::from(number)].get_or_init(|| {
        let keys = Keys::from_seed([number; 32]);
        (keys.cortex(), Arc::new(keys))
    })
}

/// The keys of a cortex whose id came from [`seeded_cortex`].
pub(super) fn keys_of(cortex: CortexId) -> Option<Arc<dyn Signer>> {
    let made = KEYS.iter().filter_map(OnceLock::get).find(|(of, _)| *of == cortex);
    made.map(|(_, keys)| Arc::clone(keys) as Arc<dyn Signer>)
}

/// Returns the keys of cortex `number` of a test.
#[must_use]
pub fn seeded_keys(number: u8) -> Arc<dyn Signer> {
    Arc::clone(&keys(number).1) as Arc<dyn Signer>
}

/// Returns the id of cortex `number` of a test: that of [`seeded_keys`].
#[must_use]
pub fn seeded_cortex(number: u8) -> CortexId {
    keys(number).0
}

/// Returns who cortex `number` of a test is, under epoch 1, with the keys of [`seeded_keys`].
#[must_use]
pub fn seeded_identity(number: u8, name: &str) -> LocalIdentity {
    let signer = Some(SharedSigner::new(seeded_keys(number)));
    LocalIdentity { signer, ..LocalIdentity::new(seeded_cortex(number), Epoch::new(1), name.to_owned()) }
}
