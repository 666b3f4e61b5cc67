//! `antiphon replay`, and `antiphon resolve`.

use std::path::Path;

use antiphon_kernel::ids::EventId;
use antiphon_node::api::{Attached, Request};
use antiphon_node::reply::{Replay, ReplayRetried, ReplaySkipped, Replayer, Resolved};
use antiphon_node::terminal::printable;
use anyhow::Result;

use super::append::payload;
use super::ask::ask;
use crate::cli::{ReplayCommand, ResolveArgs};
use crate::input::given;
use crate::output::{done, json_line, line};

pub(super) async fn run(file: &Path, command: ReplayCommand, json: bool) -> Result<()> {
    match command {
        ReplayCommand::List { replayer } => list(&ask(file, Request::ReplayList { replayer }).await?, json),
        ReplayCommand::Retry { replayer, subject } => {
            let tried: ReplayRetried = ask(file, Request::ReplayRetry { replayer, subject }).await?;
            done(&tried, json, &format!("{} events replayed, {} still parked", tried.replayed, tried.parked))
        }
        ReplayCommand::Skip { replayer, cursor } => {
            let text = format!("the event at cursor {cursor} is left out; `antiphon replay list` keeps the record");
            let skipped: ReplaySkipped = ask(file, Request::ReplaySkip { replayer, at: cursor }).await?;
            done(&skipped, json, &text)
        }
    }
}

fn list(replay: &Replay, json: bool) -> Result<()> {
    if json {
        return json_line(replay);
    }
    replayer(&replay.replayer)?;
    let subject = |subject: &Option<String>| subject.as_deref().map_or_else(|| "-".to_owned(), printable);
    for event in &replay.parked {
        let cursor = event.cursor.map_or_else(|| "-".to_owned(), |cursor| cursor.to_string());
        line(&format!("parked {cursor} `{}`: {}", subject(&event.subject), printable(&event.error)))?;
    }
    for event in &replay.skipped {
        line(&format!("skipped {} `{}`: {}", event.id, subject(&event.subject), printable(&event.error)))?;
    }
    Ok(())
}

/// The state of one replayer, for people.
pub(super) fn replayer(replayer: &Replayer) -> Result<()> {
    line(&format!("replayer {} at sequence number {}", printable(&replayer.name), replayer.position))?;
    if let (Some(position), Some(until)) = (replayer.rebuild_position, replayer.rebuild_until) {
        line(&format!("  a rebuild is at sequence number {position} of {until}; readers see the earlier state"))?;
    }
    if let Some(error) = &replayer.last_error {
        line(&format!("  halted after {} tries: {}", replayer.failures, printable(error)))?;
    }
    if let Some(cursor) = replayer.fails_at {
        line(&format!("  `antiphon replay skip {cursor}` leaves the event out for good"))?;
    }
    if let Some(cursor) = replayer.hangs_at {
        line(&format!("  hangs in the event at cursor {cursor}"))?;
    }
    match replayer.parked {
        0 => Ok(()),
        parked => line(&format!("  {parked} events parked; `antiphon replay list` shows them")),
    }
}

pub(super) async fn resolve(file: &Path, args: ResolveArgs, json: bool) -> Result<()> {
    let (replacement, data) = match args.data {
        Some(data) => {
            let data = payload(&args.content_type, given(data).await?)?;
            (Some((args.event_type, args.content_type)), Attached::one(data))
        }
        None => (None, Attached::default()),
    };
    let (subject, take): (String, Option<EventId>) = (args.subject.clone(), args.take);
    let resolved: Resolved = ask(file, Request::Resolve { subject, take, replacement, data }).await?;
    let count = resolved.superseded.len();
    let mut text = format!("`{}` is resolved: {} supersedes {count} events", args.subject, resolved.id);
    if resolved.left > 0 {
        text.push_str(&format!("; {} more stay in conflict, see `antiphon conflicts`", resolved.left));
    }
    done(&resolved, json, &text)
}
