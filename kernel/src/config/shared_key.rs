//! The key that the cortexes of a federation share.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

use crate::error_code::ErrorCode;

/// The shared key: redacted in `Debug`, wiped from memory when dropped, never part of a configuration file.
///
/// Empty means *open mode*: nothing is sent and nothing is asked for.
///
/// ```
/// use antiphon_kernel::SharedKey;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let key = SharedKey::new("0123456789abcdef0123456789abcdef")?;
/// assert!(key.matches(b"0123456789abcdef0123456789abcdef"));
/// assert_eq!(format!("{key:?}"), "SharedKey(redacted)");
/// assert!(SharedKey::new("short").is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct SharedKey(SecretString);

/// A key too short to resist guessing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the shared key is too weak: it must be {} to {} printable ASCII characters without spaces",
    SharedKey::MIN_LEN,
    SharedKey::MAX_LEN
)]
pub struct WeakKey;

impl WeakKey {
    /// The stable code of this failure.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        ErrorCode::KeyWeak
    }
}

/// The environment has no usable key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFromEnv {
    /// The variable is not set, or empty.
    #[error("{} is not set", SharedKey::VARIABLE)]
    Missing,
    /// What it holds is no key.
    #[error("the key in {} cannot be used", SharedKey::VARIABLE)]
    Weak(#[from] WeakKey),
}

impl KeyFromEnv {
    /// The stable code of this failure.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Missing => ErrorCode::KeyMissing,
            Self::Weak(error) => error.code(),
        }
    }
}

impl SharedKey {
    /// The environment variable of [`SharedKey::from_env`].
    pub const VARIABLE: &str = "ANTIPHON_SHARED_KEY";

    /// Reads the key from the environment variable `ANTIPHON_SHARED_KEY`. The first word counts.
    ///
    /// # Errors
    /// [`KeyFromEnv`]. A missing key is an error here: open mode is chosen by giving no key.
    pub fn from_env() -> Result<Self, KeyFromEnv> {
        let text = std::env::var(Self::VARIABLE).map_err(|_| KeyFromEnv::Missing)?;
        let first = text.split_whitespace().next().ok_or(KeyFromEnv::Missing)?;
        Ok(Self::new(first)?)
    }

    /// The shortest key, in characters: 128 bits in hex.
    pub const MIN_LEN: usize = 32;
    /// The longest key, in characters.
    pub const MAX_LEN: usize = 512;

    /// Checks and takes a key; an empty text is open mode.
    ///
    /// # Errors
    /// [`WeakKey`] if it is too short, too long, or could not stand in an HTTP header.
    pub fn new(key: &str) -> Result<Self, WeakKey> {
        let fits = (Self::MIN_LEN..=Self::MAX_LEN).contains(&key.len());
        if key.is_empty() || fits && key.bytes().all(|b| b.is_ascii_graphic()) {
            return Ok(Self(SecretString::from(key.to_owned())));
        }
        Err(WeakKey)
    }

    /// Whether there is no key.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.0.expose_secret().is_empty()
    }

    /// The key itself, for the one place that puts it on the wire.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// Whether `presented` is this key, in a time that depends on neither: both are hashed and the hashes compared.
    #[must_use]
    pub fn matches(&self, presented: &[u8]) -> bool {
        let ours = Sha256::digest(self.0.expose_secret().as_bytes());
        let theirs = Sha256::digest(presented);
        ours.ct_eq(&theirs).into()
    }
}

impl PartialEq for SharedKey {
    fn eq(&self, other: &Self) -> bool {
        self.matches(other.expose().as_bytes())
    }
}

impl Eq for SharedKey {}

impl fmt::Debug for SharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_open() { "SharedKey(open)" } else { "SharedKey(redacted)" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_compared_and_never_shown() {
        let text = "0123456789abcdef0123456789abcdef";
        let key = SharedKey::new(text).unwrap();
        assert!(key.matches(text.as_bytes()));
        for wrong in [&text[..31], "", "0123456789abcdef0123456789abcdeF"] {
            assert!(!key.matches(wrong.as_bytes()), "{wrong}");
        }
        assert!(!format!("{key:?}").contains("0123"));
        assert!(!key.is_open() && SharedKey::default().is_open());
        assert_eq!(key.expose(), text);
    }

    #[test]
    fn weak_and_unspeakable_keys_are_refused() {
        for bad in
            ["short", "has space 0123456789abcdef0123456789", &"x".repeat(513), "ключ0123456789abcdef0123456789abcdef"]
        {
            assert_eq!(SharedKey::new(bad).unwrap_err(), WeakKey);
        }
    }
}
