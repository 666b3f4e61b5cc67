//! The content type of a message.

use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;

/// Whether a message is of this type, whatever its parameters are.
pub(crate) fn is_type(headers: &HeaderMap, expected: &str) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(expected)
}
