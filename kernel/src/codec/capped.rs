//! Lists with a bound of their own, which holds before memory is taken for their entries.

use super::encoding::{Decode, DecodeError, Encode, Reader, Sink, put_list};

/// A list of at most `N` entries. In bytes it is any other list: its length, then its entries.
#[derive(Debug)]
pub(super) struct Capped<T, const N: usize>(pub(super) Vec<T>);

impl<T: Encode, const N: usize> Encode for Capped<T, N> {
    fn encode(&self, to: &mut impl Sink) {
        put_list(&self.0, to);
    }
}

impl<'a, T: Decode<'a>, const N: usize> Decode<'a> for Capped<T, N> {
    const LEAST: usize = 1;

    fn decode(from: &mut Reader<'a>) -> Result<Self, DecodeError> {
        from.list(N).map(Self)
    }
}
