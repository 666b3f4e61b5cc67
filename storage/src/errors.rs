//! What failures of RocksDB and the file system mean to a caller.

use std::io;
use std::path::Path;

use antiphon_kernel::store::{StoreError, StoreErrorKind};
use rocksdb::ErrorKind;

/// A file system's failure to do something to a path.
pub(crate) fn from_io(error: &io::Error, action: &str, path: &Path) -> StoreError {
    let (kind, advice) = match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            (StoreErrorKind::ReadOnly, "; give this user the right to write there, or choose another data directory")
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => (StoreErrorKind::NoSpace, "; make space"),
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            (StoreErrorKind::ReadOnly, "; choose another data directory")
        }
        _ => (StoreErrorKind::Io, ""),
    };
    StoreError::new(kind, format!("could not {action} {}: {error}{advice}", path.display()))
}

/// RocksDB's failure. It reports the causes of I/O errors as text only, so these are told apart by it.
pub(crate) fn from_rocks(error: &rocksdb::Error, path: &Path) -> StoreError {
    let text = error.to_string();
    let kind = match error.kind() {
        ErrorKind::Corruption => StoreErrorKind::Corrupt,
        _ if text.contains("No space left") => StoreErrorKind::NoSpace,
        _ if text.contains("Read-only file system") || text.contains("Permission denied") => StoreErrorKind::ReadOnly,
        ErrorKind::InvalidArgument | ErrorKind::NotSupported => StoreErrorKind::Misuse,
        _ => StoreErrorKind::Io,
    };
    StoreError::new(kind, format!("{}: {text}", path.display()))
}
