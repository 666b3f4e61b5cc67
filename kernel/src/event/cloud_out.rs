//! An event as CloudEvents 1.0 JSON.
//!
//! `id`, `source`, `type`, `subject`, `time`, `datacontenttype`, the event's extension attributes, Antiphon's own
//! (`antiphontags`: the tags, joined by commas; `antiphonseq`, `antiphoncounter`, `antiphonjoined` and `antiphoncursor`: strings, because a CloudEvents integer has 32 bits),
//! then `data` or `data_base64`. An event that cannot be read here has the required attributes and Antiphon's own, with
//! `antiphonabsent`, which says why.
//!
//! The data are never parsed into a tree. JSON data go out as the text that they are, but for line breaks, which become
//! spaces, so that an event is one line. JSON data that are no JSON text, text that is no UTF-8, and data of other types go
//! out as base 64.

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use super::{DataKind, ExtensionRef, source_of};
use crate::codec::{EventRef, RecordRef};
use crate::cursor::{Cursor, Seq};
use crate::ids::{Dot, EventId};
use crate::log::Unread;
use crate::time::Timestamp;

/// How many bytes of data are turned into text at a time; a multiple of three, as base 64 takes them.
const PIECE: usize = 48 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    None,
    Json,
    Text,
    Base64,
}

impl Form {
    fn of(content_type: &str, data: &[u8]) -> Self {
        // No data is no member: an empty text would come back as a JSON string, where that is the content type.
        if data.is_empty() {
            return Self::None;
        }
        match DataKind::of(content_type) {
            DataKind::Json if DataKind::Json.fits(data) => Self::Json,
            DataKind::Text if DataKind::Text.fits(data) => Self::Text,
            _ => Self::Base64,
        }
    }

    const fn begin(self) -> &'static [u8] {
        match self {
            Self::None => b"",
            Self::Json => b",\"data\":",
            Self::Text => b",\"data\":\"",
            Self::Base64 => b",\"data_base64\":\"",
        }
    }

    const fn end(self) -> &'static [u8] {
        match self {
            Self::None | Self::Json => b"}",
            Self::Text | Self::Base64 => b"\"}",
        }
    }

    fn len(self, data: &[u8]) -> usize {
        match self {
            Self::None => 0,
            Self::Json => data.len(),
            Self::Text => data.iter().map(|&byte| escaped_len(byte)).sum(),
            Self::Base64 => data.len().div_ceil(3) * 4,
        }
    }

    fn write(self, piece: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::None => {}
            // Within the strings of a JSON text no line break can occur, so each is white space.
            Self::Json => out.extend(piece.iter().map(|&byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { byte })),
            Self::Text => piece.iter().for_each(|&byte| escape(byte, out)),
            Self::Base64 => {
                let from = out.len();
                out.resize(from + piece.len().div_ceil(3) * 4, 0);
                let written = STANDARD.encode_slice(piece, &mut out[from..]);
                debug_assert_eq!(written, Ok(piece.len().div_ceil(3) * 4), "the room was counted");
            }
        }
    }
}

const fn escaped_len(byte: u8) -> usize {
    match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 2,
        0..=0x1f => 6,
        _ => 1,
    }
}

/// One byte of UTF-8 in a JSON string. What is escaped is ASCII, so text may be cut anywhere.
fn escape(byte: u8, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let short = match byte {
        b'"' | b'\\' => byte,
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x08 => b'b',
        0x0c => b'f',
        0..=0x1f => {
            out.extend_from_slice(b"\\u00");
            return out.extend([HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
        _ => return out.push(byte),
    };
    out.extend([b'\\', short]);
}

/// An event's CloudEvents JSON, made a piece at a time: in memory are the record and one piece, whatever the text's length.
#[derive(Debug, Clone)]
pub struct CloudEventText<D> {
    /// All attributes, with an open brace before and none after them.
    head: Vec<u8>,
    data: D,
    form: Form,
    /// How much of the head, then of the data, is written.
    written: usize,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Head,
    Data,
    Ended,
}

impl CloudEventText<Bytes> {
    /// The text of an event whose record this is, and of where it is in a log since when.
    #[must_use]
    pub(crate) fn owned(there: Option<(Seq, Timestamp)>, event: &EventRef<'_>, record: &Bytes) -> Self {
        Self::build(there, event, record.slice_ref(event.data))
    }

    /// The text of an event without what one log knows of it: equal wherever the event is held.
    #[must_use]
    pub fn alone(event: &EventRef<'_>, record: &Bytes) -> Self {
        Self::build(None, event, record.slice_ref(event.data))
    }
}

impl<'a> CloudEventText<&'a [u8]> {
    /// The text of an event at `seq` in a log since `joined`.
    #[must_use]
    pub fn new(seq: Seq, joined: Timestamp, event: &EventRef<'a>) -> Self {
        Self::build(Some((seq, joined)), event, event.data)
    }
}

impl<D: AsRef<[u8]> + Default> CloudEventText<D> {
    /// The text of an event that cannot be read here: what its routing part says, and why.
    #[must_use]
    pub(crate) fn unread(there: Option<(Seq, Timestamp)>, record: &RecordRef<'_>, why: Unread) -> Self {
        let mut head = begin(record.id, record.dot, ABSENT_TYPE);
        put("antiphonabsent", why.as_str(), &mut head);
        put_own(there, record.dot, &mut head);
        Self::with_head(head, "", D::default())
    }
}

impl<D: AsRef<[u8]>> CloudEventText<D> {
    fn build(there: Option<(Seq, Timestamp)>, event: &EventRef<'_>, data: D) -> Self {
        Self::with_head(head(there, event), event.datacontenttype, data)
    }

    /// The text with the cursor at the event as `antiphoncursor`, if there is one.
    #[must_use]
    pub(crate) fn with_cursor(mut self, cursor: Option<Cursor>) -> Self {
        if let Some(cursor) = cursor {
            // Writing to memory cannot fail.
            let _ = write!(self.head, ",\"antiphoncursor\":\"{cursor}\"");
        }
        self
    }

    /// The text of a JSON object that begins with `head`, which has at least one member and no closing brace, and ends with
    /// these data as an event has them.
    #[must_use]
    pub(crate) fn with_head(head: Vec<u8>, content_type: &str, data: D) -> Self {
        let form = Form::of(content_type, data.as_ref());
        Self { head, data, form, written: 0, stage: Stage::Head }
    }

    /// The length of the whole text, in bytes.
    #[must_use]
    pub fn length(&self) -> usize {
        let (form, data) = (self.form, self.data.as_ref());
        self.head.len() + form.begin().len() + form.len(data) + form.end().len()
    }

    /// Appends to `out` what comes next, until `out` has at least `until` bytes or the text ends. False once it has ended.
    pub fn fill(&mut self, out: &mut Vec<u8>, until: usize) -> bool {
        while out.len() < until && self.stage != Stage::Ended {
            match self.stage {
                Stage::Head => {
                    out.extend_from_slice(&self.head);
                    out.extend_from_slice(self.form.begin());
                    self.stage = Stage::Data;
                }
                Stage::Data => {
                    let rest = &self.data.as_ref()[self.written..];
                    let piece = &rest[..rest.len().min(PIECE)];
                    self.form.write(piece, out);
                    self.written += piece.len();
                    if piece.len() == rest.len() {
                        out.extend_from_slice(self.form.end());
                        self.stage = Stage::Ended;
                    }
                }
                Stage::Ended => {}
            }
        }
        self.stage != Stage::Ended
    }

    /// The whole text.
    #[must_use]
    pub fn into_string(mut self) -> String {
        let mut out = Vec::with_capacity(self.length());
        self.fill(&mut out, usize::MAX);
        // Attributes and text are UTF-8, checked; the rest is ASCII.
        String::from_utf8(out).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
    }
}

fn head(there: Option<(Seq, Timestamp)>, event: &EventRef<'_>) -> Vec<u8> {
    let mut out = begin(event.id, event.dot, event.event_type);
    if !event.subject.is_empty() {
        put("subject", event.subject, &mut out);
    }
    match event.time.to_rfc3339() {
        Some(time) => put("time", &time, &mut out),
        // A writer may claim a time that no CloudEvent can have.
        None => put("antiphontimemicros", &event.time.as_micros().to_string(), &mut out),
    }
    if !event.datacontenttype.is_empty() {
        put("datacontenttype", event.datacontenttype, &mut out);
    }
    // A peer may have written names that mean something else here; a member must not occur twice.
    for &(name, value) in event.extensions.iter().filter(|(name, _)| !OWN.contains(name)) {
        match value {
            ExtensionRef::Text(text) => put(name, text, &mut out),
            // In JSON's own types, so that they come back as what they are.
            ExtensionRef::Integer(_) | ExtensionRef::Boolean(_) => {
                let _ = write!(out, ",\"{name}\":{value}");
            }
        }
    }
    if !event.tags.is_empty() {
        put("antiphontags", &event.tags.join(","), &mut out);
    }
    put_own(there, event.dot, &mut out);
    out
}

/// The attributes that CloudEvents requires, after an open brace.
fn begin(id: EventId, dot: Dot, event_type: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    out.extend_from_slice(b"{\"specversion\":\"1.0\"");
    put("id", &id.to_string(), &mut out);
    put("source", &source_of(dot.origin()), &mut out);
    put("type", event_type, &mut out);
    out
}

/// What this log knows of an event.
fn put_own(there: Option<(Seq, Timestamp)>, dot: Dot, out: &mut Vec<u8>) {
    if let Some((seq, _)) = there {
        put("antiphonseq", &seq.to_string(), out);
    }
    put("antiphoncounter", &dot.counter().to_string(), out);
    if let Some(joined) = there.and_then(|(_, joined)| joined.to_rfc3339()) {
        put("antiphonjoined", &joined, out);
    }
}

/// Members that this build writes itself.
const OWN: [&str; 7] = [
    "antiphontimemicros",
    "antiphontags",
    "antiphonseq",
    "antiphoncounter",
    "antiphonjoined",
    "antiphoncursor",
    "antiphonabsent",
];

/// The `type` of an event that cannot be read here. No draft can have it.
pub(crate) const ABSENT_TYPE: &str = "antiphon.absent";

/// Appends one member. Names are plain letters and digits.
fn put(name: &str, value: &str, out: &mut Vec<u8>) {
    // Writing to memory cannot fail.
    let _ = write!(out, ",\"{name}\":\"");
    value.bytes().for_each(|byte| escape(byte, out));
    out.push(b'"');
}
