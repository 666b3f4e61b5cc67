//! The simulator must bite: each broken rule is found, and within a bounded number of seeds.
#![allow(clippy::unwrap_used, missing_docs)]

mod seeds;

use std::panic::catch_unwind;

use antiphon_kernel::internals::mutant::{Mutant, switch};
use antiphon_kernel::testing::sim::{run, run_whole};

const SEEDS: u64 = 2_000;

/// What the rule is there for: it is found by that, and by nothing that merely broke with it.
fn signs(mutant: Mutant) -> &'static [&'static str] {
    match mutant {
        Mutant::ServeById | Mutant::CursorBeforeData | Mutant::ForgetEpoch | Mutant::CursorBeyondStart => &["I3: "],
        // An origin's events stand behind another than the one before.
        Mutant::SkipHoleCheck => &[" after "],
        Mutant::MergeBlindly => &["I4: ", "I6: "],
        Mutant::ServeNotDurable => &["I6: "],
        Mutant::HeadNeverCompared => &["I2: ", "I7: "],
        Mutant::CheckKnownOnce | Mutant::AnswersOutlive => &["I2: ", "I3: "],
        Mutant::ExtendOldEpoch => &["I7: "],
        Mutant::DepsFromIngest => &["I4: "],
        Mutant::ReceiptWithoutComparison => &["I11: "],
        Mutant::CursorWithoutWitness => &["I12: "],
        Mutant::OpeningForgotten | Mutant::SwitchBeforeFilled | Mutant::OldBuildsStay => &["I5: "],
        Mutant::ListedForkBelieved => &["I9: "],
        Mutant::BatchCutInGroup => &["I10: "],
        Mutant::SealDropped => &["I8: ", "I10: "],
        Mutant::PartHashNotChecked => &["I1: "],
        Mutant::InceptionNotChecked | Mutant::SealNotChecked | Mutant::ForkNotSealed => &["I14: "],
        Mutant::LaterDecisionsKept => &["I8: ", "I10: "],
        Mutant::ClaimTaken => &["I16: "],
        Mutant::NotAllowedTaken => &["I17: "],
        Mutant::ParkedNotWoken => &["W7: "],
        Mutant::TurnKept | Mutant::TimerForgotten => &["W2: ", "W6: ", "W7: "],
        Mutant::AcknowledgedBeforeSync => &["W4: "],
        Mutant::SentNotCharged | Mutant::PulledNotCharged => &["W9: "],
        Mutant::OwnHeadMissing | Mutant::OwnHeadIgnored | Mutant::OwnHeadNotSealed => &["I15: "],
    }
}

/// Runs the simulation that the rule belongs to.
fn broken_by(mutant: Mutant, seed: u64) -> Option<String> {
    match mutant {
        // What is broken is in the tasks of whole cortexes.
        Mutant::ParkedNotWoken
        | Mutant::TurnKept
        | Mutant::TimerForgotten
        | Mutant::AcknowledgedBeforeSync
        | Mutant::SentNotCharged
        | Mutant::PulledNotCharged => run_whole(seed).err(),
        _ => run(seed).err().map(|failure| failure.what),
    }
}

/// The first seed, or nearly, that finds it, and how.
fn found(mutant: Mutant) -> Option<(u64, String)> {
    let look = |seed| {
        // A broken rule may also break what relies on it: that is passed over.
        let how = catch_unwind(|| broken_by(mutant, seed)).ok().flatten()?;
        signs(mutant).iter().any(|sign| how.contains(sign)).then_some(how)
    };
    seeds::first(0..SEEDS, || switch(Some(mutant)), look)
}

#[test]
fn every_broken_rule_is_found() {
    let only = std::env::var("ANTIPHON_MUTANT").ok();
    let mut missed = Vec::new();
    for mutant in Mutant::ALL.into_iter().filter(|m| only.as_ref().is_none_or(|only| format!("{m:?}") == *only)) {
        match found(mutant) {
            Some((seed, how)) => println!("{mutant:?}: seed {seed}: {}", how.lines().next().unwrap_or_default()),
            None => missed.push(mutant),
        }
    }
    assert!(missed.is_empty(), "{SEEDS} seeds do not find {missed:?}");
}
