//! What makes an event valid. By bytes and history only, never by a local setting: or one cortex could write what
//! another must always refuse.

use super::ExtensionRef;
use super::data_kind::quoted;
use crate::clock::{ClockError, MAX_CLOCK_ENTRIES};
use crate::codec::RecordKind;
use crate::error_code::ErrorCode;
use crate::ids::{EventId, Origin};

/// The largest event record, by protocol: 16 MiB. What may be *appended* is bounded by configuration, far below.
pub const MAX_EVENT_BYTES: usize = 16 * 1024 * 1024;
/// The longest `type`, in bytes.
pub const MAX_TYPE_BYTES: usize = 1024;
/// The longest `subject`, in bytes.
pub const MAX_SUBJECT_BYTES: usize = 1024;
/// The longest `datacontenttype`, in bytes.
pub const MAX_CONTENT_TYPE_BYTES: usize = 1024;
/// The most tags.
pub const MAX_TAGS: usize = 16;
/// The longest tag, in bytes.
pub const MAX_TAG_BYTES: usize = 64;
/// The most extension attributes.
pub const MAX_EXTENSIONS: usize = 64;
/// The longest name of an extension attribute, in bytes.
pub const MAX_EXTENSION_NAME_BYTES: usize = 64;
/// The longest text of an extension attribute, in bytes.
pub const MAX_EXTENSION_VALUE_BYTES: usize = 65_536;
/// The most bytes of all attributes of an event together, as they are encoded. CloudEvents wants events of 65,536 bytes to pass.
pub const MAX_ATTRIBUTES_BYTES: usize = 131_072;

/// Why a record is not a valid event. Its sender broke the protocol, or the bytes were damaged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidEvent {
    /// Larger than [`MAX_EVENT_BYTES`].
    #[error("the record has {bytes} bytes, over the protocol's {MAX_EVENT_BYTES}")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// A record version this build does not know.
    #[error("record version {version} is not known here")]
    UnknownVersion {
        /// The version byte.
        version: u8,
    },
    /// A kind of record that this build does not know: a newer version wrote it.
    #[error("record kind {kind} is not known here")]
    UnknownKind {
        /// The kind's number.
        kind: u8,
    },
    /// A record of the system's own, where an event is wanted.
    #[error("the record is no event ({kind:?})")]
    NotAnEvent {
        /// What it is.
        kind: RecordKind,
    },
    /// A part of the event is not here.
    #[error("{}", if *.is_erased { "the event was erased" } else { "a part of the event is missing here" })]
    Absent {
        /// Whether a statement erased it; otherwise a peer can still bring it.
        is_erased: bool,
    },
    /// Bytes that do not decode.
    #[error("the record does not decode: {reason}")]
    Malformed {
        /// What the decoder said.
        reason: String,
    },
    /// A field that breaks its bound.
    #[error("{field} {rule}")]
    Field {
        /// Which field.
        field: &'static str,
        /// The rule it breaks.
        rule: &'static str,
    },
    /// An extension attribute that breaks a rule.
    #[error("extension `{name}` (value `{value}`) {rule}")]
    Extension {
        /// Its name.
        name: String,
        /// The beginning of its value.
        value: String,
        /// The rule it breaks.
        rule: &'static str,
    },
    /// The causal delta is not a valid clock.
    #[error("its dependencies are not a valid clock")]
    Deps(#[from] ClockError),
    /// The causal delta names the event's own origin.
    #[error("deps name the event's own origin {origin}")]
    OwnOriginInDeps {
        /// The origin.
        origin: Origin,
    },
    /// The causal delta repeats what the chain had already said.
    #[error("deps give {origin} a counter that the chain already had")]
    StaleDeps {
        /// The origin.
        origin: Origin,
    },
    /// Its id is not greater than the id before it in the chain.
    #[error("id {id} is not greater than the chain's previous id {previous}")]
    IdNotIncreasing {
        /// The event's id.
        id: EventId,
        /// The id of the event before it.
        previous: EventId,
    },
}

impl InvalidEvent {
    /// The stable code of this failure.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::TooLarge { .. } => ErrorCode::EventTooLarge,
            Self::UnknownVersion { .. } => ErrorCode::EventUnknownVersion,
            Self::UnknownKind { .. } => ErrorCode::EventUnknownKind,
            Self::NotAnEvent { .. } => ErrorCode::EventOtherKind,
            Self::Absent { is_erased: true } => ErrorCode::EventErased,
            Self::Absent { is_erased: false } => ErrorCode::EventMissing,
            Self::Malformed { .. } => ErrorCode::EventMalformed,
            Self::Field { .. } => ErrorCode::EventField,
            Self::Extension { .. } => ErrorCode::EventExtension,
            Self::Deps(error) => error.code(),
            Self::OwnOriginInDeps { .. } => ErrorCode::EventOwnOriginInDeps,
            Self::StaleDeps { .. } => ErrorCode::EventStaleDeps,
            Self::IdNotIncreasing { .. } => ErrorCode::EventIdNotIncreasing,
        }
    }
}

/// The last millisecond of the year 9999, in milliseconds since 1970: later times have no RFC 3339 form.
pub const MAX_ID_MS: u64 = 253_402_300_799_999;

/// An id's time is one that can be written down. What was stored before this was a rule is still read.
pub(crate) fn check_id(id: EventId) -> Result<(), InvalidEvent> {
    if id.timestamp_ms() > MAX_ID_MS { Err(field("id", "is later than 9999-12-31T23:59:59.999Z")) } else { Ok(()) }
}

const fn field(field: &'static str, rule: &'static str) -> InvalidEvent {
    InvalidEvent::Field { field, rule }
}

pub(crate) fn check_texts(event_type: &str, subject: &str, datacontenttype: &str) -> Result<(), InvalidEvent> {
    if event_type.is_empty() {
        return Err(field("type", "is empty"));
    }
    if event_type.len() > MAX_TYPE_BYTES {
        return Err(field("type", "is longer than 1024 bytes"));
    }
    if subject.len() > MAX_SUBJECT_BYTES {
        return Err(field("subject", "is longer than 1024 bytes"));
    }
    if datacontenttype.len() > MAX_CONTENT_TYPE_BYTES {
        return Err(field("datacontenttype", "is longer than 1024 bytes"));
    }
    Ok(())
}

/// Extension attributes: sorted by name, each once, lower-case letters and digits, none of CloudEvents' own names.
pub(crate) fn check_extensions<'a>(
    extensions: impl ExactSizeIterator<Item = (&'a str, ExtensionRef<'a>)>,
) -> Result<(), InvalidEvent> {
    if extensions.len() > MAX_EXTENSIONS {
        return Err(field("extensions", "are more than 64"));
    }
    let mut previous = "";
    for (name, value) in extensions {
        let plain = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let rule = if name.is_empty() || name.len() > MAX_EXTENSION_NAME_BYTES || !plain {
            "has a name that is not 1 to 64 lower-case letters and digits"
        } else if name <= previous {
            "is not sorted by name, or occurs twice"
        } else if CORE.contains(&name) {
            "has a name of CloudEvents' own"
        } else if value.text_bytes() > MAX_EXTENSION_VALUE_BYTES {
            "has a value longer than 65536 bytes"
        } else {
            previous = name;
            continue;
        };
        return Err(InvalidEvent::Extension { name: quoted(name), value: quoted(&value.to_string()), rule });
    }
    Ok(())
}

const CORE: [&str; 8] = ["specversion", "id", "source", "type", "subject", "time", "datacontenttype", "data"];

/// Tags: sorted, each once, short, and apart where they are joined by commas.
pub(crate) fn check_tags<'a>(tags: impl ExactSizeIterator<Item = &'a str>) -> Result<(), InvalidEvent> {
    if tags.len() > MAX_TAGS {
        return Err(field("tags", "are more than 16"));
    }
    let mut previous = "";
    for tag in tags {
        if tag.is_empty() || tag.len() > MAX_TAG_BYTES {
            return Err(field("tags", "have one that is not 1 to 64 bytes long"));
        }
        if tag.chars().any(|c| c == ',' || c.is_control()) {
            return Err(field("tags", "have one with a comma or a control character"));
        }
        if tag <= previous {
            return Err(field("tags", "are not sorted, or one occurs twice"));
        }
        previous = tag;
    }
    Ok(())
}

/// Names that a draft must not use, because Antiphon gives them a meaning. An event that has them is valid: a newer version may
/// have written them.
pub(crate) fn check_own_names<'a>(
    event_type: &str,
    mut extensions: impl Iterator<Item = &'a str>,
) -> Result<(), InvalidEvent> {
    if event_type.starts_with("antiphon.") {
        return Err(field("type", "begins with `antiphon.`, which is Antiphon's own"));
    }
    match extensions.find(|name| name.starts_with("antiphon")) {
        Some(name) => Err(InvalidEvent::Extension {
            name: quoted(name),
            value: String::new(),
            rule: "has a name of Antiphon's own",
        }),
        None => Ok(()),
    }
}

/// A causal delta: sorted, in range, and never of the event's own origin.
pub(crate) fn check_deps(origin: Origin, deps: &[(Origin, u64)]) -> Result<(), InvalidEvent> {
    if deps.len() > MAX_CLOCK_ENTRIES {
        return Err(ClockError::TooManyEntries { limit: MAX_CLOCK_ENTRIES }.into());
    }
    if deps.iter().any(|entry| entry.0 == origin) {
        return Err(InvalidEvent::OwnOriginInDeps { origin });
    }
    Ok(())
}
