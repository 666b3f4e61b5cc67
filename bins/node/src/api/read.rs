//! Requests that read events.

use std::sync::Arc;
use std::time::Duration;

use antiphon_kernel::cursor::{Cursor, Seq};
use antiphon_kernel::ids::EventId;
use antiphon_kernel::log::{LogEntry, ReadError};
use antiphon_kernel::replay::latest;
use anyhow::{Context as _, Result};
use tokio::time::Instant;

use super::texts::{Answer, Text, Texts, no_event};
use crate::node::Node;
use crate::reply::{CursorUnknown, LatestPage, LogPage, LogReply};

/// The most events that one answer to a command brings.
pub(super) const PAGE_EVENTS: usize = 1000;
/// The most bytes of events that one answer to a command brings.
pub(super) const PAGE_BYTES: usize = 4 << 20;

/// Waits until the node's own replayer is at a position.
pub(super) async fn replayed(node: &Node, seq: Seq) {
    let Ok(replayer) = node.replayer(None) else { return };
    // A replayer that is stuck must not hold the command indefinitely: it shows in `status`.
    let _ = tokio::time::timeout(Duration::from_secs(10), replayer.wait_replayed(seq)).await;
}

/// The newest event of one subject, or a page of them.
pub(super) async fn latest(node: &Node, subject: Option<String>, after: Option<String>) -> Result<Answer> {
    let view = node.cortex().reader();
    replayed(node, view.visible()).await;
    let store = Arc::clone(view.store());
    let read = move || latest::read(&*store, subject.as_deref(), after.as_deref(), PAGE_EVENTS);
    let page = tokio::task::spawn_blocking(read).await??;
    let texts = page.found.into_iter().map(Text::Latest).collect();
    Ok(Answer { reply: LatestPage { next: page.next }.into(), texts })
}

pub(super) async fn log(node: &Node, after: Option<Cursor>, limit: usize, wait_ms: u64) -> Result<Answer> {
    let until = Instant::now() + Duration::from_millis(wait_ms.min(30_000));
    let mut durable = node.cortex().reader().watch_durable();
    let limit = limit.clamp(1, PAGE_EVENTS);
    loop {
        // Before it is read: what comes meanwhile is a change.
        durable.borrow_and_update();
        let page = match node.cortex().service().command_page(after, limit, PAGE_BYTES as u64).await {
            Err(ReadError::CursorUnknown(unknown)) => {
                let error =
                    format!("cursor {} is of another history than this log's: {}", unknown.cursor, unknown.mismatch);
                let (code, resume) = (Some(unknown.code().to_string()), unknown.resume);
                return Ok(LogReply::CursorUnknown(CursorUnknown { error, code, resume }).into());
            }
            page => page?,
        };
        if page.events == 0 && matches!(tokio::time::timeout_at(until, durable.changed()).await, Ok(Ok(()))) {
            continue;
        }
        let reply = LogReply::Page(LogPage { next: page.next, head: page.head });
        let events = page.events;
        return Ok(Answer { reply: reply.into(), texts: Texts::page(page.into_texts(), events) });
    }
}

pub(super) async fn entry_of(node: &Node, id: EventId) -> Result<LogEntry> {
    let log = node.cortex().reader().clone();
    let read = move || -> Result<_> {
        let seq = log.find(id)?.with_context(|| no_event(id))?;
        log.entry(seq)?.with_context(|| no_event(id))
    };
    tokio::task::spawn_blocking(read).await?
}
