//! Pages of the log for people and other languages: `GET /v1/events`.
//!
//! A page is bounded by the text that it becomes, not by its records, since base 64 and escapes are longer. The text is
//! made while the reader takes it: in memory are a few records and one piece of text for each page, and all answers of the
//! process stay within one budget.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, Stream};
use tokio::time::Instant;

use super::Service;
use crate::budget::{Account, OverBudget, Share};
use crate::codec::EventView;
use crate::cursor::{Cursor, Seq};
use crate::event::{CloudEventText, EventBytes};
use crate::ids::Epoch;
use crate::log::{LogEntry, ReadError};
use crate::protocol::{MAX_BATCH_BYTES, MAX_WAIT};
use crate::store::{StoreError, StoreErrorKind};

/// How many bytes of records one page reads at a time; a larger record is read alone.
const STEP_BYTES: usize = 256 * 1024;
/// How many bytes of text are handed on at a time.
const PIECE_BYTES: usize = 64 * 1024;

/// How long a page waits for its share of the memory budget.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why a page broke off.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    /// The log could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No memory became free in time.
    #[error(transparent)]
    OverBudget(#[from] OverBudget),
}

/// A page of the durable log: how long its text is, and the text as a stream.
pub struct Page {
    /// The cursor to read on after: at the last event in it, or where the page was asked for if there is none.
    pub next: Cursor,
    /// The cursor at the newest durable event.
    pub head: Cursor,
    /// The length of its text in bytes.
    pub bytes: u64,
    after: Seq,
    rewrites: u64,
    service: Service,
}

/// What a page's stream is at.
struct Pieces {
    service: Service,
    epoch: Epoch,
    at: Seq,
    until: Seq,
    rewrites: u64,
    waiting: VecDeque<LogEntry>,
    current: Option<CloudEventText<EventBytes>>,
    /// Held for as long as the records are.
    share: Option<Share>,
    begun: bool,
    ended: bool,
}

enum Step {
    Entries(Vec<LogEntry>),
    /// The next record alone has so many bytes.
    Larger(usize),
}

fn rewritten() -> StoreError {
    StoreError::new(StoreErrorKind::Misuse, "events were set aside while a page was read; ask again")
}

fn invalid(seq: Seq, error: &crate::event::InvalidEvent) -> StoreError {
    StoreError::corrupt(format!("family `log`: the record at place {seq}: {error}"))
}

impl Service {
    /// A page of up to `limit` events of the durable log after a cursor, or from the beginning. Parks like
    /// [`Service::fetch`] while it would be empty.
    ///
    /// # Errors
    /// `Ok(None)` where this cortex does not serve; [`ReadError`] for a cursor of another history, or where the log cannot be
    /// read.
    pub async fn page(&self, after: Option<Cursor>, limit: usize, wait: Duration) -> Result<Option<Page>, ReadError> {
        if !self.mode().serves() {
            return Ok(None);
        }
        let until = Instant::now() + wait.min(MAX_WAIT);
        let mut durable = self.inner.view.watch_durable();
        loop {
            // Before it is read: what comes meanwhile is a change.
            durable.borrow_and_update();
            let page = self.clone().measured(after, limit).await?;
            if page.next.seq > page.after || !self.park(&mut durable, until).await {
                return Ok(Some(page));
            }
        }
    }

    /// Finds how many events fit into a page, without keeping any of them.
    async fn measured(self, after: Option<Cursor>, limit: usize) -> Result<Page, ReadError> {
        let (view, service) = (self.inner.view.clone(), self.clone());
        let turn = self.inner.turns.read(&Account::Readers).await;
        self.blocking(turn, move || {
            let rewrites = view.settled_rewrites();
            let (mut count, mut bytes, mut last, mut fault) = (0, 2, None, None);
            let (from, head) = view.visit_after(after.as_ref(), &mut |epoch, seq, joined, record| {
                if count == limit {
                    return ControlFlow::Break(());
                }
                let event = match EventView::decode(record) {
                    Ok(event) => event,
                    Err(error) => {
                        fault = Some(invalid(seq, &error));
                        return ControlFlow::Break(());
                    }
                };
                let cursor = Cursor { epoch, seq, last_event: event.id };
                // A comma separates two events.
                let text = CloudEventText::new(seq, joined, &event).with_cursor(Some(cursor));
                let more = u64::from(count > 0) + text.length() as u64;
                if count > 0 && bytes + more > MAX_BATCH_BYTES {
                    return ControlFlow::Break(());
                }
                count += 1;
                bytes += more;
                last = Some(cursor);
                ControlFlow::Continue(())
            })?;
            fault.map_or(Ok(()), Err)?;
            Ok(Page { next: last.unwrap_or(from), head, bytes, after: from.seq, rewrites, service })
        })
        .await
    }
}

impl Page {
    /// Its text, a JSON array of CloudEvents, made as it is taken.
    pub fn into_pieces(self) -> impl Stream<Item = Result<Bytes, PageError>> + Send + use<> {
        let pieces = Pieces {
            service: self.service,
            epoch: self.next.epoch,
            at: self.after,
            until: self.next.seq,
            rewrites: self.rewrites,
            waiting: VecDeque::new(),
            current: None,
            share: None,
            begun: false,
            ended: false,
        };
        stream::unfold(Some(pieces), |pieces| async move {
            let mut pieces = pieces?;
            match pieces.next().await {
                Ok(piece) => Some((Ok(piece), (!pieces.ended).then_some(pieces))),
                Err(error) => Some((Err(error), None)),
            }
        })
    }
}

impl Pieces {
    async fn next(&mut self) -> Result<Bytes, PageError> {
        let mut out = Vec::with_capacity(PIECE_BYTES + PIECE_BYTES / 4);
        if !self.begun {
            out.push(b'[');
        }
        while out.len() < PIECE_BYTES {
            if let Some(text) = &mut self.current
                && text.fill(&mut out, PIECE_BYTES)
            {
                break;
            }
            self.current = None;
            if self.waiting.is_empty() {
                self.share = None;
                if self.at >= self.until {
                    out.push(b']');
                    self.ended = true;
                    break;
                }
                self.read().await?;
            }
            let Some(entry) = self.waiting.pop_front() else { continue };
            if std::mem::replace(&mut self.begun, true) {
                out.push(b',');
            }
            self.current = Some(entry.to_cloud_event().map_err(|error| invalid(entry.seq, &error))?);
        }
        self.begun = true;
        Ok(out.into())
    }

    /// Reads what comes next, once there is room for it.
    async fn read(&mut self) -> Result<(), PageError> {
        let mut bytes = STEP_BYTES;
        loop {
            let room = bytes as u64;
            let share = self.service.inner.budget.share(&Account::Readers, room, room, PATIENCE).await?;
            let turn = self.service.inner.turns.read(&Account::Readers).await;
            let (view, epoch, at, until) = (self.service.inner.view.clone(), Some(self.epoch), self.at, self.until);
            let step = self
                .service
                .blocking(turn, move || {
                    let (mut entries, mut read, mut larger) = (Vec::new(), 0, None);
                    view.visit_durable(at, &mut |seq, joined, record| {
                        read += record.len();
                        if read > bytes || seq > until {
                            larger = entries.is_empty().then_some(record.len());
                            return ControlFlow::Break(());
                        }
                        entries.push(LogEntry { seq, epoch, joined, record: Bytes::copy_from_slice(record) });
                        if seq == until { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                    })?;
                    Ok::<_, StoreError>(larger.map_or(Step::Entries(entries), Step::Larger))
                })
                .await?;
            // What places mean must not have changed since the page was measured.
            if self.service.inner.view.rewrites() != self.rewrites {
                return Err(rewritten().into());
            }
            match step {
                Step::Larger(size) if size > bytes => bytes = size,
                Step::Entries(entries) if !entries.is_empty() => {
                    self.at = entries.last().map_or(self.at, |entry| entry.seq);
                    self.waiting = entries.into();
                    self.share = Some(share);
                    return Ok(());
                }
                // The log is shorter than it was.
                _ => return Err(rewritten().into()),
            }
        }
    }
}
