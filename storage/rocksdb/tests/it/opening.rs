//! What is there after opening, closing and opening again, well or not.

use std::fs;

use antiphon_kernel::store::{Batch, Durability, Family, KERNEL_FAMILIES, Store, StoreErrorKind};
use antiphon_storage::RocksStore;

use crate::files::{EXISTING, commit, copy, count, flip, log_of, open};

#[test]
fn a_family_that_nobody_here_knows_passes_through() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let database = dir.path().join("db");
    let put_and_list = || {
        let options = rocksdb::Options::default();
        let names = rocksdb::DB::list_cf(&options, &database).unwrap();
        let mut db = rocksdb::DB::open_cf(&options, &database, &names).unwrap();
        // A name that no embedder of this version can give.
        if db.cf_handle("Later/Version").is_none() {
            db.create_cf("Later/Version", &options).unwrap();
            db.put_cf(db.cf_handle("Later/Version").unwrap(), b"k", b"v").unwrap();
        }
        (db.get_cf(db.cf_handle("Later/Version").unwrap(), b"k").unwrap(), names.len())
    };
    put_and_list();
    let store = RocksStore::open_with(dir.path(), EXISTING).unwrap();
    commit(&store, 1, Durability::Sync);
    store.reopen().unwrap();
    store.check().unwrap();
    assert_eq!(store.get(Family::User("Later/Version"), b"k").unwrap().as_deref(), Some(&b"v"[..]));
    drop(store);
    assert_eq!(put_and_list(), (Some(b"v".to_vec()), KERNEL_FAMILIES.len() + 2));
}

#[test]
fn a_family_of_the_kernels_that_is_new_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    commit(&store, 1, Durability::Sync);
    drop(store);
    let (options, database) = (rocksdb::Options::default(), dir.path().join("db"));
    let names = rocksdb::DB::list_cf(&options, &database).unwrap();
    rocksdb::DB::open_cf(&options, &database, &names).unwrap().drop_cf("evidence").unwrap();
    let store = RocksStore::open_with(dir.path(), EXISTING).unwrap();
    assert_eq!(store.get(Family::Evidence, b"k").unwrap(), None);
    assert_eq!(count(&store).unwrap(), 1);
}

#[test]
fn only_an_embedders_name_makes_a_family() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for name in ["", "Upper", "a/b"] {
        assert_eq!(store.ensure_families(&[name]).unwrap_err().kind(), StoreErrorKind::Misuse, "{name}");
    }
    store.ensure_families(&["log", "default", "view"]).unwrap();
}

#[test]
fn a_reopening_that_fails_leaves_errors_until_one_succeeds() {
    let (dir, spare) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(dir.path());
    for number in 1..=8 {
        commit(&store, number, Durability::Sync);
    }
    // The damage happens while the store is open, and is found by the first reopening.
    copy(dir.path(), spare.path());
    let log = log_of(dir.path());
    let middle = fs::metadata(&log).unwrap().len() as usize / 2;
    flip(&log, middle, 1);
    assert_eq!(store.reopen().unwrap_err().kind(), StoreErrorKind::Corrupt);
    let error = store.get(Family::Log, b"k").unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Corrupt);
    assert!(error.to_string().contains("checksum mismatch"), "{error}");
    for error in [
        count(&store).map(drop).unwrap_err(),
        store.last(Family::Log, b"").map(drop).unwrap_err(),
        store.sync().unwrap_err(),
        store.check().unwrap_err(),
        store.ensure_families(&["view"]).unwrap_err(),
        store.reopen().unwrap_err(),
    ] {
        assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{error}");
    }
    // Nobody else can slip in meanwhile.
    assert_eq!(RocksStore::open_with(dir.path(), EXISTING).unwrap_err().kind(), StoreErrorKind::InUse);
    flip(&log, middle, 1);
    store.reopen().unwrap();
    assert_eq!(count(&store).unwrap(), 8);
    commit(&store, 9, Durability::Sync);
    fs::rename(dir.path().join("db"), dir.path().join("gone")).unwrap();
    assert_eq!(store.reopen().unwrap_err().kind(), StoreErrorKind::Displaced);
    assert!(!dir.path().join("db").exists(), "a store that has gone is not replaced by an empty one");
}

#[test]
fn other_files_in_the_directory_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("config.yaml"), "mine").unwrap();
    drop(open(dir.path()));
    assert_eq!(fs::read_to_string(dir.path().join("config.yaml")).unwrap(), "mine");
    let mut names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["FORMAT", "LOCK", "config.yaml", "db"]);
    assert_eq!(fs::read_to_string(dir.path().join("FORMAT")).unwrap(), "antiphon-store 2\n");
}

/// A cortex that is dropped closes its store while others still hold it.
#[test]
fn a_closed_store_lets_others_open_its_directory_and_answers_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let first = RocksStore::open(dir.path().join("data")).unwrap();
    assert_eq!(RocksStore::open(dir.path().join("data")).unwrap_err().kind(), StoreErrorKind::InUse);
    let mut batch = Batch::new();
    batch.put(Family::Meta, b"k", b"v");
    first.commit(&batch, Durability::Sync).unwrap();
    first.close();
    let second = RocksStore::open(dir.path().join("data")).unwrap();
    assert_eq!(second.get(Family::Meta, b"k").unwrap().as_deref(), Some(&b"v"[..]));
    for error in [first.get(Family::Meta, b"k").unwrap_err(), first.commit(&batch, Durability::Sync).unwrap_err()] {
        assert!(error.kind() == StoreErrorKind::Misuse && error.to_string().contains("it was closed"), "{error}");
    }
    // It must not take the files from their new owner either.
    assert_eq!(first.reopen().unwrap_err().kind(), StoreErrorKind::Misuse);
    second.commit(&batch, Durability::Sync).unwrap();
}
