//! One direction of a line: when what is put on it now comes out at the other end.

use std::time::Duration;

use crate::chance::Chance;
use crate::faults::Path;

/// How much of a limited line's time may stand in its queue before datagrams are dropped.
const QUEUE: Duration = Duration::from_millis(100);

#[derive(Debug, Default)]
pub(crate) struct Line {
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
        chance: &mut Chance,
    ) -> Duration {
        self.busy = self.busy.max(now) + transmission(path, bytes);
        let jitter = if path.jitter.is_zero() { Duration::ZERO } else { path.jitter.mul_f64(chance.unit()) };
        self.last = self.last.max(self.busy + path.latency + late + jitter);
        self.last
    }

    /// Until when it is busy sending.
    pub(crate) const fn busy(&self) -> Duration {
        self.busy
    }

    /// Whether a router would have no room for another datagram.
    pub(crate) fn is_full(&self, now: Duration) -> bool {
        self.busy.saturating_sub(now) > QUEUE
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
        let (mut line, mut chance) = (Line::default(), Chance::new(1));
        let mut out = Duration::ZERO;
        for _ in 0..1000 {
            out = line.send(&path, Duration::ZERO, 1000, Duration::ZERO, &mut chance);
        }
        assert!((out.as_secs_f64() - 1.05).abs() < 1e-6, "{out:?}");
        assert!(line.is_full(Duration::ZERO) && !line.is_full(Duration::from_millis(950)));
    }

    #[test]
    fn jitter_keeps_the_order() {
        let path = Path { jitter: Duration::from_millis(20), ..Path::default() };
        let (mut line, mut chance) = (Line::default(), Chance::new(1));
        let mut last = Duration::ZERO;
        let mut late = 0;
        for n in 0..1000 {
            let now = Duration::from_micros(n * 100);
            let out = line.send(&path, now, 1, Duration::ZERO, &mut chance);
            assert!(out >= last && out <= last.max(now + path.jitter));
            late += usize::from(out > now);
            last = out;
        }
        assert!(late > 900, "{late}");
    }
}
