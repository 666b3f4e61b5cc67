//! Waits for conditions, without waiting for longer than they take.

use std::time::{Duration, Instant};

use crate::simulated;

/// How long a condition may take, in real time.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a condition may take in a simulation, in virtual time.
const VIRTUAL_PATIENCE: Duration = Duration::from_secs(1800);
/// How often a condition is checked, in real time.
const MOMENT: Duration = Duration::from_millis(1);
/// By how much paused time advances between two checks.
const STEP: Duration = Duration::from_millis(50);

/// Waits until a condition holds.
///
/// The patience of 30 s is of real time. If tokio's time is paused, it advances by 50 ms for each millisecond that passes, so
/// that delays and pauses of the kernel end soon, and its threads keep up with its deadlines. In a simulation the patience is 30 min
/// of virtual time.
///
/// # Panics
/// If the condition does not hold in time.
pub async fn until(what: &str, condition: impl FnMut() -> bool) {
    assert!(holds(condition).await, "not within {} s: {what}", PATIENCE.as_secs());
}

/// Whether a condition holds in time.
pub(super) async fn holds(mut condition: impl FnMut() -> bool) -> bool {
    if simulated::is_active() {
        let began = tokio::time::Instant::now();
        while !condition() {
            if began.elapsed() >= VIRTUAL_PATIENCE {
                return false;
            }
            tokio::time::sleep(STEP).await;
        }
        return true;
    }
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
