//! Events that left the log when forks were resolved come back as new events of this cortex.

use std::ops::ControlFlow;

use bytes::Bytes;

use super::append::AppendError;
use super::core::Log;
use super::entry::damaged;
use crate::clock::VClock;
use crate::codec::{EventView, decode_log_entry};
use crate::event::{Draft, EventBytes};
use crate::ids::EventId;
use crate::store::{Batch, Durability, Family, KeyRange, StoreError, keys};
use crate::time::Timestamp;

/// How much comes back in one commit.
const PAGE_EVENTS: usize = 512;
const PAGE_BYTES: usize = 4 << 20;

/// What came back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BroughtBack {
    /// How many events were appended.
    pub appended: u64,
    /// How many are in the log again as they were, so that nothing was appended for them.
    pub held: u64,
    /// How many of other cortexes were left where they are.
    pub others: u64,
    /// Whether there may be more: ask again.
    pub more: bool,
}

/// Why nothing came back.
#[derive(Debug, thiserror::Error)]
pub enum BringBackError {
    /// One of the events cannot be appended here.
    #[error("event {id}, which was set aside, cannot be appended: {source}")]
    Append {
        /// Its id.
        id: EventId,
        /// Why.
        source: AppendError,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The first ones that were set aside and did not come back yet.
struct Page {
    events: Vec<(Vec<u8>, Vec<u8>)>,
    others: u64,
    more: bool,
}

impl Log {
    /// Appends events that were set aside, as new ones of this cortex: those that it wrote itself, or all. They claim to have
    /// seen nothing, so what was written meanwhile on the same subject is not superseded. An event that is in the log again
    /// as it was is passed over. Events and the note that they came back commit together, so none comes back twice. One page
    /// at a time; commits at once, and what was staged before with it.
    ///
    /// # Errors
    /// [`BringBackError`]; then nothing of this page came back.
    pub fn bring_back(&mut self, all: bool, now: Timestamp) -> Result<BroughtBack, BringBackError> {
        self.usable()?;
        self.commit(Durability::Sync)?;
        let Page { events, others, more } = self.set_aside_page(all)?;
        let mut done = BroughtBack { others, more, ..BroughtBack::default() };
        let (mut changes, mut ids, mut drafts) = (Batch::new(), Vec::new(), Vec::new());
        for (key, value) in &events {
            let (_, record) = decode_log_entry(value).map_err(|e| damaged(Family::Evidence, &e))?;
            let event = EventView::decode(record).map_err(unreadable)?;
            if self.is_held(&event, record)? {
                done.held += 1;
            } else {
                ids.push(event.id);
                drafts.push(draft(&event));
            }
            changes.put(Family::Evidence, &keys::came_back(key), value);
            changes.delete(Family::Evidence, key);
        }
        let appended = self.append(&drafts, &VClock::new(), now).map_err(|source| {
            let at = if let AppendError::Draft { index, .. } = source { index } else { 0 };
            let id = ids.get(at).copied().unwrap_or(EventId::from_bytes([0; 16]));
            BringBackError::Append { id, source }
        })?;
        done.appended = appended.len() as u64;
        self.stage_state(&changes)?;
        self.commit(Durability::Sync)?;
        Ok(done)
    }

    fn set_aside_page(&self, all: bool) -> Result<Page, StoreError> {
        let own = self.identity.cortex_id;
        let (mut page, mut bytes, mut fault) = (Page { events: Vec::new(), others: 0, more: false }, 0, None);
        self.store().scan(Family::Evidence, KeyRange::prefix(keys::SET_ASIDE), &mut |key, value| {
            let dot = decode_log_entry(value)
                .map_err(|e| damaged(Family::Evidence, &e))
                .and_then(|(_, record)| EventView::decode_dot(record).map_err(unreadable));
            let origin = match dot {
                Ok((_, dot)) => dot.origin(),
                Err(error) => {
                    fault = Some(error);
                    return ControlFlow::Break(());
                }
            };
            if !(all || origin.cortex() == own && self.minted.contains(&origin.epoch())) {
                page.others += 1;
                return ControlFlow::Continue(());
            }
            if page.events.len() >= PAGE_EVENTS || bytes + value.len() > PAGE_BYTES && !page.events.is_empty() {
                page.more = true;
                return ControlFlow::Break(());
            }
            bytes += value.len();
            page.events.push((key.to_vec(), value.to_vec()));
            ControlFlow::Continue(())
        })?;
        fault.map_or(Ok(page), Err)
    }

    /// Whether the log has this very event, since its version was decided for again.
    fn is_held(&self, event: &EventView<'_>, record: &[u8]) -> Result<bool, StoreError> {
        let Some(dot) = self.view.dot(event.dot)? else { return Ok(false) };
        let there: Option<EventBytes> = self.view.entry(dot.seq)?.map(|entry| entry.record);
        Ok(there.is_some_and(|there| there == record))
    }
}

fn unreadable(error: crate::event::InvalidEvent) -> StoreError {
    StoreError::unreadable("family `evidence`: an event that was set aside", &error)
}

/// What was appended once, to be appended again.
fn draft(event: &EventView<'_>) -> Draft {
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Draft {
        event_type: event.event_type.to_owned(),
        subject: text(event.subject),
        time: Some(event.time),
        datacontenttype: text(event.datacontenttype),
        extensions: event.extensions.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect(),
        data: Bytes::copy_from_slice(event.data),
    }
}
