//! One bit changed in a file of a closed store: it is refused as damage, or all is there to the last byte.

use std::fs;
use std::path::{Path, PathBuf};

use antiphon_kernel::internals::log::EpochEnd;
use anyhow::{Context as _, Result, ensure};

use super::plan::{Plan, undisturbed};
use crate::acks::Acks;
use crate::entropy::Entropy;
use crate::node::Buffers;
use crate::report::{Refusal, Verdict};
use crate::table::Outcome;
use crate::victim::{End, Rig};
use crate::write::Writing;
use crate::{files, wal};

const KIND: &str = "flip";

/// A closed store with tables, compacted ones among them, and events that are in the write-ahead log only.
fn make(rig: &Rig, dir: &Path) -> Result<Acks> {
    let mut acks = Acks::default();
    for calls in [130, 130, 20] {
        let life = undisturbed(rig, dir, Writing { calls, buffers: Buffers::Small }, &mut acks)?;
        ensure!(life.end == End::Done && life.errors.is_empty(), "a victim that nothing happened to: {life:?}");
    }
    Ok(acks)
}

/// The files that hold the log, by what they are; the others of the store last.
fn targets(dir: &Path) -> Result<[Vec<PathBuf>; 3]> {
    let mut targets: [Vec<PathBuf>; 3] = Default::default();
    for path in files::all(dir)? {
        let end = path.extension().and_then(|end| end.to_str());
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        let at = match end {
            // What RocksDB tells of itself, and who holds the store: written anew by each process, and read by none.
            _ if fs::metadata(&path)?.len() == 0 || name.starts_with("LOG") || name == "LOCK" => continue,
            Some("log") => 0,
            Some("sst") => 1,
            _ => 2,
        };
        targets[at].push(path.strip_prefix(dir)?.to_owned());
    }
    Ok(targets)
}

pub(crate) fn run(plan: &Plan) -> Result<Outcome> {
    let rig = Rig::new(&plan.scratch)?;
    let mut outcome = Outcome::new(KIND);
    let (good, bad) = (plan.scratch.join("good"), plan.scratch.join("bad"));
    let acks = make(&rig, &bad)?;
    files::copy(&bad, &good)?;
    let whole = rig.check(&bad, &acks)?;
    ensure!(whole.verdict == Verdict::Whole, "before any harm: {}", whole.told());
    let targets = targets(&good)?;
    ensure!(targets.iter().all(|files| !files.is_empty()), "a kind of file is missing: {targets:?}");
    for round in plan.rounds(KIND) {
        let mut entropy = Entropy::of_round(plan.seed, round);
        let of = [0, 0, 1, 1, 2][entropy.below(5) as usize];
        let file = entropy.pick(&targets[of]);
        let bytes = fs::read(good.join(file))?;
        let (at, bit) = (entropy.below(bytes.len() as u64) as usize, entropy.below(8) as u32);
        let what = format!("round {round}, bit {bit} of byte {at} of {} in {}", bytes.len(), file.display());
        let again = plan.again(KIND, round, 1);
        outcome.attempts += 1;
        // In its place: a copy would be noticed for being one, and nothing else.
        files::put_back(&good, &bad)?;
        files::flip(&bad.join(file), at, bit)?;
        let report = rig.check(&bad, &acks)?;
        // Written over, so that it is the same file still.
        fs::write(bad.join(file), &bytes)?;
        // RocksDB takes it for a file that breaks off there. The store remembers how far it had come.
        let noticed = of == 0 && wal::is_length(&bytes, at) && report.new_epoch == Some(EpochEnd::LostTail);
        // The last writes may be a replayer's, which are not synced and may be torn: without them, its state and its position
        // stand earlier, together, and nothing that was acknowledged is missing.
        let undone =
            of == 0 && (report.head, report.cursor) == (whole.head, whole.cursor) && report.replayed < whole.replayed;
        match report.verdict {
            Verdict::Whole if undone => outcome.survived += 1,
            Verdict::Lost | Verdict::Whole if noticed => {
                outcome.noticed += 1;
                outcome.cut_off += acks.head.saturating_sub(report.head);
            }
            Verdict::Refused => {
                let refusal = report.refused.as_ref().context("a refusal without its reason")?;
                if right(refusal, file) {
                    outcome.refused += 1;
                } else {
                    outcome.wrong(&format!("{what}: {}", report.told()), &again);
                }
            }
            Verdict::Whole if report.content != whole.content => {
                let (now, before) = (report.told(), whole.told());
                outcome.wrong(
                    &format!("{what}: other bytes are read, without an error: {now}, and before {before}"),
                    &again,
                );
            }
            _ if outcome.expect_whole(1, &report, &what, &again) => {}
            _ => plan.keep(KIND, round, &bad)?,
        }
    }
    Ok(outcome)
}

/// A version that cannot be read may be a later one. A key file is next to the store, and is refused by its own name.
fn right(refusal: &Refusal, file: &Path) -> bool {
    let is_key = file.extension().is_some_and(|end| end == "key");
    match refusal.kind.as_str() {
        "Corrupt" => true,
        "NewerFormat" => file == Path::new("FORMAT"),
        _ => is_key && refusal.kind.starts_with("AP-IDENTITY-") && refusal.message.contains(&*file.to_string_lossy()),
    }
}
