//! What an application hands in to be appended.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::{ExtensionValue, InvalidEvent, check_extensions, check_own_names, check_tags, check_texts};
use crate::codec::check_attributes;
use crate::error_code::ErrorCode;
use crate::time::Timestamp;

/// An event to be: everything but what the log assigns (id, dot, clock, sequence number).
///
/// ```
/// use antiphon_kernel::Draft;
///
/// let draft = Draft::new("note.written", r#"{"text":"hello"}"#).subject("notes/1").json();
/// assert_eq!(draft.subject.as_deref(), Some("notes/1"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// CloudEvents `type`, 1 to 1,024 bytes. Types that begin with `antiphon.` are reserved.
    pub event_type: String,
    /// CloudEvents `subject`, up to 1,024 bytes.
    pub subject: Option<String>,
    /// CloudEvents `time`; the moment of appending if absent.
    pub time: Option<Timestamp>,
    /// CloudEvents `datacontenttype`, up to 1,024 bytes.
    pub datacontenttype: Option<String>,
    /// What the event is about beyond its subject: up to 16 texts of 1 to 64 bytes without commas and control characters.
    pub tags: BTreeSet<String>,
    /// CloudEvents extension attributes, up to 64 of them. A text has up to 65,536 bytes. All attributes of an event together
    /// have up to 131,072 bytes.
    pub extensions: BTreeMap<String, ExtensionValue>,
    /// The payload.
    pub data: Bytes,
}

/// Why a draft cannot become an event here. Nothing was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidDraft {
    /// A field breaks a bound of the protocol.
    #[error(transparent)]
    Field(#[from] InvalidEvent),
    /// Larger than this node appends.
    #[error("the event would take {bytes} bytes, and at most {limit} may be appended here")]
    TooLarge {
        /// The record's size.
        bytes: usize,
        /// The configured bound.
        limit: usize,
    },
}

impl InvalidDraft {
    /// The stable code of this failure.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Field(error) => error.code(),
            Self::TooLarge { .. } => ErrorCode::AppendTooLarge,
        }
    }
}

impl Draft {
    /// A draft of this type and payload.
    #[must_use]
    pub fn new(event_type: impl Into<String>, data: impl Into<Bytes>) -> Self {
        Self {
            event_type: event_type.into(),
            subject: None,
            time: None,
            datacontenttype: None,
            tags: BTreeSet::new(),
            extensions: BTreeMap::new(),
            data: data.into(),
        }
    }

    /// With a subject.
    #[must_use]
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(subject.into());
        self
    }

    /// With a tag.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.insert(tag.into());
        self
    }

    /// With a time of its own.
    #[must_use]
    pub const fn time(mut self, time: Timestamp) -> Self {
        self.time = Some(time);
        self
    }

    /// With `datacontenttype: application/json`.
    #[must_use]
    pub fn json(mut self) -> Self {
        self.datacontenttype = Some("application/json".to_owned());
        self
    }

    /// Checks every bound that does not depend on the log.
    ///
    /// # Errors
    /// [`InvalidDraft::Field`] names the field and its rule.
    pub fn check(&self) -> Result<(), InvalidDraft> {
        check_texts(
            &self.event_type,
            self.subject.as_deref().unwrap_or_default(),
            self.datacontenttype.as_deref().unwrap_or_default(),
        )?;
        check_tags(self.tags.iter().map(String::as_str))?;
        check_extensions(self.extensions.iter().map(|(n, v)| (n.as_str(), v.as_ref())))?;
        check_own_names(&self.event_type, self.extensions.keys().map(String::as_str))?;
        Ok(check_attributes(self)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_checked_and_named() {
        let ok = Draft::new("t", "x");
        assert_eq!(ok.check(), Ok(()));
        let bad = |change: fn(&mut Draft)| {
            let mut draft = Draft::new("t", "x");
            change(&mut draft);
            draft.check().unwrap_err().to_string()
        };
        assert!(bad(|d| d.event_type.clear()).contains("type is empty"));
        assert!(bad(|d| d.event_type = "x".repeat(1025)).contains("1024"));
        assert!(bad(|d| d.event_type = "antiphon.made".to_owned()).contains("own"));
        assert!(bad(|d| d.subject = Some("x".repeat(1025))).contains("1024"));
        assert!(bad(|d| d.datacontenttype = Some("x".repeat(1025))).contains("1024"));
        assert!(
            bad(|d| {
                d.extensions.insert("Upper".into(), "".into());
            })
            .contains("lower-case")
        );
        assert!(
            bad(|d| {
                d.extensions.insert("source".into(), "".into());
            })
            .contains("own")
        );
        assert!(
            bad(|d| {
                d.extensions.insert("antiphonx".into(), "".into());
            })
            .contains("own")
        );
        assert!(
            bad(|d| {
                d.extensions.insert("a".into(), "x".repeat(65_537).into());
            })
            .contains("65536")
        );
        assert!(
            bad(|d| {
                d.extensions.extend((0..65).map(|n| (format!("x{n}"), "".into())));
            })
            .contains("64")
        );
        assert!(
            bad(|d| {
                d.extensions.extend((0..3).map(|n| (format!("x{n}"), "x".repeat(50_000).into())));
            })
            .contains("131072")
        );
        assert!(bad(|d| d.tags.extend((0..17).map(|n| n.to_string()))).contains("16"));
        for tag in ["", "a,b", "a\n", &"x".repeat(65)] {
            assert!(Draft::new("t", "x").tag(tag).check().is_err(), "{tag}");
        }
    }

    /// What intermediaries of CloudEvents must pass on is taken: 64 KiB with any attributes.
    #[test]
    fn wide_attributes_are_taken() {
        let mut wide = Draft::new("x".repeat(1024), "x").subject("x".repeat(1000)).tag("x".repeat(64));
        wide.extensions.extend((0..40).map(|n| (format!("x{n}"), 7.into())));
        wide.extensions.insert("tracestate".to_owned(), "x".repeat(5000).into());
        wide.extensions.insert("large".to_owned(), "x".repeat(60_000).into());
        assert_eq!(wide.check(), Ok(()));
    }
}
