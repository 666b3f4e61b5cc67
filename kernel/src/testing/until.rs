//! Waits for conditions, without waiting for longer than they take.

use std::time::{Duration, Instant};

/// How long a condition may take, in real time.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often a condition is checked, in real time.
const MOMENT: Duration = Duration::from_millis(1);
/// By how much paused time advances between two checks.
const STEP: Duration = Duration::from_millis(50);

/// Waits until a condition holds.
///
/// The patience of 30 s is of real time. If tokio's time is paused, it advances by 50 ms for each millisecond that passes, so
/// that delays and pauses of the kernel end soon, and its threads keep up with its deadlines.
///
/// # Panics
/// If the condition does not hold in time.
pub async fn until(what: &str, condition: impl FnMut() -> bool) {
    assert!(holds(condition).await, "not within {} s: {what}", PATIENCE.as_secs());
}

/// Whether a condition holds in time.
pub(super) async fn holds(mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        if Instant::now() >= deadline {
            return false;
        }
        let before = tokio::time::Instant::now();
        // Paused time does not advance while a blocking task runs.
        let _ = tokio::task::spawn_blocking(|| std::thread::sleep(MOMENT)).await;
        if before.elapsed().is_zero() {
            tokio::time::sleep(STEP).await;
        }
    }
    true
}
