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
use super::held_text::{HeldText, PageError};
use super::quotas::{PATIENCE, Payer};
use super::steps::Steps;
use super::texts::PageTexts;
use crate::budget::Account;
use crate::cursor::{Cursor, Seq};
use crate::error_code::ErrorCode;
use crate::event::CloudEventText;
use crate::limits::Cost;
use crate::log::{EntryContent, ReadError, record_at};
use crate::protocol::{MAX_BATCH_BYTES, MAX_WAIT};

/// How many bytes of text are handed on at a time.
const PIECE_BYTES: usize = 64 * 1024;

/// A page of the durable log: how long its text is, and the text as a stream.
pub struct Page {
    /// The cursor to read on after: at the last event in it, or where the page was asked for if there is none.
    pub next: Cursor,
    /// The cursor at the newest durable event.
    pub head: Cursor,
    /// How many events are in it.
    pub events: usize,
    /// The length of its text in bytes.
    pub bytes: u64,
    after: Seq,
    rewrites: u64,
    service: Service,
    account: Account,
    /// The entries that were read to measure it, and the bytes of their records.
    read: (u64, u64),
}

/// Why a caller gets no page.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NoPage {
    /// The cursor is of another history, or the log could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The caller used up its quota.
    #[error("the quota of the caller is used up for the next {} s", after.as_secs_f64().ceil())]
    OverQuota {
        /// The time after which to ask again.
        after: Duration,
    },
}

impl NoPage {
    /// The stable code of this failure.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Read(error) => error.code(),
            Self::OverQuota { .. } => ErrorCode::RefusalOverQuota,
        }
    }
}

/// What a page's stream is at.
struct Pieces {
    steps: Steps,
    current: Option<HeldText>,
    begun: bool,
    /// Whether an event was begun: the next one comes after a comma.
    comma: bool,
    ended: bool,
}

impl Service {
    /// A page of up to `limit` events of the durable log after a cursor, or from the beginning. Parks like
    /// [`Caller::fetch`](super::Caller::fetch) while it would be empty.
    ///
    /// # Errors
    /// `Ok(None)` where this cortex does not serve; [`NoPage`] for a cursor of another history, where the log cannot be read, or
    /// where the quota of the caller is used up.
    pub(super) async fn page(
        &self,
        payer: Payer,
        after: Option<Cursor>,
        limit: usize,
        wait: Duration,
    ) -> Result<Option<Page>, NoPage> {
        if !self.mode().serves() {
            return Ok(None);
        }
        let until = Instant::now() + wait.min(MAX_WAIT);
        let mut durable = self.inner.view.watch_durable();
        let mut after = after;
        let quotas = &self.inner.quotas;
        loop {
            let paid = quotas.wait(payer, Instant::now() + PATIENCE).await;
            if paid.map_err(|after| NoPage::OverQuota { after })? {
                self.inner.served.slowed_reader();
            }
            let allowance = quotas.allowance(payer);
            let limit = limit.min(usize::try_from(allowance.events).unwrap_or(usize::MAX));
            // Before it is read: what comes meanwhile is a change.
            durable.borrow_and_update();
            let max_bytes = MAX_BATCH_BYTES.min(allowance.bytes);
            let page = self.clone().measured(Account::Readers, after, limit, max_bytes).await?;
            let work = Cost::of_reading(page.read.0, page.read.1);
            quotas.charge(payer, Cost { events: page.events as u64, bytes: page.bytes, ..work });
            if page.events == 0 && page.next.seq > page.after {
                // There were records of the system's own, and perhaps events after them.
                after = Some(page.next);
                continue;
            }
            if page.events > 0 || !self.park(&mut durable, until).await {
                return Ok(Some(page));
            }
        }
    }

    /// A page for a command of the operator: at once, whatever this cortex serves, and with at most `max_bytes` of text beyond
    /// the first event. It is charged to [`Account::Commands`].
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn command_page(&self, after: Option<Cursor>, limit: usize, max_bytes: u64) -> Result<Page, ReadError> {
        self.clone().measured(Account::Commands, after, limit, max_bytes).await
    }

    /// Finds how many events fit into a page, without keeping any of them.
    async fn measured(
        self,
        account: Account,
        after: Option<Cursor>,
        limit: usize,
        max_bytes: u64,
    ) -> Result<Page, ReadError> {
        let (view, service) = (self.inner.view.clone(), self.clone());
        let turn = self.inner.turns.read(&account).await;
        self.blocking(turn, move || {
            let rewrites = view.settled_rewrites();
            let (mut count, mut bytes, mut last, mut fault) = (0, 2, None, None);
            let mut read = (0, 0);
            let (from, head) = view.visit_after(after.as_ref(), &mut |epoch, seq, joined, record| {
                if count == limit {
                    return ControlFlow::Break(());
                }
                read = (read.0 + 1, read.1 + record.len() as u64);
                let content = match EntryContent::of(record) {
                    Ok(content) => content,
                    Err(error) => {
                        fault = Some(record_at(seq, &error));
                        return ControlFlow::Break(());
                    }
                };
                let there = Some((seq, joined));
                let (id, text) = match &content {
                    EntryContent::Event(event) => (event.id, CloudEventText::new(seq, joined, event)),
                    EntryContent::Unread(record, why) => (record.id, CloudEventText::unread(there, record, *why)),
                    // Only the cursor passes it.
                    EntryContent::System(record) => {
                        last = Some(Cursor { epoch, seq, last_event: record.id });
                        return ControlFlow::Continue(());
                    }
                };
                let cursor = Cursor { epoch, seq, last_event: id };
                // A comma separates two events.
                let text = text.with_cursor(Some(cursor));
                let more = u64::from(count > 0) + text.length() as u64;
                if count > 0 && bytes + more > max_bytes {
                    return ControlFlow::Break(());
                }
                count += 1;
                bytes += more;
                last = Some(cursor);
                ControlFlow::Continue(())
            })?;
            fault.map_or(Ok(()), Err)?;
            let next = last.unwrap_or(from);
            Ok(Page { next, head, events: count, bytes, after: from.seq, rewrites, service, account, read })
        })
        .await
    }
}

impl Page {
    /// Its texts one by one, without the array around them.
    #[must_use]
    pub fn into_texts(self) -> PageTexts {
        PageTexts(self.steps())
    }

    fn steps(self) -> Steps {
        Steps {
            epoch: self.next.epoch,
            at: self.after,
            until: self.next.seq,
            rewrites: self.rewrites,
            service: self.service,
            account: self.account,
            waiting: VecDeque::new(),
            share: None,
        }
    }

    /// Its text, a JSON array of CloudEvents, made as it is taken.
    pub fn into_pieces(self) -> impl Stream<Item = Result<Bytes, PageError>> + Send + use<> {
        let pieces = Pieces { steps: self.steps(), current: None, begun: false, comma: false, ended: false };
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
            self.current = self.steps.next_text().await?;
            if self.current.is_none() {
                out.push(b']');
                self.ended = true;
                break;
            }
            if std::mem::replace(&mut self.comma, true) {
                out.push(b',');
            }
        }
        self.begun = true;
        Ok(out.into())
    }
}
