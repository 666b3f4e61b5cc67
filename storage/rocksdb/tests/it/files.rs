//! What the tests do to a store's files, and how they read what is left: numbered batches across two families.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use antiphon_kernel::store::{Batch, Durability, Family, KeyRange, Store, StoreError};
use antiphon_storage::{Create, RocksStore};

pub(crate) const EXISTING: Create = Create::Never;

pub(crate) fn open(dir: &Path) -> RocksStore {
    RocksStore::open_with(dir, Create::IfMissing).unwrap()
}

/// Commits the batch of this number: an entry of `log`, and the newest number in `meta`.
pub(crate) fn commit(store: &dyn Store, number: u32, durability: Durability) {
    let mut batch = Batch::new();
    batch.put(Family::Log, &number.to_be_bytes(), &[b'e'; 20]);
    batch.put(Family::Meta, b"newest", &number.to_be_bytes());
    store.commit(&batch, durability).unwrap();
}

/// How many batches are there: always the first ones, each whole.
pub(crate) fn count(store: &dyn Store) -> Result<u32, StoreError> {
    let mut there = 0_u32;
    store.scan(Family::Log, KeyRange::from(b""), &mut |key, value| {
        there += 1;
        assert_eq!((key, value), (&there.to_be_bytes()[..], &[b'e'; 20][..]), "a hole, or another value");
        ControlFlow::Continue(())
    })?;
    let newest = store.get(Family::Meta, b"newest")?.map_or(0, |v| u32::from_be_bytes(v.try_into().unwrap()));
    assert_eq!(newest, there, "parts of different batches");
    Ok(there)
}

/// The files of this ending in RocksDB's directory, the largest last.
pub(crate) fn files(dir: &Path, ending: &str) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(dir.join("db")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|end| end == ending));
    files.sort_by_key(|path| path.metadata().unwrap().len());
    files
}

/// The write-ahead log in use.
pub(crate) fn log_of(dir: &Path) -> PathBuf {
    files(dir, "log").pop().unwrap()
}

/// Every file under a directory, and what is in it.
pub(crate) fn contents(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(contents(&path));
        } else {
            all.push((path.clone(), fs::read(&path).unwrap()));
        }
    }
    all.sort();
    all
}

/// Makes `to` a copy of the closed store in `from`, whatever was there.
pub(crate) fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    for (path, bytes) in contents(from) {
        let target = to.join(path.strip_prefix(from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::write(&target, bytes).unwrap();
        // Key files are refused with a wider mode than their own.
        fs::set_permissions(&target, fs::metadata(&path).unwrap().permissions()).unwrap();
    }
}

/// Changes one byte of a file.
pub(crate) fn flip(path: &Path, at: usize, bits: u8) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= bits;
    fs::write(path, bytes).unwrap();
}
