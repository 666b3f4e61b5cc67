//! bincode's standard encoding, as far as Antiphon's formats use it. `docs/protocol.md` has its rules.
//!
//! The code is our own because foreign bytes pass through it in every embedder. It has no `unsafe`, it takes no memory for a
//! length before the bytes are there, and each list has its bound.

use std::fmt;

/// Announces two bytes. Smaller first bytes are integers themselves.
const U16: u8 = 251;
/// Announces four bytes.
const U32: u8 = 252;
/// Announces eight bytes.
const U64: u8 = 253;

/// A place that encoded bytes are appended to.
pub(super) trait Sink {
    /// Appends `bytes`.
    fn put(&mut self, bytes: &[u8]);
}

impl Sink for Vec<u8> {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// A value that has a form in bytes.
pub(super) trait Encode {
    /// Appends the value's bytes.
    fn encode(&self, to: &mut impl Sink);
}

/// A value that is read from bytes, and may borrow from them.
pub(super) trait Decode<'a>: Sized {
    /// The fewest bytes of any value of this type, at least 1. It bounds what a list may claim.
    const LEAST: usize;

    /// Reads one value.
    fn decode(from: &mut Reader<'a>) -> Result<Self, DecodeError>;
}

/// Why bytes are not a value. It is always part of another error's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DecodeError {
    /// The bytes end within the value.
    Ended,
    /// A byte that begins no integer of this width.
    Integer(u8),
    /// A byte that is neither of the two that are allowed.
    Flag(u8),
    /// A choice that has no such number.
    Choice(u32),
    /// A list longer than its bound.
    Length { claimed: u64, most: usize },
    /// A text that is not UTF-8.
    Text,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended => f.write_str("it ends too early"),
            Self::Integer(byte) => write!(f, "byte {byte} begins no integer there"),
            Self::Flag(byte) => write!(f, "byte {byte} is neither 0 nor 1"),
            Self::Choice(number) => write!(f, "choice {number} is not known here"),
            Self::Length { claimed, most } => {
                write!(f, "a list of {claimed} entries, and at most {most} are allowed")
            }
            Self::Text => f.write_str("a text is not UTF-8"),
        }
    }
}

/// Reads the value that `bytes` begin with, and returns the bytes after it.
pub(super) fn decode_prefix<'a, T: Decode<'a>>(bytes: &'a [u8]) -> Result<(T, &'a [u8]), DecodeError> {
    let mut reader = Reader { rest: bytes };
    let value = T::decode(&mut reader)?;
    Ok((value, reader.rest))
}

/// The bytes that are not read yet.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (array, rest) = self.rest.split_first_chunk().ok_or(DecodeError::Ended)?;
        self.rest = rest;
        Ok(*array)
    }

    #[inline]
    fn byte(&mut self) -> Result<u8, DecodeError> {
        self.array().map(|[byte]| byte)
    }

    /// Reads an integer whose first byte is at most `widest`. Forms longer than needed are allowed.
    #[inline]
    fn integer(&mut self, widest: u8) -> Result<u64, DecodeError> {
        let first = self.byte()?;
        if first > widest {
            return Err(DecodeError::Integer(first));
        }
        Ok(match first {
            U16 => u16::from_le_bytes(self.array()?).into(),
            U32 => u32::from_le_bytes(self.array()?).into(),
            U64 => u64::from_le_bytes(self.array()?),
            small => small.into(),
        })
    }

    /// Reads a length and the bytes that it counts.
    #[inline]
    fn bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        let length = usize::try_from(self.integer(U64)?).map_err(|_| DecodeError::Ended)?;
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(DecodeError::Ended)?;
        self.rest = rest;
        Ok(bytes)
    }

    /// Reads a list of at most `most` entries. Memory is taken only for entries whose bytes can be there.
    pub(super) fn list<T: Decode<'a>>(&mut self, most: usize) -> Result<Vec<T>, DecodeError> {
        const { assert!(T::LEAST > 0, "entries without bytes would make a list's length free") };
        let claimed = self.integer(U64)?;
        let length = usize::try_from(claimed)
            .ok()
            .filter(|&length| length <= most)
            .ok_or(DecodeError::Length { claimed, most })?;
        if length > self.rest.len() / T::LEAST {
            return Err(DecodeError::Ended);
        }
        let mut entries = Vec::with_capacity(length);
        for _ in 0..length {
            entries.push(T::decode(self)?);
        }
        Ok(entries)
    }
}

/// Appends an integer in its shortest form.
#[inline]
fn put_integer(value: u64, to: &mut impl Sink) {
    let bytes = value.to_le_bytes();
    let (marker, width) = match value {
        0..=250 => return to.put(&bytes[..1]),
        251..=0xffff => (U16, 2),
        0x1_0000..=0xffff_ffff => (U32, 4),
        _ => (U64, 8),
    };
    let mut form = [marker; 9];
    form[1..].copy_from_slice(&bytes);
    to.put(&form[..=width]);
}

#[inline]
fn put_bytes(bytes: &[u8], to: &mut impl Sink) {
    put_integer(bytes.len() as u64, to);
    to.put(bytes);
}

/// Appends a list: its length, then its entries.
pub(super) fn put_list<T: Encode>(entries: &[T], to: &mut impl Sink) {
    put_integer(entries.len() as u64, to);
    for entry in entries {
        entry.encode(to);
    }
}

macro_rules! unsigned {
    ($($kind:ty: $widest:expr),*) => { $(
        impl Encode for $kind {
            #[inline]
            fn encode(&self, to: &mut impl Sink) {
                put_integer((*self).into(), to);
            }
        }

        impl Decode<'_> for $kind {
            const LEAST: usize = 1;

            #[inline]
            fn decode(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
                // The widest form bounds the value, so nothing is cut off.
                from.integer($widest).map(|value| value as $kind)
            }
        }
    )* };
}

unsigned!(u16: U16, u32: U32, u64: U64);

/// Zigzag: 0, −1, 1, −2 … become 0, 1, 2, 3 …
impl Encode for i64 {
    #[inline]
    fn encode(&self, to: &mut impl Sink) {
        put_integer((self << 1 ^ self >> 63).cast_unsigned(), to);
    }
}

impl Decode<'_> for i64 {
    const LEAST: usize = 1;

    #[inline]
    fn decode(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let folded = from.integer(U64)?;
        Ok((folded >> 1).cast_signed() ^ -(folded & 1).cast_signed())
    }
}

impl Encode for u8 {
    #[inline]
    fn encode(&self, to: &mut impl Sink) {
        to.put(&[*self]);
    }
}

impl Decode<'_> for u8 {
    const LEAST: usize = 1;

    #[inline]
    fn decode(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        from.byte()
    }
}

impl Encode for bool {
    fn encode(&self, to: &mut impl Sink) {
        to.put(&[u8::from(*self)]);
    }
}

impl Decode<'_> for bool {
    const LEAST: usize = 1;

    fn decode(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match from.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(DecodeError::Flag(other)),
        }
    }
}

impl<T: Encode> Encode for Option<T> {
    fn encode(&self, to: &mut impl Sink) {
        self.is_some().encode(to);
        if let Some(value) = self {
            value.encode(to);
        }
    }
}

impl<'a, T: Decode<'a>> Decode<'a> for Option<T> {
    const LEAST: usize = 1;

    fn decode(from: &mut Reader<'a>) -> Result<Self, DecodeError> {
        bool::decode(from)?.then(|| T::decode(from)).transpose()
    }
}

impl<const N: usize> Encode for [u8; N] {
    #[inline]
    fn encode(&self, to: &mut impl Sink) {
        to.put(self);
    }
}

impl<const N: usize> Decode<'_> for [u8; N] {
    const LEAST: usize = N;

    #[inline]
    fn decode(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        from.array()
    }
}

impl Encode for [u8] {
    #[inline]
    fn encode(&self, to: &mut impl Sink) {
        put_bytes(self, to);
    }
}

impl<'de: 'a, 'a> Decode<'de> for &'a [u8] {
    const LEAST: usize = 1;

    #[inline]
    fn decode(from: &mut Reader<'de>) -> Result<Self, DecodeError> {
        from.bytes()
    }
}

impl Encode for str {
    #[inline]
    fn encode(&self, to: &mut impl Sink) {
        put_bytes(self.as_bytes(), to);
    }
}

impl<'de: 'a, 'a> Decode<'de> for &'a str {
    const LEAST: usize = 1;

    #[inline]
    fn decode(from: &mut Reader<'de>) -> Result<Self, DecodeError> {
        std::str::from_utf8(from.bytes()?).map_err(|_| DecodeError::Text)
    }
}

impl Encode for String {
    fn encode(&self, to: &mut impl Sink) {
        self.as_str().encode(to);
    }
}

impl Decode<'_> for String {
    const LEAST: usize = 1;

    fn decode(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        <&str>::decode(from).map(str::to_owned)
    }
}

impl<T: Encode> Encode for Vec<T> {
    fn encode(&self, to: &mut impl Sink) {
        put_list(self, to);
    }
}

/// Bounded by the bytes that are there alone: for what this node wrote.
impl<'a, T: Decode<'a>> Decode<'a> for Vec<T> {
    const LEAST: usize = 1;

    fn decode(from: &mut Reader<'a>) -> Result<Self, DecodeError> {
        from.list(usize::MAX)
    }
}

impl<T: Encode + ?Sized> Encode for &T {
    #[inline]
    fn encode(&self, to: &mut impl Sink) {
        (**self).encode(to);
    }
}

macro_rules! tuples {
    ($(($($part:ident . $at:tt),*))*) => { $(
        impl<$($part: Encode),*> Encode for ($($part,)*) {
            #[inline]
            fn encode(&self, to: &mut impl Sink) {
                $(self.$at.encode(to);)*
            }
        }

        impl<'a, $($part: Decode<'a>),*> Decode<'a> for ($($part,)*) {
            const LEAST: usize = 0 $(+ $part::LEAST)*;

            #[inline]
            fn decode(from: &mut Reader<'a>) -> Result<Self, DecodeError> {
                Ok(($($part::decode(from)?,)*))
            }
        }
    )* };
}

tuples! {
    (A.0)
    (A.0, B.1)
    (A.0, B.1, C.2)
    (A.0, B.1, C.2, D.3)
    (A.0, B.1, C.2, D.3, E.4)
}

/// Defines a struct whose bytes are its fields, in their order.
macro_rules! fields {
    (
        $(#[$of:meta])*
        $vis:vis struct $name:ident $(<$life:lifetime>)? { $($(#[$about:meta])* $shown:vis $field:ident: $kind:ty,)* }
    ) => {
        $(#[$of])*
        $vis struct $name $(<$life>)? { $($(#[$about])* $shown $field: $kind,)* }

        impl $(<$life>)? $crate::codec::encoding::Encode for $name $(<$life>)? {
            #[inline]
            fn encode(&self, to: &mut impl $crate::codec::encoding::Sink) {
                $($crate::codec::encoding::Encode::encode(&self.$field, to);)*
            }
        }

        impl<'de $(: $life)? $(, $life)?> $crate::codec::encoding::Decode<'de> for $name $(<$life>)? {
            const LEAST: usize = 0 $(+ <$kind as $crate::codec::encoding::Decode<'de>>::LEAST)*;

            #[inline]
            fn decode(
                from: &mut $crate::codec::encoding::Reader<'de>,
            ) -> Result<Self, $crate::codec::encoding::DecodeError> {
                Ok(Self { $($field: $crate::codec::encoding::Decode::decode(from)?,)* })
            }
        }
    };
}
pub(super) use fields;

/// Defines an enum whose bytes are the variant's number, a u32, and then its fields.
macro_rules! choices {
    (
        $(#[$of:meta])*
        $vis:vis enum $name:ident { $($number:literal => $variant:ident $({ $($field:ident: $kind:ty),* })?,)* }
    ) => {
        $(#[$of])*
        $vis enum $name { $($variant $({ $($field: $kind),* })?,)* }

        impl $crate::codec::encoding::Encode for $name {
            fn encode(&self, to: &mut impl $crate::codec::encoding::Sink) {
                match self {
                    $(Self::$variant $({ $($field),* })? => {
                        let number: u32 = $number;
                        $crate::codec::encoding::Encode::encode(&number, to);
                        $($($crate::codec::encoding::Encode::encode($field, to);)*)?
                    })*
                }
            }
        }

        impl $crate::codec::encoding::Decode<'_> for $name {
            const LEAST: usize = 1;

            fn decode(
                from: &mut $crate::codec::encoding::Reader<'_>,
            ) -> Result<Self, $crate::codec::encoding::DecodeError> {
                match <u32 as $crate::codec::encoding::Decode>::decode(from)? {
                    $($number => Ok(Self::$variant $({
                        $($field: $crate::codec::encoding::Decode::decode(from)?),*
                    })?),)*
                    other => Err($crate::codec::encoding::DecodeError::Choice(other)),
                }
            }
        }
    };
}
pub(super) use choices;

#[cfg(test)]
mod tests;
