//! Commands that read events.

use std::sync::Arc;
use std::time::Duration;

use antiphon_kernel::cursor::Cursor;
use antiphon_kernel::ids::EventId;
use antiphon_kernel::log::{LogEntry, ReadError};
use antiphon_kernel::replay::latest::{self};
use anyhow::{Context as _, Result};
use serde_json::json;
use tokio::time::Instant;

use crate::attached::{Answer, Text, Texts};

use super::Node;
/// The most events that one answer to a command brings.
pub(super) const PAGE_EVENTS: usize = 1000;
/// The most bytes of events that one answer to a command brings.
pub(super) const PAGE_BYTES: usize = 4 << 20;

impl Node {
    /// The newest event of one subject, or a page of them.
    pub(super) async fn latest(&self, subject: Option<String>, after: Option<String>) -> Result<Answer> {
        self.replayed(self.cortex.view().visible()).await;
        let store = Arc::clone(self.cortex.view().store());
        let read = move || latest::read(&*store, subject.as_deref(), after.as_deref(), PAGE_EVENTS);
        let page = tokio::task::spawn_blocking(read).await??;
        let texts = page.found.into_iter().map(Text::Latest).collect();
        Ok(Answer { value: json!({ "next": page.next }), texts })
    }

    pub(super) async fn log(&self, after: Option<Cursor>, limit: usize, wait_ms: u64) -> Result<Answer> {
        let until = Instant::now() + Duration::from_millis(wait_ms.min(30_000));
        let mut durable = self.cortex.view().watch_durable();
        let limit = limit.clamp(1, PAGE_EVENTS);
        loop {
            // Before it is read: what comes meanwhile is a change.
            durable.borrow_and_update();
            let page = match self.cortex.service().command_page(after, limit, PAGE_BYTES as u64).await {
                Err(ReadError::CursorUnknown(unknown)) => {
                    let error = format!(
                        "cursor {} is of another history than this log's: {}",
                        unknown.cursor, unknown.mismatch
                    );
                    return Ok(json!({ "cursor_unknown": { "error": error, "resume": unknown.resume } }).into());
                }
                page => page?,
            };
            if page.events == 0 && matches!(tokio::time::timeout_at(until, durable.changed()).await, Ok(Ok(()))) {
                continue;
            }
            let value = json!({ "next": page.next, "head": page.head });
            let events = page.events;
            return Ok(Answer { value, texts: Texts::Page(Box::new(page.into_texts()), events) });
        }
    }

    pub(super) async fn entry_of(&self, id: EventId) -> Result<LogEntry> {
        let log = self.cortex.view().clone();
        let read = move || -> Result<_> {
            let seq = log.find(id)?.with_context(|| no_event(id))?;
            log.entry(seq)?.with_context(|| no_event(id))
        };
        tokio::task::spawn_blocking(read).await?
    }
}

pub(super) fn no_event(id: EventId) -> String {
    format!("there is no event {id}")
}
