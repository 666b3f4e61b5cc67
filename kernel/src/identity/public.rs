//! Public keys and signatures.

use std::fmt;

use ed25519_dalek::VerifyingKey;
use sha2::{Digest as _, Sha256};

use crate::ids::CortexId;

/// An Ed25519 public key, 32 bytes. Not every value is a point of the curve: [`PublicKey::is_sound`].
///
/// ```
/// use antiphon_kernel::{CortexId, Keys, Signer};
///
/// let keys = Keys::generate();
/// let root = keys.statement().root();
/// assert_eq!(CortexId::of_root(&root), keys.cortex());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// The key with these 32 bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 32] {
        self.0
    }

    /// Whether this key made `signature` for `message`. Weak keys and forms other than the canonical one are refused.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &Signature) -> bool {
        let verify = || {
            let signature = ed25519_dalek::Signature::from_bytes(&signature.to_bytes());
            VerifyingKey::from_bytes(&self.0).is_ok_and(|key| key.verify_strict(message, &signature).is_ok())
        };
        #[cfg(any(test, feature = "testing"))]
        return super::memo::verified(self, message, signature, verify);
        #[cfg(not(any(test, feature = "testing")))]
        verify()
    }

    /// Whether it is a point of the curve, and not a weak one.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        VerifyingKey::from_bytes(&self.0).is_ok_and(|key| !key.is_weak())
    }

    /// Returns the first 16 bytes of the key's SHA-256 in hex, in groups of four digits: for people who compare keys.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let hash = Sha256::digest(self.0);
        let groups = hash[..16].chunks(2).map(|pair| pair.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
        groups.collect::<Vec<_>>().join("-")
    }
}

impl CortexId {
    /// Returns the id of the cortex that this root key names: the first 16 bytes of SHA-256 over `antiphon cortex v1` and the key.
    #[must_use]
    pub fn of_root(root: &PublicKey) -> Self {
        let hash: [u8; 32] = Sha256::new().chain_update(b"antiphon cortex v1").chain_update(root.0).finalize().into();
        let mut id = [0; 16];
        id.copy_from_slice(&hash[..16]);
        Self::from_bytes(id)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

/// An Ed25519 signature, 64 bytes.
///
/// ```
/// use antiphon_kernel::{Keys, Signature, Signer};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let keys = Keys::generate();
/// let signature = keys.sign(b"message")?;
/// let received = Signature::from_bytes(signature.to_bytes());
/// assert!(keys.statement().working().verifies(b"message", &received));
/// assert!(!keys.statement().working().verifies(b"another", &received));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature([u8; 64]);

impl Signature {
    /// The signature with these 64 bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 64]) -> Self {
        Self(bytes)
    }

    /// The 64 bytes.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 64] {
        self.0
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signature(")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}
