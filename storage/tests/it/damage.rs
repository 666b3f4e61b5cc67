//! Damage is an error, never a shorter answer; a torn tail is not damage.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use antiphon_kernel::store::{Batch, Durability, Family, KeyRange, Store, StoreError, StoreErrorKind};
use antiphon_storage::{Create, RocksStore};

fn fill(store: &RocksStore, from: u32, to: u32) {
    for n in from..to {
        let mut batch = Batch::new();
        batch.put(Family::Log, &n.to_be_bytes(), &[0x5a; 200]);
        batch.put(Family::Meta, b"count", &n.to_be_bytes());
        store.commit(&batch, Durability::Sync).unwrap();
    }
}

/// How many entries there are; they must be 0, 1, 2, … without a hole, and agree with the count beside them.
fn count(store: &RocksStore) -> Result<u32, StoreError> {
    let mut next = 0_u32;
    store.scan(Family::Log, KeyRange::prefix(&[]), &mut |key, _| {
        assert_eq!(key, next.to_be_bytes(), "a hole");
        next += 1;
        ControlFlow::Continue(())
    })?;
    let beside = store.get(Family::Meta, b"count")?.map_or(0, |b| u32::from_be_bytes(b.try_into().unwrap()) + 1);
    assert_eq!(next, beside, "a part of a batch");
    Ok(next)
}

fn files(directory: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found: Vec<_> = std::fs::read_dir(directory.join("db"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == ending))
        .filter(|path| path.metadata().unwrap().len() > 0)
        .collect();
    found.sort();
    found
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target)
        } else {
            drop(std::fs::copy(entry.path(), target).unwrap())
        }
    }
}

#[test]
fn a_torn_tail_loses_whole_batches_at_the_end_only() {
    let directory = tempfile::tempdir().unwrap();
    fill(&RocksStore::open(directory.path(), Create::IfMissing).unwrap(), 0, 8);
    let log = files(directory.path(), "log").pop().unwrap();
    let length = log.metadata().unwrap().len();
    let mut counts = Vec::new();
    for cut in (1..600).step_by(13) {
        let torn = tempfile::tempdir().unwrap();
        copy(directory.path(), torn.path());
        let file = std::fs::OpenOptions::new()
            .write(true)
            .open(torn.path().join("db").join(log.file_name().unwrap()))
            .unwrap();
        file.set_len(length - cut).unwrap();
        drop(file);
        counts.push(count(&RocksStore::open(torn.path(), Create::Never).unwrap()).unwrap());
    }
    assert!(counts.is_sorted_by(|a, b| a >= b), "{counts:?}");
    assert!(counts[0] == 7 && counts[counts.len() - 1] < 7, "{counts:?}");
}

#[test]
fn a_flipped_byte_inside_the_write_ahead_log_refuses_to_open() {
    let directory = tempfile::tempdir().unwrap();
    fill(&RocksStore::open(directory.path(), Create::IfMissing).unwrap(), 0, 8);
    let log = files(directory.path(), "log").pop().unwrap();
    let mut bytes = std::fs::read(&log).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x40;
    std::fs::write(&log, bytes).unwrap();
    match RocksStore::open(directory.path(), Create::Never) {
        Ok(_) => panic!("half of the log would be gone in silence"),
        Err(error) => assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{error}"),
    }
}

#[test]
fn a_flipped_byte_in_a_table_is_an_error_of_every_scan() {
    let directory = tempfile::tempdir().unwrap();
    {
        let store = RocksStore::open(directory.path(), Create::IfMissing).unwrap();
        fill(&store, 0, 64);
        // Opening again writes what the write-ahead log holds into tables.
        store.reopen().unwrap();
        assert_eq!(count(&store).unwrap(), 64);
        store.check().unwrap();
    }
    let tables = files(directory.path(), "sst");
    assert!(!tables.is_empty());
    let mut refused = 0;
    for table in &tables {
        let good = std::fs::read(table).unwrap();
        let mut bad = good.clone();
        bad[20] ^= 0x01;
        std::fs::write(table, bad).unwrap();
        let outcome = RocksStore::open(directory.path(), Create::Never).and_then(|store| {
            let counted = count(&store);
            store.check().and(counted)
        });
        if let Err(error) = outcome {
            assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{error}");
            refused += 1;
        }
        std::fs::write(table, good).unwrap();
    }
    assert_eq!(refused, tables.len());
}
