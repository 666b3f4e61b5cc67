//! Copies of an open store, and looks into them.

use antiphon_kernel::store::{Batch, Durability, Family, Store, StoreErrorKind};
use antiphon_storage::{Create, DirectoryLock, RocksStore, StoredCopy};

use crate::files::{EXISTING, commit, contents, count, open};

#[test]
fn a_copy_is_a_store_of_its_own_and_looking_into_it_changes_nothing() {
    let (dir, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let to = to.path().join("copy");
    let store = open(dir.path());
    (1..=5).for_each(|number| commit(&store, number, Durability::Relaxed));
    store.copy_to(&to).unwrap();
    (6..=8).for_each(|number| commit(&store, number, Durability::Sync));
    assert!(store.copy_to(&to).is_err(), "there is one already");

    let before = contents(&to);
    let copy = StoredCopy::open(&to).unwrap();
    let mut reported = Vec::new();
    copy.check_with(&mut |done, total| reported.push((done, total))).unwrap();
    assert!(reported[0].0 == 0 && reported[0].1 >= 5, "{reported:?}");
    assert!(reported.last().is_some_and(|(done, total)| done == total && *done >= 5), "{reported:?}");
    assert_eq!((count(&copy).unwrap(), count(&store).unwrap()), (5, 8));
    let mut batch = Batch::new();
    batch.put(Family::Meta, b"k", b"v");
    assert_eq!(copy.commit(&batch, Durability::Sync).unwrap_err().kind(), StoreErrorKind::ReadOnly);
    drop(copy);
    assert!(contents(&to) == before, "looking wrote something");

    let copied = RocksStore::open_with(&to, EXISTING).unwrap();
    commit(&copied, 6, Durability::Sync);
    assert_eq!((count(&copied).unwrap(), count(&store).unwrap()), (6, 8));
    drop(store);
    assert_eq!(count(&open(dir.path())).unwrap(), 8);
}

#[test]
fn a_locked_directory_is_nobodys_to_open() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    assert_eq!(DirectoryLock::take(dir.path()).unwrap_err().kind(), StoreErrorKind::InUse);
    drop(store);
    let lock = DirectoryLock::take(dir.path()).unwrap();
    assert_eq!(RocksStore::open_with(dir.path(), EXISTING).unwrap_err().kind(), StoreErrorKind::InUse);
    drop(lock);
    open(dir.path());
}

#[test]
fn where_there_is_no_store_there_is_nothing_to_look_into() {
    let dir = tempfile::tempdir().unwrap();
    let error = StoredCopy::open(dir.path()).unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Missing, "{error}");
    assert!(contents(dir.path()).is_empty());
}

/// Found by filling a disk: the copy that was made then had nothing of what stood in the write-ahead log.
#[test]
fn a_store_that_is_open_for_reading_alone_is_not_copied() {
    let scratch = tempfile::tempdir().unwrap();
    let (dir, to) = (scratch.path().join("store"), scratch.path().join("copy"));
    let store = RocksStore::open_with(&dir, Create::IfMissing).unwrap();
    let mut batch = Batch::new();
    batch.put(Family::Meta, b"k", b"v");
    store.commit(&batch, Durability::Sync).unwrap();
    // It cannot be locked, and so not be opened for writing.
    let lock = dir.join("db/LOCK");
    std::fs::remove_file(&lock).unwrap();
    std::fs::create_dir(&lock).unwrap();
    store.reopen().unwrap_err();
    assert_eq!(store.get(Family::Meta, b"k").unwrap().as_deref(), Some(b"v".as_slice()), "it is read on");
    let refused = store.copy_to(&to).unwrap_err();
    assert!(refused.to_string().contains("open for reading alone") && !to.exists(), "{refused}");
    std::fs::remove_dir(&lock).unwrap();
    store.reopen().unwrap();
    store.copy_to(&to).unwrap();
    let copy = StoredCopy::open(&to).unwrap();
    assert_eq!(copy.get(Family::Meta, b"k").unwrap().as_deref(), Some(b"v".as_slice()));
}

#[test]
fn a_directory_whose_database_is_gone_is_no_place_for_a_new_one() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().join("store");
    let store = RocksStore::open_with(&dir, Create::IfMissing).unwrap();
    store.note(b"how far it reached", Durability::Sync);
    drop(store);
    for emptied in [false, true] {
        std::fs::remove_dir_all(dir.join("db")).unwrap();
        if emptied {
            std::fs::create_dir(dir.join("db")).unwrap();
        }
        for create in [Create::Never, Create::IfMissing] {
            let refused = RocksStore::open_with(&dir, create).unwrap_err();
            assert!(refused.kind() == StoreErrorKind::Corrupt && refused.to_string().contains("is gone"), "{refused}");
        }
        std::fs::create_dir_all(dir.join("db")).unwrap();
    }
}
