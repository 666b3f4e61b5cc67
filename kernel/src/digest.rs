//! The digest chain: what makes two histories comparable by comparing 16 bytes.

use std::fmt;
use std::str::FromStr;

use xxhash_rust::xxh3::Xxh3;

use crate::ids::Origin;

/// Names the hash in every format that carries digests: 1 is XXH3-128.
pub(crate) const DIGEST_ALGORITHM: u8 = 1;

/// 128 bits over an origin's history up to one event: `digest(o, c) = H(digest(o, c−1), event bytes)`, zero before the
/// first. It finds accidents, forks and damage; it does not withstand an adversary.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Digest([u8; 16]);

impl Digest {
    /// The digest before an origin's first event.
    pub const ZERO: Self = Self([0; 16]);

    /// From its 16 bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Its 16 bytes (XXH3's canonical, big-endian form).
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0
    }

    /// The digest of bytes alone.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(xxhash_rust::xxh3::xxh3_128(bytes).to_be_bytes())
    }

    /// The digest one event further along the chain.
    #[must_use]
    pub fn chain(self, event: &[u8]) -> Self {
        // One pass over a copy costs less than a hasher's state, for events of the usual size.
        let mut both = [0; 512];
        if let Some(end) = (event.len() + 16 <= both.len()).then_some(event.len() + 16) {
            both[..16].copy_from_slice(&self.0);
            both[16..end].copy_from_slice(event);
            return Self::of(&both[..end]);
        }
        let mut hash = Xxh3::new();
        hash.update(&self.0);
        hash.update(event);
        Self(hash.digest128().to_be_bytes())
    }
}

/// Folds chain heads, sorted by origin, into one digest: equal on cortexes that hold the same events, in whatever order.
#[must_use]
pub(crate) fn fold_heads(heads: impl IntoIterator<Item = (Origin, u64, Digest)>) -> Digest {
    let mut hash = Xxh3::new();
    for (origin, counter, digest) in heads {
        hash.update(&origin.to_bytes());
        hash.update(&counter.to_be_bytes());
        hash.update(&digest.0);
    }
    Digest(hash.digest128().to_be_bytes())
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl FromStr for Digest {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u128::from_str_radix(text, 16).map(|bits| Self(bits.to_be_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_depends_on_every_event_and_their_order() {
        let one = Digest::ZERO.chain(b"a").chain(b"b");
        assert_ne!(one, Digest::ZERO.chain(b"b").chain(b"a"));
        assert_ne!(one, Digest::ZERO.chain(b"ab"));
        assert_eq!(one.to_string().parse::<Digest>().unwrap(), one);
    }

    /// The hash is part of the format: these values may never change.
    #[test]
    fn the_hash_is_xxh3_128_in_canonical_form() {
        assert_eq!(Digest::of(b"").to_string(), "99aa06d3014798d86001c324468d497f");
        let mut by_hand = [0; 17];
        by_hand[16] = b'a';
        assert_eq!(Digest::ZERO.chain(b"a"), Digest::of(&by_hand));
        // Both ways to it come to the same.
        for length in [300, 496, 497, 5000] {
            let event: Vec<u8> = (0..length).map(|n| n as u8).collect();
            let whole = [&Digest::of(b"x").0[..], &event].concat();
            assert_eq!(Digest::of(b"x").chain(&event), Digest::of(&whole), "{length}");
        }
    }
}
