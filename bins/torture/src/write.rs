//! The victim: appends, takes in what a peer says, replays; and says what was acknowledged, as soon as it was.

use std::fs::File;
use std::io::{ErrorKind, IoSlice, Write as _};
use std::os::fd::AsFd as _;
use std::path::Path;

use antiphon_kernel::event::Draft;
use antiphon_kernel::identity::KeyError;
use antiphon_kernel::internals::log::{IngestError, put_pin, read_cursor, read_pin};
use antiphon_kernel::internals::replay::ReplayCore;
use antiphon_kernel::log::{AppendError, Appended, CausalContext, LogHandle, OpenError};
use antiphon_kernel::replay::ReplayHandle;
use antiphon_kernel::store::{Batch, Durability, StoreError, StoreErrorKind};
use antiphon_storage::Create;
use anyhow::{Result, bail};

use crate::entropy::Entropy;
use crate::node::{self, Buffers};
use crate::payload::Said;
use crate::peer::Peer;
use crate::tally::Tally;

/// Exit code of a victim that met errors and gave up.
pub(crate) const GAVE_UP: u8 = 3;
/// Errors in a row after which it does.
const PATIENCE: u32 = 12;

/// What the victim is to do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Writing {
    /// How many calls it makes, at most.
    pub(crate) calls: u64,
    pub(crate) buffers: Buffers,
}

/// How a victim's life ended, if nobody ended it.
pub(crate) enum Ended {
    Done,
    GaveUp,
}

pub(crate) fn run(dir: &Path, writing: Writing) -> Result<Ended> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    runtime.block_on(live(dir, writing))
}

async fn live(dir: &Path, writing: Writing) -> Result<Ended> {
    let mut out = Out::new()?;
    let peer = Peer::new()?;
    let (log, replay) = match start(dir, writing.buffers) {
        Ok(parts) => parts,
        Err(error) => {
            out.say(&format!("err {:?} open: {error}", error.kind()))?;
            return Ok(Ended::GaveUp);
        }
    };
    let run = log.reader().process();
    let mut victim = Victim { log, peer, out, entropy: Entropy::new(run), run, calls: 0, buffers: writing.buffers };
    let mut errors = 0;
    while victim.calls < writing.calls && errors < PATIENCE {
        match victim.call().await? {
            Ok(()) => errors = 0,
            Err(error) => {
                errors += 1;
                victim.out.say(&format!("err {:?} {error}", error.kind()))?;
            }
        }
    }
    victim.log.close().await;
    replay.stop().await;
    Ok(if errors < PATIENCE { Ended::Done } else { Ended::GaveUp })
}

fn start(dir: &Path, buffers: Buffers) -> Result<(LogHandle, ReplayHandle), StoreError> {
    let log = node::open(dir, Create::IfMissing, buffers).map_err(|error| match error {
        OpenError::Store(error) => error,
        // The keys of a new store are files next to it: a disk that fails fails them too.
        OpenError::Keys(KeyError::Io { doing, file, source }) => {
            let kind = match source.kind() {
                ErrorKind::StorageFull => StoreErrorKind::NoSpace,
                ErrorKind::ReadOnlyFilesystem => StoreErrorKind::ReadOnly,
                _ => StoreErrorKind::Io,
            };
            StoreError::new(kind, format!("could not {doing} {}: {source}", file.display()))
        }
        other => StoreError::new(StoreErrorKind::Misuse, other.to_string()),
    })?;
    let replay = ReplayCore::open(log.reader(), Box::new(Tally))?;
    let threads = |error: std::io::Error| StoreError::new(StoreErrorKind::Io, format!("no thread: {error}"));
    let log = LogHandle::start(log, Durability::Sync).map_err(threads)?;
    let replay = ReplayHandle::start(replay, &log, true).map_err(threads)?;
    Ok((log, replay))
}

struct Victim {
    log: LogHandle,
    peer: Peer,
    out: Out,
    entropy: Entropy,
    run: u64,
    calls: u64,
    buffers: Buffers,
}

impl Victim {
    /// Does one thing, and says so if it was acknowledged. The inner error is the store's.
    async fn call(&mut self) -> Result<Result<(), StoreError>> {
        match self.entropy.below(10) {
            0 => self.together().await,
            1 => self.pull().await,
            2 => {
                let drafts = 2 + self.entropy.below(4);
                self.append(drafts).await
            }
            _ => self.append(1).await,
        }
    }

    fn drafts(&mut self, of: u64) -> (u64, Vec<Draft>) {
        self.calls += 1;
        let call = self.calls;
        let longest = if self.buffers == Buffers::Small { 24 << 10 } else { 400 };
        let draft = |index| {
            let said = Said { run: self.run, call, index, of };
            let length = self.entropy.below(longest);
            Draft::new("torture.said", said.payload(length)).subject(format!("s/{}", call % 11))
        };
        (call, (0..of).map(draft).collect())
    }

    async fn append(&mut self, of: u64) -> Result<Result<(), StoreError>> {
        let (call, drafts) = self.drafts(of);
        let appended = self.log.append(drafts, CausalContext::Replayed).await;
        self.appended(call, appended)
    }

    /// Three at once, for one commit of all.
    async fn together(&mut self) -> Result<Result<(), StoreError>> {
        let ((one, a), (two, b), (three, c)) = (self.drafts(1), self.drafts(2), self.drafts(1));
        let log = self.log.clone();
        let (a, b, c) = tokio::join!(
            log.append(a, CausalContext::Replayed),
            log.append(b, CausalContext::Replayed),
            log.append(c, CausalContext::Replayed)
        );
        let mut result = Ok(());
        for (call, appended) in [(one, a), (two, b), (three, c)] {
            result = self.appended(call, appended)?.and(result);
        }
        Ok(result)
    }

    fn appended(&mut self, call: u64, appended: Result<Vec<Appended>, AppendError>) -> Result<Result<(), StoreError>> {
        match appended {
            Ok(events) => {
                for Appended { seq, dot, .. } in events {
                    self.out.say(&format!("ack {seq} {} {:016x} {call}", dot.counter(), self.run))?;
                }
                Ok(Ok(()))
            }
            Err(AppendError::Store(error) | AppendError::InDoubt(error)) => Ok(Err(error)),
            Err(error) => bail!("append: {error}"),
        }
    }

    /// Takes in a few events of the peer, together with the cursor.
    async fn pull(&mut self) -> Result<Result<(), StoreError>> {
        self.calls += 1;
        let name = Peer::name()?;
        let pinned = match read_pin(&**self.log.reader().store(), &name) {
            Ok(pin) => pin.is_some(),
            Err(error) => return Ok(Err(error)),
        };
        if !pinned {
            let mut changes = Batch::new();
            put_pin(&mut changes, &name, &Peer::pin());
            if let Err(error) = self.log.write_state(changes).await {
                return Ok(Err(error));
            }
        }
        let after = match read_cursor(&**self.log.reader().store(), &name) {
            Ok(after) => after,
            Err(error) => return Ok(Err(error)),
        };
        let most = 1 + self.entropy.below(4) as u32;
        let (asked, batch) = self.peer.answer(self.log.reader(), self.calls, after, most)?;
        match self.log.ingest(name, asked, batch).await {
            Ok(ingested) => {
                let head = self.log.reader().head().seq;
                self.out.say(&format!("got {} {head}", ingested.cursor.seq))?;
                Ok(Ok(()))
            }
            Err(IngestError::Store(error)) => Ok(Err(error)),
            Err(error) => bail!("ingest: {error}"),
        }
    }
}

/// Standard output, unbuffered, and through `writev`: where faults are put into `write`, they are for the store.
struct Out(File);

impl Out {
    fn new() -> Result<Self> {
        Ok(Self(std::io::stdout().as_fd().try_clone_to_owned()?.into()))
    }

    fn say(&mut self, line: &str) -> Result<()> {
        let line = line.replace('\n', " ");
        let written = self.0.write_vectored(&[IoSlice::new(line.as_bytes()), IoSlice::new(b"\n")])?;
        anyhow::ensure!(written == line.len() + 1, "half a line was written");
        Ok(())
    }
}
