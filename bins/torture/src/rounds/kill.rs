//! SIGKILL at the n-th call of something that changes a file; the same directory several times in a row.

use std::ops::ControlFlow;

use anyhow::Result;

use super::plan::{Plan, chain, count_calls, writing};
use crate::acks::Acks;
use crate::entropy::Entropy;
use crate::node::Buffers;
use crate::strace::{self, Injection};
use crate::table::Outcome;
use crate::victim::{End, Life, Rig};

const KIND: &str = "kill";
/// How often one directory is killed in a row.
const CHAIN: u64 = 5;
/// The first ones are most of what happens.
const CALLS: [&str; 10] =
    ["write", "fdatasync", "write", "fdatasync", "fsync", "rename", "ftruncate", "fallocate", "unlink", "pwrite64"];
/// A start, with its recovery, makes about so many of each call.
const EARLY: u64 = 24;

pub(crate) fn run(plan: &Plan) -> Result<Outcome> {
    let rig = Rig::new(&plan.scratch)?;
    let mut outcome = Outcome::new(KIND);
    let strace = match strace::missing() {
        None => true,
        Some(why) => {
            outcome.notes.push(format!("{why}; killed from outside instead, at no call in particular"));
            false
        }
    };
    let count =
        |buffers| if strace { count_calls(&rig, &plan.scratch, buffers, &CALLS) } else { Ok(Default::default()) };
    let (usual, small) = (count(Buffers::Usual)?, count(Buffers::Small)?);
    let (mut acks, mut unchecked, mut elsewhere) = (Acks::default(), 0, 0);
    let mut broken = None;
    let dir = plan.scratch.join("store");
    for round in plan.rounds(KIND) {
        let first = chain(round, CHAIN);
        if round == first || round == plan.first {
            (acks, unchecked, broken) = (Acks::default(), 0, None);
            let _ = std::fs::remove_dir_all(&dir); // it may not be there
        }
        // What comes after a loss in one directory shows nothing new.
        if broken == Some(first) {
            continue;
        }
        let buffers = if Entropy::of_round(plan.seed, first).one_in(2) { Buffers::Small } else { Buffers::Usual };
        let mut entropy = Entropy::of_round(plan.seed, round);
        let again = plan.again(KIND, first, round - first + 1);
        outcome.attempts += 1;
        let counts = if buffers == Buffers::Small { &small } else { &usual };
        let call = *entropy.pick(&CALLS);
        let most = counts.get(call).copied().unwrap_or(0);
        let most = if entropy.one_in(2) { most.min(EARLY) } else { most };
        let when = 1 + entropy.below(most);
        let what = format!("round {round}, SIGKILL at {call} {when}");
        let mut life = Life { end: End::Done, acked: 0, errors: Vec::new(), late: Vec::new() };
        if most > 0 {
            let injection = Injection { calls: call.to_owned(), what: "signal=SIGKILL", when: when.to_string() };
            let prefix = injection.prefix();
            life = rig.write(&dir, writing(buffers), &prefix, &mut acks, |_| ControlFlow::Continue(()))?;
        }
        if life.end == End::Done && life.errors.is_empty() {
            // It never came to that call: it is killed from outside, somewhere.
            elsewhere += 1;
            let at = 1 + entropy.below(80);
            let kill = |acked| if acked >= at { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
            life = rig.write(&dir, writing(buffers), &[], &mut acks, kill)?;
            // What a killed process has said was true when it said it.
            for line in &life.late {
                acks.take(line);
            }
        }
        if life.end != End::Killed || !life.errors.is_empty() {
            outcome.wrong(&format!("{what}: {life:?}"), &again);
            broken = Some(first);
            continue;
        }
        unchecked += 1;
        // Sometimes the next crash comes before anybody looked.
        let last = round + 1 == plan.first + plan.count || chain(round + 1, CHAIN) != first;
        if last || !entropy.one_in(3) {
            let report = rig.check(&dir, &acks)?;
            if !outcome.expect_whole(unchecked, &report, &what, &again) {
                plan.keep(KIND, round, &dir)?;
                broken = Some(first);
            }
            unchecked = 0;
        }
    }
    outcome.notes.push(format!("{elsewhere} of them from outside, as the call was not made or not so often"));
    Ok(outcome)
}
