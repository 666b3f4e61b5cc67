//! The text of one event with its share of the memory budget, and why a page breaks off.

use std::sync::Arc;
use std::time::Duration;

use crate::budget::{OverBudget, Share};
use crate::error_code::ErrorCode;
use crate::event::{CloudEventText, EventBytes};
use crate::store::StoreError;

/// How many bytes of records are read at a time; a larger record is read alone.
pub(super) const STEP_BYTES: usize = 256 * 1024;

/// How long a read waits for its share of the memory budget.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// Why a page broke off.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PageError {
    /// The log could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No memory became free in time.
    #[error(transparent)]
    OverBudget(#[from] OverBudget),
}

impl PageError {
    /// The stable code of this failure.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Store(error) => error.code(),
            Self::OverBudget(error) => error.code(),
        }
    }
}

/// The text of an event, with the share of the memory budget that its record takes. The share is given back when the text is
/// dropped.
pub struct HeldText {
    text: CloudEventText<EventBytes>,
    _share: Arc<Share>,
}

impl HeldText {
    pub(super) const fn new(text: CloudEventText<EventBytes>, share: Arc<Share>) -> Self {
        Self { text, _share: share }
    }

    /// The length of the whole text, in bytes.
    #[must_use]
    pub fn length(&self) -> usize {
        self.text.length()
    }

    /// Appends to `out` what comes next: see [`CloudEventText::fill`].
    pub fn fill(&mut self, out: &mut Vec<u8>, until: usize) -> bool {
        self.text.fill(out, until)
    }

    /// The whole text.
    #[must_use]
    pub fn into_string(self) -> String {
        self.text.into_string()
    }
}
