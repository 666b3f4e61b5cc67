//! Whole cortexes in virtual time: `ANTIPHON_SEEDS` runs this many seeds instead of 100, and `ANTIPHON_SEED` repeats one seed. A run
//! is repeated exactly if it was made with `RUSTFLAGS="--cfg tokio_unstable"`, as `make torture` does.
#![allow(clippy::unwrap_used, missing_docs)]

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use antiphon_kernel::testing::sim::{Happened, run_whole};

const SEEDS: u64 = 100;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap())
}

/// Runs each seed, on all processors.
fn all(seeds: std::ops::Range<u64>) -> Vec<(u64, Result<Happened, String>)> {
    let (next, done) = (AtomicU64::new(seeds.start), Mutex::new(Vec::new()));
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let found =
                        std::panic::catch_unwind(|| run_whole(seed)).unwrap_or_else(|_| Err("it panicked".to_owned()));
                    done.lock().unwrap().push((seed, found));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap();
    done.sort_by_key(|(seed, _)| *seed);
    done
}

#[test]
fn every_rule_holds_for_every_seed() {
    let seeds = match number("ANTIPHON_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("ANTIPHON_SEEDS").unwrap_or(SEEDS),
    };
    let mut happened = Vec::new();
    for (seed, found) in all(seeds) {
        match found {
            Ok(one) => happened.push(one),
            Err(broken) => {
                let flags = if cfg!(tokio_unstable) { "RUSTFLAGS='--cfg tokio_unstable' " } else { "" };
                let repeat = format!("ANTIPHON_SEED={seed} {flags}cargo test -p antiphon-kernel --test whole");
                panic!("seed {seed}: {broken}\nrepeat with: {repeat}")
            }
        }
    }
    let sum = |of: fn(&Happened) -> u64| happened.iter().map(of).sum::<u64>();
    let [acknowledged, refused, cuts, crashes, failed] =
        [sum(|h| h.acknowledged), sum(|h| h.refused), sum(|h| h.cuts), sum(|h| h.crashes), sum(|h| h.failed_writes)];
    println!(
        "whole: {} seeds, {acknowledged} events, {refused} refused, {cuts} cuts, {crashes} crashes, {failed} failed writes, {} virtual seconds",
        happened.len(),
        sum(|h| h.took_ms) / 1000
    );
    if happened.len() as u64 >= SEEDS {
        // What did not happen was not tested.
        assert!([acknowledged, refused, cuts, crashes, failed].iter().all(|&count| count > 0));
    }
}

/// Otherwise tokio wakes tasks that wait for the same value in another order each time.
#[cfg(tokio_unstable)]
#[test]
fn a_seed_runs_the_same_way_each_time() {
    let (first, second) = (all(0..12), all(0..12));
    for ((seed, first), (_, second)) in first.into_iter().zip(second) {
        assert_eq!(first, second, "seed {seed}");
    }
}
