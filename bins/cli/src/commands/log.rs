//! `antiphon log`: the events after a cursor, and those to come.

use std::path::Path;
use std::time::Duration;

use antiphon_kernel::cursor::Cursor;
use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use super::events::{Printer, lines};
use crate::cli::LogArgs;
use crate::output::shell_word;
use antiphon_node::api::{Reply, Request};
use antiphon_node::reply::{CursorUnknown, LogReply};
use antiphon_node::socket::{Backend, NodeGone};

/// How long one question waits for an event.
const WAIT: Duration = Duration::from_secs(10);
/// How often a node that went away is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(200);

pub(super) async fn run(file: &Path, args: LogArgs, json: bool) -> Result<()> {
    let left = args.limit.unwrap_or(u64::MAX);
    Reader { at: args.after, left, follow: args.follow, json, said: String::new(), broke_at: None }.run(file).await
}

struct Reader {
    /// The cursor after the last event that was printed.
    at: Option<Cursor>,
    /// How many events are still wanted.
    left: u64,
    follow: bool,
    json: bool,
    /// Why it waits, as it was printed last.
    said: String,
    /// Where an answer broke off: if nothing comes after it again, the event there cannot be read.
    broke_at: Option<Option<Cursor>>,
}

impl Reader {
    async fn run(mut self, file: &Path) -> Result<()> {
        let mut backend = Backend::reach_and_warn(file).await?;
        loop {
            let served = matches!(backend, Backend::Serving(_));
            // A store that is held open would keep its node from starting.
            let read = self.read(file, &mut backend, self.follow && served).await;
            backend.close().await;
            match read {
                Err(error) if self.follow && self.may_pass(&error) => self.say(&error.to_string()),
                Ok(()) if self.follow && self.left > 0 => self.say("no node serves"),
                read => return read,
            }
            backend = tokio::select! {
                backend = serving(file) => backend,
                _ = tokio::signal::ctrl_c() => return Ok(()),
            };
        }
    }

    /// Whether an error is over once a node serves again.
    fn may_pass(&mut self, error: &anyhow::Error) -> bool {
        match error.downcast_ref::<NodeGone>() {
            Some(NodeGone::BrokeOff) => self.broke_at.replace(self.at) != Some(self.at),
            Some(_) => true,
            None => false,
        }
    }

    fn say(&mut self, why: &str) {
        if self.said != why {
            eprintln!("antiphon: {why}; this waits until a node serves");
            why.clone_into(&mut self.said);
        }
    }

    /// Prints what comes after the cursor, to the end; with `wait`, also what comes then.
    async fn read(&mut self, file: &Path, backend: &mut Backend, wait: bool) -> Result<()> {
        let lines = lines(backend, self.json).await?;
        while self.left > 0 {
            let wait_ms = if wait { u64::try_from(WAIT.as_millis())? } else { 0 };
            let limit = usize::try_from(self.left.min(1000))?;
            let (mut printer, mut last) = (Printer::new(lines.as_ref()), None);
            let mut take = |_: &Reply, text: String| {
                printer.push(&text)?;
                last = Some(text);
                Ok(())
            };
            let page = tokio::select! {
                page = backend.ask_for_events(Request::Log { after: self.at, limit, wait_ms }, &mut take) => page,
                _ = tokio::signal::ctrl_c() => {
                    self.left = 0;
                    return printer.print();
                }
            };
            // Also what came before an answer broke off is printed, once.
            printer.print()?;
            self.left = self.left.saturating_sub(printer.count);
            if let Some(text) = last {
                self.at = Some(cursor_in(&text)?);
            }
            let page = page?;
            self.said.clear();
            let page = match page {
                LogReply::CursorUnknown(unknown) => bail!("{}", self.unknown(file, &unknown)),
                LogReply::Page(page) => page,
            };
            if printer.count == 0 && !wait {
                return Ok(());
            }
            self.at = Some(page.next);
        }
        Ok(())
    }

    /// What happened to the history, and the command that continues.
    fn unknown(&self, file: &Path, unknown: &CursorUnknown) -> String {
        let config = match file {
            file if file == Path::new("antiphon.yaml") => String::new(),
            file => format!(" -c {}", shell_word(&file.to_string_lossy())),
        };
        let follow = if self.follow { " --follow" } else { "" };
        let code = unknown.code.as_ref().map(|code| format!(" ({code})")).unwrap_or_default();
        format!(
            "{}{code}. Continue with `antiphon{config} log --after {}{follow}`: events may come again, recognise them by their ids",
            unknown.error, unknown.resume,
        )
    }
}

/// Waits for a node that serves.
async fn serving(file: &Path) -> Backend {
    loop {
        // Also before the first look: one that is about to end still accepts.
        tokio::time::sleep(LOOK_EVERY).await;
        if let Ok(Some(backend)) = Backend::serving(file).await {
            return backend;
        }
    }
}

/// The cursor in the text of an event.
fn cursor_in(text: &str) -> Result<Cursor> {
    #[derive(Deserialize)]
    struct At {
        antiphoncursor: Cursor,
    }
    Ok(serde_json::from_str::<At>(text)
        .context("the node that serves gives no cursors; run one version of both")?
        .antiphoncursor)
}
