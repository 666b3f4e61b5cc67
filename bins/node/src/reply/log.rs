//! Pages of events. Their texts follow the reply.

use antiphon_kernel::cursor::Cursor;
use serde::{Deserialize, Serialize};

/// What came of reading the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogReply {
    /// The texts of events follow.
    Page(LogPage),
    /// The cursor is of another history, and no text follows.
    CursorUnknown(CursorUnknown),
}

/// A page of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogPage {
    /// The cursor to read on after.
    pub next: Cursor,
    /// The cursor at the newest durable event.
    pub head: Cursor,
}

/// A cursor of another history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CursorUnknown {
    /// What differs.
    pub error: String,
    /// Its stable code; absent if it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The cursor to continue after. Events may come again.
    pub resume: Cursor,
}

/// A page of the newest events of subjects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LatestPage {
    /// The subject to continue after; null at the end.
    pub next: Option<String>,
}
