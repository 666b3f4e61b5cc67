//! CloudEvents 1.0 JSON as drafts.
//!
//! An incoming `id` and `source` are kept as the extensions `originid` and `originsource`, since the event that is appended
//! is a new fact of this cortex. A `time` that is not kept to its last digit (more than six digits of a second, or an offset)
//! is kept as it was written as well, as `origintime`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserializer as _;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;

use super::data_kind::quoted;
use super::{DataKind, Draft, ExtensionValue, MAX_EXTENSIONS, is_media_type};
use crate::error_code::ErrorCode;
use crate::time::{InvalidTimestamp, Timestamp};

/// Why a JSON text is not a CloudEvent that can be appended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CloudEventError {
    /// Not a JSON object.
    #[error("not a JSON object: {0}")]
    Json(String),
    /// A required attribute is missing.
    #[error("attribute `{0}` is missing")]
    Missing(&'static str),
    /// An attribute has the wrong type or form.
    #[error("attribute `{name}` {rule}")]
    Attribute {
        /// Which.
        name: &'static str,
        /// What it should be.
        rule: &'static str,
    },
    /// A member that occurs more than once.
    #[error("attribute `{name}` occurs twice")]
    Twice {
        /// Which.
        name: String,
    },
    /// More members than an event can have.
    #[error("the event has more than {MAX_MEMBERS} attributes")]
    TooMany,
    /// A time that cannot be kept.
    #[error("attribute `time` cannot be kept")]
    Time(#[from] InvalidTimestamp),
    /// An extension whose name is not allowed.
    #[error("extension `{name}` (value `{value}`) has a name that is not 1 to 64 lower-case letters and digits")]
    ExtensionName {
        /// Its name.
        name: String,
        /// The beginning of its value.
        value: String,
    },
    /// An extension whose value is not a scalar.
    #[error("extension `{name}` (value `{value}`) must be a string, a number or a boolean")]
    ExtensionValue {
        /// Its name.
        name: String,
        /// The beginning of its value.
        value: String,
    },
}

impl CloudEventError {
    /// The stable code of this failure.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Json(_) => ErrorCode::CloudEventJson,
            Self::Missing(_) => ErrorCode::CloudEventMissing,
            Self::Attribute { .. } => ErrorCode::CloudEventAttribute,
            Self::Twice { .. } => ErrorCode::CloudEventTwice,
            Self::TooMany => ErrorCode::CloudEventTooMany,
            Self::Time(error) => error.code(),
            Self::ExtensionName { .. } => ErrorCode::CloudEventExtensionName,
            Self::ExtensionValue { .. } => ErrorCode::CloudEventExtensionValue,
        }
    }
}

/// The most members that an event's JSON object may have: the core attributes, the extensions, and what Antiphon adds.
const MAX_MEMBERS: usize = MAX_EXTENSIONS + 32;

const CORE: [&str; 9] =
    ["specversion", "id", "source", "type", "subject", "time", "datacontenttype", "data", "data_base64"];

/// How CloudEvents are read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CloudEventOptions {
    /// Turns the names of extensions into lower case, as `methodName` into `methodname`.
    pub lowercase_extensions: bool,
}

/// The members of an event, each once, with their values as they are written.
struct Members<'a>(BTreeMap<Cow<'a, str>, &'a RawValue>);

struct MembersVisitor<'e>(&'e mut Option<CloudEventError>);

impl<'de> Visitor<'de> for MembersVisitor<'_> {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = BTreeMap::new();
        while let Some(name) = map.next_key::<Name<'de>>()? {
            let fault = if members.contains_key(&name.0) {
                Some(CloudEventError::Twice { name: quoted(&name.0) })
            } else if members.len() == MAX_MEMBERS {
                Some(CloudEventError::TooMany)
            } else {
                None
            };
            if let Some(fault) = fault {
                let text = fault.to_string();
                *self.0 = Some(fault);
                return Err(serde::de::Error::custom(text));
            }
            members.insert(name.0, map.next_value()?);
        }
        Ok(Members(members))
    }
}

/// A member's name, borrowed where nothing in it is escaped.
#[derive(serde::Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'a> Members<'a> {
    fn read(json: &'a str) -> Result<Self, CloudEventError> {
        let mut fault = None;
        let mut reader = serde_json::Deserializer::from_str(json);
        let read =
            reader.deserialize_map(MembersVisitor(&mut fault)).and_then(|members| reader.end().map(|()| members));
        read.map_err(|error| fault.unwrap_or_else(|| CloudEventError::Json(error.to_string())))
    }

    fn raw(&self, name: &str) -> Option<&'a RawValue> {
        self.0.get(name).copied()
    }

    fn text(&self, name: &'static str) -> Result<Option<String>, CloudEventError> {
        match self.raw(name) {
            None => Ok(None),
            Some(raw) => serde_json::from_str(raw.get()).map_err(|_| attribute(name, "must be a string")),
        }
    }
}

/// The draft that a CloudEvents JSON object asks for. JSON `data` is kept byte for byte as it is written.
///
/// # Errors
/// [`CloudEventError`] names the attribute that is missing or malformed.
pub fn from_cloud_event(json: &str) -> Result<Draft, CloudEventError> {
    read_cloud_event(json, CloudEventOptions::default())
}

/// [`from_cloud_event`] with options.
///
/// # Errors
/// As [`from_cloud_event`].
pub fn read_cloud_event(json: &str, options: CloudEventOptions) -> Result<Draft, CloudEventError> {
    let members = Members::read(json)?;
    match members.text("specversion")?.as_deref() {
        Some("1.0") => {}
        Some(_) => return Err(attribute("specversion", "must be \"1.0\"")),
        None => return Err(CloudEventError::Missing("specversion")),
    }
    let event_type = members.text("type")?.ok_or(CloudEventError::Missing("type"))?;
    let datacontenttype = members.text("datacontenttype")?;
    if datacontenttype.as_deref().is_some_and(|text| !is_media_type(text)) {
        return Err(attribute("datacontenttype", "must be a media type, such as application/json"));
    }
    let (data, datacontenttype) = incoming_data(&members, datacontenttype)?;
    let mut draft = Draft::new(event_type, data);
    draft.subject = members.text("subject")?.filter(|s| !s.is_empty());
    draft.datacontenttype = datacontenttype;
    if let Some(text) = members.text("time")? {
        let (time, exact) = Timestamp::parse_rfc3339(&text)?;
        draft.time = Some(time);
        if !exact {
            draft.extensions.insert("origintime".to_owned(), text.into());
        }
    }
    for (kept, name) in [("originid", "id"), ("originsource", "source")] {
        if let Some(value) = members.text(name)? {
            draft.extensions.insert(kept.to_owned(), value.into());
        }
    }
    // The one attribute of Antiphon's own that describes the event.
    if let Some(tags) = members.text("antiphontags")? {
        draft.tags = tags.split(',').filter(|tag| !tag.is_empty()).map(str::to_owned).collect();
    }
    let mut given = BTreeMap::new();
    for (name, raw) in &members.0 {
        // What an Antiphon node wrote out about its own log does not describe the event, so an export can be imported.
        if CORE.contains(&&**name) || name.starts_with("antiphon") {
            continue;
        }
        let (name, value) = match extension(name, raw, options)? {
            Some(extension) => extension,
            None => continue,
        };
        if name == "dataschema" && !value.as_text().is_some_and(is_absolute_uri) {
            return Err(attribute("dataschema", "must be an absolute URI, such as https://example.com/order.json"));
        }
        if given.contains_key(&name) {
            return Err(CloudEventError::Twice { name });
        }
        given.insert(name, value);
    }
    draft.extensions.extend(given);
    Ok(draft)
}

const fn attribute(name: &'static str, rule: &'static str) -> CloudEventError {
    CloudEventError::Attribute { name, rule }
}

fn incoming_data(
    members: &Members<'_>,
    content_type: Option<String>,
) -> Result<(Bytes, Option<String>), CloudEventError> {
    match (members.raw("data"), members.raw("data_base64")) {
        (Some(_), Some(_)) => Err(attribute("data", "and `data_base64` exclude each other")),
        (None, None) => Ok((Bytes::new(), content_type)),
        (None, Some(raw)) => {
            // Without an escape, as base 64 is, it is not copied.
            let text: Name<'_> =
                serde_json::from_str(raw.get()).map_err(|_| attribute("data_base64", "must be a string"))?;
            let data = STANDARD.decode(&*text.0).map_err(|_| attribute("data_base64", "must be padded base 64"))?;
            Ok((data.into(), content_type))
        }
        // No content type means JSON, by the CloudEvents JSON format.
        (Some(raw), None) if content_type.as_deref().is_none_or(|text| DataKind::of(text) == DataKind::Json) => Ok((
            Bytes::copy_from_slice(raw.get().as_bytes()),
            Some(content_type.unwrap_or_else(|| "application/json".to_owned())),
        )),
        (Some(raw), None) => {
            let text: String = serde_json::from_str(raw.get())
                .map_err(|_| attribute("data", "must be a string unless datacontenttype is JSON"))?;
            Ok((text.into(), content_type))
        }
    }
}

fn extension(
    name: &str,
    raw: &RawValue,
    options: CloudEventOptions,
) -> Result<Option<(String, ExtensionValue)>, CloudEventError> {
    let text = raw.get();
    let value = match text.as_bytes().first() {
        Some(b'n') => return Ok(None),
        Some(b't') => Some(true.into()),
        Some(b'f') => Some(false.into()),
        Some(b'-' | b'0'..=b'9') => Some(number(text)),
        Some(b'"') => serde_json::from_str::<String>(text).ok().map(ExtensionValue::Text),
        _ => None,
    };
    let Some(value) = value else {
        return Err(CloudEventError::ExtensionValue { name: quoted(name), value: quoted(text) });
    };
    let name = if options.lowercase_extensions { name.to_ascii_lowercase() } else { name.to_owned() };
    let plain = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    if !plain || !(1..=super::MAX_EXTENSION_NAME_BYTES).contains(&name.len()) {
        return Err(CloudEventError::ExtensionName { name: quoted(&name), value: quoted(&value.to_string()) });
    }
    Ok(Some((name, value)))
}

/// A JSON number: an integer if CloudEvents has it, with 32 bits, and otherwise the text as it is written, so that no digit is lost.
fn number(text: &str) -> ExtensionValue {
    match text.parse::<i32>() {
        Ok(integer) if integer.to_string() == text => integer.into(),
        _ => text.into(),
    }
}

/// Whether a text has the form `scheme:rest` of RFC 3986, without spaces and control characters.
fn is_absolute_uri(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else { return false };
    let letter = scheme.bytes().next().is_some_and(|b| b.is_ascii_alphabetic());
    let scheme = scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    letter && scheme && !rest.is_empty() && !rest.chars().any(|c| c.is_whitespace() || c.is_control())
}
