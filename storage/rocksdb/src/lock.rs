//! The file `LOCK`: one process, and one store in it, at a time.
//!
//! RocksDB has a lock of its own, but lets go of it whenever a store is opened anew, and cannot say who holds it. This
//! one is held for as long as the [`RocksStore`](crate::RocksStore) lives, and its content is the holder's process id.
//! The system releases it when the process ends, however it ends: there are no stale locks.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::Path;

use antiphon_kernel::store::{StoreError, StoreErrorKind};

use crate::error::{failure, from_io};

pub(crate) const FILE: &str = "LOCK";

/// Keeps every process, this one included, from opening the store in a directory, for as long as it lives. For whoever
/// moves or replaces it.
#[derive(Debug)]
pub struct DirectoryLock(#[allow(dead_code, reason = "held")] Lock);

impl DirectoryLock {
    /// Takes the lock of a directory, which must exist.
    ///
    /// # Errors
    /// `InUse` where a store is open there, or another lock is held; `ReadOnly`, `NoSpace`, `Io`.
    pub fn take(dir: impl AsRef<Path>) -> Result<Self, StoreError> {
        let mut lock = Lock::take(dir.as_ref())?;
        lock.sign(dir.as_ref())?;
        Ok(Self(lock))
    }
}

/// Held until dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
}

impl Lock {
    /// Takes the lock of a data directory, which must exist.
    ///
    /// # Errors
    /// `InUse` where it is held, naming the holder if it can be known; `ReadOnly`, `NoSpace`, `Io`.
    pub(crate) fn take(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join(FILE);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false) // it is not ours yet
            .open(&path)
            .map_err(|error| from_io("could not open", &path, &error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(failure(StoreErrorKind::InUse, "did not open", dir, &holder(&file)));
            }
            // A file system without such locks: RocksDB's own is all there is.
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {}
            Err(TryLockError::Error(error)) => return Err(from_io("could not lock", &path, &error)),
        }
        Ok(Self { file })
    }

    /// Writes down who holds it.
    ///
    /// # Errors
    /// `ReadOnly`, `NoSpace`, `Io`.
    pub(crate) fn sign(&mut self, dir: &Path) -> Result<(), StoreError> {
        let written = self.file.set_len(0).and_then(|()| self.file.rewind());
        written
            .and_then(|()| writeln!(self.file, "{}", std::process::id()))
            .map_err(|error| from_io("could not write", &dir.join(FILE), &error))
    }

    /// Removes the file from a directory that is about to go, as far as that can be done.
    pub(crate) fn remove(dir: &Path) {
        let _ = fs::remove_file(dir.join(FILE));
    }
}

fn holder(file: &File) -> String {
    let mut text = String::new();
    // What cannot be read is not known; the lock is held either way.
    let _ = file.take(32).read_to_string(&mut text);
    match text.trim().parse::<u32>() {
        Ok(pid) if pid == std::process::id() => format!("this process (pid {pid}) has it open already"),
        Ok(pid) => format!("process {pid} has it open"),
        Err(_) => "another process has it open".to_owned(),
    }
}
