//! Sorted tables with a flipped byte: an error, or the whole answer; never a shorter one.

use std::fs;
use std::ops::ControlFlow;

use antiphon_kernel::store::{Batch, Durability, Family, KeyRange, Store, StoreError, StoreErrorKind};
use antiphon_storage::RocksStore;
use tempfile::TempDir;

use crate::files::{EXISTING, copy, files, flip, open};

const EVENTS: u32 = 2_000;

fn value(number: u32) -> Vec<u8> {
    // Not compressible to nothing: many blocks.
    number.to_le_bytes().repeat(16).iter().zip(0_u32..).map(|(b, n)| b ^ (n.wrapping_mul(number) >> 3) as u8).collect()
}

/// A closed store whose data is in tables.
fn in_tables() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut batch = Batch::new();
    for number in 0..EVENTS {
        batch.put(Family::Log, &number.to_be_bytes(), &value(number));
    }
    store.ensure_families(&["view"]).unwrap();
    batch.put(Family::User("view"), b"k", b"v");
    store.commit(&batch, Durability::Sync).unwrap();
    store.reopen().unwrap(); // reads the log into tables
    assert_eq!(read(&store).unwrap(), EVENTS);
    drop(store);
    dir
}

/// How many events a scan shows, each of which must be right. What it shows before an error counts for nothing.
fn read(store: &dyn Store) -> Result<u32, StoreError> {
    let mut seen = 0_u32;
    store.scan(Family::Log, KeyRange::from(b""), &mut |key, bytes| {
        assert_eq!((key, bytes), (&seen.to_be_bytes()[..], &value(seen)[..]));
        seen += 1;
        ControlFlow::Continue(())
    })?;
    Ok(seen)
}

#[test]
fn a_flipped_byte_is_an_error_or_of_no_effect() {
    let (good, bad) = (in_tables(), tempfile::tempdir().unwrap());
    let table = files(good.path(), "sst").pop().unwrap();
    let name = table.strip_prefix(good.path()).unwrap();
    let length = fs::metadata(&table).unwrap().len() as usize;
    let (mut refused, mut found) = (0, 0);
    // Blocks of data, the filter, the index, the properties and the footer.
    for at in (0..length).step_by(length / 97).chain(length - 60..length) {
        copy(good.path(), bad.path());
        flip(&bad.path().join(name), at, 0x10);
        let Ok(store) = RocksStore::open_with(bad.path(), EXISTING).map_err(|error| {
            assert_eq!(error.kind(), StoreErrorKind::Corrupt, "byte {at}: {error}");
            refused += 1;
        }) else {
            continue;
        };
        let (scanned, checked) = (read(&store), store.check());
        if let Ok(seen) = scanned {
            assert_eq!(seen, EVENTS, "byte {at} of {length}: a shorter answer");
        }
        for error in [scanned.map(drop), checked].into_iter().filter_map(Result::err) {
            assert_eq!(error.kind(), StoreErrorKind::Corrupt, "byte {at}: {error}");
            found += 1;
        }
        let last = store.last(Family::Log, b"");
        assert!(last.is_err() || last.unwrap().unwrap().0 == (EVENTS - 1).to_be_bytes(), "byte {at}: another last");
        let first = store.get(Family::Log, &0_u32.to_be_bytes());
        assert!(first.is_err() || first.unwrap().unwrap() == value(0), "byte {at}: another first");
    }
    assert!(refused + found > 100, "only {refused} refusals and {found} errors");
}

#[test]
fn damage_of_what_is_cached_is_found_by_a_check() {
    let dir = in_tables();
    let store = RocksStore::open_with(dir.path(), EXISTING).unwrap();
    store.check().unwrap();
    assert_eq!(read(&store).unwrap(), EVENTS);
    let table = files(dir.path(), "sst").pop().unwrap();
    let middle = fs::metadata(&table).unwrap().len() as usize / 2;
    flip_in_place(&table, middle);
    assert_eq!(read(&store).unwrap(), EVENTS, "from memory, all is well");
    let error = store.check().unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{error}");
    assert!(error.to_string().contains("family `log`"), "{error}");
}

#[test]
fn damage_in_an_embedders_family_is_found_by_a_check() {
    let dir = in_tables();
    for table in files(dir.path(), "sst") {
        // The first block of every table but the log's, which is the largest.
        if table != *files(dir.path(), "sst").last().unwrap() {
            flip(&table, 3, 1);
        }
    }
    let store = RocksStore::open_with(dir.path(), EXISTING).unwrap();
    assert_eq!(read(&store).unwrap(), EVENTS);
    assert_eq!(store.get(Family::User("view"), b"k").unwrap_err().kind(), StoreErrorKind::Corrupt);
    assert!(store.check().unwrap_err().to_string().contains("family `view`"));
}

/// Changes a byte of a file that is open elsewhere.
fn flip_in_place(path: &std::path::Path, at: usize) {
    use std::os::unix::fs::FileExt;
    let file = fs::File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at as u64).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], at as u64).unwrap();
}
