//! A copy of a store as it is now, and a look into one that changes nothing.

use std::fmt;
use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use antiphon_kernel::store::{
    Batch, Durability, Family, KeyRange, KeyValue, Store, StoreError, StoreErrorKind, Visitor,
};

use crate::data_dir;
use crate::database::Database;
use crate::error::from_io;
use crate::format;
use crate::marker;
use crate::options::Options;
use crate::recovery;

/// Makes a directory with a copy of an open database in it, as a store of its own.
///
/// # Errors
/// `NoSpace`, `ReadOnly`, `Io`; `Misuse` where something is there already.
pub(crate) fn write(database: &Database, to: &Path) -> Result<(), StoreError> {
    fs::DirBuilder::new().mode(0o700).create(to).map_err(|error| from_io("could not create", to, &error))?;
    format::write(to)?;
    database.checkpoint(&data_dir::database(to))?;
    sync_all(to).map_err(|error| from_io("could not sync", to, &error))
}

/// Makes the files below a directory durable, and their names.
fn sync_all(dir: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() { sync_all(&path)? } else { fs::File::open(&path)?.sync_all()? }
    }
    format::sync_directory(dir)
}

/// A store that is only looked into: whatever lies there stays as it is, byte for byte, and nobody is kept from it. For
/// copies, and for what no process may be running on; what a process that runs on it writes meanwhile is not seen.
pub struct StoredCopy {
    database: Database,
    dir: PathBuf,
}

impl StoredCopy {
    /// Looks into the store in a directory.
    ///
    /// # Errors
    /// `Missing` where there is none, `NewerFormat`, `Corrupt`, `Io`.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, StoreError> {
        let dir = dir.as_ref();
        data_dir::must_hold_a_store(dir)?;
        Ok(Self::over(recovery::open_for_reading(dir, &Options::default())?, dir))
    }

    /// Looks into a store that [`StoredCopy::open`] refuses since its write-ahead log is damaged: at what stands before the
    /// damage. For saving what can be saved, and for nothing else.
    ///
    /// # Errors
    /// As [`StoredCopy::open`].
    pub fn up_to_damage(dir: impl AsRef<Path>) -> Result<Self, StoreError> {
        let dir = dir.as_ref();
        data_dir::must_hold_a_store(dir)?;
        Ok(Self::over(recovery::open_up_to_damage(dir, &Options::default())?, dir))
    }

    pub(crate) fn over(database: Database, dir: &Path) -> Self {
        Self { database, dir: dir.to_owned() }
    }

    fn read_only<T>(&self) -> Result<T, StoreError> {
        Err(StoreError::new(StoreErrorKind::ReadOnly, format!("{}: it is only looked into", self.dir.display())))
    }
}

impl Store for StoredCopy {
    fn get(&self, family: Family<'_>, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.database.get(family, key)
    }

    fn scan(&self, family: Family<'_>, range: KeyRange<'_>, visit: &mut Visitor<'_>) -> Result<(), StoreError> {
        self.database.scan(family, range, visit)
    }

    fn scan_floor(&self, family: Family<'_>, range: KeyRange<'_>, visit: &mut Visitor<'_>) -> Result<(), StoreError> {
        self.database.scan_floor(family, range, visit)
    }

    fn last(&self, family: Family<'_>, prefix: &[u8]) -> Result<Option<KeyValue>, StoreError> {
        self.database.last(family, prefix)
    }

    fn commit(&self, _: &Batch, _: Durability) -> Result<(), StoreError> {
        self.read_only()
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.read_only()
    }

    fn ensure_families(&self, _: &[&str]) -> Result<(), StoreError> {
        self.read_only()
    }

    fn reopen(&self) -> Result<(), StoreError> {
        self.read_only()
    }

    fn check(&self) -> Result<(), StoreError> {
        self.database.check(&mut |_, _| {})
    }

    fn check_with(&self, report: &mut dyn FnMut(u64, u64)) -> Result<(), StoreError> {
        self.database.check(report)
    }

    fn noted(&self) -> Option<Vec<u8>> {
        marker::noted(&self.dir)
    }
}

impl fmt::Debug for StoredCopy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredCopy").field("dir", &self.dir).finish_non_exhaustive()
    }
}
