//! One direction of a line: when what is put on it now comes out at the other end.

use std::time::Duration;

use crate::entropy::Entropy;
use crate::faults::Path;

/// How much of a limited line's time may stand in its queue before datagrams are dropped.
const QUEUE: Duration = Duration::from_millis(100);
/// What fits into its queue however narrow it is: less would drop what a sender sends at once.
const SMALLEST_QUEUE: usize = 64 * 1024;

#[derive(Debug, Default)]
pub(crate) struct Line {
    /// How wide it is.
    rate: Option<u64>,
    /// Until when it is busy sending.
    busy: Duration,
    /// When the last one comes out: order is kept.
    last: Duration,
}

impl Line {
    /// When `bytes` that are put on the line now come out; `late` is what holds them up besides.
    pub(crate) fn send(
        &mut self,
        path: &Path,
        now: Duration,
        bytes: usize,
        late: Duration,
        entropy: &mut Entropy,
    ) -> Duration {
        self.follow(path);
        self.busy = self.busy.max(now) + transmission(path, bytes);
        let jitter = if path.jitter.is_zero() { Duration::ZERO } else { path.jitter.mul_f64(entropy.unit()) };
        self.last = self.last.max(self.busy + path.latency + late + jitter);
        self.last
    }

    /// Until when it is busy sending.
    pub(crate) const fn busy(&self) -> Duration {
        self.busy
    }

    /// Whether a router would have no room for another datagram.
    pub(crate) fn is_full(&mut self, path: &Path, now: Duration) -> bool {
        self.follow(path);
        self.busy.saturating_sub(now) > QUEUE.max(transmission(path, SMALLEST_QUEUE))
    }

    /// A line of another width is another line: what arrives from now on does not wait for what the old one still sends.
    fn follow(&mut self, path: &Path) {
        if self.rate != path.bytes_per_second {
            *self = Self { rate: path.bytes_per_second, ..Self::default() };
        }
    }
}

fn transmission(path: &Path, bytes: usize) -> Duration {
    match path.bytes_per_second {
        Some(rate) => Duration::from_secs_f64(bytes as f64 / rate.max(1) as f64),
        None => Duration::ZERO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limited_line_takes_its_time_and_then_its_latency() {
        let path = Path { latency: Duration::from_millis(50), bytes_per_second: Some(1_000_000), ..Path::default() };
        let (mut line, mut entropy) = (Line::default(), Entropy::new(1));
        let mut out = Duration::ZERO;
        for _ in 0..1000 {
            out = line.send(&path, Duration::ZERO, 1000, Duration::ZERO, &mut entropy);
        }
        assert!((out.as_secs_f64() - 1.05).abs() < 1e-6, "{out:?}");
        assert!(line.is_full(&path, Duration::ZERO) && !line.is_full(&path, Duration::from_millis(950)));
    }

    #[test]
    fn the_narrowest_line_has_room_for_what_is_sent_at_once() {
        let path = Path { bytes_per_second: Some(1000), ..Path::default() };
        let (mut line, mut entropy) = (Line::default(), Entropy::new(1));
        let mut sent = 0;
        while !line.is_full(&path, Duration::ZERO) {
            line.send(&path, Duration::ZERO, 1000, Duration::ZERO, &mut entropy);
            sent += 1;
        }
        assert_eq!(sent, 66);
    }

    #[test]
    fn a_line_of_another_width_owes_nothing_to_the_old_one() {
        let narrow = Path { bytes_per_second: Some(1), ..Path::default() };
        let (mut line, mut entropy) = (Line::default(), Entropy::new(1));
        line.send(&narrow, Duration::ZERO, 100_000, Duration::ZERO, &mut entropy);
        assert!(line.is_full(&narrow, Duration::ZERO));
        let wide = Path::default();
        assert!(!line.is_full(&wide, Duration::ZERO));
        assert_eq!(line.send(&wide, Duration::ZERO, 1000, Duration::ZERO, &mut entropy), Duration::ZERO);
    }

    #[test]
    fn jitter_keeps_the_order() {
        let path = Path { jitter: Duration::from_millis(20), ..Path::default() };
        let (mut line, mut entropy) = (Line::default(), Entropy::new(1));
        let mut last = Duration::ZERO;
        let mut late = 0;
        for n in 0..1000 {
            let now = Duration::from_micros(n * 100);
            let out = line.send(&path, now, 1, Duration::ZERO, &mut entropy);
            assert!(out >= last && out <= last.max(now + path.jitter));
            late += usize::from(out > now);
            last = out;
        }
        assert!(late > 900, "{late}");
    }
}
