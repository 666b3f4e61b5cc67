//! Seals: what the owner of an origin signs at the end of each group.

use sha2::{Digest as _, Sha256};

use super::{PublicKey, SignError, Signature, Signer};
use crate::clock::VClock;
use crate::digest::Digest;
use crate::ids::{EventId, Origin};

/// What is signed begins with this, so that the signature is of nothing else.
const CONTEXT: &[u8] = b"antiphon seal 2";

/// A place in an origin's chain, as its owner signs it. The digest covers all events up to there, the inception and so the log, the
/// key and its number. The id and the clock are signed too, so that a cortex without the events can check them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sealed {
    pub(crate) origin: Origin,
    /// The counter of the last event of a group.
    pub(crate) counter: u64,
    /// The chain's digest there.
    pub(crate) digest: Digest,
    /// The id of that event.
    pub(crate) id: EventId,
    /// The hash of its full clock: [`clock_hash`].
    pub(crate) clock: ClockHash,
}

/// The SHA-256 of a full clock without the origin's own entry: each origin in order, and its counter, 8 bytes, big-endian.
pub type ClockHash = [u8; 32];

/// Hashes a full clock, without the origin's own entry.
pub(crate) fn clock_hash(clock: &VClock) -> ClockHash {
    let mut hash = Sha256::new();
    for (origin, counter) in clock.iter() {
        hash.update(origin.to_bytes());
        hash.update(counter.to_be_bytes());
    }
    hash.finalize().into()
}

impl Sealed {
    /// Seals it.
    pub(crate) fn sign(&self, keys: &dyn Signer) -> Result<Signature, SignError> {
        keys.sign(&self.message())
    }

    /// Whether the owner of this key sealed it.
    pub(crate) fn is_sealed_by(&self, key: &PublicKey, seal: &Signature) -> bool {
        key.verifies(&self.message(), seal)
    }

    /// `"antiphon seal 2" ‖ origin ‖ counter ‖ digest ‖ id ‖ clock hash`. The counter has 8 bytes, big-endian.
    fn message(&self) -> Vec<u8> {
        let counter = self.counter.to_be_bytes();
        [CONTEXT, &self.origin.to_bytes(), &counter, &self.digest.to_bytes(), &self.id.to_bytes(), &self.clock].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{CortexId, Epoch};
    use crate::testing::seeded_keys;

    fn origin(n: u8) -> Origin {
        Origin::new(CortexId::from_bytes([n; 16]), Epoch::new(1))
    }

    #[test]
    fn all_that_a_seal_names_is_signed() {
        let mut clock = VClock::new();
        clock.raise(origin(2), 3).unwrap();
        let (digest, id) = (Digest::of(b"chain"), EventId::from_parts(5, 6));
        let sealed = Sealed { origin: origin(1), counter: 7, digest, id, clock: clock_hash(&clock) };
        let keys = seeded_keys(1);
        let (key, seal) = (keys.statement().working(), sealed.sign(&*keys).unwrap());
        assert!(sealed.is_sealed_by(&key, &seal));
        assert!(!sealed.is_sealed_by(&keys.statement().root(), &seal), "the root key seals nothing");
        let mut other = clock.clone();
        other.raise(origin(2), 4).unwrap();
        let others = [
            Sealed { origin: origin(2), ..sealed },
            Sealed { counter: 8, ..sealed },
            Sealed { digest: Digest::of(b"other"), ..sealed },
            Sealed { id: EventId::from_parts(5, 7), ..sealed },
            Sealed { clock: clock_hash(&other), ..sealed },
        ];
        assert!(others.iter().all(|other| !other.is_sealed_by(&key, &seal)));
    }
}
