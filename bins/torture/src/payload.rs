//! What an event says: enough to tell, without the log's own indexes and digests, that it is whole and said once.

use crate::entropy::Entropy;

/// Which event of which call to append.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Said {
    /// Random bits of the process that appended it.
    pub(crate) run: u64,
    /// Which append of that process. A call that failed is never made again under the same number.
    pub(crate) call: u64,
    /// Which of the drafts handed in together, and how many those were: they are there together or not at all.
    pub(crate) index: u64,
    pub(crate) of: u64,
}

impl Said {
    /// The payload, with `length` bytes that follow from the rest.
    pub(crate) fn payload(&self, length: u64) -> Vec<u8> {
        let Self { run, call, index, of } = self;
        let mut bytes = format!("{run:016x} {call} {index} {of} {length}\n").into_bytes();
        let mut entropy = Entropy::of_round(*run, call << 8 | index);
        bytes.extend((0..length).map(|_| entropy.next() as u8));
        bytes
    }

    /// Reads a payload; `None` unless every byte is as it was written.
    pub(crate) fn read(payload: &[u8]) -> Option<Self> {
        let line = payload.split(|byte| *byte == b'\n').next()?;
        let mut words = std::str::from_utf8(line).ok()?.split(' ');
        let run = u64::from_str_radix(words.next()?, 16).ok()?;
        let mut number = || words.next()?.parse::<u64>().ok();
        let (call, index, of, length) = (number()?, number()?, number()?, number()?);
        let said = Self { run, call, index, of };
        // Checked before it is believed: a damaged length may be of any size.
        let fits = length <= payload.len() as u64;
        (fits && said.payload(length) == payload).then_some(said)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_changed_bit_is_seen() {
        let said = Said { run: 7, call: 2, index: 0, of: 3 };
        let good = said.payload(20);
        assert_eq!(Said::read(&good), Some(said));
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(Said::read(&bad), Some(said), "bit {bit}");
        }
        assert_eq!(Said::read(&good[..good.len() - 1]), None);
    }
}
