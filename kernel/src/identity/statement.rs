//! Key statements: which working key a root key certifies.

use super::{PublicKey, SecretKey, Signature};
use crate::codec::{decode_statement, encode_statement};
use crate::error_code::ErrorCode;
use crate::ids::{CortexId, Epoch};

/// The most ends of earlier epochs in one statement.
pub const MAX_ENDS: usize = 1_024;

/// The most bytes of one statement: each integer in 9 bytes, and a length in 3.
pub const MAX_STATEMENT_BYTES: usize = 1 + 32 + 9 + 32 + 3 + MAX_ENDS * (9 + 9 + 32) + 64;

/// Where an earlier epoch of the cortex ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndOfEpoch {
    /// The epoch.
    pub epoch: Epoch,
    /// The counter of its last event.
    pub counter: u64,
    /// The digest of its chain there.
    pub digest: [u8; 32],
}

/// Why a key statement is not valid.
///
/// ```
/// use antiphon_kernel::{InvalidStatement, KeyStatement, Keys, Signer};
///
/// let mut bytes = Keys::generate().statement().to_bytes();
/// if let Some(last) = bytes.last_mut() {
///     *last ^= 1;
/// }
/// assert_eq!(KeyStatement::from_bytes(&bytes), Err(InvalidStatement::Signature));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidStatement {
    /// It has a version that is not known here.
    #[error("the key statement has version {0}, which is not known here")]
    Version(u8),
    /// Its bytes do not decode.
    #[error("the key statement does not decode: {0}")]
    Malformed(String),
    /// A field breaks a rule.
    #[error("the key statement breaks a rule: {0}")]
    Rule(&'static str),
    /// Its root key did not sign it.
    #[error("the key statement is not signed by its root key")]
    Signature,
}

impl InvalidStatement {
    /// The stable code of this failure.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Version(_) => ErrorCode::IdentityStatementVersion,
            Self::Malformed(_) | Self::Rule(_) => ErrorCode::IdentityStatementMalformed,
            Self::Signature => ErrorCode::IdentityStatementSignature,
        }
    }
}

/// What a root key says about a working key, numbered from 1 and signed. A later statement has a higher number.
///
/// A value of this type was verified when it was made: [`KeyStatement::from_bytes`] refuses what the root key did not sign.
///
/// ```
/// use antiphon_kernel::{CortexId, KeyStatement, SecretKey};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (root, working) = (SecretKey::generate(), SecretKey::generate());
/// let statement = KeyStatement::issue(&root, 1, working.public(), Vec::new())?;
/// let received = KeyStatement::from_bytes(&statement.to_bytes())?;
/// assert_eq!(received.cortex(), CortexId::of_root(&root.public()));
/// assert_eq!((received.number(), received.working()), (1, working.public()));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyStatement {
    pub(crate) root: PublicKey,
    pub(crate) number: u64,
    pub(crate) working: PublicKey,
    pub(crate) ends: Vec<EndOfEpoch>,
    pub(crate) signature: Signature,
}

impl KeyStatement {
    /// Issues a statement: signs it with the root key.
    ///
    /// # Errors
    /// [`InvalidStatement::Rule`]: the number is 0, a key is weak, or `ends` is too long or not in order of epochs.
    pub fn issue(
        root: &SecretKey,
        number: u64,
        working: PublicKey,
        ends: Vec<EndOfEpoch>,
    ) -> Result<Self, InvalidStatement> {
        let unsigned = Self { root: root.public(), number, working, ends, signature: Signature::from_bytes([0; 64]) };
        unsigned.check_ends()?;
        unsigned.certificate().check_rules()?;
        Ok(Self { signature: root.sign(&unsigned.certificate().signed_bytes()), ..unsigned })
    }

    /// Decodes a statement and verifies it.
    ///
    /// # Errors
    /// [`InvalidStatement`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, InvalidStatement> {
        let statement = decode_statement(bytes)?;
        statement.verify()?;
        // One statement has one form: what is compared byte for byte is then compared in full.
        if statement.to_bytes() != bytes {
            return Err(InvalidStatement::Malformed("an integer is longer than needed".to_owned()));
        }
        Ok(statement)
    }

    /// The bytes of the statement, as `docs/format.md` has them: 131 of one without ends.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        encode_statement(self)
    }

    /// Checks the rules and the root key's signature. [`KeyStatement::from_bytes`] has done so.
    ///
    /// # Errors
    /// [`InvalidStatement::Rule`], [`InvalidStatement::Signature`].
    pub fn verify(&self) -> Result<(), InvalidStatement> {
        self.check_ends()?;
        self.certificate().verify()
    }

    /// The cortex that the root key names.
    #[must_use]
    pub fn cortex(&self) -> CortexId {
        CortexId::of_root(&self.root)
    }

    /// The root key.
    #[must_use]
    pub const fn root(&self) -> PublicKey {
        self.root
    }

    /// The number: 1 for a cortex's first statement.
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// The working key that it certifies.
    #[must_use]
    pub const fn working(&self) -> PublicKey {
        self.working
    }

    /// Where earlier epochs ended, in order of epochs.
    #[must_use]
    pub fn ends(&self) -> &[EndOfEpoch] {
        &self.ends
    }

    fn check_ends(&self) -> Result<(), InvalidStatement> {
        let rules = [
            (self.ends.len() <= MAX_ENDS, "it lists more than 1,024 ends of epochs"),
            (self.ends.is_sorted_by(|a, b| a.epoch < b.epoch), "its ends are not in order of epochs"),
        ];
        rules.into_iter().find(|(kept, _)| !kept).map_or(Ok(()), |(_, rule)| Err(InvalidStatement::Rule(rule)))
    }
}
