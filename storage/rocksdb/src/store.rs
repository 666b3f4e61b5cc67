//! [`RocksStore`]: the handle that can be closed and opened anew.

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use antiphon_kernel::identity::{KeyError, KeyFiles, Signer};
use antiphon_kernel::store::{
    Batch, Durability, Family, KeyRange, KeyValue, Sizes, Store, StoreError, StoreErrorKind, Visitor,
};

use crate::backup;
use crate::data_dir::DataDir;
use crate::database::Database;
use crate::error::failure;
use crate::marker::{self, HEAD, Head};
use crate::options::Options;
use crate::recovery;

/// A [`Store`] in a directory, on RocksDB column families.
///
/// The directory holds `FORMAT`, `LOCK`, `HEAD`, RocksDB's own directory `db`, and the key files of its cortex
/// ([`KeyFiles`]); other files in it are left alone. It is this process's from [`RocksStore::open`] until the last use is dropped, through every [`Store::reopen`].
///
/// All methods block, on the disk at worst: call them from threads that may wait. A scan's visitor must not call the
/// store: a `reopen` or `ensure_families` that waits for the scan would make the two wait for each other.
///
/// # What it cannot see
/// Where whole records are missing from the *end* of the write-ahead log, RocksDB takes that for an ordinary crash. A log
/// that went backwards so is found above the store: by what was noted in `HEAD`, and by what the peers hold.
pub struct RocksStore {
    // Before `data_dir`, so that it is dropped first: RocksDB is closed before the lock is released.
    handle: RwLock<Handle>,
    data_dir: DataDir,
    head: Head,
    options: Options,
    lost_end: AtomicBool,
    /// That the path leads to other files than those that are open, since it was noticed.
    displaced: RwLock<Option<StoreError>>,
}

enum Handle {
    Open(Box<Database>),
    /// Opening it anew failed, for this reason, but for reading it did not.
    Reading(Box<Database>, StoreErrorKind, String),
    /// Opening it anew failed, for this reason.
    Closed(StoreErrorKind, String),
    /// Its owner closed it, and others may open the directory.
    Released,
}

impl Handle {
    fn closed(error: &StoreError) -> Self {
        Self::Closed(error.kind(), error.detail().to_owned())
    }
}

fn not_writable(kind: StoreErrorKind, why: &str) -> StoreError {
    StoreError::new(kind, format!("it is open for reading alone since it could not be opened anew ({why}); reopen it"))
}

fn not_open(kind: StoreErrorKind, why: &str) -> StoreError {
    StoreError::new(kind, format!("it is closed since it could not be opened anew ({why}); reopen it"))
}

fn released() -> StoreError {
    StoreError::new(StoreErrorKind::Misuse, "it was closed; open it again")
}

impl RocksStore {
    /// Opens the store in a directory, with default options. Makes one if the directory has none.
    ///
    /// # Errors
    /// As [`RocksStore::open_with`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::open_with(path, Options::default())
    }

    /// Opens the store in a directory. A [`Create`](crate::Create) alone is enough for options.
    ///
    /// # Errors
    /// Each names the directory or the file in it, and what to do next.
    /// - `NewerFormat`: a later version wrote it. Nothing was changed.
    /// - `OlderFormat`: an earlier version wrote it, and this one does not read its format. Nothing was changed.
    /// - `Missing`: there is none, and [`Create::Never`](crate::Create::Never). Nothing was changed.
    /// - `InUse`: another process, or another `RocksStore` of this one, has it open.
    /// - `Corrupt`: its files are damaged or incomplete. Nothing was repaired.
    /// - `ReadOnly`, `NoSpace`, `Io`: the file system failed. No half-made store is left behind.
    /// - `Misuse`: the path leads to, or through, something that is no directory.
    pub fn open_with(path: impl AsRef<Path>, options: impl Into<Options>) -> Result<Self, StoreError> {
        let options = options.into();
        let (data_dir, (database, lost_end)) =
            DataDir::claim(path.as_ref(), options.create, || recovery::open(path.as_ref(), &options))?;
        let handle = RwLock::new(Handle::Open(Box::new(database)));
        Ok(Self {
            handle,
            data_dir,
            head: Head::default(),
            options,
            lost_end: AtomicBool::new(lost_end),
            displaced: RwLock::default(),
        })
    }

    /// The directory that it was opened in.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.data_dir.dir()
    }

    /// Writes a copy of everything that is visible now to a directory that is not there yet, while reads and writes go on.
    /// It is a store of its own, whole and durable when this returns; what was half made is left behind where it fails.
    ///
    /// # Errors
    /// `NoSpace`, `ReadOnly`, `Io`; where it is open for reading alone, why: what stands in its write-ahead log cannot be
    /// copied then. The copy has no keys.
    pub fn copy_to(&self, to: impl AsRef<Path>) -> Result<(), StoreError> {
        self.write(|database| backup::write(database, to.as_ref()))
    }

    // A panic while the handle was being changed leaves it whole or closed: there is no half of it to be afraid of.
    fn shared(&self) -> RwLockReadGuard<'_, Handle> {
        self.handle.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn exclusive(&self) -> RwLockWriteGuard<'_, Handle> {
        self.handle.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn read<T>(&self, use_it: impl FnOnce(&Database) -> Result<T, StoreError>) -> Result<T, StoreError> {
        match &*self.shared() {
            Handle::Open(database) | Handle::Reading(database, ..) => use_it(database),
            Handle::Closed(kind, why) => Err(not_open(*kind, why)),
            Handle::Released => Err(released()),
        }
    }

    /// Compares what is open with what the path leads to, and remembers a difference until the next reopening.
    fn look_at_location(&self, handle: &Handle) -> Result<(), StoreError> {
        let head = self.head.opened().map(|file| (HEAD, file));
        let change = self.data_dir.change(head.as_slice()).or_else(|| match handle {
            Handle::Open(database) => {
                database.missing_file().map(|name| format!("`{name}` in its directory `db` was removed"))
            }
            Handle::Reading(..) | Handle::Closed(..) | Handle::Released => None,
        });
        let found = change.map(|change| {
            let why = format!("since it was opened, {change}");
            failure(StoreErrorKind::Displaced, "nothing more is written to", self.path(), &why)
        });
        let mut displaced = self.displaced.write().unwrap_or_else(PoisonError::into_inner);
        if found.is_some() {
            displaced.clone_from(&found);
        }
        found.map_or(Ok(()), Err)
    }

    fn write<T>(&self, use_it: impl FnOnce(&Database) -> Result<T, StoreError>) -> Result<T, StoreError> {
        if let Some(error) = &*self.displaced.read().unwrap_or_else(PoisonError::into_inner) {
            return Err(error.clone());
        }
        match &*self.shared() {
            Handle::Open(database) => use_it(database),
            Handle::Reading(_, kind, why) => Err(not_writable(*kind, why)),
            Handle::Closed(kind, why) => Err(not_open(*kind, why)),
            Handle::Released => Err(released()),
        }
    }
}

impl Store for RocksStore {
    fn get(&self, family: Family<'_>, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(|database| database.get(family, key))
    }

    fn scan(&self, family: Family<'_>, range: KeyRange<'_>, visit: &mut Visitor<'_>) -> Result<(), StoreError> {
        self.read(|database| database.scan(family, range, visit))
    }

    fn scan_floor(&self, family: Family<'_>, range: KeyRange<'_>, visit: &mut Visitor<'_>) -> Result<(), StoreError> {
        self.read(|database| database.scan_floor(family, range, visit))
    }

    fn last(&self, family: Family<'_>, prefix: &[u8]) -> Result<Option<KeyValue>, StoreError> {
        self.read(|database| database.last(family, prefix))
    }

    fn commit(&self, batch: &Batch, durability: Durability) -> Result<(), StoreError> {
        self.write(|database| {
            // What another thread writes meanwhile, and does not sync, must not be counted: it may be gone after a power
            // loss, and would be missed. Each change has a number of its own.
            let least = database.newest() + batch.len() as u64;
            database.write(batch, durability == Durability::Sync)?;
            if durability == Durability::Sync {
                self.head.write_synced(self.path(), least);
            }
            Ok(())
        })
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.write(|database| {
            let newest = database.newest();
            database.sync()?;
            self.head.write_synced(self.path(), newest);
            Ok(())
        })
    }

    fn ensure_families(&self, names: &[&str]) -> Result<(), StoreError> {
        match &mut *self.exclusive() {
            Handle::Open(database) => database.ensure(names),
            Handle::Reading(_, kind, why) => Err(not_writable(*kind, why)),
            Handle::Closed(kind, why) => Err(not_open(*kind, why)),
            Handle::Released => Err(released()),
        }
    }

    fn reopen(&self) -> Result<(), StoreError> {
        let mut handle = self.exclusive();
        if matches!(&*handle, Handle::Released) {
            return Err(released());
        }
        // Other files must not be taken for these. What is open is read on.
        self.look_at_location(&handle)?;
        *self.displaced.write().unwrap_or_else(PoisonError::into_inner) = None;
        // Closed first: RocksDB lets no one open a database twice, and remembers a failed write until it is closed.
        *handle = Handle::Closed(StoreErrorKind::Io, "it was interrupted".to_owned());
        match self.data_dir.look_again().and_then(|()| recovery::open(self.path(), &self.options)) {
            Ok((database, lost_end)) => {
                *handle = Handle::Open(Box::new(database));
                self.lost_end.fetch_or(lost_end, Ordering::Relaxed);
                Ok(())
            }
            Err(error) => {
                *handle = match recovery::open_for_reading(self.path(), &self.options) {
                    Ok(database) => Handle::Reading(Box::new(database), error.kind(), error.detail().to_owned()),
                    Err(_) => Handle::closed(&error),
                };
                Err(error)
            }
        }
    }

    fn check(&self) -> Result<(), StoreError> {
        self.check_with(&mut |_, _| {})
    }

    fn check_with(&self, report: &mut dyn FnMut(u64, u64)) -> Result<(), StoreError> {
        self.read(|database| database.check(report))
    }

    fn check_location(&self) -> Result<(), StoreError> {
        self.look_at_location(&self.shared())
    }

    fn free_bytes(&self) -> Result<Option<u64>, StoreError> {
        marker::free_bytes(self.path()).map(Some)
    }

    fn sizes(&self) -> Result<Option<Sizes>, StoreError> {
        self.read(|database| Ok(Some(database.sizes())))
    }

    fn fingerprint(&self) -> Result<Option<Vec<u8>>, StoreError> {
        marker::fingerprint(self.path()).map(Some)
    }

    fn note(&self, bytes: &[u8], durability: Durability) {
        self.head.write(self.path(), bytes, durability == Durability::Sync);
    }

    fn noted(&self) -> Option<Vec<u8>> {
        marker::noted(self.path())
    }

    fn lost_end(&self) -> bool {
        self.lost_end.load(Ordering::Relaxed)
    }

    fn keys(&self) -> Result<Option<Arc<dyn Signer>>, KeyError> {
        let files = KeyFiles::of(self.path());
        match files.load()? {
            Some(keys) => Ok(Some(Arc::new(keys))),
            None => Err(KeyError::Missing { file: files.working() }),
        }
    }

    fn create_keys(&self) -> Result<Option<Arc<dyn Signer>>, KeyError> {
        Ok(Some(Arc::new(KeyFiles::of(self.path()).create()?)))
    }

    fn close(&self) {
        let mut handle = self.exclusive();
        // RocksDB first: the next holder of the lock must find it closed.
        *handle = Handle::Released;
        self.data_dir.release();
    }
}

impl fmt::Debug for RocksStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RocksStore").field("path", &self.path()).finish_non_exhaustive()
    }
}
