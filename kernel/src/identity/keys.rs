//! A signer that has the private keys in memory.

use super::{EndOfEpoch, InvalidStatement, KeyStatement, SecretKey, SignError, Signature, Signer};
use crate::ids::CortexId;

/// The keys of one cortex: the working key, its statement, and the root key where that is here.
///
/// ```
/// use antiphon_kernel::{Keys, Signer};
///
/// let keys = Keys::generate();
/// assert!(keys.root().is_some());
/// assert_eq!(keys.statement().number(), 1);
/// assert_eq!(keys.statement().cortex(), keys.cortex());
/// ```
#[derive(Debug)]
pub struct Keys {
    root: Option<SecretKey>,
    working: SecretKey,
    statement: KeyStatement,
}

impl Keys {
    /// Returns the keys of a new cortex.
    ///
    /// # Panics
    /// If the operating system has no source of randomness.
    #[must_use]
    pub fn generate() -> Self {
        Self::certified_by(SecretKey::generate(), SecretKey::generate())
    }

    /// Returns keys that are the same in every run: for tests. The seed is the root key's private key.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn from_seed(seed: [u8; 32]) -> Self {
        use sha2::{Digest as _, Sha256};

        let working: [u8; 32] =
            Sha256::new().chain_update(b"antiphon working key").chain_update(seed).finalize().into();
        Self::certified_by(SecretKey::from_bytes(&seed), SecretKey::from_bytes(&working))
    }

    /// Returns the keys of a new cortex with this root key, and its first statement.
    pub(super) fn certified_by(root: SecretKey, working: SecretKey) -> Self {
        let statement = KeyStatement::issue(&root, 1, working.public(), Vec::new());
        // A key made of 32 bytes is never weak: its scalar is clamped.
        let statement = statement.expect("a first statement without ends keeps every rule");
        Self { root: Some(root), working, statement }
    }

    /// Returns keys with a new working key and without the root key, and the statement after `present` that certifies it and lists these ends; `None` without the root
    /// key. Keep them durably before anything is signed with them.
    ///
    /// # Errors
    /// [`InvalidStatement::Rule`]: there are too many ends, or they are not in order.
    pub fn next(&self, present: &KeyStatement, ends: Vec<EndOfEpoch>) -> Option<Result<Self, InvalidStatement>> {
        let (root, working) = (self.root.as_ref()?, SecretKey::generate());
        let number = self.statement.number().max(present.number()) + 1;
        let statement = KeyStatement::issue(root, number, working.public(), ends);
        Some(statement.and_then(|statement| Self::new(working, statement)))
    }

    /// Puts together keys that were kept apart.
    ///
    /// # Errors
    /// [`InvalidStatement`]: the statement does not hold, or it certifies another working key.
    pub fn new(working: SecretKey, statement: KeyStatement) -> Result<Self, InvalidStatement> {
        statement.verify()?;
        if statement.working() != working.public() {
            return Err(InvalidStatement::Rule("it certifies another working key"));
        }
        Ok(Self { root: None, working, statement })
    }

    /// Adds the root key.
    ///
    /// # Errors
    /// The cortex that the root key names, if that is another one.
    pub(crate) fn with_root(self, root: SecretKey) -> Result<Self, CortexId> {
        if root.public() != self.statement.root() {
            return Err(CortexId::of_root(&root.public()));
        }
        Ok(Self { root: Some(root), ..self })
    }

    /// The cortex that they are of.
    #[must_use]
    pub fn cortex(&self) -> CortexId {
        self.statement.cortex()
    }

    /// The root key, if it is here.
    #[must_use]
    pub const fn root(&self) -> Option<&SecretKey> {
        self.root.as_ref()
    }

    pub(super) const fn working(&self) -> &SecretKey {
        &self.working
    }
}

impl Signer for Keys {
    fn statement(&self) -> &KeyStatement {
        &self.statement
    }

    fn sign(&self, message: &[u8]) -> Result<Signature, SignError> {
        Ok(self.working.sign(message))
    }
}
