//! What an application hands in to be appended.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{InvalidEvent, check_extensions, check_texts};
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
    /// CloudEvents `type`, 1 to 128 bytes.
    pub event_type: String,
    /// CloudEvents `subject`, up to 256 bytes.
    pub subject: Option<String>,
    /// CloudEvents `time`; the moment of appending if absent.
    pub time: Option<Timestamp>,
    /// CloudEvents `datacontenttype`, up to 128 bytes.
    pub datacontenttype: Option<String>,
    /// CloudEvents extension attributes.
    pub extensions: BTreeMap<String, String>,
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
        check_extensions(self.extensions.iter().map(|(n, v)| (n.as_str(), v.as_str())))?;
        Ok(())
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
        assert!(bad(|d| d.event_type = "x".repeat(129)).contains("128"));
        assert!(bad(|d| d.subject = Some("x".repeat(257))).contains("256"));
        assert!(bad(|d| d.datacontenttype = Some("x".repeat(129))).contains("128"));
        assert!(
            bad(|d| {
                d.extensions.insert("Upper".into(), String::new());
            })
            .contains("lower-case")
        );
        assert!(
            bad(|d| {
                d.extensions.insert("source".into(), String::new());
            })
            .contains("own")
        );
        assert!(
            bad(|d| {
                d.extensions.insert("antiphonx".into(), String::new());
            })
            .contains("own")
        );
        assert!(
            bad(|d| {
                d.extensions.insert("a".into(), "x".repeat(4097));
            })
            .contains("4096")
        );
        assert!(
            bad(|d| {
                d.extensions.extend((0..33).map(|n| (format!("x{n}"), String::new())));
            })
            .contains("32")
        );
    }
}
