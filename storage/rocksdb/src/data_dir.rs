//! The data directory: `FORMAT`, `LOCK` and RocksDB's own directory `db`. The holder of a [`DataDir`] may open `db`.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use antiphon_kernel::store::{StoreError, StoreErrorKind};

use crate::error::{failure, from_io};
use crate::format;
use crate::location::Location;
use crate::lock::{self, Lock};
use crate::marker;
use crate::options::Create;

const DATABASE: &str = "db";
const PROBE: &str = "PROBE";

/// A data directory of this process's own.
#[derive(Debug)]
pub(crate) struct DataDir {
    dir: PathBuf,
    location: Location,
    lock: Mutex<Option<Lock>>,
}

/// What was found there, without touching it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Nothing,
    Store,
}

impl DataDir {
    /// Makes a data directory ready for `open`, which opens the database, and undoes what it made of
    /// it where that fails.
    ///
    /// # Errors
    /// Any kind; `Misuse` for a path that is no directory.
    pub(crate) fn claim<T>(
        dir: &Path,
        create: Create,
        open: impl FnOnce() -> Result<T, StoreError>,
    ) -> Result<(Self, T), StoreError> {
        // Looked at before the first change: a place that must not be opened stays as it was, byte for byte.
        look_for(dir, create)?;
        let makes_directory = !dir.exists();
        make_private(dir).map_err(|error| from_io("could not create", dir, &error))?;
        let mut lock = Lock::take(dir).inspect_err(|_| {
            if makes_directory {
                let _ = fs::remove_dir(dir); // only where it is empty: it may be another process's by now
            }
        })?;
        // Again, now that nobody else changes it.
        let found = look_for(dir, create)?;
        let undo = Undo::of(dir, found, makes_directory)?;
        lock.sign(dir)?;
        probe(dir)?;
        if !undo.leave_format {
            format::write(dir)?;
        }
        let opened = open()?;
        let location = Location::open(dir, &[lock::FILE, format::FILE, DATABASE])
            .map_err(|error| from_io("could not open", dir, &error))?;
        let data_dir = Self { dir: dir.to_owned(), location, lock: Mutex::new(Some(lock)) };
        if found == Found::Nothing {
            sync_names(dir)?;
        }
        undo.disarm();
        Ok((data_dir, opened))
    }

    /// Looks again, before the database is opened anew.
    ///
    /// # Errors
    /// As opening it; `Missing` where the store has gone.
    pub(crate) fn look_again(&self) -> Result<(), StoreError> {
        match look(&self.dir)? {
            Found::Store => Ok(()),
            Found::Nothing => Err(failure(StoreErrorKind::Missing, "did not open", &self.dir, "it has gone")),
        }
    }

    /// How the directory, or one of these files of it, was changed since it was opened; `None` if it is the same.
    pub(crate) fn change(&self, more: &[(&'static str, &fs::File)]) -> Option<String> {
        self.location.change(more)
    }

    /// Lets others open it.
    pub(crate) fn release(&self) {
        drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// The data directory.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }
}

/// RocksDB's directory in a data directory.
pub(crate) fn database(dir: &Path) -> PathBuf {
    dir.join(DATABASE)
}

/// # Errors
/// `Missing` where there is no store; where it cannot be known, or is a later version's, that.
pub(crate) fn must_hold_a_store(dir: &Path) -> Result<(), StoreError> {
    look_for(dir, Create::Never).map(|_| ())
}

/// Whether RocksDB would find a database here, rather than make a new one.
///
/// # Errors
/// Where that cannot be known, which is not the same as no.
pub(crate) fn has_database(database: &Path) -> Result<bool, StoreError> {
    let path = database.join("CURRENT");
    path.try_exists().map_err(|error| from_io("could not look at", &path, &error))
}

fn look_for(dir: &Path, create: Create) -> Result<Found, StoreError> {
    match look(dir)? {
        Found::Nothing if create == Create::Never => {
            Err(failure(StoreErrorKind::Missing, "did not open", dir, "nothing was created there yet"))
        }
        found => Ok(found),
    }
}

fn look(dir: &Path) -> Result<Found, StoreError> {
    match fs::metadata(dir) {
        Ok(metadata) if metadata.is_dir() => {}
        Ok(_) => return Err(failure(StoreErrorKind::Misuse, "did not open", dir, "it is not a directory")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) => return Err(from_io("could not look at", dir, &error)),
    }
    let formatted = format::read(dir)?;
    let database = dir.join(DATABASE);
    match (formatted, has_database(&database)?) {
        (true, true) => Ok(Found::Store),
        (false, true) => {
            let why = "there is a database, but no file FORMAT beside it, so its format cannot be known";
            Err(failure(StoreErrorKind::Corrupt, "did not open", dir, why))
        }
        (_, false) => match orphan(&database).map_err(|error| from_io("could not read", &database, &error))? {
            // Creating a database here would bury it for good.
            Some(file) => {
                let why = format!("it holds data ({file}), but the file CURRENT that leads to them is gone");
                Err(failure(StoreErrorKind::Corrupt, "did not open", &database, &why))
            }
            None if marker::is_there(dir) => {
                let why = "a log was kept there, and its database is gone";
                Err(failure(StoreErrorKind::Corrupt, "did not open", &database, why))
            }
            None => Ok(Found::Nothing),
        },
    }
}

/// A file with data in it. A database whose creation was cut short has none before it has a file `CURRENT`.
fn orphan(database: &Path) -> io::Result<Option<String>> {
    let entries = match fs::read_dir(database) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == "sst" || end == "log" || end == "blob") {
            return Ok(path.file_name().map(|name| name.to_string_lossy().into_owned()));
        }
    }
    Ok(None)
}

/// Finds out now, and by name, what would otherwise fail in the middle of a write.
fn probe(dir: &Path) -> Result<(), StoreError> {
    let path = dir.join(PROBE);
    format::write_synced(&path, &[0; 4096])
        .and_then(|()| fs::remove_file(&path))
        .map_err(|error| from_io("could not write", &path, &error))
}

fn sync_names(dir: &Path) -> Result<(), StoreError> {
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    format::sync_directory(dir)
        .and_then(|()| match format::sync_directory(parent) {
            // A parent that may be passed but not read; its owner made the directory long before.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            other => other,
        })
        .map_err(|error| from_io("could not sync", dir, &error))
}

/// Removes what a failed creation made, and only that. Made and dropped while the lock is held.
struct Undo<'a> {
    dir: &'a Path,
    leave_directory: bool,
    leave_format: bool,
    leave_database: bool,
    armed: bool,
}

impl<'a> Undo<'a> {
    fn of(dir: &'a Path, found: Found, makes_directory: bool) -> Result<Self, StoreError> {
        Ok(Self {
            dir,
            leave_directory: found == Found::Store || !makes_directory,
            leave_format: format::read(dir)?,
            leave_database: found == Found::Store || dir.join(DATABASE).exists(),
            armed: true,
        })
    }

    fn disarm(mut self) {
        self.armed = false;
    }
}

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        if !self.armed {
            return;
        }
        // Errors here would hide the one that is being reported.
        let _ = fs::remove_file(self.dir.join(PROBE));
        if !self.leave_database {
            let _ = fs::remove_dir_all(self.dir.join(DATABASE));
        }
        if !self.leave_format {
            format::remove(self.dir);
        }
        if !self.leave_directory {
            Lock::remove(self.dir);
            let _ = fs::remove_dir(self.dir); // which does nothing where somebody else's file is in it
        }
    }
}

/// Makes a directory, and those above it that are missing, for its owner alone: what is written there is.
pub(crate) fn make_private(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}
