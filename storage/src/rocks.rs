//! The store.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use antiphon_kernel::store::{
    Batch, Durability, Family, KERNEL_FAMILIES, KeyRange, KeyValue, Store, StoreError, StoreErrorKind, Visitor,
};
use rocksdb::{
    BoundColumnFamily, ColumnFamilyDescriptor, DBRawIteratorWithThreadMode, DBWithThreadMode, MultiThreaded, Options,
    ReadOptions, WriteBatch, WriteOptions,
};

use crate::directory::{Create, Directory};
use crate::errors::from_rocks;
use crate::options;

type Db = DBWithThreadMode<MultiThreaded>;
type Iter<'a> = DBRawIteratorWithThreadMode<'a, Db>;

/// A store in a data directory that this process holds alone.
pub struct RocksStore {
    directory: Directory,
    /// `None` after a reopening failed: every call then says so until one succeeds.
    db: RwLock<Option<Db>>,
}

impl RocksStore {
    /// Opens the store in a data directory.
    ///
    /// # Errors
    /// Kinds `Missing` (and [`Create::Never`]), `InUse`, `NewerFormat`, `ReadOnly`, `NoSpace`, `Corrupt` or `Io`, each
    /// naming the path and what to do. Nothing that was there is changed by a refusal.
    pub fn open(path: impl AsRef<Path>, create: Create) -> Result<Self, StoreError> {
        let directory = Directory::open(path.as_ref(), create)?;
        let db = open_db(&directory.database())?;
        Ok(Self { directory, db: RwLock::new(Some(db)) })
    }

    /// The data directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    fn db(&self) -> Opened<'_> {
        Opened { guard: self.db.read().unwrap_or_else(PoisonError::into_inner), path: self.path() }
    }
}

/// Opens every family that is there, known or not, and makes the kernel's that are missing.
fn open_db(path: &Path) -> Result<Db, StoreError> {
    let database = options::database();
    let mut names: BTreeSet<String> = KERNEL_FAMILIES.iter().map(|f| f.name().to_owned()).collect();
    names.insert("default".to_owned());
    if path.join("CURRENT").exists() {
        names.extend(Db::list_cf(&Options::default(), path).map_err(|e| from_rocks(&e, path))?);
    }
    let cache = options::cache();
    let families = names.into_iter().map(|name| {
        let settings = options::family(&name, &cache);
        ColumnFamilyDescriptor::new(name, settings)
    });
    Db::open_cf_descriptors(&database, path, families).map_err(|e| from_rocks(&e, path))
}

struct Opened<'a> {
    guard: RwLockReadGuard<'a, Option<Db>>,
    path: &'a Path,
}

impl Opened<'_> {
    fn get(&self) -> Result<&Db, StoreError> {
        self.guard.as_ref().ok_or_else(|| {
            let detail = format!("{} could not be opened again after a failure", self.path.display());
            StoreError::new(StoreErrorKind::ReadOnly, detail)
        })
    }

    fn family(&self, family: Family<'_>) -> Result<(&Db, Arc<BoundColumnFamily<'_>>), StoreError> {
        let db = self.get()?;
        let handle = db
            .cf_handle(family.name())
            .ok_or_else(|| StoreError::new(StoreErrorKind::Misuse, format!("there is no family `{family}`")))?;
        Ok((db, handle))
    }

    fn fault(&self, error: &rocksdb::Error) -> StoreError {
        from_rocks(error, self.path)
    }

    /// Ends of iteration and damage look alike until the status is asked for.
    fn finished(&self, iterator: &Iter<'_>) -> Result<(), StoreError> {
        iterator.status().map_err(|e| self.fault(&e))
    }
}

/// Reads verify checksums and see whole families: the prefix filters of some are for point look-ups.
fn reading() -> ReadOptions {
    let mut options = ReadOptions::default();
    options.set_verify_checksums(true);
    options.set_total_order_seek(true);
    options
}

impl Store for RocksStore {
    fn get(&self, family: Family<'_>, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let opened = self.db();
        let (db, handle) = opened.family(family)?;
        db.get_cf(&handle, key).map_err(|e| opened.fault(&e))
    }

    fn scan(&self, family: Family<'_>, range: KeyRange<'_>, visit: &mut Visitor<'_>) -> Result<(), StoreError> {
        let opened = self.db();
        let (db, handle) = opened.family(family)?;
        let mut iterator = db.raw_iterator_cf_opt(&handle, reading());
        iterator.seek(range.from.max(range.prefix));
        while let Some((key, value)) = iterator.item() {
            if !key.starts_with(range.prefix) || visit(key, value) == ControlFlow::Break(()) {
                break;
            }
            iterator.next();
        }
        opened.finished(&iterator)
    }

    fn last(&self, family: Family<'_>, prefix: &[u8]) -> Result<Option<KeyValue>, StoreError> {
        let opened = self.db();
        let (db, handle) = opened.family(family)?;
        let mut iterator = db.raw_iterator_cf_opt(&handle, reading());
        match successor(prefix) {
            // The successor itself may be a key: it is one too far.
            Some(after) => {
                iterator.seek_for_prev(&after);
                if iterator.key() == Some(&after[..]) {
                    iterator.prev();
                }
            }
            None => iterator.seek_to_last(),
        }
        let found = iterator.item().filter(|(key, _)| key.starts_with(prefix)).map(|(k, v)| (k.to_vec(), v.to_vec()));
        opened.finished(&iterator)?;
        Ok(found)
    }

    fn commit(&self, batch: &Batch, durability: Durability) -> Result<(), StoreError> {
        let opened = self.db();
        let db = opened.get()?;
        let mut handles: Vec<(Family<'_>, Arc<BoundColumnFamily<'_>>)> = Vec::with_capacity(8);
        let mut writes = WriteBatch::default();
        for change in batch.iter() {
            let at = match handles.iter().position(|(family, _)| *family == change.family) {
                Some(at) => at,
                None => {
                    handles.push((change.family, opened.family(change.family)?.1));
                    handles.len() - 1
                }
            };
            match change.value {
                Some(value) => writes.put_cf(&handles[at].1, change.key, value),
                None => writes.delete_cf(&handles[at].1, change.key),
            }
        }
        let mut settings = WriteOptions::default();
        settings.set_sync(durability == Durability::Sync);
        db.write_opt(writes, &settings).map_err(|e| opened.fault(&e))
    }

    fn sync(&self) -> Result<(), StoreError> {
        let opened = self.db();
        opened.get()?.flush_wal(true).map_err(|e| opened.fault(&e))
    }

    fn ensure_families(&self, names: &[&str]) -> Result<(), StoreError> {
        let opened = self.db();
        let db = opened.get()?;
        let cache = options::cache();
        for name in names.iter().filter(|name| db.cf_handle(name).is_none()) {
            db.create_cf(name, &options::family(name, &cache)).map_err(|e| opened.fault(&e))?;
        }
        Ok(())
    }

    fn reopen(&self) -> Result<(), StoreError> {
        let mut db = self.db.write().unwrap_or_else(PoisonError::into_inner);
        // Dropped first: RocksDB locks its own directory.
        *db = None;
        *db = Some(open_db(&self.directory.database())?);
        Ok(())
    }

    fn check(&self) -> Result<(), StoreError> {
        let opened = self.db();
        let db = opened.get()?;
        let path = self.directory.database();
        for name in Db::list_cf(&Options::default(), &path).map_err(|e| opened.fault(&e))? {
            let Some(handle) = db.cf_handle(&name) else { continue };
            let mut settings = reading();
            settings.fill_cache(false);
            let mut iterator = db.raw_iterator_cf_opt(&handle, settings);
            iterator.seek_to_first();
            while iterator.valid() {
                iterator.next();
            }
            opened.finished(&iterator)?;
        }
        Ok(())
    }
}

/// The smallest key greater than every key that begins with `prefix`; `None` if there is no such key.
fn successor(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut after = prefix.to_vec();
    while let Some(last) = after.pop() {
        if last < u8::MAX {
            after.push(last + 1);
            return Some(after);
        }
    }
    None
}
