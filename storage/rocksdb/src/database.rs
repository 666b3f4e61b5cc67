//! An opened RocksDB and its families.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use antiphon_kernel::store::{
    Batch, Family, KERNEL_FAMILIES, KeyRange, KeyValue, Sizes, StoreError, StoreErrorKind, Visitor,
};
use rocksdb::checkpoint::Checkpoint;
use rocksdb::{ColumnFamily, ColumnFamilyDescriptor, DB, DBRawIterator, ErrorKind, ReadOptions, WriteBatch};

use crate::data_dir::has_database;
use crate::error::{failure, from_rocksdb};
use crate::location;
use crate::marker;
use crate::options::Options;
use crate::tuning::{self, Tuning};

/// How long a write waits at most, at a time, while writes are stopped.
const LONGEST_PAUSE: Duration = Duration::from_millis(32);
/// With less space than this, that is why.
const SCARCE: u64 = 64 << 20;

/// A check reports after this number of entries, some milliseconds apart.
const REPORT_EVERY: u64 = 64 * 1024;

/// RocksDB has this family in every database. Nothing is kept in it.
const DEFAULT: &str = "default";

/// How much of a write-ahead log must be whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wal {
    /// All of it, but for a record that the file breaks off in.
    Whole,
    /// What stands before the first record that is not.
    UpToDamage,
}

/// One opening of the database. Dropping it closes RocksDB.
pub(crate) struct Database {
    db: DB,
    tuning: Tuning,
    /// All families, unknown ones included. RocksDB does not list those of an open database.
    families: Vec<String>,
    path: PathBuf,
}

impl Database {
    /// Opens a database with all the families that it has, and creates the kernel's where they are not there.
    ///
    /// # Errors
    /// `Corrupt`, `InUse`, `ReadOnly`, `NoSpace`, `Io`.
    pub(crate) fn open(path: &Path, options: &Options, wal: Wal) -> Result<Self, StoreError> {
        let mut tuning = Tuning::new(options, wal);
        let failed = |error| from_rocksdb("could not open", path, &error);
        let exists = has_database(path)?;
        // RocksDB refuses an opening that leaves out a family. Those that we do not know are an embedder's, or those of
        // a compatible later version: they are opened with the rest and left alone.
        let mut families = if exists { DB::list_cf(&tuning.rocks, path).map_err(failed)? } else { Vec::new() };
        for name in KERNEL_FAMILIES.iter().map(Family::name).chain([DEFAULT]) {
            if !families.iter().any(|known| known == name) {
                families.push(name.to_owned());
            }
        }
        tuning.rocks.create_if_missing(!exists);
        tuning.rocks.create_missing_column_families(true);
        let descriptors = families.iter().map(|name| ColumnFamilyDescriptor::new(name, tuning.rocks.clone()));
        let db = DB::open_cf_descriptors(&tuning.rocks, path, descriptors).map_err(failed)?;
        tracing::debug!(path = %path.display(), families = families.len(), created = !exists, "opened RocksDB");
        Ok(Self { db, tuning, families, path: path.to_owned() })
    }

    /// Opens what is there without writing: where there is no space left, reading goes on.
    ///
    /// # Errors
    /// `Corrupt`, `Io`.
    pub(crate) fn open_for_reading(path: &Path, options: &Options, wal: Wal) -> Result<Self, StoreError> {
        let tuning = Tuning::new(options, wal);
        let failed = |error| from_rocksdb("could not open for reading", path, &error);
        let families = DB::list_cf(&tuning.rocks, path).map_err(failed)?;
        let descriptors = families.iter().map(|name| ColumnFamilyDescriptor::new(name, tuning.rocks.clone()));
        let db = DB::open_cf_descriptors_read_only(&tuning.rocks, path, descriptors, false).map_err(failed)?;
        Ok(Self { db, tuning, families, path: path.to_owned() })
    }

    /// Writes a database with the same content to a directory that is not there yet. Files that no longer change are linked
    /// where the file system is the same, and copied otherwise.
    ///
    /// # Errors
    /// `NoSpace`, `ReadOnly`, `Io`.
    pub(crate) fn checkpoint(&self, to: &Path) -> Result<(), StoreError> {
        let failed = |error| from_rocksdb("could not copy to", to, &error);
        Checkpoint::new(&self.db).map_err(failed)?.create_checkpoint(to).map_err(failed)
    }

    fn family(&self, family: Family<'_>) -> Result<&ColumnFamily, StoreError> {
        self.db.cf_handle(family.name()).ok_or_else(|| {
            let why =
                format!("there is no family `{family}`; an embedder's own families are made by `ensure_families`");
            StoreError::new(StoreErrorKind::Misuse, format!("{}: {why}", self.path.display()))
        })
    }

    pub(crate) fn get(&self, family: Family<'_>, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.db.get_cf(self.family(family)?, key).map_err(|error| self.reading(family.name(), &error))
    }

    pub(crate) fn scan(
        &self,
        family: Family<'_>,
        range: KeyRange<'_>,
        visit: &mut Visitor<'_>,
    ) -> Result<(), StoreError> {
        let mut cursor = self.db.raw_iterator_cf_opt(self.family(family)?, within(range.prefix));
        cursor.seek(range.from.max(range.prefix));
        self.walk(family.name(), &mut cursor, visit)
    }

    pub(crate) fn scan_floor(
        &self,
        family: Family<'_>,
        range: KeyRange<'_>,
        visit: &mut Visitor<'_>,
    ) -> Result<(), StoreError> {
        let mut cursor = self.db.raw_iterator_cf_opt(self.family(family)?, within(range.prefix));
        cursor.seek_for_prev(range.from);
        if !cursor.valid() {
            // Nothing is there, or it cannot be read: only then there is no key to begin at.
            cursor.status().map_err(|error| self.reading(family.name(), &error))?;
            cursor.seek(range.from.max(range.prefix));
        }
        self.walk(family.name(), &mut cursor, visit)
    }

    fn walk(&self, family: &str, cursor: &mut DBRawIterator<'_>, visit: &mut Visitor<'_>) -> Result<(), StoreError> {
        while let Some((key, value)) = cursor.item() {
            if visit(key, value).is_break() {
                return Ok(());
            }
            cursor.next();
        }
        // An iterator that meets damage looks like one that has come to its end.
        cursor.status().map_err(|error| self.reading(family, &error))
    }

    pub(crate) fn last(&self, family: Family<'_>, prefix: &[u8]) -> Result<Option<KeyValue>, StoreError> {
        let mut cursor = self.db.raw_iterator_cf_opt(self.family(family)?, within(prefix));
        // The last within the bounds of the prefix.
        cursor.seek_to_last();
        let last = cursor.item().map(|(key, value)| (key.to_vec(), value.to_vec()));
        cursor.status().map_err(|error| self.reading(family.name(), &error))?;
        Ok(last)
    }

    pub(crate) fn write(&self, batch: &Batch, sync: bool) -> Result<(), StoreError> {
        if batch.is_empty() {
            // RocksDB need not touch its log for it, yet the batches before it are to be durable.
            return if sync { self.sync() } else { Ok(()) };
        }
        let began = Instant::now();
        let options = tuning::writing(sync);
        let mut pause = Duration::from_millis(1);
        loop {
            match self.db.write_opt(self.encoded(batch)?, &options) {
                Ok(()) => return Ok(()),
                // Stopped until flushes or compactions have caught up. That is waited for out here: a writer that waits in
                // RocksDB's queue and a recovery from a full disk that is queued behind it wait for each other for ever.
                Err(error) if error.kind() == ErrorKind::Incomplete && began.elapsed() < self.patience() => {
                    thread::sleep(pause);
                    pause = (2 * pause).min(LONGEST_PAUSE);
                }
                Err(error) if error.kind() == ErrorKind::Incomplete => return Err(self.stalled(began.elapsed())),
                Err(error) => return Err(from_rocksdb("could not write to", &self.path, &error)),
            }
        }
    }

    fn encoded(&self, batch: &Batch) -> Result<WriteBatch, StoreError> {
        let mut handles: Vec<(Family<'_>, &ColumnFamily)> = Vec::with_capacity(KERNEL_FAMILIES.len());
        let mut writes = WriteBatch::with_capacity_bytes(batch.bytes() + 16 * batch.len() + 16);
        for change in batch.iter() {
            let handle = match handles.iter().find(|(family, _)| *family == change.family) {
                Some((_, handle)) => *handle,
                None => {
                    let handle = self.family(change.family)?;
                    handles.push((change.family, handle));
                    handle
                }
            };
            match change.value {
                Some(value) => writes.put_cf(handle, change.key, value),
                None => writes.delete_cf(handle, change.key),
            }
        }
        Ok(writes)
    }

    /// How long a write waits while writes are stopped: not long, where what it waits for has failed.
    fn patience(&self) -> Duration {
        match self.db.property_int_value("rocksdb.background-errors") {
            Ok(Some(0) | None) => Duration::from_secs(60),
            _ => Duration::from_secs(1),
        }
    }

    fn stalled(&self, waited: Duration) -> StoreError {
        let free = marker::free_bytes(&self.path).unwrap_or(u64::MAX);
        let kind = if free < SCARCE { StoreErrorKind::NoSpace } else { StoreErrorKind::Io };
        let why = format!("it has taken no write for {} s, since it cannot flush or compact", waited.as_secs());
        failure(kind, "could not write to", &self.path, &why)
    }

    /// A file of its own that it cannot be without and that is not there any more.
    pub(crate) fn missing_file(&self) -> Option<String> {
        let tables = || {
            let files = self.db.live_files().unwrap_or_default();
            files.into_iter().map(|file| file.name.trim_start_matches('/').to_owned()).collect()
        };
        location::missing_file(&self.path, tables)
    }

    /// How much room it takes; what cannot be told counts as nothing.
    pub(crate) fn sizes(&self) -> Sizes {
        let mut sizes = Sizes::default();
        for name in &self.families {
            let Some(family) = self.db.cf_handle(name) else { continue };
            let of = |property| self.db.property_int_value_cf(family, property).ok().flatten().unwrap_or(0);
            let memory = of("rocksdb.cur-size-all-mem-tables");
            // A table without entries has a size as well: the space that it reserves.
            let entries = of("rocksdb.num-entries-active-mem-table") + of("rocksdb.num-entries-imm-mem-tables");
            let written = if entries == 0 { 0 } else { memory };
            sizes.families.push((name.clone(), of("rocksdb.total-sst-files-size") + written));
            sizes.memory += memory;
        }
        let logs = std::fs::read_dir(self.db.path()).into_iter().flatten().flatten();
        let logs = logs.filter(|entry| entry.path().extension().is_some_and(|end| end == "log"));
        sizes.wal = logs.filter_map(|entry| Some(entry.metadata().ok()?.len())).sum();
        sizes
    }

    /// The sequence number of the newest change.
    pub(crate) fn newest(&self) -> u64 {
        self.db.latest_sequence_number()
    }

    pub(crate) fn sync(&self) -> Result<(), StoreError> {
        self.db.flush_wal(true).map_err(|error| from_rocksdb("could not sync", &self.path, &error))
    }

    pub(crate) fn ensure(&mut self, names: &[&str]) -> Result<(), StoreError> {
        for name in names {
            if self.db.cf_handle(name).is_some() {
                continue;
            }
            Family::user(name).map_err(|error| {
                failure(StoreErrorKind::Misuse, "made no family in", &self.path, &error.to_string())
            })?;
            self.db
                .create_cf(name, &self.tuning.rocks)
                .map_err(|error| from_rocksdb("could not create a family in", &self.path, &error))?;
            self.families.push((*name).to_owned());
        }
        Ok(())
    }

    /// Reads everything. Reports how many entries were read, and how many there are as far as RocksDB estimates.
    pub(crate) fn check(&self, report: &mut dyn FnMut(u64, u64)) -> Result<(), StoreError> {
        // What is in the cache was right when it was read; the question is what the disk holds now.
        self.tuning.forget_blocks();
        let families: Vec<_> = self
            .families
            .iter()
            .map(|name| (name, self.db.cf_handle(name).expect("every family listed was opened or created")))
            .collect();
        let estimate =
            |family| self.db.property_int_value_cf(family, "rocksdb.estimate-num-keys").ok().flatten().unwrap_or(0);
        let total: u64 = families.iter().map(|(_, family)| estimate(*family)).sum();
        let mut done = 0;
        report(done, total);
        for (name, family) in families {
            let mut cursor = self.db.raw_iterator_cf_opt(family, tuning::checking());
            cursor.seek_to_first();
            self.walk(name, &mut cursor, &mut |_, _| {
                done += 1;
                if done % REPORT_EVERY == 0 {
                    report(done, total.max(done));
                }
                ControlFlow::Continue(())
            })?;
        }
        report(done, done);
        Ok(())
    }

    fn reading(&self, family: &str, error: &rocksdb::Error) -> StoreError {
        from_rocksdb(&format!("could not read family `{family}` of"), &self.path, error)
    }
}

/// Reads bounded to the keys that begin with `prefix`, so that no read goes, or fails, beyond them.
fn within(prefix: &[u8]) -> ReadOptions {
    let mut read = ReadOptions::default();
    read.set_verify_checksums(true);
    if !prefix.is_empty() {
        read.set_iterate_lower_bound(prefix);
    }
    if let Some(end) = successor(prefix) {
        read.set_iterate_upper_bound(end);
    }
    read
}

/// The least key greater than every key that begins with `prefix`; none where that is all there is, as for a prefix of
/// 0xff bytes.
fn successor(prefix: &[u8]) -> Option<Vec<u8>> {
    let end = prefix.iter().rposition(|byte| *byte != 0xff)?;
    let mut successor = prefix[..=end].to_vec();
    successor[end] += 1;
    Some(successor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_where_the_next_begins() {
        for (prefix, end) in [
            (&b"a"[..], Some(&b"b"[..])),
            (b"a\xff", Some(b"b")),
            (b"a\xff\x00", Some(b"a\xff\x01")),
            (b"\xff\xfe\xff\xff", Some(b"\xff\xff")),
            (b"\xff\xff", None),
            (b"", None),
        ] {
            assert_eq!(successor(prefix).as_deref(), end, "{prefix:?}");
        }
    }
}
