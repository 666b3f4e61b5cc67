//! A store whose files were removed, renamed or replaced under it writes nothing more.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use antiphon_kernel::store::{Batch, Durability, Family, Store, StoreErrorKind};
use antiphon_storage::{Create, Options, RocksStore};

use crate::files::{commit, copy, count, log_of, open};

/// What changed, as the store says; and that it writes nothing.
fn displaced(store: &RocksStore) -> String {
    let error = store.check_location().unwrap_err();
    let mut batch = Batch::new();
    batch.put(Family::Meta, b"k", b"v");
    for error in [
        &error,
        &store.commit(&batch, Durability::Sync).unwrap_err(),
        &store.commit(&batch, Durability::Relaxed).unwrap_err(),
        &store.sync().unwrap_err(),
        &store.reopen().unwrap_err(),
    ] {
        assert_eq!(error.kind(), StoreErrorKind::Displaced, "{error}");
    }
    error.to_string()
}

fn back(store: &RocksStore, events: u32) {
    store.check_location().unwrap();
    store.reopen().unwrap();
    commit(store, events, Durability::Sync);
    assert_eq!(count(store).unwrap(), events);
}

#[test]
fn what_was_moved_away_is_written_again_once_it_is_back() {
    let scratch = tempfile::tempdir().unwrap();
    let (dir, aside) = (scratch.path().join("store"), scratch.path().join("aside"));
    let store = open(&dir);
    store.note(b"note", Durability::Sync);
    let mut events = 1;
    commit(&store, events, Durability::Sync);
    store.check_location().unwrap();
    for (file, says) in [
        (dir.clone(), "the directory was removed or renamed"),
        (dir.join("db"), "`db` in it was removed"),
        (dir.join("LOCK"), "`LOCK` in it was removed"),
        (dir.join("FORMAT"), "`FORMAT` in it was removed"),
        (dir.join("HEAD"), "`HEAD` in it was removed"),
        (dir.join("db/CURRENT"), "`CURRENT` in its directory `db` was removed"),
    ] {
        fs::rename(&file, &aside).unwrap();
        let said = displaced(&store);
        assert!(said.contains(says) && said.contains(dir.to_str().unwrap()), "{said}");
        assert_eq!(count(&store).unwrap(), events, "it is read on");
        fs::rename(&aside, &file).unwrap();
        events += 1;
        back(&store, events);
    }
    let log = log_of(&dir);
    fs::rename(&log, &aside).unwrap();
    assert!(displaced(&store).contains("`*.log` in its directory `db` was removed"));
    fs::rename(&aside, &log).unwrap();
    back(&store, events + 1);
}

#[test]
fn a_copy_in_its_place_is_not_taken_for_it() {
    let scratch = tempfile::tempdir().unwrap();
    let (dir, aside, link) = (scratch.path().join("a"), scratch.path().join("aside"), scratch.path().join("link"));
    fs::create_dir(&dir).unwrap();
    symlink(&dir, &link).unwrap();
    let store = open(&link);
    commit(&store, 1, Durability::Sync);
    fs::rename(&dir, &aside).unwrap();
    copy(&aside, &dir);
    assert!(displaced(&store).contains("the directory was replaced by another"));
    fs::remove_dir_all(&dir).unwrap();
    assert!(displaced(&store).contains("was removed"));
    // It is found under another name by the same path.
    fs::remove_file(&link).unwrap();
    symlink(&aside, &link).unwrap();
    back(&store, 2);
    for file in ["LOCK", "db"] {
        let (file, moved) = (aside.join(file), scratch.path().join("moved"));
        fs::rename(&file, &moved).unwrap();
        if file.ends_with("db") {
            copy(&moved, &file);
        } else {
            fs::copy(&moved, &file).unwrap();
        }
        assert!(displaced(&store).contains("was replaced by another"));
        let _ = fs::remove_file(&file).or_else(|_| fs::remove_dir_all(&file));
        fs::rename(&moved, &file).unwrap();
    }
    back(&store, 3);
}

#[test]
fn a_table_that_was_removed_is_missed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    commit(&store, 1, Durability::Sync);
    store.reopen().unwrap(); // into tables
    store.check_location().unwrap();
    let table = crate::files::files(dir.path(), "sst").pop().unwrap();
    fs::remove_file(&table).unwrap();
    let name = table.file_name().unwrap().to_str().unwrap();
    assert!(displaced(&store).contains(name));
}

/// Files come and go all the time while a store is written.
#[test]
fn flushes_and_compactions_are_no_change() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = Options::default();
    options.write_buffer_bytes = 1 << 20;
    options.create = Create::IfMissing;
    let store = RocksStore::open_with(dir.path(), options).unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    let looks = std::thread::scope(|scope| {
        let looking = scope.spawn(|| {
            let mut looks = 0_u32;
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                store.check_location().unwrap();
                looks += 1;
            }
            looks
        });
        for number in 0..400_u32 {
            let mut batch = Batch::new();
            batch.put(Family::Log, &number.to_be_bytes(), &random(number));
            store.commit(&batch, Durability::Relaxed).unwrap();
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        looking.join().unwrap()
    });
    assert!(looks > 10 && tables(dir.path()) > 1, "{looks} looks, {} tables", tables(dir.path()));
}

fn tables(dir: &Path) -> usize {
    crate::files::files(dir, "sst").len()
}

/// 64 KiB that do not compress.
fn random(seed: u32) -> Vec<u8> {
    let mut state = u64::from(seed) + 1;
    let next = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    });
    next.take(64 << 10).collect()
}
