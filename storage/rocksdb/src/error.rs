//! What a failure of RocksDB or of the file system means to a caller.

use std::io;
use std::path::Path;

use antiphon_kernel::store::{StoreError, StoreErrorKind};

/// An error of this kind: what was being done to which path, and why it failed.
pub(crate) fn failure(kind: StoreErrorKind, doing: &str, path: &Path, why: &str) -> StoreError {
    StoreError::new(kind, format!("{doing} {}: {why}", path.display()))
}

/// A file system error.
pub(crate) fn from_io(doing: &str, path: &Path, error: &io::Error) -> StoreError {
    let kind = match error.kind() {
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => StoreErrorKind::ReadOnly,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreErrorKind::NoSpace,
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => StoreErrorKind::Misuse,
        _ => StoreErrorKind::Io,
    };
    failure(kind, doing, path, &error.to_string())
}

/// A RocksDB error. Its message names the file concerned; `path` is the store's.
pub(crate) fn from_rocksdb(doing: &str, path: &Path, error: &rocksdb::Error) -> StoreError {
    failure(kind_of(error.kind(), error.as_ref()), doing, path, error.as_ref())
}

/// RocksDB gives a code and a sentence; which errno was behind an `IOError` stands in the sentence alone.
fn kind_of(code: rocksdb::ErrorKind, message: &str) -> StoreErrorKind {
    let says = |any: &[&str]| any.iter().any(|text| message.contains(text));
    match code {
        rocksdb::ErrorKind::Corruption => StoreErrorKind::Corrupt,
        _ if says(&["No space left on device", "Disk quota exceeded", "Space limit reached"]) => {
            StoreErrorKind::NoSpace
        }
        _ if says(&["lock hold by current process", "While lock file"]) => StoreErrorKind::InUse,
        _ if says(&["Read-only file system", "Permission denied", "Operation not permitted", "PermissionDenied"]) => {
            StoreErrorKind::ReadOnly
        }
        // Only ever seen of a store that is there: one of its files is gone.
        rocksdb::ErrorKind::IOError if says(&["No such file or directory"]) => StoreErrorKind::Corrupt,
        _ => StoreErrorKind::Io,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rocksdb::ErrorKind::{Corruption, IOError, Unknown};

    #[test]
    fn the_sentence_tells_what_the_code_does_not() {
        for (code, message, kind) in [
            (Corruption, "Corruption: checksum mismatch", StoreErrorKind::Corrupt),
            // Damage stays damage, whatever else the sentence mentions.
            (Corruption, "Corruption: IO error: No space left on device", StoreErrorKind::Corrupt),
            (
                IOError,
                "IO error: No space left on device: While appending to file: 000004.log",
                StoreErrorKind::NoSpace,
            ),
            (IOError, "IO error: lock hold by current process, acquire time 1", StoreErrorKind::InUse),
            (IOError, "IO error: While lock file: LOCK: Resource temporarily unavailable", StoreErrorKind::InUse),
            (IOError, "IO error: While open a file: 000004.log: Read-only file system", StoreErrorKind::ReadOnly),
            (Unknown, "Failed to create RocksDB directory: `.. kind: PermissionDenied ..`.", StoreErrorKind::ReadOnly),
            (IOError, "IO error: No such file or directory: MANIFEST-000005", StoreErrorKind::Corrupt),
            (IOError, "IO error: While fdatasync: 000004.log: Input/output error", StoreErrorKind::Io),
        ] {
            assert_eq!(kind_of(code, message), kind, "{message}");
        }
    }

    #[test]
    fn a_message_names_the_path_and_the_reason() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let error = from_io("could not write", Path::new("/data/FORMAT"), &full);
        let text = error.to_string();
        assert!(text.contains("/data/FORMAT") && text.ends_with(&full.to_string()), "{text}");
        assert_eq!(error.code(), StoreErrorKind::NoSpace.code());
    }
}
