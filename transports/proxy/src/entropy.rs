//! Entropy with a seed: xorshift64*, so that a run can be repeated as far as timing allows.

#[derive(Debug, Clone)]
pub(crate) struct Entropy(u64);

impl Entropy {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number in 0..1.
    pub(crate) fn unit(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub(crate) fn happens(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.unit() < probability
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_one_time_in_ten_does() {
        let mut entropy = Entropy::new(7);
        let hits = (0..100_000).filter(|_| entropy.happens(0.1)).count();
        assert!((9_500..10_500).contains(&hits), "{hits}");
        assert!(!entropy.happens(0.0) && entropy.happens(1.0));
    }
}
