//! Federations in the simulator: `ANTIPHON_SEED` repeats one seed, `ANTIPHON_SEEDS` runs so many instead of 500.
#![allow(clippy::unwrap_used, missing_docs)]

mod seeds;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use antiphon_kernel::testing::sim::{Found, Scenario, run, run_as};

const SEEDS: u64 = 500;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap())
}

#[test]
fn every_invariant_holds_in_every_run() {
    let seeds = match number("ANTIPHON_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("ANTIPHON_SEEDS").unwrap_or(SEEDS),
    };
    let (found, steps) = (Mutex::new(Found::default()), AtomicU64::new(0));
    let look = |seed| match std::panic::catch_unwind(|| run(seed)) {
        Ok(Ok(report)) => {
            steps.fetch_add(report.steps, Ordering::Relaxed);
            found.lock().unwrap().add(&report.found);
            None
        }
        Ok(Err(failure)) => Some(failure.to_string()),
        Err(_) => Some(format!(
            "seed {seed} panicked; repeat with: ANTIPHON_SEED={seed} cargo test -p antiphon-kernel --test sim"
        )),
    };
    if let Some((_, failure)) = seeds::first(seeds.clone(), || {}, look) {
        panic!("{failure}");
    }
    let found = found.into_inner().unwrap();
    let seeds = seeds.end - seeds.start;
    println!("sim: {seeds} seeds, {} steps, {found:?}", steps.into_inner());
    if seeds >= SEEDS {
        // What did not happen was not tested.
        let rare = [
            found.failed_writes,
            found.lost_writes,
            found.rollbacks,
            found.restores,
            found.lost_tails,
            found.copies,
            found.clones,
            found.damages,
            found.damage_met,
            found.forks,
            found.resolved,
            found.resolved_in_storm,
            found.set_aside,
            found.not_asked,
            found.late_answers,
            found.refused,
            found.lies,
            found.forged,
            found.forged_causes,
            found.equivocations,
            found.replay_failures,
            found.hangs,
            found.rebuilds,
            found.upgrades,
            found.splits,
            found.full_disks,
            found.cut_streams,
            found.cursors_refused,
            found.cursors_kept,
            found.thinned,
            found.other_parts,
            found.filled,
            found.parts_refused,
        ];
        assert!(rare.iter().all(|&times| times >= 20), "too rare to be tested: {found:?}");
    }
}

/// What nothing prevents before events are signed: one liar cuts honest nodes off from one another, by as many forks as no
/// question can name. It is named, and all agree once operators decided. `ANTIPHON_SEED` repeats one seed.
#[test]
fn a_liar_that_goes_on_with_sixty_six_chains_is_named_and_got_over() {
    let seeds = number("ANTIPHON_SEED")
        .map_or(0..number("ANTIPHON_SEEDS").map_or(8, |seeds| seeds.min(8)), |seed| seed..seed + 1);
    let mut found = Found::default();
    for seed in seeds.clone() {
        match run_as(seed, Scenario::Flood) {
            Ok(report) => {
                println!("seed {seed}: honest nodes cut off: {}", report.found.cut_off);
                found.add(&report.found);
            }
            Err(failure) => panic!(
                "{failure}\nor rather: ANTIPHON_SEED={seed} cargo test -p antiphon-kernel --test sim a_liar_that_goes_on_with"
            ),
        }
    }
    if seeds.end > seeds.start + 1 {
        assert!(found.flooded > 0 && found.cut_off > 0 && found.liars_named > 0, "too rare to be tested: {found:?}");
    }
}

#[test]
fn a_run_is_repeatable_bit_for_bit() {
    for seed in [1, 2, 3, 77, 1234] {
        assert_eq!(run(seed), run(seed), "seed {seed}");
    }
}
