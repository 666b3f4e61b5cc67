//! Events: immutable facts in the CloudEvents 1.0 vocabulary, and what makes their bytes valid.

mod cloud_in;
mod cloud_out;
#[cfg(test)]
mod cloud_tests;
mod data_kind;
mod draft;
mod extension_value;
mod validity;

pub use cloud_in::{CloudEventError, CloudEventOptions, from_cloud_event, read_cloud_event};
pub(crate) use cloud_out::ABSENT_TYPE;
pub use cloud_out::CloudEventText;
pub use data_kind::{DataKind, is_media_type};
pub use draft::{Draft, InvalidDraft};
pub use extension_value::{ExtensionRef, ExtensionValue};
pub use validity::{
    InvalidEvent, MAX_ATTRIBUTES_BYTES, MAX_CONTENT_TYPE_BYTES, MAX_EVENT_BYTES, MAX_EXTENSION_NAME_BYTES,
    MAX_EXTENSION_VALUE_BYTES, MAX_EXTENSIONS, MAX_ID_MS, MAX_SUBJECT_BYTES, MAX_TAG_BYTES, MAX_TAGS, MAX_TYPE_BYTES,
};
pub(crate) use validity::{check_deps, check_extensions, check_id, check_own_names, check_tags, check_texts};

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::clock::VClock;
use crate::codec::EventRef;
use crate::cursor::Seq;
use crate::ids::{Dot, EventId, Origin};
use crate::time::Timestamp;

/// The encoded record of one event: made once, when it is appended. Storing, serving, relaying and digesting copy these
/// bytes; a relay never re-encodes.
pub type EventBytes = Bytes;

/// An event as a replayer sees it.
///
/// ```
/// use antiphon_kernel::{Event, EventReplayer, Projection, ReplayError};
///
/// struct Print;
///
/// impl EventReplayer for Print {
///     fn name(&self) -> &str {
///         "print"
///     }
///
///     fn families(&self) -> Vec<String> {
///         Vec::new()
///     }
///
///     fn replay_event(&mut self, event: &Event, _: &mut Projection<'_>) -> Result<(), ReplayError> {
///         println!("{} {} {:?} from {}", event.seq, event.event_type, event.subject, event.source());
///         Ok(())
///     }
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its position in *this* cortex's log.
    pub seq: Seq,
    /// When it joined this cortex's log, on this cortex's clock.
    pub joined: Timestamp,
    /// Its id: a ULID.
    pub id: EventId,
    /// Who wrote it, and as which of their events.
    pub dot: Dot,
    /// What its writer's application had seen, and the event itself: rebuilt from the causal deltas of its chain.
    pub vclock: VClock,
    /// CloudEvents `type`.
    pub event_type: String,
    /// CloudEvents `subject`: what it is about. Conflicts and quarantine go by subject.
    pub subject: Option<String>,
    /// CloudEvents `time`: when it happened, as its writer says.
    pub time: Timestamp,
    /// CloudEvents `datacontenttype`.
    pub datacontenttype: Option<String>,
    /// What the event is about beyond its subject.
    pub tags: BTreeSet<String>,
    /// CloudEvents extension attributes, such as `traceparent`.
    pub extensions: BTreeMap<String, ExtensionValue>,
    /// The payload: opaque bytes.
    pub data: Bytes,
}

impl Event {
    /// CloudEvents `source`: the origin that wrote it, as a URN.
    #[must_use]
    pub fn source(&self) -> String {
        source_of(self.dot.origin())
    }

    /// The event in its record, standing at `seq`, with its rebuilt clock.
    #[must_use]
    pub(crate) fn from_view(
        view: &EventRef<'_>,
        bytes: &EventBytes,
        seq: Seq,
        joined: Timestamp,
        vclock: VClock,
    ) -> Self {
        let text = |t: &str| (!t.is_empty()).then(|| t.to_owned());
        Self {
            seq,
            joined,
            id: view.id,
            dot: view.dot,
            vclock,
            event_type: view.event_type.to_owned(),
            subject: text(view.subject),
            time: view.time,
            datacontenttype: text(view.datacontenttype),
            tags: view.tags.iter().map(|&tag| tag.to_owned()).collect(),
            extensions: view.extensions.iter().map(|&(name, value)| (name.to_owned(), value.to_value())).collect(),
            data: bytes.slice_ref(view.data),
        }
    }
}

/// The CloudEvents `source` of an origin's events.
#[must_use]
pub(crate) fn source_of(origin: Origin) -> String {
    format!("urn:antiphon:{}:{}", origin.cortex(), origin.epoch())
}
