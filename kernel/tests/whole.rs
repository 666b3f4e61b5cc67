//! Whole cortexes in virtual time: `ANTIPHON_SEEDS` runs this many seeds instead of 100, and `ANTIPHON_SEED` repeats one seed. A run
//! is repeated exactly if it was made with `RUSTFLAGS="--cfg tokio_unstable"`, as `make torture` does.
#![allow(clippy::unwrap_used, missing_docs)]

mod seeds;

use std::sync::Mutex;

use antiphon_kernel::testing::sim::{Happened, run_whole};

const SEEDS: u64 = 100;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap())
}

#[test]
fn every_rule_holds_for_every_seed() {
    let seeds = match number("ANTIPHON_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("ANTIPHON_SEEDS").unwrap_or(SEEDS),
    };
    let happened = Mutex::new(Vec::new());
    let look = |seed| match std::panic::catch_unwind(|| run_whole(seed)) {
        Ok(Ok(one)) => {
            happened.lock().unwrap().push(one);
            None
        }
        Ok(Err(broken)) => Some(broken),
        Err(_) => Some("it panicked".to_owned()),
    };
    if let Some((seed, broken)) = seeds::first(seeds, || {}, look) {
        let flags = if cfg!(tokio_unstable) { "RUSTFLAGS='--cfg tokio_unstable' " } else { "" };
        let repeat = format!("ANTIPHON_SEED={seed} {flags}cargo test -p antiphon-kernel --test whole");
        panic!("seed {seed}: {broken}\nrepeat with: {repeat}")
    }
    let happened = happened.into_inner().unwrap();
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
    for seed in 0..12 {
        assert_eq!(run_whole(seed), run_whole(seed), "seed {seed}");
    }
}
