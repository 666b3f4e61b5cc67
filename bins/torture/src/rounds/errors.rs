//! Calls that fail: once, or from some call on. The process lives, and must tell the truth.

use std::ops::ControlFlow;

use anyhow::Result;

use super::plan::{Plan, chain, count_calls, undisturbed, writing};
use crate::acks::Acks;
use crate::entropy::Entropy;
use crate::node::Buffers;
use crate::strace::{self, Injection};
use crate::table::Outcome;
use crate::victim::{End, Rig};
use crate::write::Writing;

const KIND: &str = "errors";
/// How often one directory meets errors in a row.
const CHAIN: u64 = 3;
const CALLS: [&str; 4] = ["fdatasync", "fsync", "write", "pwrite64"];

/// An error of the system, and the kind that names it.
const FAULTS: [(&str, &str, &str); 6] = [
    ("fdatasync", "error=EIO", "Io"),
    ("fdatasync", "error=EIO", "Io"),
    ("fsync", "error=EIO", "Io"),
    ("write", "error=EIO", "Io"),
    ("write", "error=ENOSPC", "NoSpace"),
    ("pwrite64", "error=EIO", "Io"),
];

pub(crate) fn run(plan: &Plan) -> Result<Outcome> {
    if let Some(why) = strace::missing() {
        return Ok(Outcome::skipped(KIND, why));
    }
    let rig = Rig::new(&plan.scratch)?;
    let mut outcome = Outcome::new(KIND);
    let usual = count_calls(&rig, &plan.scratch, Buffers::Usual, &CALLS)?;
    let small = count_calls(&rig, &plan.scratch, Buffers::Small, &CALLS)?;
    let (mut acks, mut unmet, mut unnamed) = (Acks::default(), 0, 0);
    let mut broken = None;
    let dir = plan.scratch.join("store");
    for round in plan.rounds(KIND) {
        let first = chain(round, CHAIN);
        if round == first || round == plan.first {
            (acks, broken) = (Acks::default(), None);
            let _ = std::fs::remove_dir_all(&dir); // it may not be there
        }
        if broken == Some(first) {
            continue;
        }
        let mut entropy = Entropy::of_round(plan.seed, round);
        let buffers = if entropy.one_in(2) { Buffers::Small } else { Buffers::Usual };
        let counts = if buffers == Buffers::Small { &small } else { &usual };
        let made: Vec<_> =
            FAULTS.iter().filter(|(call, ..)| counts.get(*call).is_some_and(|count| *count > 0)).collect();
        let &&(call, fault, kind) = entropy.pick(&made);
        let when = 1 + entropy.below(counts[call]);
        let when = format!("{when}{}", if entropy.one_in(2) { "+" } else { "" });
        let what = format!("round {round}, {fault} at {call} {when}");
        let again = plan.again(KIND, first, round - first + 1);
        outcome.attempts += 1;
        let injection = Injection { calls: call.to_owned(), what: fault, when };
        let prefix = injection.prefix();
        let life = rig.write(&dir, writing(buffers), &prefix, &mut acks, |_| ControlFlow::Continue(()))?;
        if !matches!(life.end, End::Done | End::GaveUp) {
            outcome.wrong(&format!("{what}: {life:?}"), &again);
            broken = Some(first);
            continue;
        }
        match life.errors.first().map(|error| error.starts_with(&format!("{kind} "))) {
            // It failed where nobody waits for it, such as in the removal of an old file.
            None => unmet += 1,
            Some(true) => outcome.refused += 1,
            Some(false) => outcome.wrong(&format!("{what}: not {kind}, but {}", life.errors[0]), &again),
        }
        unnamed += life.errors.iter().filter(|error| !error.starts_with(&format!("{kind} "))).count();
        // Then the fault is over.
        let after = undisturbed(&rig, &dir, Writing { calls: 5, buffers }, &mut acks)?;
        if after.end != End::Done || after.acked == 0 || !after.errors.is_empty() {
            outcome.wrong(&format!("{what}: it does not go on after it: {after:?}"), &again);
            broken = Some(first);
        }
        let report = rig.check(&dir, &acks)?;
        if !outcome.expect_whole(1, &report, &what, &again) {
            plan.keep(KIND, round, &dir)?;
            broken = Some(first);
        }
    }
    outcome
        .notes
        .push(format!("{unmet} faults were never told to the writer; {unnamed} later errors were of another kind"));
    Ok(outcome)
}
