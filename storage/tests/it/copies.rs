//! Copies of an open store, and looks into them.

use antiphon_kernel::store::{Batch, Durability, Family, Store, StoreErrorKind};
use antiphon_storage::{DirectoryLock, RocksStore, StoredCopy};

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
    copy.check().unwrap();
    assert_eq!((count(&copy).unwrap(), count(&store).unwrap()), (5, 8));
    let mut batch = Batch::new();
    batch.put(Family::Meta, b"k", b"v");
    assert_eq!(copy.commit(&batch, Durability::Sync).unwrap_err().kind(), StoreErrorKind::ReadOnly);
    drop(copy);
    assert!(contents(&to) == before, "looking wrote something");

    let copied = RocksStore::open(&to, EXISTING).unwrap();
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
    assert_eq!(RocksStore::open(dir.path(), EXISTING).unwrap_err().kind(), StoreErrorKind::InUse);
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
