//! What a content type says about an event's data. Every caller asks here, so that two spellings of one media type are
//! treated alike.

use std::borrow::Cow;

use mediatype::MediaType;
use mediatype::names::{JSON, TEXT};
use serde::de::IgnoredAny;

/// What the data of an event are, as its content type says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataKind {
    /// One JSON text: `*/json`, or any type with the suffix `+json`.
    Json,
    /// UTF-8 text: `text/*`.
    Text,
    /// Bytes: every other type, and no type.
    Bytes,
}

impl DataKind {
    /// The kind that a `datacontenttype` names; an empty one names none. Case and parameters do not matter.
    #[must_use]
    pub fn of(content_type: &str) -> Self {
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        match MediaType::parse(essence) {
            Ok(media) if media.subty == JSON || media.suffix == Some(JSON) => Self::Json,
            Ok(media) if media.ty == TEXT => Self::Text,
            _ => Self::Bytes,
        }
    }

    /// Whether these bytes are what the kind says: JSON text, text, or anything.
    #[must_use]
    pub fn fits(self, data: &[u8]) -> bool {
        match self {
            Self::Json => is_json(data),
            Self::Text => std::str::from_utf8(data).is_ok(),
            Self::Bytes => true,
        }
    }
}

/// Whether a text is a media type by its grammar, such as `application/json` or `text/plain; charset=utf-8`.
#[must_use]
pub fn is_media_type(text: &str) -> bool {
    MediaType::parse(text).is_ok()
}

/// Whether bytes are one JSON text. One pass, without recursion and without a tree: nesting may be as deep as the text is
/// long, and what is allocated is at most a byte for each level.
fn is_json(data: &[u8]) -> bool {
    std::str::from_utf8(data).is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok())
}

/// Text for a message: bounded, and nothing in it moves a cursor or breaks a line.
pub(super) fn quoted(text: &str) -> String {
    const SHOWN: usize = 64;
    let short: Cow<'_, str> = match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]).into(),
        None => text.into(),
    };
    short.escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_media_type_are_of_one_kind() {
        for json in [
            "application/json",
            "Application/JSON",
            "application/json; charset=utf-8",
            "application/json;charset=\"UTF-8\"",
            " text/json ",
            "application/vnd.api+json",
            "application/cloudevents+JSON; x=1",
            "application/json;",
        ] {
            assert_eq!(DataKind::of(json), DataKind::Json, "{json}");
        }
        for text in ["text/plain", "TEXT/Plain; charset=utf-8", "text/csv"] {
            assert_eq!(DataKind::of(text), DataKind::Text, "{text}");
        }
        for bytes in
            ["", "xyz", "application/jsonx", "application/x-json-seq", "application/octet-stream", "json", "textual/x"]
        {
            assert_eq!(DataKind::of(bytes), DataKind::Bytes, "{bytes}");
        }
        assert!(is_media_type("text/plain; charset=utf-8") && is_media_type("image/svg+xml"));
        assert!(!is_media_type("xyz") && !is_media_type("") && !is_media_type("text/plain; charset"));
    }

    #[test]
    fn json_is_checked_without_a_bound_of_depth() {
        let deep = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        assert!(is_json(deep(1_000_000).as_bytes()));
        assert!(is_json(br#" {"a":1,"a":18446744073709551616,"b":1e999,"c":"\ud800"} "#));
        for bad in [&b""[..], b"{", b"[1,]", b"\"\n\"", b"01", b"nul", b"1 2", b"\xef\xbb\xbf1", b"\"\xff\""] {
            assert!(!is_json(bad), "{bad:?}");
        }
    }

    #[test]
    fn what_is_quoted_is_short_and_plain() {
        assert_eq!(quoted("a\u{1b}[2J\u{202e}"), "a\\u{1b}[2J\\u{202e}");
        assert_eq!(quoted(&"x".repeat(100)).chars().count(), 65);
    }
}
