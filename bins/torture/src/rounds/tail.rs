//! The write-ahead log of a closed store, cut at every byte of its last records.

use std::fs;
use std::path::Path;

use antiphon_kernel::clock::VClock;
use antiphon_kernel::event::Draft;
use antiphon_kernel::internals::log::{EpochEnd, put_pin};
use antiphon_kernel::store::{Batch, Durability};
use antiphon_kernel::time::Timestamp;
use antiphon_storage::Create;
use anyhow::{Context as _, Result};

use super::plan::{Plan, undisturbed};
use crate::acks::Acks;
use crate::entropy::Entropy;
use crate::files;
use crate::node::{self, Buffers};
use crate::payload::Said;
use crate::peer::Peer;
use crate::report::Verdict;
use crate::table::Outcome;
use crate::victim::{End, Rig};
use crate::write::Writing;

const KIND: &str = "tail";
/// After every so many cuts it is seen whether the log goes on.
const GOES_ON: u64 = 50;

/// What was durable when the log's file had this length.
struct Step {
    length: u64,
    acks: Acks,
}

/// Makes a store whose events are in the write-ahead log only.
fn make(dir: &Path, seed: u64) -> Result<Vec<Step>> {
    let mut log = node::open(dir, Create::IfMissing, Buffers::Usual)?;
    let peer = Peer::new()?;
    let name = Peer::name()?;
    let mut pins = Batch::new();
    put_pin(&mut pins, &name, &Peer::pin());
    log.stage_state(&pins)?;
    log.commit(Durability::Sync)?;
    let mut entropy = Entropy::new(seed);
    let (mut acks, mut steps, mut cursor) = (Acks::default(), Vec::new(), None);
    let wal = files::wal(dir)?;
    for call in 1..=9 {
        if call % 3 == 0 {
            let (asked, batch) = peer.answer(&log.reader(), call, cursor, 2)?;
            let ingested = log.ingest(&name, &asked, &batch, Timestamp::now())?;
            log.commit(Durability::Sync)?;
            cursor = Some(ingested.cursor);
            acks.take(&format!("got {} {}", ingested.cursor.seq, log.reader().head().seq));
        } else {
            let of = 1 + entropy.below(2);
            let payload = |index| Said { run: seed, call, index, of }.payload(30);
            let drafts: Vec<_> = (0..of).map(|index| Draft::new("torture.said", payload(index))).collect();
            let appended = log.append(&drafts, &VClock::new(), Timestamp::now())?;
            log.commit(Durability::Sync)?;
            for event in appended {
                acks.take(&format!("ack {} {} {seed:016x} {call}", event.seq, event.dot.counter()));
            }
        }
        steps.push(Step { length: fs::metadata(&wal)?.len(), acks: acks.clone() });
    }
    Ok(steps)
}

/// `plan.count` is how many records are cut, the last first; all their bytes.
pub(crate) fn run(plan: &Plan) -> Result<Outcome> {
    let rig = Rig::new(&plan.scratch)?;
    let mut outcome = Outcome::new(KIND);
    let (good, torn) = (plan.scratch.join("good"), plan.scratch.join("torn"));
    let steps = make(&torn, plan.seed)?;
    files::copy(&torn, &good)?;
    let wal = files::wal(&good)?;
    let name = wal.strip_prefix(&good).context("the log is in the store")?;
    let everything = steps.last().context("no steps")?;
    let shortest = steps.iter().rev().nth(plan.count as usize).unwrap_or(&steps[0]).length;
    eprintln!("{KIND}: {} lengths", everything.length - shortest);
    for length in (shortest..everything.length).rev().step_by(plan.every.max(1)) {
        outcome.attempts += 1;
        files::put_back(&good, &torn)?;
        files::cut(&torn.join(name), length)?;
        let what = format!("cut at byte {length} of {}", everything.length);
        let again = plan.again(KIND, 0, plan.count);
        // What is left whole of it, and that alone, must be there: to its last byte.
        let whole = steps.iter().rev().find(|step| step.length <= length).context("nothing is left")?;
        let mut report = rig.check(&torn, &whole.acks)?;
        if report.head > whole.acks.head {
            report.fault(format!("{} places are there, of {}", report.head, whole.acks.head));
            report = report.judged();
        }
        // It remembers how far it had come, and goes on under a new epoch: peers may hold what is gone.
        let noticed = report.new_epoch.take() == Some(EpochEnd::LostTail);
        if !outcome.expect_whole(1, &report, &what, &again) {
            continue;
        }
        if !noticed {
            outcome.wrong(&format!("{what}: it does not notice"), &again);
            continue;
        }
        outcome.noticed += 1;
        outcome.cut_off += everything.acks.head - report.head;
        if length.is_multiple_of(GOES_ON) {
            let mut acks = whole.acks.clone();
            let life = undisturbed(&rig, &torn, Writing { calls: 3, buffers: Buffers::Usual }, &mut acks)?;
            if life.end != End::Done || life.acked == 0 || !life.errors.is_empty() {
                outcome.wrong(&format!("{what}: it does not go on: {life:?}"), &again);
            }
            let mut report = rig.check(&torn, &acks)?;
            report.new_epoch = None;
            outcome.expect_whole(0, &report, &format!("{what}, and went on"), &again);
        }
    }
    // The check is seen to tell a loss, or none of the above means anything.
    let report = rig.check(&torn, &everything.acks)?;
    if report.verdict != Verdict::Lost {
        outcome.wrong(
            &format!("the check does not see what was cut off: {}", report.told()),
            &plan.again(KIND, 0, plan.count),
        );
    }
    Ok(outcome)
}
