//! What loss does to TCP. A proxy that ends a TCP connection cannot lose its segments: the system would not even notice.
//! So it models the sender that a lossy path would make of it: a congestion window that begins with ten segments (RFC
//! 6928), doubles each round trip until the first loss, shrinks to 0.7 of itself at each loss (CUBIC, RFC 9438), at most
//! once a round trip, and grows by 0.53 segments a round trip in between (CUBIC's Reno-friendly growth); and a lost segment
//! arrives one round trip late, with all that follow behind it.

use std::collections::VecDeque;
use std::time::Duration;

use crate::entropy::Entropy;

const SEGMENT: usize = 1460;
const INITIAL_WINDOW: f64 = 10.0;
const DECREASE: f64 = 0.7;
const INCREASE: f64 = 0.53;
const SMALLEST_WINDOW: f64 = 2.0;

#[derive(Debug)]
pub(crate) struct Congestion {
    window: f64,
    threshold: f64,
    /// When each segment that is under way will be acknowledged.
    acks: VecDeque<Duration>,
    /// Losses before this belong to one that was answered already.
    recovered: Duration,
}

impl Default for Congestion {
    fn default() -> Self {
        Self { window: INITIAL_WINDOW, threshold: f64::INFINITY, acks: VecDeque::new(), recovered: Duration::ZERO }
    }
}

/// What becomes of a piece of data.
#[derive(Debug, PartialEq)]
pub(crate) struct Sent {
    /// When its last segment leaves the sender.
    pub(crate) leaves: Duration,
    /// How much later than without loss it arrives.
    pub(crate) late: Duration,
}

impl Congestion {
    /// Sends `bytes` as soon as the window lets them go.
    pub(crate) fn send(
        &mut self,
        now: Duration,
        bytes: usize,
        rtt: Duration,
        loss: f64,
        entropy: &mut Entropy,
    ) -> Sent {
        let (mut leaves, mut late) = (now, Duration::ZERO);
        for _ in 0..bytes.div_ceil(SEGMENT) {
            while self.acks.front().is_some_and(|&ack| ack <= leaves) {
                self.acks.pop_front();
                self.grow();
            }
            while self.acks.len() as f64 >= self.window.floor() {
                let Some(ack) = self.acks.pop_front() else { break };
                leaves = leaves.max(ack);
                self.grow();
            }
            let mut ack = leaves + rtt;
            if entropy.happens(loss) {
                ack += rtt;
                late = rtt;
                if leaves >= self.recovered {
                    self.window = (self.window * DECREASE).max(SMALLEST_WINDOW);
                    self.threshold = self.window;
                    self.recovered = leaves + rtt;
                }
            }
            // Acknowledgements are cumulative: none comes before the one ahead of it.
            self.acks.push_back(ack.max(self.acks.back().copied().unwrap_or_default()));
        }
        Sent { leaves, late }
    }

    fn grow(&mut self) {
        self.window += if self.window < self.threshold { 1.0 } else { INCREASE / self.window };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes a second over a long transfer.
    fn rate(rtt: Duration, loss: f64) -> f64 {
        let (mut tcp, mut entropy) = (Congestion::default(), Entropy::new(3));
        let (mut now, bytes, pieces) = (Duration::ZERO, 16 * 1024, 4000);
        for _ in 0..pieces {
            now = tcp.send(now, bytes, rtt, loss, &mut entropy).leaves;
        }
        (bytes * pieces) as f64 / now.as_secs_f64()
    }

    /// Mathis et al., "The macroscopic behavior of the TCP congestion avoidance algorithm" (1997).
    #[test]
    fn loss_costs_what_the_macroscopic_model_says() {
        for (rtt, loss) in [(20, 0.001), (20, 0.01), (100, 0.001), (100, 0.01)] {
            let rtt = Duration::from_millis(rtt);
            let expected = SEGMENT as f64 / rtt.as_secs_f64() * 1.22 / f64::sqrt(loss);
            let ratio = rate(rtt, loss) / expected;
            assert!((0.5..2.0).contains(&ratio), "{ratio} of {expected} at {rtt:?} and {loss}");
        }
    }

    #[test]
    fn without_loss_the_window_opens() {
        let (mut tcp, mut entropy) = (Congestion::default(), Entropy::new(3));
        let rtt = Duration::from_millis(100);
        let first = tcp.send(Duration::ZERO, 20 * SEGMENT, rtt, 0.0, &mut entropy);
        assert_eq!(first, Sent { leaves: rtt, late: Duration::ZERO }, "ten segments wait for an acknowledgement");
        assert!(rate(rtt, 0.0) > 10.0 * rate(rtt, 0.01));
    }
}
