//! Which rounds are run, and what several kinds of rounds share.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::acks::Acks;
use crate::node::Buffers;
use crate::victim::{End, Life, Rig};
use crate::write::Writing;
use crate::{files, strace};

/// Which rounds of a kind are run, and where.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    /// The number of the first round. What a round does follows from the seed and its number.
    pub(crate) first: u64,
    pub(crate) count: u64,
    /// Of a file that is cut: at how many bytes, each so far from the next.
    pub(crate) every: usize,
    /// An empty directory of the kind's own.
    pub(crate) scratch: PathBuf,
    /// Where to leave what failed.
    pub(crate) keep: Option<PathBuf>,
}

impl Plan {
    /// Their numbers.
    pub(crate) fn rounds(&self, kind: &str) -> impl Iterator<Item = u64> {
        let (kind, count) = (kind.to_owned(), self.count);
        let step = (count / 10).max(1);
        (self.first..self.first + count).enumerate().map(move |(done, round)| {
            if (done as u64).is_multiple_of(step) {
                eprintln!("{kind}: {done} of {count}");
            }
            round
        })
    }

    /// Leaves a copy of a store that failed where it was asked for.
    pub(crate) fn keep(&self, kind: &str, round: u64, dir: &Path) -> Result<()> {
        if let Some(keep) = &self.keep {
            let to = keep.join(format!("{kind}-{}-{round}", self.seed));
            files::copy(dir, &to)?;
            eprintln!("kept as {}", to.display());
        }
        Ok(())
    }

    /// The command that runs these rounds again.
    pub(crate) fn again(&self, kind: &str, first: u64, count: u64) -> String {
        format!("antiphon-torture {kind} --seed {} --first {first} --count {count}", self.seed)
    }
}

/// The number of the first round of a chain, whose directory lives through all rounds of it.
pub(crate) const fn chain(round: u64, length: u64) -> u64 {
    round - round % length
}

/// Lets a victim write undisturbed.
pub(super) fn undisturbed(rig: &Rig, dir: &Path, writing: Writing, acks: &mut Acks) -> Result<Life> {
    rig.write(dir, writing, &[], acks, |_| ControlFlow::Continue(()))
}

/// As many calls as a round makes.
pub(super) const fn writing(buffers: Buffers) -> Writing {
    Writing { calls: if matches!(buffers, Buffers::Small) { 150 } else { 100 }, buffers }
}

/// How often a victim's busiest thread makes each of these calls, at its first start and at its second.
pub(super) fn count_calls(
    rig: &Rig,
    scratch: &Path,
    buffers: Buffers,
    calls: &[&str],
) -> Result<BTreeMap<String, u64>> {
    let (dir, trace) = (scratch.join("counted"), scratch.join("trace"));
    let mut most = BTreeMap::new();
    let mut acks = Acks::default();
    for _ in 0..2 {
        let prefix: Vec<OsString> = strace::counting(calls, &trace);
        let life = rig.write(&dir, writing(buffers), &prefix, &mut acks, |_| ControlFlow::Continue(()))?;
        anyhow::ensure!(life.end == End::Done, "a victim that nothing happened to: {life:?}");
        for (call, count) in strace::counted(&std::fs::read_to_string(&trace)?) {
            let entry = most.entry(call).or_insert(0);
            *entry = count.max(*entry);
        }
    }
    std::fs::remove_dir_all(&dir)?;
    Ok(most)
}
