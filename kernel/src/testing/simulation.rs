//! Whole cortexes in virtual time.

use crate::simulated;

/// Runs a test in virtual time, and takes all that is random from a seed.
///
/// Cortexes that start within the test take from the seed what they otherwise take from the system: the wall clock, ids, keys, and how
/// long a read, a sync and a step of a replayer take. Their threads are tasks of one thread. Time passes only while nothing can be done,
/// so a pause of a minute takes no time, and a slow machine changes nothing.
///
/// Stores and networks have to be in memory: what waits for a socket, a file or a thread of its own takes real time, and its order is
/// the system's. Run a test for many seeds, and print the seed if it fails.
///
/// One thing is left to tokio: in which order it wakes tasks that wait for the same value. So a seed that failed may pass the next time.
/// With `RUSTFLAGS="--cfg tokio_unstable"` that order comes from the seed as well, and each seed runs the same way each time.
///
/// ```
/// use antiphon_kernel::testing::{Federation, simulate};
/// use antiphon_kernel::{Draft, Event, EventReplayer, Projection, ReplayError};
///
/// # struct Notes;
/// # impl EventReplayer for Notes {
/// #     fn name(&self) -> &str {
/// #         "notes"
/// #     }
/// #     fn families(&self) -> Vec<String> {
/// #         vec!["notes".to_owned()]
/// #     }
/// #     fn replay_event(&mut self, _: &Event, _: &mut Projection<'_>) -> Result<(), ReplayError> {
/// #         Ok(())
/// #     }
/// # }
/// for seed in 0..10 {
///     simulate(seed, async || {
///         let mut federation = Federation::of(2, || Notes).await.expect("it starts");
///         federation.partition(&[0], &[1]);
///         federation.cortex(0).append(Draft::new("note.written", "on one side")).await.expect("it is stored");
///         federation.crash(1).await;
///         federation.heal().await;
///         federation.restart(1).await.expect("it starts");
///         federation.converged().await;
///         federation.stop().await;
///     });
/// }
/// ```
///
/// # Panics
/// If the test does, if no runtime can be made, or within another tokio runtime.
pub fn simulate<T>(seed: u64, test: impl AsyncFnOnce() -> T) -> T {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().start_paused(true);
    #[cfg(tokio_unstable)]
    builder.rng_seed(tokio::runtime::RngSeed::from_bytes(&seed.to_be_bytes()));
    let runtime = builder.build().expect("a runtime without input and output needs nothing of the system");
    let active = {
        let _in = runtime.enter();
        simulated::enter(seed)
    };
    // The later is dropped first, after a panic too: its tasks end before the system is the real one again.
    let (_active, runtime) = (active, runtime);
    let done = runtime.block_on(test());
    drop(runtime);
    done
}
