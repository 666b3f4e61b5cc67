//! Lists whose length is checked before memory is spent: bincode's own bound is one for the whole message, and a list
//! that claims a million entries in ten bytes would be given their room.

use bincode::de::{BorrowDecode, BorrowDecoder, Decode, Decoder};
use bincode::enc::{Encode, Encoder};
use bincode::error::{DecodeError, EncodeError};

/// A list of at most `N` entries. In bytes it is any other list: its length, then its entries.
pub(super) struct Capped<T, const N: usize>(pub(super) Vec<T>);

fn check<const N: usize>(length: u64) -> Result<usize, DecodeError> {
    match usize::try_from(length) {
        Ok(length) if length <= N => Ok(length),
        _ => Err(DecodeError::OtherString(format!("a list of {length} entries, and at most {N} are allowed"))),
    }
}

impl<T: Encode, const N: usize> Encode for Capped<T, N> {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        self.0[..].encode(encoder)
    }
}

impl<C, T: Decode<C>, const N: usize> Decode<C> for Capped<T, N> {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let length = check::<N>(u64::decode(decoder)?)?;
        let mut entries = Vec::with_capacity(length);
        for _ in 0..length {
            entries.push(T::decode(decoder)?);
        }
        Ok(Self(entries))
    }
}

impl<'de, C, T: BorrowDecode<'de, C>, const N: usize> BorrowDecode<'de, C> for Capped<T, N> {
    fn borrow_decode<D: BorrowDecoder<'de, Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let length = check::<N>(u64::borrow_decode(decoder)?)?;
        let mut entries = Vec::with_capacity(length);
        for _ in 0..length {
            entries.push(T::borrow_decode(decoder)?);
        }
        Ok(Self(entries))
    }
}
