//! Whether each append is refused at present: the checks that an append makes before it looks at a draft, so that a node is
//! never called healthy on which none would pass.

use super::load::read_last_id;
use super::log_reader::LogReader;
use crate::clock::MAX_CLOCK_ENTRIES;
use crate::error_code::ErrorCode;
use crate::ids::{EventId, GeneratorError, IdGenerator};
use crate::store::StoreError;
use crate::time::Timestamp;

/// Why no append passes at present, whatever its draft.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum AppendsRefused {
    /// A write failed, and the store could not be opened again since.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No id can be made.
    #[error(transparent)]
    Clock(#[from] GeneratorError),
    /// This cortex's epoch would be an origin too many.
    #[error("the log holds {MAX_CLOCK_ENTRIES} origins, and this node's present epoch is none of them")]
    Origins,
}

impl AppendsRefused {
    /// The stable code of this failure.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Store(error) => error.code(),
            Self::Clock(error) => error.code(),
            Self::Origins => ErrorCode::AppendOrigins,
        }
    }
}

impl AppendsRefused {
    /// Its name in JSON and metrics.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Store(_) => "store",
            Self::Clock(_) => "clock",
            Self::Origins => "origins",
        }
    }
}

/// What each append passes first: whether its origin is one of those held, how many these are, and the newest id.
pub(super) fn admit(known: bool, origins: usize, last: EventId, now: Timestamp) -> Result<(), AppendsRefused> {
    if !known && origins >= MAX_CLOCK_ENTRIES {
        return Err(AppendsRefused::Origins);
    }
    Ok(IdGenerator::after(last).check(now.ulid_ms())?)
}

impl LogReader {
    /// Why each append is refused now; `None` while appends are taken. Reads one value of the store.
    #[must_use]
    pub fn refuses_appends(&self, now: Timestamp) -> Option<AppendsRefused> {
        if let Some(error) = self.shared.failed_with() {
            return Some(error.into());
        }
        let (known, origins) = {
            let durable = self.shared.durable();
            (durable.chains.contains_key(&durable.identity.origin()), durable.chains.len())
        };
        let last = match read_last_id(&**self.store()) {
            Ok(last) => last,
            Err(error) => return Some(error.into()),
        };
        admit(known, origins, last, now).err()
    }
}
