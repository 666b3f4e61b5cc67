//! No space left: said as such, read on, and gone on from when there is space again.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use antiphon_kernel::cursor::Seq;
use antiphon_kernel::event::Draft;
use antiphon_kernel::internals::log::Log;
use antiphon_kernel::log::{AppendError, CausalContext, LogHandle};
use antiphon_kernel::store::{Durability, StoreError, StoreErrorKind};
use antiphon_storage::Create;
use anyhow::{Result, bail, ensure};

use super::plan::Plan;
use crate::acks::Acks;
use crate::entropy::Entropy;
use crate::filled::Filled;
use crate::mounts::Mount;
use crate::node::{self, Buffers};
use crate::payload::Said;
use crate::table::Outcome;
use crate::victim::Rig;
use crate::{deadline, files};

const KIND: &str = "full";
const MEGABYTES: u64 = 32;
/// A round that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(40);
/// More appends than fit.
const MOST: u64 = 20_000;
/// How often an append is tried once there is space: each try opens the store anew.
const TRIES: u64 = 50;

struct Writer {
    log: LogHandle,
    run: u64,
    calls: u64,
    acks: Acks,
}

impl Writer {
    fn new(log: Log, acks: Acks) -> Result<Self> {
        let run = log.reader().process();
        Ok(Self { log: LogHandle::start(log, Durability::Sync)?, run, calls: 0, acks })
    }

    async fn append(&mut self, length: u64) -> Result<Result<(), StoreError>> {
        self.calls += 1;
        let said = Said { run: self.run, call: self.calls, index: 0, of: 1 };
        let draft = Draft::new("torture.said", said.payload(length));
        match self.log.append(vec![draft], CausalContext::default()).await {
            Ok(events) => {
                for event in events {
                    let line = format!("ack {} {} {:016x} {}", event.seq, event.dot.counter(), self.run, self.calls);
                    self.acks.take(&line);
                }
                Ok(Ok(()))
            }
            Err(AppendError::Store(error) | AppendError::InDoubt(error)) => Ok(Err(error)),
            Err(error) => bail!("append: {error}"),
        }
    }

    fn read(&self) -> Result<u64, StoreError> {
        let (mut after, mut count) = (Seq::ZERO, 0);
        loop {
            let entries = self.log.reader().entries(after, 256, 4 << 20)?;
            let Some(last) = entries.last() else { return Ok(count) };
            (after, count) = (last.seq, count + entries.len() as u64);
        }
    }
}

pub(crate) fn run(plan: &Plan) -> Result<Outcome> {
    let at = plan.scratch.join("mount");
    match Mount::tmpfs(&at, MEGABYTES) {
        Ok(mount) => mount.unmount()?,
        Err(why) => return Ok(Outcome::skipped(KIND, format!("{why:#}"))),
    }
    let rig = Rig::new(&plan.scratch)?;
    let mut outcome = Outcome::new(KIND);
    let mut notes = BTreeMap::new();
    for round in plan.rounds(KIND) {
        let mount = Mount::tmpfs(&at, MEGABYTES)?;
        let again = plan.again(KIND, round, 1);
        let saved = plan.scratch.join("filled");
        outcome.attempts += 1;
        match rig.fill(&at, plan.seed, round, &saved) {
            Ok(Filled { note, unread }) => {
                outcome.refused += 1;
                *notes.entry(note).or_insert(0) += 1;
                if let Some(error) = unread {
                    outcome.wrong(&format!("round {round}: nothing can be read while it is full: {error}"), &again);
                }
                let report = rig.check(&at.join("store"), &Acks::load(&saved)?)?;
                outcome.expect_whole(1, &report, &format!("round {round}"), &again);
            }
            Err(error) => outcome.wrong(&format!("round {round}: {error:#}"), &again),
        }
        mount.unmount()?;
    }
    outcome.notes.extend(notes.into_iter().map(|(note, rounds)| format!("{rounds} of them {note}")));
    Ok(outcome)
}

/// One round, in a process of its own: a store that hangs can only be left by its end. `at` is a mounted file system;
/// what was acknowledged goes into the file `saved`.
pub(crate) fn fill(at: &Path, seed: u64, round: u64, saved: &Path) -> Result<Filled> {
    deadline::within(PATIENCE);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let (acks, filled) = runtime.block_on(fill_up(at, Entropy::of_round(seed, round)))?;
    acks.save(saved)?;
    Ok(filled)
}

/// Fills the file system until so many bytes are free.
fn leave(at: &Path, ballast: &Path, free: u64) -> Result<()> {
    let used: u64 = files::all(at)?.iter().map(|file| fs::metadata(file).map_or(0, |file| file.blocks() * 512)).sum();
    let fill = (MEGABYTES << 20).saturating_sub(used + free);
    fs::write(ballast, vec![1; usize::try_from(fill)?])?;
    Ok(())
}

async fn fill_up(at: &Path, mut entropy: Entropy) -> Result<(Acks, Filled)> {
    let (dir, ballast) = (at.join("store"), at.join("ballast"));
    let length = 500 + entropy.below(30_000);
    let mut writer = Writer::new(node::open(&dir, Create::IfMissing, Buffers::Small)?, Acks::default())?;
    // Only now: a store that is made sets 4 MiB aside for its MANIFEST alone, and with room for that again, everything
    // that is harder than an append fits as well.
    let free = (256 << 10) + entropy.below(6 << 20);
    leave(at, &ballast, free)?;
    let error = loop {
        ensure!(writer.calls < MOST, "it never fills up");
        if let Err(error) = writer.append(length).await? {
            break error;
        }
    };
    ensure!(error.kind() == StoreErrorKind::NoSpace, "the first error is {:?}, not NoSpace: {error}", error.kind());
    let (mut other, mut unread) = (None, None);
    let there = writer.read()?;
    ensure!(there >= writer.acks.head, "{there} events are read, {} were acknowledged", writer.acks.head);
    for _ in 0..3 {
        if let Err(error) = writer.append(length).await?
            && error.kind() != StoreErrorKind::NoSpace
        {
            other = Some(error);
        }
        match writer.read() {
            Ok(there) if there >= writer.acks.head => {}
            Ok(there) => bail!("{there} events are read, {} were acknowledged", writer.acks.head),
            Err(error) => unread = Some(error),
        }
    }
    File::create(&ballast)?; // its bytes are free again
    let mut tries = 0;
    let mut how = "in the same process";
    while let Err(error) = writer.append(length).await? {
        tries += 1;
        // The store is not opened again more often than this.
        tokio::time::sleep(Duration::from_millis(50)).await;
        if tries == TRIES {
            ensure!(how != "after a restart", "it does not go on: {error}");
            (tries, how) = (0, "after a restart");
            writer.log.close().await;
            let acks = std::mem::take(&mut writer.acks);
            drop(writer);
            writer = Writer::new(node::open(&dir, Create::Never, Buffers::Small)?, acks)?;
        }
    }
    for _ in 0..20 {
        if let Err(error) = writer.append(length).await? {
            bail!("it goes on, and fails again: {error}");
        }
    }
    writer.log.close().await;
    let later = other.map_or_else(String::new, |error| format!("; a later error was {:?}", error.kind()));
    let note = format!("went on {how} after {tries} more errors{later}");
    Ok((writer.acks, Filled { note, unread: unread.map(|error| error.to_string()) }))
}
