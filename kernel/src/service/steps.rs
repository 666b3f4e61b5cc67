//! The events of a measured page, read a few at a time, each time once there is room for their records in the memory budget.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;

use super::Service;
use super::held_text::{HeldText, PATIENCE, PageError, STEP_BYTES};
use crate::budget::{Account, Share};
use crate::codec::is_system;
use crate::cursor::Seq;
use crate::ids::Epoch;
use crate::log::LogEntry;
use crate::store::{StoreError, StoreErrorKind};

pub(super) struct Steps {
    pub(super) service: Service,
    pub(super) account: Account,
    pub(super) epoch: Epoch,
    /// The last sequence number that was read.
    pub(super) at: Seq,
    pub(super) until: Seq,
    /// How often sequence numbers came to mean other events when the page was measured.
    pub(super) rewrites: u64,
    pub(super) waiting: VecDeque<LogEntry>,
    /// Held for as long as the records are.
    pub(super) share: Option<Arc<Share>>,
}

enum Step {
    Entries(Vec<LogEntry>),
    /// The next record alone has so many bytes.
    Larger(usize),
}

fn rewritten() -> StoreError {
    StoreError::new(StoreErrorKind::Misuse, "events were set aside while a page was read; ask again")
}

impl Steps {
    /// The text of the next event; `None` at the end. The caller holds no earlier text: this may wait for its share.
    pub(super) async fn next_text(&mut self) -> Result<Option<HeldText>, PageError> {
        loop {
            if let (Some(share), Some(entry)) = (&self.share, self.waiting.pop_front()) {
                if is_system(&entry.record) {
                    continue;
                }
                let text = entry.to_cloud_event()?;
                return Ok(Some(HeldText::new(text, Arc::clone(share))));
            }
            self.share = None;
            if self.at >= self.until {
                return Ok(None);
            }
            self.read().await?;
        }
    }

    /// Reads what comes next, once there is room for it.
    async fn read(&mut self) -> Result<(), PageError> {
        let mut bytes = STEP_BYTES;
        loop {
            let room = bytes as u64;
            let share = self.service.inner.budget.share(&self.account, room, room, PATIENCE).await?;
            let turn = self.service.inner.turns.read(&self.account).await;
            let (view, epoch, at, until) = (self.service.inner.view.clone(), Some(self.epoch), self.at, self.until);
            // The share is with the read: a caller that goes away does not end the read.
            let (step, share) = self
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
                    Ok::<_, StoreError>((larger.map_or(Step::Entries(entries), Step::Larger), share))
                })
                .await?;
            // What sequence numbers mean must not have changed since the page was measured.
            if self.service.inner.view.rewrites() != self.rewrites {
                return Err(rewritten().into());
            }
            match step {
                Step::Larger(size) if size > bytes => bytes = size,
                Step::Entries(entries) if !entries.is_empty() => {
                    self.at = entries.last().map_or(self.at, |entry| entry.seq);
                    self.waiting = entries.into();
                    self.share = Some(Arc::new(share));
                    return Ok(());
                }
                // The log is shorter than it was.
                _ => return Err(rewritten().into()),
            }
        }
    }
}
