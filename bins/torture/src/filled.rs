//! The outcome of a file system that fills up, as one process reports it to another.

use serde::{Deserialize, Serialize};

/// The result of filling a store and emptying it again.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Filled {
    /// What happened after there was space again.
    pub(crate) note: String,
    /// Why nothing could be read after more appends failed, if that was so.
    pub(crate) unread: Option<String>,
}
