//! Events that left the log when forks were resolved come back as new events of this cortex.

use std::ops::ControlFlow;

use bytes::Bytes;

use super::append::AppendError;
use super::entry::damaged;
use super::log_reader::LogReader;
use crate::codec::{EventRef, Front, RecordRef, decode_log_entry};
use crate::error_code::ErrorCode;
use crate::event::{Draft, InvalidEvent};
use crate::ids::{EventId, Origin};
use crate::store::{Batch, Family, KeyRange, StoreError, Unreadable as _, keys};

/// How much comes back in one commit.
const PAGE_EVENTS: usize = 512;
/// Below what one append may have: a note has a little less than the event that is appended again.
const PAGE_BYTES: usize = 512 << 10;

/// What came back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BroughtBack {
    /// How many events were appended.
    pub appended: u64,
    /// How many are in the log again as they were, so that nothing was appended for them.
    pub held: u64,
    /// How many of other cortexes were left where they are.
    pub others: u64,
    /// How many cannot be read, and were left where they are: a part of them is missing, or a newer version wrote them.
    pub unread: u64,
    /// Whether there may be more: ask again.
    pub more: bool,
}

/// Why nothing came back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BringBackError {
    /// One of the events cannot be appended here.
    #[error("event {id}, which was set aside, cannot be appended")]
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

impl BringBackError {
    /// The stable code of this failure.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Append { source, .. } => source.code(),
            Self::Store(error) => error.code(),
        }
    }
}

/// The first ones that were set aside and did not come back yet.
struct Page {
    events: Vec<(Vec<u8>, Vec<u8>)>,
    others: u64,
    unread: u64,
    more: bool,
}

/// What comes back of a page.
#[derive(Debug, Default)]
pub(super) struct BringBackPlan {
    pub(super) done: BroughtBack,
    /// The drafts to append, and the ids that they had.
    pub(super) drafts: Vec<Draft>,
    pub(super) ids: Vec<EventId>,
    /// The notes that the events came back.
    pub(super) changes: Batch,
}

/// Plans a page of what was set aside. `is_wanted` says of which origins it is.
pub(super) fn plan_bring_back(
    view: &LogReader,
    is_wanted: &dyn Fn(Origin) -> bool,
) -> Result<BringBackPlan, StoreError> {
    let Page { events, others, unread, more } = read_page(view, is_wanted)?;
    let mut plan = BringBackPlan::default();
    plan.done = BroughtBack { others, unread, more, ..plan.done };
    for (key, value) in &events {
        let (_, record) = decode_log_entry(value).map_err(|e| damaged(Family::Evidence, &e))?;
        let read = RecordRef::decode(record).map_err(unreadable)?;
        match read.event() {
            _ if is_held(view, &read)? => plan.done.held += 1,
            Ok(event) => {
                plan.ids.push(event.id);
                plan.drafts.push(draft(&event));
            }
            // Nothing of it is an application's.
            Err(InvalidEvent::NotAnEvent { .. } | InvalidEvent::Absent { is_erased: true }) => {}
            Err(error) => return Err(unreadable(error)),
        }
        plan.changes.put(Family::Evidence, &keys::came_back(key), value);
        plan.changes.delete(Family::Evidence, key);
    }
    Ok(plan)
}

fn read_page(view: &LogReader, is_wanted: &dyn Fn(Origin) -> bool) -> Result<Page, StoreError> {
    let mut page = Page { events: Vec::new(), others: 0, unread: 0, more: false };
    let (mut bytes, mut fault) = (0, None);
    view.store().scan(Family::Evidence, KeyRange::prefix(keys::SET_ASIDE), &mut |key, value| {
        let front = decode_log_entry(value)
            .map_err(|e| damaged(Family::Evidence, &e))
            .and_then(|(_, record)| Ok((Front::decode(record).map_err(unreadable)?, can_be_read(record)?)));
        let (front, can_be_read) = match front {
            Ok(front) => front,
            Err(error) => {
                fault = Some(error);
                return ControlFlow::Break(());
            }
        };
        if !is_wanted(front.dot.origin()) {
            page.others += 1;
            return ControlFlow::Continue(());
        }
        if !can_be_read {
            page.unread += 1;
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

/// Whether nothing is missing of a record that an application could want back, and this version understands it.
fn can_be_read(record: &[u8]) -> Result<bool, StoreError> {
    match RecordRef::decode(record) {
        Ok(read) => Ok(!read.is_missing() && !read.event().is_err_and(|error| error.is_newer())),
        Err(error) if error.is_newer() => Ok(false),
        Err(error) => Err(unreadable(error)),
    }
}

/// Whether the log has this very event, since its version was decided for again.
fn is_held(view: &LogReader, event: &RecordRef<'_>) -> Result<bool, StoreError> {
    let Some(dot) = view.dot(event.dot)? else { return Ok(false) };
    // Parts that are missing in one of the two make no other event of it.
    Ok(view.entry(dot.seq)?.is_some_and(|entry| entry.read().is_ok_and(|there| there.is_same(event))))
}

fn unreadable(error: InvalidEvent) -> StoreError {
    StoreError::unreadable("family `evidence`: an event that was set aside", &error)
}

/// What was appended once, to be appended again.
fn draft(event: &EventRef<'_>) -> Draft {
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Draft {
        event_type: event.event_type.to_owned(),
        subject: text(event.subject),
        time: Some(event.time),
        datacontenttype: text(event.datacontenttype),
        tags: event.tags.iter().map(|&tag| tag.to_owned()).collect(),
        extensions: event.extensions.iter().map(|&(name, value)| (name.to_owned(), value.to_value())).collect(),
        data: Bytes::copy_from_slice(event.data),
    }
}
