//! A replayer that keeps the newest event of each subject, and how these are read.

use std::ops::ControlFlow;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    CurrentState, EventReplayer, OnFailure, Projection, ReplayError, ReplayOptions, conflict_at, read_current, weight,
};
use crate::codec::RecordRef;
use crate::cursor::Seq;
use crate::event::{ABSENT_TYPE, CloudEventText, Event, EventBytes, source_of};
use crate::ids::EventId;
use crate::log::{Bounded, EntryContent, LogEntry, LogReader, Unread};
use crate::store::{KeyRange, Store, StoreError};

// A key of every store, so it stays until format 2.
const FAMILY: &str = "view";

/// Keeps one event a subject. Of two, the one whose clock counts more events wins, then the one with the greater id: an
/// order that extends causality, so an event never yields to one that it superseded, and every node ends with the same
/// event, in whatever order they arrived. Which events are concurrent with the winner is read when it is asked for: what was so
/// when it was replayed depends on the order of arrival.
///
/// What is kept names the event and not its data, which are in the log already.
#[derive(Debug, Clone, Copy, Default)]
pub struct LatestBySubject {
    /// What becomes of an event that cannot be replayed.
    pub on_failure: OnFailure,
}

/// The replayer's name. Stores keep its position under it, so `view` stays until format 2.
pub const NAME: &str = "view";

/// weight (8) ‖ id (16) ‖ JSON.
const HEAD: usize = 24;

/// The JSON of a value. Earlier versions kept the whole line there, and no `seq`.
#[derive(Serialize, Deserialize)]
struct Kept {
    seq: Option<u64>,
}

impl EventReplayer for LatestBySubject {
    fn name(&self) -> &'static str {
        NAME
    }

    fn options(&self) -> ReplayOptions {
        ReplayOptions { on_failure: self.on_failure, causality: true, ..ReplayOptions::default() }
    }

    fn families(&self) -> Vec<String> {
        vec![FAMILY.to_owned()]
    }

    fn replay_event(&mut self, event: &Event, projection: &mut Projection<'_>) -> Result<(), ReplayError> {
        let Some(subject) = &event.subject else { return Ok(()) };
        let mut value = Vec::with_capacity(HEAD + 64);
        value.extend_from_slice(&weight(event).to_be_bytes());
        value.extend_from_slice(&event.id.to_bytes());
        if let Some(before) = projection.get(FAMILY, subject.as_bytes())? {
            let Some(old) = before.get(..HEAD) else { return Err("the view holds a damaged value".into()) };
            if value[..HEAD] < *old {
                return Ok(());
            }
        }
        serde_json::to_writer(&mut value, &Kept { seq: Some(event.seq.get()) })?;
        projection.put(FAMILY, subject.as_bytes(), &value)?;
        Ok(())
    }
}

/// The newest event of a subject, by where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Latest {
    /// Its sequence number, which earlier versions did not keep.
    seq: Option<Seq>,
    id: EventId,
    subject: String,
    /// Those that are concurrent with it now.
    concurrent: Vec<EventId>,
}

/// Some of the newest events, and the subject after which to continue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LatestPage {
    /// The newest events, in order of subject.
    pub found: Vec<Latest>,
    /// The subject after which to continue; `None` at the end.
    pub next: Option<String>,
}

/// The newest event of one subject, or of those after a subject, in order of subject.
///
/// # Errors
/// [`StoreError`].
pub fn read(
    store: &dyn Store,
    subject: Option<&str>,
    after: Option<&str>,
    limit: usize,
) -> Result<LatestPage, StoreError> {
    read_current(store, NAME, |state| {
        let mut page = page(&state, subject, after, limit)?;
        // Asked for here: a visitor of a scan must not ask the store anything.
        for (latest, subject) in &mut page.found {
            latest.subject.clone_from(subject);
            if let Some(conflict) = conflict_at(store, NAME, subject)? {
                let newest = latest.id;
                latest.concurrent.extend(conflict.events.into_iter().map(|(_, id)| id).filter(|id| *id != newest));
            }
        }
        Ok(LatestPage { found: page.found.into_iter().map(|(latest, _)| latest).collect(), next: page.next })
    })
}

/// The newest events with their subjects, and the subject after which to continue.
#[derive(Default)]
struct Found {
    found: Vec<(Latest, String)>,
    next: Option<String>,
}

fn page(
    state: &CurrentState<'_>,
    subject: Option<&str>,
    after: Option<&str>,
    limit: usize,
) -> Result<Found, StoreError> {
    let (mut page, mut last, mut more) = (Found::default(), Vec::new(), false);
    let range = match (subject, after) {
        (Some(subject), _) => KeyRange::prefix(subject.as_bytes()),
        (None, Some(after)) => KeyRange::from(after.as_bytes()),
        (None, None) => KeyRange::prefix(&[]),
    };
    state.scan(FAMILY, range, |key, value| {
        if subject.is_some_and(|one| one.as_bytes() != key) || after.is_some_and(|after| after.as_bytes() == key) {
            return if subject.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
        }
        if page.found.len() == limit {
            more = true;
            return ControlFlow::Break(());
        }
        if let Some(latest) = latest(value) {
            page.found.push((latest, String::from_utf8_lossy(key).into_owned()));
        }
        last = key.to_vec();
        ControlFlow::Continue(())
    })?;
    page.next = more.then(|| String::from_utf8_lossy(&last).into_owned());
    Ok(page)
}

fn latest(value: &[u8]) -> Option<Latest> {
    let id = EventId::from_bytes(value.get(8..HEAD)?.try_into().ok()?);
    let kept: Kept = serde_json::from_slice(&value[HEAD..]).ok()?;
    Some(Latest { seq: kept.seq.map(Seq::new), id, subject: String::new(), concurrent: Vec::new() })
}

impl Latest {
    /// Reads the event, with at most `max_bytes` of its record; `None` if it left the log, since a fork was resolved.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn find(&self, log: &LogReader, max_bytes: usize) -> Result<Option<Bounded<LogEntry>>, StoreError> {
        let there = self.seq.map(|seq| log.entry_within(seq, max_bytes)).transpose()?.flatten();
        match there {
            // How large it is says nothing of which event it is: the caller reads again, with more.
            Some(Bounded::Larger(size)) => Ok(Some(Bounded::Larger(size))),
            Some(Bounded::Whole(entry)) if entry.id().is_ok_and(|id| id == self.id) => Ok(Some(Bounded::Whole(entry))),
            // Its sequence number is another one where the log was rewritten meanwhile.
            Some(Bounded::Whole(_)) | None => log.find_within(self.id, max_bytes),
        }
    }

    /// Its line, from the entry that was found: the event's attributes and data. Of an event that cannot be read here any more it
    /// has the subject, and `antiphonabsent`, which says why.
    ///
    /// # Errors
    /// [`StoreError`] if the record was damaged after it was stored.
    pub fn text(&self, entry: &LogEntry) -> Result<CloudEventText<EventBytes>, StoreError> {
        match entry.content()? {
            EntryContent::Unread(record, why) => Ok(self.absent(&record, why)),
            _ => line(entry, &self.concurrent),
        }
    }

    fn absent(&self, record: &RecordRef<'_>, why: Unread) -> CloudEventText<EventBytes> {
        let head = json!({
            "id": record.id.to_string(),
            "type": ABSENT_TYPE,
            "subject": self.subject,
            "source": source_of(record.dot.origin()),
            "concurrent": !self.concurrent.is_empty(),
            "concurrent_with": self.concurrent,
            "antiphonabsent": why.as_str(),
        });
        let mut head = head.to_string().into_bytes();
        head.pop();
        CloudEventText::with_head(head, "", EventBytes::new())
    }
}

fn line(entry: &LogEntry, concurrent: &[EventId]) -> Result<CloudEventText<Bytes>, StoreError> {
    let event = entry.event()?;
    let mut head = json!({
        "id": event.id.to_string(),
        "type": event.event_type,
        "subject": event.subject,
        "time": event.time.to_rfc3339(),
        "source": source_of(event.dot.origin()),
        "concurrent": !concurrent.is_empty(),
        "concurrent_with": concurrent,
        "bytes": event.data.len(),
    });
    if !event.datacontenttype.is_empty() {
        head["datacontenttype"] = event.datacontenttype.into();
    }
    let mut head = head.to_string().into_bytes();
    head.pop();
    Ok(CloudEventText::with_head(head, event.datacontenttype, entry.record.slice_ref(event.data)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of an earlier version it is the event's id that counts: its line is stale, and its data are not read.
    #[test]
    fn values_of_both_versions_name_their_event() {
        let id = EventId::from_parts(7, 9);
        let value = |json: &str| [&[0; 8][..], &id.to_bytes(), json.as_bytes()].concat();
        let now = latest(&value(r#"{"seq":4}"#)).unwrap();
        assert_eq!((now.seq, now.id), (Some(Seq::new(4)), id));
        let before = latest(&value(r#"{"concurrent":true,"data":[{"":0},{"":0}],"id":"x"}"#)).unwrap();
        assert_eq!((before.seq, before.id, before.concurrent), (None, id, Vec::new()));
        assert!(latest(b"short").is_none());
    }
}
