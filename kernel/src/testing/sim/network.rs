//! The network: delay, loss, duplication, reordering, partitions of one way, of a pair and of a whole federation, slow links.
//! A stream that loses a packet stands still until whoever waits finds out by a deadline; one that is cut is told of at once.

use std::collections::BTreeSet;

use super::entropy::Entropy;

/// Virtual microseconds.
pub(super) type Micros = u64;

pub(super) const MILLI: Micros = 1_000;
pub(super) const SECOND: Micros = 1_000_000;

/// What becomes of packets from one node to another.
#[derive(Debug, Default)]
pub(super) struct Network {
    cut: BTreeSet<(usize, usize)>,
    slow: BTreeSet<(usize, usize)>,
    loss_percent: u64,
    duplicate_percent: u64,
}

impl Network {
    pub(super) fn new(entropy: &mut Entropy) -> Self {
        let pick = |entropy: &mut Entropy, values: [u64; 4]| values[entropy.index(4)];
        Self {
            loss_percent: pick(entropy, [0, 1, 5, 20]),
            duplicate_percent: pick(entropy, [0, 1, 10, 30]),
            ..Self::default()
        }
    }

    /// All is well from here on.
    pub(super) fn heal(&mut self) {
        *self = Self::default();
    }

    /// All roads are open again, and as bad as ever.
    pub(super) fn open(&mut self) {
        self.cut.clear();
        self.slow.clear();
    }

    /// Nothing crosses between two parts of the federation, in either direction.
    pub(super) fn split(&mut self, nodes: usize, entropy: &mut Entropy) {
        self.cut.clear();
        let sides: Vec<_> = (0..nodes).map(|_| entropy.one_in(2)).collect();
        let pairs = (0..nodes).flat_map(|one| (0..nodes).map(move |other| (one, other)));
        self.cut.extend(pairs.filter(|&(one, other)| sides[one] != sides[other]));
    }

    /// Cuts some directions, both of a pair or one, and mends all others.
    pub(super) fn shuffle(&mut self, nodes: usize, entropy: &mut Entropy) {
        self.open();
        for one in 0..nodes {
            for other in (0..nodes).filter(|&other| other != one) {
                if entropy.one_in(6) {
                    self.cut.insert((one, other));
                }
                if entropy.one_in(8) {
                    self.slow.insert((one, other));
                }
            }
        }
    }

    pub(super) fn is_open(&self, from: usize, to: usize) -> bool {
        !self.cut.contains(&(from, to))
    }

    /// When each copy of a packet arrives.
    pub(super) fn deliveries(&self, from: usize, to: usize, entropy: &mut Entropy) -> Vec<Micros> {
        let mut times = Vec::new();
        if !self.is_open(from, to) || entropy.below(100) < self.loss_percent {
            return times;
        }
        let longest = if self.slow.contains(&(from, to)) { 3 * SECOND } else { 40 * MILLI };
        times.push(entropy.between(MILLI, longest));
        if entropy.below(100) < self.duplicate_percent {
            times.push(entropy.between(MILLI, 20 * longest));
        }
        times
    }
}
