//! What a failure of RocksDB or of the file system means to a caller.

use std::io;
use std::path::Path;

use antiphon_kernel::store::{StoreError, StoreErrorKind};

/// An error of this kind: what was being done to which path, why it failed, and what to do next.
pub(crate) fn failure(kind: StoreErrorKind, doing: &str, path: &Path, why: &str) -> StoreError {
    StoreError::new(kind, format!("{doing} {}: {why}; {}", path.display(), next_step(kind)))
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

fn next_step(kind: StoreErrorKind) -> &'static str {
    match kind {
        StoreErrorKind::Corrupt => {
            "nothing was repaired: keep a copy of the directory; then let `antiphon verify --repair` keep what is whole, restore \
             a backup, or start an empty store and let the peers refill it"
        }
        StoreErrorKind::InUse => "stop that process, or name another directory",
        StoreErrorKind::NewerFormat => "nothing was changed: run the version that wrote it, or a later one",
        StoreErrorKind::ReadOnly => "let this user write there, or name another directory",
        StoreErrorKind::NoSpace => "make space on that file system; a node that serves goes on by itself then",
        StoreErrorKind::Missing => "check the path, or create a store there first",
        StoreErrorKind::Io => {
            "look for errors of that device in the system's log; a node that serves tries again by itself"
        }
        StoreErrorKind::Displaced => {
            "put the same files back at that path, and a node that serves continues; or stop the node and restore a backup"
        }
        StoreErrorKind::Misuse => "name another path",
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
    fn a_message_names_the_path_and_a_next_step() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let text = from_io("could not write", Path::new("/data/FORMAT"), &full).to_string();
        assert!(text.contains("/data/FORMAT") && text.contains("make space"), "{text}");
    }
}
