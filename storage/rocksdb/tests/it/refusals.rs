//! What is refused at the start, by name, and left as it was.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use antiphon_kernel::store::{Durability, StoreError, StoreErrorKind};
use antiphon_storage::{Create, RocksStore, STORE_FORMAT};

use crate::files::{EXISTING, commit, contents, copy, count, open};

#[track_caller]
fn refused(dir: &Path, create: Create, kind: StoreErrorKind) -> StoreError {
    let error = RocksStore::open_with(dir, create).expect_err("it opens");
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains(dir.to_str().unwrap()), "no path: {error}");
    error
}

#[test]
fn a_second_opening() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let error = refused(dir.path(), Create::IfMissing, StoreErrorKind::InUse);
    assert!(error.to_string().contains(&format!("pid {}", std::process::id())), "{error}");
    commit(&store, 1, Durability::Sync);
    drop(store);
    assert_eq!(count(&open(dir.path())).unwrap(), 1);
}

#[test]
fn a_newer_format_before_anything_changes() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    commit(&store, 1, Durability::Sync);
    drop(store);
    for text in [format!("antiphon-store {}\n", STORE_FORMAT + 1), "antiphon-store 7 with more\nlines\n".to_owned()] {
        fs::write(dir.path().join("FORMAT"), text).unwrap();
        let before = contents(dir.path());
        for create in [Create::IfMissing, EXISTING] {
            refused(dir.path(), create, StoreErrorKind::NewerFormat);
        }
        assert!(contents(dir.path()) == before, "it was touched");
    }
}

#[test]
fn an_older_format_is_refused_with_both_numbers() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    fs::write(dir.path().join("FORMAT"), "antiphon-store 1\n").unwrap();
    let error = refused(dir.path(), EXISTING, StoreErrorKind::OlderFormat);
    assert!(error.to_string().contains("its format is 1, and this version reads format 2"), "{error}");
}

#[test]
fn a_format_that_is_not_understood_or_gone() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let format = dir.path().join("FORMAT");
    for bytes in [&b""[..], b"\xff\xfe", b"antiphon-store", b"antiphon-store 0", b"antiphon-store one", b"other 1"] {
        fs::write(&format, bytes).unwrap();
        refused(dir.path(), EXISTING, StoreErrorKind::Corrupt);
    }
    fs::remove_file(&format).unwrap();
    refused(dir.path(), Create::IfMissing, StoreErrorKind::Corrupt);
    assert!(!format.exists());
    fs::write(&format, "antiphon-store 2\n").unwrap();
    open(dir.path());
}

#[test]
fn no_store_where_one_must_be() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("typo");
    refused(&place, EXISTING, StoreErrorKind::Missing);
    assert!(!place.exists());
    refused(dir.path(), EXISTING, StoreErrorKind::Missing);
    assert_eq!(contents(dir.path()), []);
    // A creation that was cut short is no store, and can be taken up again.
    fs::write(dir.path().join("FORMAT"), "antiphon-store 2\n").unwrap();
    fs::create_dir(dir.path().join("db")).unwrap();
    refused(dir.path(), EXISTING, StoreErrorKind::Missing);
    open(dir.path());
}

/// RocksDB makes a new database where `CURRENT` is gone: it complains about the old log once, has written a new `CURRENT`
/// by then, and the next opening deletes the old tables as files that nobody refers to. So every file is lost in turn,
/// opened twice, and put back.
#[test]
fn a_database_that_lost_its_files_is_not_made_anew() {
    let (good, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(good.path());
    commit(&store, 1, Durability::Sync);
    antiphon_kernel::store::Store::reopen(&store).unwrap(); // into tables
    commit(&store, 2, Durability::Sync);
    drop(store);
    let names: Vec<_> = fs::read_dir(good.path().join("db")).unwrap().map(|e| e.unwrap().file_name()).collect();
    let names = names.iter().map(|name| name.to_str().unwrap());
    let lost: Vec<_> = names.filter(|n| *n == "CURRENT" || n.starts_with("MANIFEST") || n.ends_with(".sst")).collect();
    assert!(lost.len() >= 4, "{lost:?}");
    for name in lost {
        copy(good.path(), dir.path());
        let file = dir.path().join("db").join(name);
        fs::remove_file(&file).unwrap();
        for create in [EXISTING, Create::IfMissing] {
            let outcome = RocksStore::open_with(dir.path(), create).and_then(|store| count(&store));
            assert_eq!(outcome.unwrap_err().kind(), StoreErrorKind::Corrupt, "without {name}");
        }
        // What is left is still there: with the file put back, all is well.
        fs::copy(good.path().join("db").join(name), &file).unwrap();
        assert_eq!(count(&open(dir.path())).unwrap(), 2, "{name}");
    }
}

#[test]
fn a_place_that_is_no_directory() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "mine").unwrap();
    for place in [file.clone(), file.join("below")] {
        for create in [EXISTING, Create::IfMissing] {
            refused(&place, create, StoreErrorKind::Misuse);
        }
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
}

#[test]
fn a_creation_that_fails_is_undone() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("mine"), "mine").unwrap();
    // RocksDB cannot make a directory where a file is.
    fs::write(dir.path().join("db"), "in the way").unwrap();
    let before = contents(dir.path());
    RocksStore::open_with(dir.path(), Create::IfMissing).expect_err("it opens");
    let after: Vec<_> = contents(dir.path()).into_iter().filter(|(path, _)| !path.ends_with("LOCK")).collect();
    assert_eq!(after, before);
}

/// Runs one test of this binary again in a mount namespace of its own, after `mounts` ran there with the directory as
/// `$1`. `false` where the system allows no such namespace.
fn with_mounts(test: &str, dir: &Path, mounts: &str) -> bool {
    let script = format!("{mounts} || exit 99; exec \"$2\" --exact \"$3\" --nocapture");
    let status = Command::new("unshare")
        .args(["-rm", "sh", "-c", &script, "sh"])
        .args([dir.as_os_str(), std::env::current_exe().unwrap().as_os_str(), test.as_ref()])
        .env(INSIDE, dir)
        .status();
    match status {
        // 1: unshare itself was refused. A failing test ends with 101.
        Ok(status) if matches!(status.code(), Some(1 | 99)) => false,
        Ok(status) => {
            assert!(status.success(), "{test}, inside: {status}");
            true
        }
        Err(_) => false,
    }
}

const INSIDE: &str = "ANTIPHON_TEST_MOUNTED";

fn mounted() -> Option<std::path::PathBuf> {
    std::env::var_os(INSIDE).map(Into::into)
}

#[test]
fn a_file_system_that_is_read_only() {
    let Some(dir) = mounted() else {
        let dir = tempfile::tempdir().unwrap();
        drop(open(&dir.path().join("store")));
        let before = contents(dir.path());
        let mounts = "mount --bind \"$1\" \"$1\" && mount -o remount,bind,ro \"$1\"";
        if !with_mounts("refusals::a_file_system_that_is_read_only", dir.path(), mounts) {
            eprintln!("skipped: no mount namespace here");
        }
        assert!(contents(dir.path()) == before, "it was touched");
        return;
    };
    refused(&dir.join("store"), EXISTING, StoreErrorKind::ReadOnly);
    refused(&dir.join("store"), Create::IfMissing, StoreErrorKind::ReadOnly);
    refused(&dir.join("new"), Create::IfMissing, StoreErrorKind::ReadOnly);
    assert!(!dir.join("new").exists());
}

#[test]
fn a_file_system_that_is_full() {
    let Some(dir) = mounted() else {
        let dir = tempfile::tempdir().unwrap();
        if !with_mounts("refusals::a_file_system_that_is_full", dir.path(), "mount -t tmpfs -o size=8m tmpfs \"$1\"") {
            eprintln!("skipped: no mount namespace here");
        }
        return;
    };
    let ballast = dir.join("ballast");
    let fill = || {
        let mut file = fs::File::create(&ballast).unwrap();
        while file.write_all(&[1; 4096]).is_ok() {}
    };
    fill();
    refused(&dir.join("new"), Create::IfMissing, StoreErrorKind::NoSpace);
    assert!(!dir.join("new").exists(), "a half-made store is left behind");
    fs::remove_file(&ballast).unwrap();

    let mut options = antiphon_storage::Options::default();
    options.write_buffer_bytes = 1 << 20;
    let store = RocksStore::open_with(dir.join("store"), options).unwrap();
    commit(&store, 1, Durability::Sync);
    fill();
    let mut batch = antiphon_kernel::store::Batch::new();
    batch.put(antiphon_kernel::store::Family::Evidence, b"k", &vec![7; 1 << 20]);
    use antiphon_kernel::store::Store;
    let error = store.commit(&batch, Durability::Sync).unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::NoSpace, "{error}");
    assert_eq!(count(&store).unwrap(), 1, "reads go on");
    fs::remove_file(&ballast).unwrap();
    store.reopen().unwrap();
    assert_eq!(count(&store).unwrap(), 1);
    commit(&store, 2, Durability::Sync);
}
