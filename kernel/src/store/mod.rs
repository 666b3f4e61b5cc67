//! What Antiphon asks of a store: named families of ordered keys, atomic batches, and the truth about durability.
//!
//! Everything that is specific to logs, clocks and cursors is built above this trait, once, in [`crate::log`]; an
//! implementer supplies some ten methods and runs [`crate::testing::store_suite`] against them.

mod batch;
mod family;
pub(crate) mod keys;
mod sizes;

pub use batch::{Batch, Mutation};
pub use family::{Family, InvalidFamily, KERNEL_FAMILIES};
pub use sizes::Sizes;

use std::fmt;
use std::ops::ControlFlow;

use crate::causes::WithCauses;
use crate::error_code::ErrorCode;

/// Whether a commit waits for the disk.
///
/// ```
/// use antiphon_kernel::testing::MemoryStore;
/// use antiphon_kernel::{Batch, Durability, Family, Store};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = MemoryStore::new();
/// let mut batch = Batch::new();
/// batch.put(Family::Meta, b"key", b"value");
/// store.commit(&batch, Durability::Relaxed)?;
/// assert!(!store.is_durable(Family::Meta, b"key"));
/// store.sync()?;
/// assert!(store.is_durable(Family::Meta, b"key"));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// It returns when the batch, and every batch before it, survives power loss.
    Sync,
    /// It returns when the batch is visible. It may be lost in a crash, but never without all batches after it.
    Relaxed,
}

/// Which keys of a family a scan visits.
///
/// ```
/// use antiphon_kernel::KeyRange;
///
/// // The keys of a prefix, from one of them on.
/// let page = KeyRange { from: b"notes/7", prefix: b"notes/" };
/// assert_eq!(KeyRange::prefix(b"notes/").prefix, page.prefix);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyRange<'a> {
    /// The first key visited, if it is there.
    pub from: &'a [u8],
    /// Only keys that begin so.
    pub prefix: &'a [u8],
}

impl<'a> KeyRange<'a> {
    /// All keys that begin with `prefix`.
    #[must_use]
    pub const fn prefix(prefix: &'a [u8]) -> Self {
        Self { from: prefix, prefix }
    }

    /// All keys from `from` on.
    #[must_use]
    pub const fn from(from: &'a [u8]) -> Self {
        Self { from, prefix: &[] }
    }
}

/// What kind of failure a store reports, by what it means for the caller.
///
/// ```
/// use antiphon_kernel::{StoreError, StoreErrorKind};
///
/// let error = StoreError::new(StoreErrorKind::NoSpace, "./alpha");
/// assert_eq!(error.kind(), StoreErrorKind::NoSpace);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// What was written earlier reads back damaged. Never retried.
    Corrupt,
    /// Another process holds the store. Tried again by the caller, if it likes.
    InUse,
    /// The store was written by a newer version. Never retried.
    NewerFormat,
    /// The store was written by an older version, whose format this one does not read. Never retried.
    OlderFormat,
    /// The place of the store cannot be written to.
    ReadOnly,
    /// No space is left. Retried after space was made.
    NoSpace,
    /// There is no store where one was expected.
    Missing,
    /// The device or file system failed. After a failed commit the batch may or may not be there.
    Io,
    /// The files that are open are not those that the path leads to any more. Writing to them loses what is written.
    Displaced,
    /// The caller asked for what cannot be: a family that does not exist, a malformed key.
    Misuse,
}

impl StoreErrorKind {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Corrupt,
        Self::InUse,
        Self::NewerFormat,
        Self::OlderFormat,
        Self::ReadOnly,
        Self::NoSpace,
        Self::Missing,
        Self::Io,
        Self::Displaced,
        Self::Misuse,
    ];

    /// The stable code of this kind.
    #[must_use]
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::Corrupt => ErrorCode::StoreCorrupt,
            Self::InUse => ErrorCode::StoreInUse,
            Self::NewerFormat => ErrorCode::StoreNewerFormat,
            Self::OlderFormat => ErrorCode::StoreOlderFormat,
            Self::ReadOnly => ErrorCode::StoreReadOnly,
            Self::NoSpace => ErrorCode::StoreNoSpace,
            Self::Missing => ErrorCode::StoreMissing,
            Self::Io => ErrorCode::StoreIo,
            Self::Displaced => ErrorCode::StoreDisplaced,
            Self::Misuse => ErrorCode::StoreMisuse,
        }
    }
}

/// A failure of a store.
///
/// ```
/// use antiphon_kernel::testing::MemoryStore;
/// use antiphon_kernel::{Family, Store, StoreErrorKind};
///
/// let error = MemoryStore::new().get(Family::User("notes"), b"key").unwrap_err();
/// assert_eq!(error.kind(), StoreErrorKind::Misuse);
/// ```
#[derive(Debug, Clone)]
pub struct StoreError {
    kind: StoreErrorKind,
    detail: String,
}

impl StoreError {
    /// An error of this kind; `detail` says what happened to what.
    #[must_use]
    pub fn new(kind: StoreErrorKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into() }
    }

    /// Damage found in a family.
    #[must_use]
    pub fn corrupt(detail: impl Into<String>) -> Self {
        Self::new(StoreErrorKind::Corrupt, detail)
    }

    /// A stored value that does not read back: a newer version wrote it, or it is damaged.
    pub(crate) fn unreadable(place: impl fmt::Display, fault: &(impl Unreadable + 'static)) -> Self {
        if fault.is_newer() {
            return Self::new(StoreErrorKind::NewerFormat, format!("{place}: {}", WithCauses(fault)));
        }
        Self::corrupt(format!("{place}: {}", WithCauses(fault)))
    }

    /// What happened to what, without the kind.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The stable code of this failure.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        self.kind.code()
    }

    /// What it means for the caller.
    #[must_use]
    pub const fn kind(&self) -> StoreErrorKind {
        self.kind
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            StoreErrorKind::Corrupt => "the store is damaged",
            StoreErrorKind::InUse => "the store is in use by another process",
            StoreErrorKind::NewerFormat => "the store was written by a newer version of antiphon",
            StoreErrorKind::OlderFormat => "the store was written by an older version of antiphon",
            StoreErrorKind::ReadOnly => "the store cannot be written to",
            StoreErrorKind::NoSpace => "no space is left for the store",
            StoreErrorKind::Missing => "there is no store",
            StoreErrorKind::Io => "the store failed",
            StoreErrorKind::Displaced => "the store's files were removed, replaced or covered",
            StoreErrorKind::Misuse => "the store was used wrongly",
        };
        write!(f, "{what}: {}", self.detail)
    }
}

impl std::error::Error for StoreError {}

/// Why a stored value does not read back.
pub(crate) trait Unreadable: std::error::Error {
    /// Whether a newer version wrote the value, so that nothing is damaged.
    fn is_newer(&self) -> bool;
}

/// How far a version byte can be above the known one before damage is the likelier cause.
const NEWER_VERSIONS: u8 = 16;

/// Whether a version byte is one that a newer version of this program may write.
pub(crate) const fn is_newer(version: u8, known: u8) -> bool {
    version > known && version - known <= NEWER_VERSIONS
}

/// What a scan calls with each key and value.
pub type Visitor<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

/// A key and its value.
pub type KeyValue = (Vec<u8>, Vec<u8>);

/// An ordered key-value store with families and atomic batches.
///
/// # To ensure correctness
/// - Keys of a family are ordered bytewise; families do not see each other.
/// - **A batch is all or nothing**, across families, whatever crashes; mutations of one key apply in their order.
/// - **Commits are ordered.** If a later commit survives a crash, so does every earlier one.
/// - A commit with [`Durability::Sync`] that returned `Ok` survives power loss, and all commits before it too.
/// - **A read that cannot be answered in full is an error**, never a shorter answer. A scan that meets damage reports it,
///   even after it visited some keys.
/// - Reads see every commit that returned before they began. A scan sees one moment, or at least never a part of a batch
///   in the keys that it visits.
/// - Methods may be called from several threads at once.
///
/// ```
/// use std::ops::ControlFlow;
///
/// use antiphon_kernel::testing::MemoryStore;
/// use antiphon_kernel::{Batch, Durability, Family, KeyRange, Store};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = MemoryStore::new();
/// store.ensure_families(&["notes"])?;
/// let notes = Family::user("notes")?;
/// let mut batch = Batch::new();
/// batch.put(notes, b"notes/1", b"hello");
/// batch.put(notes, b"notes/2", b"again");
/// store.commit(&batch, Durability::Sync)?;
/// let mut keys = 0;
/// store.scan(notes, KeyRange::prefix(b"notes/"), &mut |_, _| {
///     keys += 1;
///     ControlFlow::Continue(())
/// })?;
/// assert_eq!(keys, 2);
/// # Ok(())
/// # }
/// ```
pub trait Store: Send + Sync + 'static {
    /// The value at a key.
    ///
    /// # Errors
    /// Kinds `Corrupt`, `Io`, or `Misuse` for a family that does not exist.
    fn get(&self, family: Family<'_>, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Visits keys and values in ascending order until the range ends or the visitor breaks. The visitor must not call
    /// the store: it may hold a lock meanwhile.
    ///
    /// # Errors
    /// As [`Store::get`]; what was visited before an error must not be relied on.
    fn scan(&self, family: Family<'_>, range: KeyRange<'_>, visit: &mut Visitor<'_>) -> Result<(), StoreError>;

    /// The greatest key of a family that begins with `prefix`, and its value.
    ///
    /// # Errors
    /// As [`Store::get`].
    fn last(&self, family: Family<'_>, prefix: &[u8]) -> Result<Option<KeyValue>, StoreError>;

    /// Applies a batch.
    ///
    /// # Errors
    /// Any kind. After an error the batch may or may not be there: the caller calls [`Store::reopen`] and reads again
    /// before it relies on anything.
    fn commit(&self, batch: &Batch, durability: Durability) -> Result<(), StoreError>;

    /// Makes every earlier commit durable.
    ///
    /// # Errors
    /// As [`Store::commit`].
    fn sync(&self) -> Result<(), StoreError>;

    /// Makes families of the embedder's own exist. Existing ones stay as they are.
    ///
    /// # Errors
    /// Kinds `Io`, `NoSpace`, `ReadOnly`.
    fn ensure_families(&self, names: &[&str]) -> Result<(), StoreError>;

    /// Drops what the process remembers and reads the store's truth again, after a failed commit.
    ///
    /// # Errors
    /// As opening it.
    fn reopen(&self) -> Result<(), StoreError>;

    /// Reads every byte and checks what the store can check by itself, such as checksums.
    ///
    /// # Errors
    /// Kind `Corrupt`, naming what is damaged.
    fn check(&self) -> Result<(), StoreError>;

    /// As [`Store::check`], and reports now and then how many entries were read, and how many the store estimates to have.
    ///
    /// Optional: a store that does not know calls nothing.
    ///
    /// # Errors
    /// As [`Store::check`].
    fn check_with(&self, report: &mut dyn FnMut(u64, u64)) -> Result<(), StoreError> {
        let _ = report;
        self.check()
    }

    /// What tells this very copy of the data from any other: a copied, restored or cloned store says something else. A
    /// store that cannot tell says nothing, and copies of it are noticed by peers only.
    ///
    /// # Errors
    /// Kinds `Io`, `ReadOnly`.
    fn fingerprint(&self) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(None)
    }

    /// Whether the files that are open are still those that the path leads to. Asked about once a second, from a thread that
    /// may block. Once it said no, every write fails so until a [`Store::reopen`] found the same files there again.
    ///
    /// # Errors
    /// Kind `Displaced`, saying what changed.
    fn check_location(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// How many bytes can still be written where the data stand; `None` where that is no question.
    ///
    /// # Errors
    /// [`StoreError`] where it cannot be told.
    fn free_bytes(&self) -> Result<Option<u64>, StoreError> {
        Ok(None)
    }

    /// How much room the store takes; `None` where that is not known.
    ///
    /// # Errors
    /// [`StoreError`] where the store is closed after a failure.
    fn sizes(&self) -> Result<Option<Sizes>, StoreError> {
        Ok(None)
    }

    /// Keeps up to 64 bytes beside the data, so that a store which lost its end can be recognised. Called after what they
    /// tell of became durable. With [`Durability::Relaxed`] they need not be synced, and losing them costs nothing but
    /// that.
    fn note(&self, bytes: &[u8], durability: Durability) {
        let _ = (bytes, durability);
    }

    /// What was noted last, if it can be read whole.
    fn noted(&self) -> Option<Vec<u8>> {
        None
    }

    /// Whether the store itself knows that writes are missing which were durable once, at its end. Asked after it was
    /// opened.
    fn lost_end(&self) -> bool {
        false
    }

    /// Releases files and locks, so that the same data can be opened again although this value is still held. Every later call
    /// fails with kind `Misuse`.
    ///
    /// Optional: a store that holds nothing of the system does nothing.
    fn close(&self) {}
}

impl<S: Store + ?Sized> Store for std::sync::Arc<S> {
    fn get(&self, family: Family<'_>, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        (**self).get(family, key)
    }

    fn scan(&self, family: Family<'_>, range: KeyRange<'_>, visit: &mut Visitor<'_>) -> Result<(), StoreError> {
        (**self).scan(family, range, visit)
    }

    fn last(&self, family: Family<'_>, prefix: &[u8]) -> Result<Option<KeyValue>, StoreError> {
        (**self).last(family, prefix)
    }

    fn commit(&self, batch: &Batch, durability: Durability) -> Result<(), StoreError> {
        (**self).commit(batch, durability)
    }

    fn sync(&self) -> Result<(), StoreError> {
        (**self).sync()
    }

    fn ensure_families(&self, names: &[&str]) -> Result<(), StoreError> {
        (**self).ensure_families(names)
    }

    fn reopen(&self) -> Result<(), StoreError> {
        (**self).reopen()
    }

    fn check(&self) -> Result<(), StoreError> {
        (**self).check()
    }

    fn check_with(&self, report: &mut dyn FnMut(u64, u64)) -> Result<(), StoreError> {
        (**self).check_with(report)
    }

    fn fingerprint(&self) -> Result<Option<Vec<u8>>, StoreError> {
        (**self).fingerprint()
    }

    fn check_location(&self) -> Result<(), StoreError> {
        (**self).check_location()
    }

    fn free_bytes(&self) -> Result<Option<u64>, StoreError> {
        (**self).free_bytes()
    }

    fn sizes(&self) -> Result<Option<Sizes>, StoreError> {
        (**self).sizes()
    }

    fn note(&self, bytes: &[u8], durability: Durability) {
        (**self).note(bytes, durability);
    }

    fn noted(&self) -> Option<Vec<u8>> {
        (**self).noted()
    }

    fn lost_end(&self) -> bool {
        (**self).lost_end()
    }

    fn close(&self) {
        (**self).close();
    }
}
