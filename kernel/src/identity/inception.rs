//! Inceptions: how origins begin.

use super::{Certificate, EndOfEpoch, InvalidStatement, KeyStatement, PublicKey};
use crate::codec::{decode_inception, encode_inception};
use crate::digest::Digest;
use crate::error_code::ErrorCode;
use crate::ids::{Epoch, LogId, Origin};

/// The most bytes of an inception.
pub(crate) const MAX_INCEPTION_BYTES: usize = 512;

/// The chain of an origin begins with the digest of these words and its inception.
const CONTEXT: &[u8] = b"antiphon inception 2";

/// Why an inception is not valid.
///
/// ```
/// use antiphon_kernel::identity::InvalidInception;
///
/// assert_eq!(InvalidInception::OtherOrigin.to_string(), "the inception is another origin's");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidInception {
    /// It has a version that is not known here.
    #[error("the inception has version {0}, which is not known here")]
    Version(u8),
    /// Its bytes do not decode.
    #[error("the inception does not decode: {0}")]
    Malformed(String),
    /// Its certificate does not hold.
    #[error("the certificate in the inception does not hold")]
    Certificate(#[source] InvalidStatement),
    /// It is of another cortex or epoch.
    #[error("the inception is another origin's")]
    OtherOrigin,
    /// It is of another log.
    #[error("the inception is of log {0}")]
    OtherLog(LogId),
}

impl InvalidInception {
    /// The stable code of this failure.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Version(_) => ErrorCode::InceptionVersion,
            Self::Malformed(_) => ErrorCode::InceptionMalformed,
            Self::Certificate(error) => error.code(),
            Self::OtherOrigin => ErrorCode::InceptionOtherOrigin,
            Self::OtherLog(_) => ErrorCode::InceptionOtherLog,
        }
    }
}

/// What each chain begins with: its digest before the first event, and the key that signs its seals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChainStart {
    /// The chain's digest before its first event.
    pub digest: Digest,
    /// The working key of the origin's cortex in this epoch.
    pub key: PublicKey,
}

impl ChainStart {
    /// The start of a chain that was not begun. No seal verifies with its key.
    pub(crate) const NONE: Self = Self { digest: Digest::ZERO, key: PublicKey::from_bytes([0; 32]) };

    /// What a chain begins with whose inception was verified before.
    pub(crate) fn verified(inception: &[u8]) -> Self {
        let key = decode_inception(inception).map_or(Self::NONE.key, |inception| inception.certificate.working);
        Self { digest: start_digest(inception), key }
    }
}

/// How an origin begins: of which log it is, which key signs its seals, and which epoch of its cortex came before.
///
/// It has no counter. The digest of a chain before its first event is made of it, so each digest of the origin covers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inception {
    pub(crate) log: LogId,
    pub(crate) epoch: Epoch,
    pub(crate) certificate: Certificate,
    /// Where the epoch before this one ended, as far as its cortex knew.
    pub(crate) previous: Option<EndOfEpoch>,
    /// Why that one ended: 0 where there was none.
    pub(crate) reason: u8,
}

impl Inception {
    /// The inception of an origin of the cortex whose statement this is.
    pub(crate) fn new(
        log: LogId,
        epoch: Epoch,
        statement: &KeyStatement,
        previous: Option<EndOfEpoch>,
        reason: u8,
    ) -> Self {
        Self { log, epoch, certificate: statement.certificate(), previous, reason }
    }

    /// Decodes an inception and verifies its certificate.
    ///
    /// # Errors
    /// [`InvalidInception`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, InvalidInception> {
        let inception = decode_inception(bytes)?;
        inception.certificate.verify().map_err(InvalidInception::Certificate)?;
        Ok(inception)
    }

    /// The number of the key statement in an inception that was verified before.
    pub(crate) fn number_in(verified: &[u8]) -> Option<u64> {
        decode_inception(verified).ok().map(|inception| inception.certificate.number)
    }

    /// The bytes of the inception, as `docs/format.md` has them.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        encode_inception(self)
    }

    /// What its chain begins with.
    #[must_use]
    pub fn start(&self) -> ChainStart {
        ChainStart { digest: start_digest(&self.to_bytes()), key: self.certificate.working }
    }

    /// The origin that it begins.
    #[must_use]
    pub fn origin(&self) -> Origin {
        Origin::new(self.certificate.cortex(), self.epoch)
    }
}

/// Verifies the inception of an origin in a log, and returns how its chain starts.
///
/// # Errors
/// [`InvalidInception`].
pub(crate) fn start_of(bytes: &[u8], origin: Origin, log: Option<LogId>) -> Result<ChainStart, InvalidInception> {
    let inception = Inception::from_bytes(bytes)?;
    if inception.origin() != origin {
        return Err(InvalidInception::OtherOrigin);
    }
    if log.is_some_and(|log| log != inception.log) {
        return Err(InvalidInception::OtherLog(inception.log));
    }
    Ok(ChainStart { digest: start_digest(bytes), key: inception.certificate.working })
}

/// The digest of a chain before its first event.
pub(crate) fn start_digest(inception: &[u8]) -> Digest {
    Digest::of(&[CONTEXT, inception].concat())
}
