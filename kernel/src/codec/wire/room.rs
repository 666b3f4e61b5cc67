//! Room at the end of every message for what later versions add: numbered entries.
//!
//! An even number may be ignored by a reader that does not know it. An odd one may not: such a reader refuses the message.

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::codec::encoding::{DecodeError, Encode, decode_prefix};
use crate::rule::Rule;

/// The most entries of one message.
pub const MAX_ROOM_ENTRIES: usize = 64;
/// The most bytes that the entries of one message have together.
pub const MAX_ROOM_BYTES: usize = 64 * 1024;

/// The numbers that this version knows, strictly increasing. There are none yet.
const KNOWN: &[u64] = &[];

/// Numbered entries at the end of a message, strictly increasing by number.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Room(Vec<(u64, Bytes)>);

impl Room {
    /// The same with one more entry, in place of an earlier one of its number.
    #[must_use]
    pub fn with(mut self, number: u64, bytes: &[u8]) -> Self {
        let entry = (number, Bytes::copy_from_slice(bytes));
        match self.0.binary_search_by_key(&number, |entry| entry.0) {
            Ok(at) => self.0[at] = entry,
            Err(at) => self.0.insert(at, entry),
        }
        self
    }

    /// The bytes of the entry with this number.
    #[must_use]
    pub fn get(&self, number: u64) -> Option<&[u8]> {
        let at = self.0.binary_search_by_key(&number, |entry| entry.0).ok()?;
        Some(&self.0[at].1[..])
    }

    /// Whether there is no entry.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Checks the order, the bounds, and that each entry is known or may be ignored.
    ///
    /// # Errors
    /// The [`Rule`] that it breaks.
    pub fn check(&self) -> Result<(), Rule> {
        if !self.0.is_sorted_by(|a, b| a.0 < b.0) {
            return Err(Rule::RoomUnordered);
        }
        if self.0.len() > MAX_ROOM_ENTRIES || self.bytes() > MAX_ROOM_BYTES {
            return Err(Rule::RoomTooLarge);
        }
        let must_be_known = |number: &u64| !number.is_multiple_of(2) && !KNOWN.contains(number);
        if self.0.iter().any(|(number, _)| must_be_known(number)) {
            return Err(Rule::RoomUnknown);
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.0.iter().map(|(_, bytes)| bytes.len()).sum()
    }

    /// Appends the entries to a message.
    pub(super) fn encode(&self, to: &mut Vec<u8>) {
        let entries: Vec<(u64, &[u8])> = self.0.iter().map(|(number, bytes)| (*number, &bytes[..])).collect();
        entries.encode(to);
    }

    /// Reads the entries, which end the message. Takes no memory for more than is allowed.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, RoomError> {
        let (claimed, mut rest) = decode_prefix::<u64>(bytes)?;
        let count = usize::try_from(claimed).ok().filter(|&count| count <= MAX_ROOM_ENTRIES);
        let count = count.ok_or(RoomError::Rule(Rule::RoomTooLarge))?;
        let mut entries = Vec::new();
        for _ in 0..count {
            let ((number, bytes), after) = decode_prefix::<(u64, &[u8])>(rest)?;
            if bytes.len() > MAX_ROOM_BYTES {
                return Err(RoomError::Rule(Rule::RoomTooLarge));
            }
            entries.push((number, Bytes::copy_from_slice(bytes)));
            rest = after;
        }
        if !rest.is_empty() {
            return Err(RoomError::Rule(Rule::BytesAfterMessage));
        }
        let room = Self(entries);
        room.check().map_err(RoomError::Rule)?;
        Ok(room)
    }
}

/// Why bytes are no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RoomError {
    Decode(DecodeError),
    Rule(Rule),
}

impl From<DecodeError> for RoomError {
    fn from(error: DecodeError) -> Self {
        Self::Decode(error)
    }
}

/// In JSON: a list of pairs of the number and the bytes in hex.
impl Serialize for Room {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        serializer.collect_seq(self.0.iter().map(|(number, bytes)| (number, hex(bytes))))
    }
}

/// What is read is not checked: see [`Room::check`].
impl<'de> Deserialize<'de> for Room {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let unhex = |hex: String| {
            let pairs = hex.as_bytes().chunks(2).map(|pair| {
                let pair = std::str::from_utf8(pair).ok().filter(|pair| pair.len() == 2)?;
                u8::from_str_radix(pair, 16).ok()
            });
            pairs
                .collect::<Option<Vec<u8>>>()
                .ok_or_else(|| serde::de::Error::custom("the room has bytes that are not hex"))
        };
        let entries = Vec::<(u64, String)>::deserialize(deserializer)?;
        let entries = entries.into_iter().map(|(number, hex)| Ok((number, unhex(hex)?.into())));
        entries.collect::<Result<_, D::Error>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(entries: &[(u64, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        entries.to_vec().encode(&mut bytes);
        bytes
    }

    fn rule(entries: &[(u64, &[u8])]) -> Result<Room, RoomError> {
        Room::decode(&bytes(entries))
    }

    #[test]
    fn entries_have_these_bytes() {
        let room = Room::default().with(2, b"two").with(300, b"").with(2, b"TWO");
        let mut written = Vec::new();
        room.encode(&mut written);
        assert_eq!(written, [2, 2, 3, b'T', b'W', b'O', 251, 44, 1, 0]);
        assert_eq!(Room::decode(&written), Ok(room.clone()));
        assert_eq!((room.get(2), room.get(4)), (Some(&b"TWO"[..]), None));
        let mut nothing = Vec::new();
        Room::default().encode(&mut nothing);
        assert_eq!(nothing, [0]);
    }

    #[test]
    fn an_even_number_is_ignored_and_an_odd_one_is_refused() {
        assert!(rule(&[(0, b""), (2, b"x"), (u64::MAX - 1, b"y")]).is_ok());
        for odd in [1, 3, u64::MAX] {
            assert_eq!(rule(&[(odd, b"")]), Err(RoomError::Rule(Rule::RoomUnknown)));
        }
        assert!(Rule::RoomUnknown.is_newer());
    }

    #[test]
    fn numbers_strictly_increase() {
        assert_eq!(rule(&[(4, b""), (2, b"")]), Err(RoomError::Rule(Rule::RoomUnordered)));
        assert_eq!(rule(&[(4, b""), (4, b"")]), Err(RoomError::Rule(Rule::RoomUnordered)));
    }

    #[test]
    fn entries_and_bytes_are_bounded() {
        let many: Vec<(u64, &[u8])> = (0..64).map(|n| (2 * n, &b""[..])).collect();
        assert!(rule(&many).is_ok());
        let more: Vec<(u64, &[u8])> = (0..65).map(|n| (2 * n, &b""[..])).collect();
        assert_eq!(rule(&more), Err(RoomError::Rule(Rule::RoomTooLarge)));
        let most = vec![7; MAX_ROOM_BYTES];
        assert!(rule(&[(2, &most)]).is_ok());
        assert_eq!(rule(&[(2, &most), (4, b"x")]), Err(RoomError::Rule(Rule::RoomTooLarge)));
    }

    #[test]
    fn what_is_cut_or_followed_is_no_room() {
        let whole = bytes(&[(2, b"two")]);
        for end in 0..whole.len() {
            assert!(matches!(Room::decode(&whole[..end]), Err(RoomError::Decode(DecodeError::Ended))), "{end}");
        }
        let after = [&whole[..], &[0]].concat();
        assert_eq!(Room::decode(&after), Err(RoomError::Rule(Rule::BytesAfterMessage)));
    }
}
