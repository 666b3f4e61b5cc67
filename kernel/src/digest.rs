//! The digest chain: what makes two histories comparable by comparing 32 bytes.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

use crate::error_code::ErrorCode;
use crate::ids::Origin;

/// Names the hash in every format that carries digests: 2 is SHA-256. One origin has one algorithm.
pub(crate) const DIGEST_ALGORITHM: u8 = 2;

/// 256 bits over an origin's history up to one event, zero before the first:
/// `digest(c) = SHA-256("antiphon/2" ‖ digest(c−1) ‖ routing ‖ SHA-256(attributes) ‖ SHA-256(body))`.
///
/// Two different histories with one digest cannot be made, so equal digests mean equal histories. SHA-256 is faster than
/// BLAKE3 on records of a few hundred bytes where the processor has instructions for it, and every language has it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest before an origin's first event.
    pub const ZERO: Self = Self([0; 32]);

    /// From its 32 bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its 32 bytes.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 32] {
        self.0
    }

    /// The SHA-256 of bytes alone.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Returns the digest one event further along the chain, from the event's routing part and the hashes of its other parts.
    #[must_use]
    pub(crate) fn after(self, routing: &[u8], attributes: &PartHash, body: &PartHash) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"antiphon/2");
        hash.update(self.0);
        hash.update(routing);
        hash.update(attributes);
        hash.update(body);
        Self(hash.finalize().into())
    }
}

/// The SHA-256 of one part of a record.
pub type PartHash = [u8; 32];

/// Returns the hash of a part's bytes.
#[must_use]
pub(crate) fn part_hash(bytes: &[u8]) -> PartHash {
    // Of no bytes: many events have no attributes or no body.
    const EMPTY: PartHash = [
        0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24, 0x27, 0xae,
        0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
    ];
    if bytes.is_empty() { EMPTY } else { Sha256::digest(bytes).into() }
}

/// Folds chain heads, sorted by origin, into one digest: equal on cortexes that hold the same events, in whatever order.
#[must_use]
pub(crate) fn fold_heads(heads: impl IntoIterator<Item = (Origin, u64, Digest)>) -> Digest {
    let mut hash = Sha256::new();
    for (origin, counter, digest) in heads {
        hash.update(origin.to_bytes());
        hash.update(counter.to_be_bytes());
        hash.update(digest.0);
    }
    Digest(hash.finalize().into())
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

/// A text that is no digest: 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a digest has 64 hexadecimal digits")]
pub struct InvalidDigest;

impl InvalidDigest {
    /// The stable code of this failure.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        ErrorCode::DigestText
    }
}

impl FromStr for Digest {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 32];
        if text.len() != 2 * bytes.len() || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(InvalidDigest);
        }
        for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let digits = std::str::from_utf8(digits).map_err(|_| InvalidDigest)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| InvalidDigest)?;
        }
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_depends_on_every_part_and_on_the_order() {
        let (a, b) = (part_hash(b"a"), part_hash(b"b"));
        let one = Digest::ZERO.after(b"r", &a, &b);
        assert_ne!(one, Digest::ZERO.after(b"r", &b, &a));
        assert_ne!(one, Digest::ZERO.after(b"s", &a, &b));
        assert_ne!(one, one.after(b"r", &a, &b));
        assert_eq!(one.to_string().parse::<Digest>(), Ok(one));
        for text in ["", "00", &one.to_string()[1..], &format!("+{}", &one.to_string()[1..])] {
            assert_eq!(text.parse::<Digest>(), Err(InvalidDigest), "{text}");
        }
    }

    /// The hash is part of the format: these values may never change.
    #[test]
    fn the_hash_is_sha_256() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Digest::of(b"").to_string(), empty);
        assert_eq!(Digest::from_bytes(part_hash(b"")).to_string(), empty);
        assert_eq!(part_hash(b"abc"), Digest::of(b"abc").to_bytes());
        let by_hand = [b"antiphon/2", &[0; 32][..], b"routing", &part_hash(b"x"), &part_hash(b"")].concat();
        assert_eq!(Digest::ZERO.after(b"routing", &part_hash(b"x"), &part_hash(b"")), Digest::of(&by_hand));
    }
}
