//! The attributes of an event, version 2: when it happened, and its CloudEvents header.

use super::{field, malformed};
use crate::codec::Capped;
use crate::codec::encoding::{Decode, DecodeError, Encode, Reader, Sink, decode_prefix, fields};
use crate::event::{
    Draft, ExtensionRef, InvalidEvent, MAX_EXTENSIONS, MAX_TAGS, check_extensions, check_tags, check_texts,
};

fields! {
    pub(super) struct Attributes<'a> {
        /// Microseconds after the time in the record's id: small where the event is appended as it happens.
        pub(super) time_offset: i64,
        pub(super) event_type: &'a str,
        pub(super) subject: &'a str,
        pub(super) datacontenttype: &'a str,
        pub(super) tags: Capped<&'a str, MAX_TAGS>,
        pub(super) extensions: Capped<(&'a str, ExtensionRef<'a>), MAX_EXTENSIONS>,
    }
}

const TEXT: u8 = 0;
const INTEGER: u8 = 1;
const BOOLEAN: u8 = 2;

impl Encode for ExtensionRef<'_> {
    fn encode(&self, to: &mut impl Sink) {
        match self {
            Self::Text(text) => (TEXT, *text).encode(to),
            Self::Integer(integer) => (INTEGER, i64::from(*integer)).encode(to),
            Self::Boolean(boolean) => (BOOLEAN, *boolean).encode(to),
        }
    }
}

impl<'de: 'a, 'a> Decode<'de> for ExtensionRef<'a> {
    const LEAST: usize = 2;

    fn decode(from: &mut Reader<'de>) -> Result<Self, DecodeError> {
        Ok(match u8::decode(from)? {
            TEXT => Self::Text(Decode::decode(from)?),
            INTEGER => {
                let integer = i64::decode(from)?;
                Self::Integer(i32::try_from(integer).map_err(|_| DecodeError::Integer(INTEGER))?)
            }
            BOOLEAN => Self::Boolean(Decode::decode(from)?),
            other => return Err(DecodeError::Choice(other.into())),
        })
    }
}

/// Reads the attributes and checks each bound.
pub(super) fn read(bytes: &[u8]) -> Result<Attributes<'_>, InvalidEvent> {
    let (read, after) = decode_prefix::<Attributes<'_>>(bytes).map_err(|e| malformed(e.to_string()))?;
    if !after.is_empty() {
        return Err(malformed(format!("{} bytes follow the attributes", after.len())));
    }
    check_texts(read.event_type, read.subject, read.datacontenttype)?;
    check_tags(read.tags.0.iter().copied())?;
    check_extensions(read.extensions.0.iter().copied())?;
    Ok(read)
}

/// Checks that the attributes can be read.
pub(super) fn check(bytes: &[u8]) -> Result<(), InvalidEvent> {
    read(bytes).map(|_| ())
}

/// Encodes the attributes of a draft.
pub(super) fn encode(draft: &Draft, time_offset: i64) -> Vec<u8> {
    let attributes = Attributes {
        time_offset,
        event_type: &draft.event_type,
        subject: draft.subject.as_deref().unwrap_or_default(),
        datacontenttype: draft.datacontenttype.as_deref().unwrap_or_default(),
        tags: Capped(draft.tags.iter().map(String::as_str).collect()),
        extensions: Capped(draft.extensions.iter().map(|(name, value)| (name.as_str(), value.as_ref())).collect()),
    };
    let mut bytes = Vec::with_capacity(96);
    attributes.encode(&mut bytes);
    bytes
}

/// Checks the size of encoded attributes.
pub(super) fn check_size(bytes: &[u8]) -> Result<(), InvalidEvent> {
    if bytes.len() > crate::event::MAX_ATTRIBUTES_BYTES {
        return Err(field("attributes", "are longer than 131072 bytes"));
    }
    Ok(())
}
