//! The parts of a record after its routing part, each of which may be absent.

use crate::codec::encoding::{decode_prefix, fields};
use crate::digest::{PartHash, part_hash};
use crate::event::InvalidEvent;
use crate::ids::Dot;

use super::{dot_of, field, malformed};

const THERE: u8 = 0;
const MISSING: u8 = 1;
const ERASED: u8 = 2;

/// One part of a record: the attributes, or the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part<'a> {
    /// Its bytes.
    There(&'a [u8]),
    /// It is not here, and its hash is.
    Absent(AbsentPart),
}

/// A part that is not here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbsentPart {
    /// The SHA-256 of the part's bytes.
    pub hash: PartHash,
    /// How many bytes the part has.
    pub bytes: u64,
    /// Why it is not here.
    pub why: Absence,
}

/// Why a part is not here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Absence {
    /// Any node that has the part can still bring it.
    Missing,
    /// It was erased.
    Erased {
        /// The statement that erased it.
        by: Dot,
    },
}

impl Part<'_> {
    /// Returns the hash of the part.
    #[must_use]
    pub fn hash(&self) -> PartHash {
        match self {
            Self::There(bytes) => part_hash(bytes),
            Self::Absent(absent) => absent.hash,
        }
    }

    /// Returns whether any node that has the part can bring it.
    pub(crate) const fn is_missing(&self) -> bool {
        matches!(self, Self::Absent(AbsentPart { why: Absence::Missing, .. }))
    }

    /// Returns how many bytes the part has where it is there.
    pub(super) const fn full_bytes(&self) -> u64 {
        match self {
            Self::There(bytes) => bytes.len() as u64,
            Self::Absent(absent) => absent.bytes,
        }
    }

    /// Returns two bits that say whether the part is there.
    pub(super) const fn presence(&self) -> u8 {
        match self {
            Self::There(_) => THERE,
            Self::Absent(AbsentPart { why: Absence::Missing, .. }) => MISSING,
            Self::Absent(AbsentPart { why: Absence::Erased { .. }, .. }) => ERASED,
        }
    }

    /// Appends the part as it is in a record.
    pub(super) fn put(&self, record: &mut Vec<u8>) {
        use crate::codec::encoding::Encode as _;
        match self {
            Self::There(bytes) => record.extend_from_slice(bytes),
            Self::Absent(absent) => {
                record.extend_from_slice(&absent.hash);
                if let Absence::Erased { by } = absent.why {
                    WireDot { origin: by.origin().to_bytes(), counter: by.counter() }.encode(record);
                }
            }
        }
    }
}

fields! {
    struct WireDot {
        origin: [u8; 24],
        counter: u64,
    }
}

/// Reads attributes and body: the presence byte, then each part or what is in its place.
pub(super) fn read(bytes: &[u8], attributes: u64, body: u64) -> Result<(Part<'_>, Part<'_>), InvalidEvent> {
    let (&presence, rest) = bytes.split_first().ok_or_else(|| malformed("it ends too early"))?;
    if presence > 0b1111 {
        return Err(field("presence", "has a bit that is not known"));
    }
    let (attributes, rest) = one(presence & 0b11, attributes, rest)?;
    let (body, rest) = one(presence >> 2, body, rest)?;
    if !rest.is_empty() {
        return Err(malformed(format!("{} bytes follow it", rest.len())));
    }
    Ok((attributes, body))
}

fn one(presence: u8, bytes: u64, from: &[u8]) -> Result<(Part<'_>, &[u8]), InvalidEvent> {
    let ended = || malformed("it ends too early");
    if presence == THERE {
        let length = usize::try_from(bytes).map_err(|_| ended())?;
        let (part, rest) = from.split_at_checked(length).ok_or_else(ended)?;
        return Ok((Part::There(part), rest));
    }
    if bytes == 0 {
        return Err(field("presence", "says that a part without bytes is absent"));
    }
    let (&hash, rest) = from.split_first_chunk().ok_or_else(ended)?;
    let (why, rest) = match presence {
        MISSING => (Absence::Missing, rest),
        ERASED => {
            let (by, rest) = decode_prefix::<WireDot>(rest).map_err(|e| malformed(e.to_string()))?;
            (Absence::Erased { by: dot_of(by.origin, by.counter)? }, rest)
        }
        _ => return Err(field("presence", "has a value that is not known")),
    };
    Ok((Part::Absent(AbsentPart { hash, bytes, why }), rest))
}
