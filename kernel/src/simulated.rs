//! A virtual system in the place of the real one: clock, entropy, threads and disk of a whole cortex, from one seed. Only with the
//! feature `testing`; without it, [`is_active`] is a constant.
//!
//! Everything of a simulated run happens on one thread, so what is virtual is kept per thread. Deterministic simulation as in
//! FoundationDB's and TigerBeetle's tests, with tokio's paused clock for the time.

#[cfg(any(test, feature = "testing"))]
pub(crate) use active::{enter, entropy, is_active, now, pause};

#[cfg(any(test, feature = "testing"))]
mod active {
    use std::cell::RefCell;
    use std::time::Duration;

    use tokio::time::Instant;

    use crate::time::Timestamp;

    /// The wall clock at the beginning of each run: 2026-01-01T00:00:00Z.
    const BEGIN: Timestamp = Timestamp::from_micros(1_767_225_600_000_000);
    /// A read or a sync takes less than this.
    const LONGEST_PAUSE_MICROS: u64 = 4_000;

    struct System {
        state: u64,
        began: Instant,
    }

    thread_local! {
        static SYSTEM: RefCell<Option<System>> = const { RefCell::new(None) };
    }

    /// Ends the simulation of this thread when it is dropped.
    pub(crate) struct Active;

    impl Drop for Active {
        fn drop(&mut self) {
            SYSTEM.set(None);
        }
    }

    /// Puts a virtual system in the place of this thread's. To be called within a runtime whose clock is paused.
    pub(crate) fn enter(seed: u64) -> Active {
        SYSTEM.set(Some(System { state: seed, began: Instant::now() }));
        Active
    }

    /// Whether this thread's system is virtual.
    pub(crate) fn is_active() -> bool {
        SYSTEM.with_borrow(Option::is_some)
    }

    /// The virtual wall clock.
    pub(crate) fn now() -> Option<Timestamp> {
        SYSTEM.with_borrow(|system| system.as_ref().map(|system| BEGIN.saturating_add(system.began.elapsed())))
    }

    /// 64 bits of the seed: SplitMix64 (Steele, Lea and Flood, 2014).
    fn next() -> Option<u64> {
        SYSTEM.with_borrow_mut(|system| {
            let system = system.as_mut()?;
            system.state = system.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (system.state ^ system.state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            Some(mixed ^ mixed >> 31)
        })
    }

    /// Fills bytes from the seed. False where this thread's system is the real one.
    pub(crate) fn entropy(bytes: &mut [u8]) -> bool {
        for chunk in bytes.chunks_mut(8) {
            let Some(next) = next() else { return false };
            chunk.copy_from_slice(&next.to_le_bytes()[..chunk.len()]);
        }
        is_active()
    }

    /// Lets some virtual time pass, or none: what a thread or a disk takes.
    pub(crate) async fn pause() {
        match next() {
            Some(bits) if bits % 4 > 0 => {
                tokio::time::sleep(Duration::from_micros((bits >> 8) % LONGEST_PAUSE_MICROS)).await;
            }
            _ => tokio::task::yield_now().await,
        }
    }
}

/// Never.
#[cfg(not(any(test, feature = "testing")))]
pub(crate) const fn is_active() -> bool {
    false
}

/// Nothing: no time is virtual.
#[cfg(not(any(test, feature = "testing")))]
pub(crate) async fn pause() {}
