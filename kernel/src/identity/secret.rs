//! Private keys.

use std::fmt;

use ed25519_dalek::{Signer as _, SigningKey};
use zeroize::Zeroizing;

use super::{PublicKey, Signature};

/// An Ed25519 private key. `Debug` hides it, and its memory is wiped when it is dropped. It is on the heap, so that moves leave no
/// copies behind.
///
/// ```
/// use antiphon_kernel::SecretKey;
///
/// let key = SecretKey::generate();
/// assert!(key.public().verifies(b"message", &key.sign(b"message")));
/// assert_eq!(format!("{key:?}"), "SecretKey(redacted)");
/// ```
pub struct SecretKey(Box<SigningKey>);

impl SecretKey {
    /// Returns a new key of 32 random bytes.
    ///
    /// # Panics
    /// If the operating system has no source of randomness.
    #[must_use]
    pub fn generate() -> Self {
        let mut seed = Zeroizing::new([0; 32]);
        crate::entropy::fill(&mut *seed);
        Self::from_bytes(&seed)
    }

    /// The key with these 32 bytes, the seed of RFC 8032. Any bytes are a key. The caller wipes its copy.
    #[must_use]
    pub fn from_bytes(seed: &[u8; 32]) -> Self {
        Self(Box::new(SigningKey::from_bytes(seed)))
    }

    /// The 32 bytes, for the one place that writes them to a key file.
    pub(crate) fn expose(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// Its public key.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey::from_bytes(self.0.verifying_key().to_bytes())
    }

    /// Signs a message. The same message gives the same signature.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Signature {
        Signature::from_bytes(self.0.sign(message).to_bytes())
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(redacted)")
    }
}
