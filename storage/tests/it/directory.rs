//! What a data directory refuses, and that a refusal changes nothing.

use antiphon_kernel::store::StoreErrorKind;
use antiphon_storage::{Create, RocksStore};

fn refusal(path: &std::path::Path, create: Create) -> (StoreErrorKind, String) {
    match RocksStore::open(path, create) {
        Ok(_) => panic!("{} must be refused", path.display()),
        Err(error) => (error.kind(), error.to_string()),
    }
}

#[test]
fn a_second_opening_is_told_who_holds_it() {
    let directory = tempfile::tempdir().unwrap();
    let _first = RocksStore::open(directory.path(), Create::IfMissing).unwrap();
    let (kind, text) = refusal(directory.path(), Create::Never);
    assert_eq!(kind, StoreErrorKind::InUse);
    assert!(text.contains(&format!("process {}", std::process::id())), "{text}");
}

#[test]
fn a_newer_format_is_refused_and_nothing_is_touched() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("FORMAT"), "antiphon-store 2\n").unwrap();
    let (kind, text) = refusal(directory.path(), Create::IfMissing);
    assert_eq!(kind, StoreErrorKind::NewerFormat);
    assert!(text.contains("newer version"), "{text}");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    std::fs::write(directory.path().join("FORMAT"), "something else").unwrap();
    assert_eq!(refusal(directory.path(), Create::IfMissing).0, StoreErrorKind::Corrupt);
}

#[test]
fn no_store_where_one_must_be() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("nowhere");
    let (kind, text) = refusal(&missing, Create::Never);
    assert_eq!(kind, StoreErrorKind::Missing);
    assert!(text.contains("antiphon init"), "{text}");
    assert!(!missing.exists());
}

#[test]
fn a_place_that_cannot_be_written_to_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    let (kind, text) = refusal(&file.join("store"), Create::IfMissing);
    assert_eq!(kind, StoreErrorKind::ReadOnly);
    assert!(text.contains("choose another data directory"), "{text}");
}
