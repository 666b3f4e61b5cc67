//! `antiphon import`: events from a file or a pipe, in batches that never wait long.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use futures_util::FutureExt as _;
use sha2::{Digest as _, Sha256};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use super::append::warn_of;
use crate::cli::ImportArgs;
use crate::input::{self, Events, Found, Input, Source};
use crate::output::done;
use crate::progress::{self, Unit};
use antiphon_node::api::{ImportProgress, Request};
use antiphon_node::error_text::with_remedy;
use antiphon_node::reply::{AppendReply, Imported, KeptProgress, Progress};
use antiphon_node::socket::Backend;
use antiphon_node::terminal::complain;

const BATCH_EVENTS: usize = 256;
const BATCH_BYTES: usize = 256 * 1024;
/// How long an event waits for others to be appended with it.
const BATCH_WAIT: Duration = Duration::from_millis(100);

pub(super) async fn run(file: &Path, args: ImportArgs, json: bool, quiet: bool) -> Result<()> {
    let mut backend = Backend::reach_and_warn(file).await?;
    let imported = match input::open(&args.file).await {
        Ok(Input { source, bytes }) => {
            // The bytes of a file say how much is left.
            let bar = progress::bar_alone(!json && !quiet, "import", Unit::Bytes, bytes);
            let source = Box::new(bar.wrap_async_read(source));
            let appended = |count| bar.set_message(format!("{count} events"));
            let imported = all(source, &mut backend, &appended, args.resume, args.lowercase_extensions).await;
            bar.finish_and_clear();
            imported
        }
        Err(error) => Err(error),
    };
    backend.close().await;
    let imported = imported?;
    let Imported { appended, skipped } = imported;
    let before = if skipped > 0 { format!("; {skipped} were imported before") } else { String::new() };
    done(&imported, json, &format!("{appended} events imported{before}"))
}

/// Takes the number of events that were appended so far.
pub(super) type OnAppended<'a> = dyn Fn(u64) + Sync + 'a;

/// Appends every event. At the first bad one it stops: what came before is kept, and the error says how many.
pub(super) async fn all(
    source: Source,
    backend: &mut Backend,
    appended: &OnAppended<'_>,
    resume: bool,
    lowercase_extensions: bool,
) -> Result<Imported> {
    let mut events = Events::new(source);
    let mut import = Import {
        backend,
        appended,
        resume,
        lowercase_extensions,
        done: Imported { appended: 0, skipped: 0 },
        key: String::new(),
        before: None,
        batch: Batch::default(),
        hashed: Sha256::new(),
        due: None,
    };
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    loop {
        let due = import.due.unwrap_or_else(Instant::now);
        let next = tokio::select! {
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
            () = tokio::time::sleep_until(due), if import.due.is_some() => {
                import.flush().await?;
                continue;
            }
            next = events.next() => next,
        };
        if !import.take(next).await? {
            return Ok(import.done);
        }
    }
    // What has arrived is stored, and nothing that is still to come.
    while let Some(next) = events.next().now_or_never() {
        if !import.take(next).await? {
            return Ok(import.done);
        }
    }
    import.flush().await?;
    bail!(
        "a signal ended the import after line {}; the {} events that had arrived are kept: continue with --resume",
        events.line(),
        import.done.appended
    )
}

/// Events that are appended together.
#[derive(Default)]
struct Batch {
    found: Vec<Found>,
    bytes: usize,
}

struct Import<'a> {
    backend: &'a mut Backend,
    appended: &'a OnAppended<'a>,
    resume: bool,
    lowercase_extensions: bool,
    done: Imported,
    /// Of this input's progress; empty before its first event.
    key: String,
    /// What an earlier import of an input that begins so did.
    before: Option<Progress>,
    batch: Batch,
    /// Of all events before the batch.
    hashed: Sha256,
    /// When the batch is appended, full or not.
    due: Option<Instant>,
}

/// The texts of events, one after another, each with its length.
fn hash(into: &mut Sha256, text: &str) {
    into.update((text.len() as u64).to_be_bytes());
    into.update(text.as_bytes());
}

fn hex(hashed: &Sha256) -> String {
    hashed.clone().finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

impl Import<'_> {
    /// Takes what was read. False at the end, when everything is appended.
    async fn take(&mut self, next: Result<Option<Found>>) -> Result<bool> {
        match next {
            Ok(Some(found)) => self.add(found).await.map(|()| true),
            Ok(None) => {
                self.flush().await?;
                match &self.before {
                    Some(before) if before.events > self.done.skipped => bail!(
                        "the input ends after {} events, and {} of an input that begins so were imported: nothing is left",
                        self.done.skipped,
                        before.events
                    ),
                    _ => Ok(false),
                }
            }
            Err(error) => {
                self.flush().await?;
                Err(error.context(format!("the {} events before it are kept", self.done.appended)))
            }
        }
    }

    async fn add(&mut self, found: Found) -> Result<()> {
        if self.key.is_empty() {
            self.begin(&found.text).await?;
        }
        if let Some(before) = self.before.as_ref().filter(|before| self.done.skipped < before.events) {
            hash(&mut self.hashed, &found.text);
            self.done.skipped += 1;
            if self.done.skipped == before.events && hex(&self.hashed) != before.digest {
                bail!(
                    "line {}: the first {} events are not those that were imported; without --resume all of them are",
                    found.line,
                    before.events
                );
            }
            return Ok(());
        }
        // Before the event and not after it: so a batch never has more than a node takes at once, however large its last event.
        if self.batch.bytes + found.text.len() > BATCH_BYTES {
            self.flush().await?;
        }
        self.batch.bytes += found.text.len();
        self.batch.found.push(found);
        let due = *self.due.get_or_insert_with(|| Instant::now() + BATCH_WAIT);
        if self.batch.found.len() >= BATCH_EVENTS || Instant::now() >= due {
            self.flush().await?;
        }
        Ok(())
    }

    /// Finds out what was imported of an input that begins so.
    async fn begin(&mut self, first: &str) -> Result<()> {
        let mut hashed = Sha256::new();
        hash(&mut hashed, first);
        self.key = format!("import/{}", hex(&hashed));
        let KeptProgress(kept) = self.backend.ask(Request::ImportProgress { key: self.key.clone() }).await?;
        match kept {
            Some(kept) if self.resume => self.before = Some(kept),
            Some(kept) => complain(&format!(
                "{} events of an input that begins so were imported until {}; --resume leaves them out",
                kept.events, kept.at
            )),
            None => {}
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<()> {
        self.due = None;
        let batch = std::mem::take(&mut self.batch);
        if batch.found.is_empty() {
            return Ok(());
        }
        let AppendReply::Refused(refused) = self.append(&batch.found).await? else { return Ok(()) };
        // The batch was refused whole: append what came before the bad event, then say which it was.
        let at = refused.refused.min(batch.found.len() - 1);
        if at > 0 {
            self.append(&batch.found[..at]).await?;
        }
        let text = format!(
            "line {}: {}; the {} events before it are kept, nothing after it was read",
            batch.found[at].line, refused.error, self.done.appended
        );
        bail!("{}", with_remedy(&text, refused.code.as_deref()))
    }

    /// Appends events, and with them how far the input was imported.
    async fn append(&mut self, found: &[Found]) -> Result<AppendReply> {
        let mut hashed = self.hashed.clone();
        found.iter().for_each(|found| hash(&mut hashed, &found.text));
        let events = self.done.skipped + self.done.appended + found.len() as u64;
        let at = antiphon_kernel::time::Timestamp::now().to_string();
        let progress = Progress { events, digest: hex(&hashed), at };
        let request = Request::Append {
            events: found.iter().map(|found| found.text.clone().into()).collect(),
            lowercase_extensions: self.lowercase_extensions,
            progress: Some(ImportProgress { key: self.key.clone(), progress }),
        };
        let kept = self.done.appended;
        let reply = self.backend.ask(request).await.with_context(|| format!("after {kept} events, which are kept"))?;
        if let AppendReply::Appended(appended) = &reply {
            warn_of(appended);
            self.hashed = hashed;
            self.done.appended += found.len() as u64;
            (self.appended)(self.done.appended);
        }
        Ok(reply)
    }
}
