//! The data directory: `FORMAT` (what wrote it), `LOCK` (who holds it), `db/` (RocksDB).

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use antiphon_kernel::store::{StoreError, StoreErrorKind};

use crate::errors::from_io;

/// The newest directory format this build reads and writes.
const FORMAT: u32 = 1;
const FORMAT_PREFIX: &str = "antiphon-store ";

/// Whether a store may be made where there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Create {
    /// Make it.
    IfMissing,
    /// It must be there.
    Never,
}

/// A locked data directory. The lock ends with the value, or with the process, however that ends.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    _lock: File,
}

impl Directory {
    /// Checks, creates where allowed, and locks a data directory. A refusal leaves nothing behind that was not there.
    pub(crate) fn open(path: &Path, create: Create) -> Result<Self, StoreError> {
        let exists = path.join("FORMAT").exists();
        if !exists && create == Create::Never {
            let detail = format!("{} holds no Antiphon store; run `antiphon init` first", path.display());
            return Err(StoreError::new(StoreErrorKind::Missing, detail));
        }
        if exists {
            check_format(path)?;
        } else {
            std::fs::create_dir_all(path).map_err(|e| from_io(&e, "create the directory", path))?;
        }
        let lock = lock(path)?;
        if !exists {
            write_format(path)?;
        }
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.path.join("db")
    }
}

fn check_format(path: &Path) -> Result<(), StoreError> {
    let file = path.join("FORMAT");
    let text = std::fs::read_to_string(&file).map_err(|e| from_io(&e, "read", &file))?;
    let format = text.trim().strip_prefix(FORMAT_PREFIX).and_then(|n| n.parse::<u32>().ok());
    match format {
        Some(format) if format <= FORMAT => Ok(()),
        Some(format) => Err(StoreError::new(
            StoreErrorKind::NewerFormat,
            format!(
                "{} has format {format}, this build reads up to {FORMAT}; use the newer version, nothing was changed",
                path.display()
            ),
        )),
        None => Err(StoreError::corrupt(format!("{} does not name a store format", file.display()))),
    }
}

/// Takes the lock; the operating system gives it back when the process ends, so a crash leaves no stale lock.
fn lock(path: &Path) -> Result<File, StoreError> {
    let file = path.join("LOCK");
    let mut handle = OpenOptions::new()
        .create(true)
        .read(true)
        .write(true)
        .truncate(false)
        .open(&file)
        .map_err(|e| from_io(&e, "write to", path))?;
    match handle.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            // Only for the message: an unreadable number is left out.
            let _ = handle.read_to_string(&mut pid);
            let holder = if pid.trim().is_empty() { String::new() } else { format!(" (process {})", pid.trim()) };
            let detail = format!(
                "{}{holder}; stop that process, or use a command that reaches it while it serves",
                path.display()
            );
            return Err(StoreError::new(StoreErrorKind::InUse, detail));
        }
        Err(TryLockError::Error(e)) => return Err(from_io(&e, "lock", &file)),
    }
    let record = |handle: &mut File| {
        handle.set_len(0)?;
        handle.rewind()?;
        write!(handle, "{}", std::process::id())
    };
    record(&mut handle).map_err(|e| from_io(&e, "write to", &file))?;
    Ok(handle)
}

/// Written whole or not at all: to a second file, synced, renamed over, and the directory synced.
fn write_format(path: &Path) -> Result<(), StoreError> {
    let (temporary, file) = (path.join("FORMAT.new"), path.join("FORMAT"));
    let write = || {
        let mut handle = File::create(&temporary)?;
        writeln!(handle, "{FORMAT_PREFIX}{FORMAT}")?;
        handle.sync_all()?;
        std::fs::rename(&temporary, &file)?;
        File::open(path)?.sync_all()
    };
    write().map_err(|e| from_io(&e, "write", &file))
}
