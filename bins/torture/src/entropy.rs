//! Entropy with a seed, so that a failing round can be repeated.

/// xorshift64*.
#[derive(Debug, Clone)]
pub(crate) struct Entropy(u64);

impl Entropy {
    pub(crate) fn new(seed: u64) -> Self {
        // A state of zero would stay zero.
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Of one round: the same whatever rounds came before it.
    pub(crate) fn of_round(seed: u64, round: u64) -> Self {
        let mut entropy = Self::new(seed ^ round.wrapping_mul(0xd129_0d3b_3f2a_4c47));
        // Neighbouring seeds begin alike.
        for _ in 0..8 {
            entropy.next();
        }
        entropy
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `n`; 0 where there is none.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 11).checked_rem(n).unwrap_or(0)
    }

    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len() as u64) as usize]
    }
}
