//! The write-ahead log, torn at its end and damaged in its middle. What a crash leaves opens; what a crash cannot leave
//! does not.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use antiphon_kernel::clock::VClock;
use antiphon_kernel::event::Draft;
use antiphon_kernel::ids::Epoch;
use antiphon_kernel::internals::log::{EpochEnd, Log, LogOptions, read_epoch_change};
use antiphon_kernel::store::{Batch, Durability, Family, StoreErrorKind};
use antiphon_kernel::time::Timestamp;
use antiphon_storage::{RocksStore, StoredCopy};
use tempfile::TempDir;

use crate::files::{EXISTING, commit, copy, count, flip, log_of, open};

const BATCHES: u32 = 8;

/// A closed store of 8 batches that are in the log only, and where in the file each ends.
fn in_log() -> (TempDir, PathBuf, Vec<u64>) {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let log = log_of(dir.path());
    let ends = (1..=BATCHES).map(|number| {
        commit(&store, number, Durability::Sync);
        fs::metadata(&log).unwrap().len()
    });
    let ends = ends.collect();
    drop(store);
    let name = log.strip_prefix(dir.path()).unwrap().to_owned();
    (dir, name, ends)
}

fn cut(file: &Path, length: u64) {
    OpenOptions::new().write(true).open(file).unwrap().set_len(length).unwrap();
}

#[test]
fn a_torn_tail_opens_with_the_whole_batches_before_it() {
    let (good, log, ends) = in_log();
    let torn = tempfile::tempdir().unwrap();
    // Every byte of the last two records, and the edges of one more.
    for length in ends[5]..=ends[7] {
        copy(good.path(), torn.path());
        cut(&torn.path().join(&log), length);
        let store = RocksStore::open_with(torn.path(), EXISTING).unwrap();
        let whole = ends.iter().filter(|end| **end <= length).count() as u32;
        assert_eq!(count(&store).unwrap(), whole, "the log cut at byte {length} of {ends:?}");
        if length == ends[6] - 1 {
            commit(&store, whole + 1, Durability::Sync);
            drop(store);
            assert_eq!(count(&open(torn.path())).unwrap(), whole + 1, "it goes on from there");
        }
    }
}

#[test]
fn zeros_after_the_tail_are_no_damage() {
    // Space that the file system had set aside when the power went.
    let (good, log, ends) = in_log();
    cut(&good.path().join(log), ends[7] + 5_000);
    assert_eq!(count(&RocksStore::open_with(good.path(), EXISTING).unwrap()).unwrap(), BATCHES);
}

#[test]
fn a_damaged_middle_is_refused() {
    /// Of a record's header: checksum 4, length 2, type 1.
    const LENGTH: std::ops::Range<usize> = 4..6;
    let (good, log, ends) = in_log();
    let bad = tempfile::tempdir().unwrap();
    let (start, end) = (ends[3] as usize, ends[4] as usize);
    for at in start..end {
        copy(good.path(), bad.path());
        flip(&bad.path().join(&log), at, 0x40);
        let outcome = RocksStore::open_with(bad.path(), EXISTING).map(|store| count(&store).unwrap());
        match outcome {
            Err(error) => {
                assert_eq!(error.kind(), StoreErrorKind::Corrupt, "byte {at}: {error}");
                assert!(error.to_string().contains(bad.path().to_str().unwrap()), "no path: {error}");
            }
            // A length that leads past the end of the file looks as if the file had been torn there, so the rest goes
            // unread. RocksDB cannot tell; but there are no holes, and whoever holds more will notice.
            Ok(there) => assert!(LENGTH.contains(&(at - start)) && there == 4, "byte {at}: {there} batches"),
        }
    }
}

#[test]
fn a_refusal_repairs_nothing() {
    let (dir, log, ends) = in_log();
    let log = dir.path().join(log);
    let at = ends[3] as usize + 12;
    flip(&log, at, 1);
    let damaged = fs::read(&log).unwrap();
    for _ in 0..2 {
        assert_eq!(RocksStore::open_with(dir.path(), EXISTING).unwrap_err().kind(), StoreErrorKind::Corrupt);
        assert!(fs::read(&log).unwrap() == damaged);
    }
    flip(&log, at, 1);
    assert_eq!(count(&RocksStore::open_with(dir.path(), EXISTING).unwrap()).unwrap(), BATCHES);
}

#[test]
fn a_torn_write_of_several_pages_is_no_damage_where_nothing_acknowledged_is_missing() {
    let (good, bad) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store: Arc<RocksStore> = Arc::new(open(good.path()));
    Log::begin(&*store, "alpha", None).unwrap();
    let mut log = Log::open(store, LogOptions::default()).unwrap();
    let append = |log: &mut Log, bytes: usize, durability| {
        let payload: Vec<u8> = (0..bytes).map(|n| (n * 7 % 251) as u8).collect();
        log.append(&[Draft::new("test", payload)], &VClock::new(), Timestamp::now()).unwrap();
        log.commit(durability).unwrap();
        fs::metadata(log_of(good.path())).unwrap().len() as usize
    };
    let safe = append(&mut log, 20_000, Durability::Sync);
    let end = append(&mut log, 20_000, Durability::Relaxed);
    let name = log_of(good.path()).strip_prefix(good.path()).unwrap().to_owned();
    // Pages of the last write that did not reach the disk, as a power loss leaves them.
    let mut torn = 0;
    for page in (safe.next_multiple_of(4096)..end - 4096).step_by(4096) {
        copy(good.path(), bad.path());
        let mut bytes = fs::read(bad.path().join(&name)).unwrap();
        bytes[page..page + 4096].fill(0);
        fs::write(bad.path().join(&name), bytes).unwrap();
        let store = Arc::new(RocksStore::open_with(bad.path(), EXISTING).unwrap());
        assert_eq!(Log::open(store, LogOptions::default()).unwrap().reader().head().seq.get(), 1);
        torn += 1;
    }
    assert!(torn >= 3, "{safe}..{end}");
    // Something else than an event that was durable too, in the last record.
    let mut state = Batch::new();
    state.put(Family::Meta, b"state/kept", &[7; 100]);
    log.stage_state(&state).unwrap();
    log.commit(Durability::Sync).unwrap();
    copy(good.path(), bad.path());
    let last = fs::metadata(bad.path().join(&name)).unwrap().len() as usize;
    flip(&bad.path().join(&name), last - 50, 1);
    let error = RocksStore::open_with(bad.path(), EXISTING).unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{error}");
    // The same within what was acknowledged, or where nobody knows what was.
    for (at, noted) in [(safe - 9_000, true), (end - 9_000, false)] {
        copy(good.path(), bad.path());
        let mut bytes = fs::read(bad.path().join(&name)).unwrap();
        bytes[at..at + 4096].fill(0);
        fs::write(bad.path().join(&name), bytes).unwrap();
        if !noted {
            fs::remove_file(bad.path().join("HEAD")).unwrap();
        }
        let error = RocksStore::open_with(bad.path(), EXISTING).unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{at}: {error}");
    }
}

/// A log whose last write is a decision, which is no event; `at` says where in the file it begins.
fn with_a_decision() -> (TempDir, PathBuf, u64, Epoch) {
    let dir = tempfile::tempdir().unwrap();
    let store: Arc<RocksStore> = Arc::new(open(dir.path()));
    Log::begin(&*store, "alpha", None).unwrap();
    let mut log = Log::open(store, LogOptions::default()).unwrap();
    log.append(&[Draft::new("test", "one")], &VClock::new(), Timestamp::now()).unwrap();
    log.commit(Durability::Sync).unwrap();
    let wal = log_of(dir.path());
    let at = fs::metadata(&wal).unwrap().len();
    let mut state = Batch::new();
    state.put(Family::Meta, b"state/kept", &[7; 100]);
    log.stage_state(&state).unwrap();
    log.commit(Durability::Sync).unwrap();
    let epoch = log.reader().local().epoch;
    drop(log);
    (dir, wal, at, epoch)
}

#[test]
fn a_lost_end_that_held_no_event_is_noticed_as_well() {
    let (dir, wal, at, whole) = with_a_decision();
    let epoch = |dir: &Path| {
        let log = Log::open(Arc::new(open(dir)), LogOptions::default()).unwrap();
        (log.reader().local().epoch, read_epoch_change(&**log.reader().store()).unwrap())
    };
    // In place, since a copy is noticed for another reason.
    cut(&wal, at + 20);
    let (next, change) = epoch(dir.path());
    assert_eq!(change.map(|change| (change.from, change.why)), Some((whole, EpochEnd::LostTail)));
    assert_eq!(epoch(dir.path()).0, next, "once");
    let (dir, _, _, whole) = with_a_decision();
    assert_eq!(epoch(dir.path()), (whole, None), "and where nothing is missing, never");
}

#[test]
fn a_note_of_the_epoch_before_does_not_make_a_torn_end_look_like_damage() {
    let dir = tempfile::tempdir().unwrap();
    let store: Arc<RocksStore> = Arc::new(open(dir.path()));
    Log::begin(&*store, "alpha", None).unwrap();
    let mut log = Log::open(store, LogOptions::default()).unwrap();
    let append = |log: &mut Log, bytes: usize, durability| {
        log.append(&[Draft::new("test", vec![7; bytes])], &VClock::new(), Timestamp::now()).unwrap();
        log.commit(durability).unwrap();
    };
    append(&mut log, 100, Durability::Sync);
    let head = dir.path().join("HEAD");
    let stale = fs::read(&head).unwrap();
    log.begin_epoch(EpochEnd::RolledBack, Timestamp::now()).unwrap();
    append(&mut log, 100, Durability::Sync);
    let safe = fs::metadata(log_of(dir.path())).unwrap().len() as usize;
    append(&mut log, 20_000, Durability::Relaxed);
    let wal = log_of(dir.path());
    drop(log);
    let mut bytes = fs::read(&wal).unwrap();
    let page = safe.next_multiple_of(4096);
    bytes[page..page + 4096].fill(0);
    fs::write(&wal, bytes).unwrap();
    fs::write(&head, stale).unwrap();
    let log = Log::open(Arc::new(RocksStore::open_with(dir.path(), EXISTING).unwrap()), LogOptions::default()).unwrap();
    assert_eq!(log.reader().head().seq.get(), 2);
    let change = read_epoch_change(&**log.reader().store()).unwrap().unwrap();
    assert_eq!(change.why, EpochEnd::RolledBack, "nothing that was noted is missing");
}

#[test]
fn what_stands_before_the_damage_can_be_looked_at_to_save_it() {
    let (good, log, ends) = in_log();
    flip(&good.path().join(&log), ends[3] as usize + 12, 1);
    assert_eq!(StoredCopy::open(good.path()).unwrap_err().kind(), StoreErrorKind::Corrupt);
    assert_eq!(count(&StoredCopy::up_to_damage(good.path()).unwrap()).unwrap(), 4);
}

/// Fills a log up to the end of a block of 32 KiB, and goes on in the next; gives where the record begins that ends there, and how
/// many events stand before it.
fn across_a_block(dir: &Path, durability: Durability) -> (PathBuf, usize, u64) {
    const BLOCK: usize = 32 * 1024;
    let store: Arc<RocksStore> = Arc::new(open(dir));
    Log::begin(&*store, "alpha", None).unwrap();
    let mut log = Log::open(store, LogOptions::default()).unwrap();
    let wal = log_of(dir);
    let mut append = |bytes: usize, durability| {
        let before = fs::metadata(&wal).unwrap().len() as usize;
        log.append(&[Draft::new("test", vec![7; bytes])], &VClock::new(), Timestamp::now()).unwrap();
        log.commit(durability).unwrap();
        fs::metadata(&wal).unwrap().len() as usize - before
    };
    // The first append of a log writes more than the others.
    append(2_000, Durability::Sync);
    let grown = append(2_000, Durability::Sync);
    let mut events = 2;
    while BLOCK - fs::metadata(&wal).unwrap().len() as usize > 3 * grown {
        append(2_000, Durability::Sync);
        events += 1;
    }
    // All but three bytes, which are too few for another header.
    let at = fs::metadata(&wal).unwrap().len() as usize;
    let filled = append(2_000 + (BLOCK - 3 - at) - grown, durability);
    assert!((BLOCK - 6..=BLOCK).contains(&(at + filled)), "{at} {filled} {grown}");
    append(2_000, durability);
    append(2_000, durability);
    (wal, at, events)
}

fn zero(file: &Path, at: usize, length: usize) {
    let mut bytes = fs::read(file).unwrap();
    bytes[at..at + length].fill(0);
    fs::write(file, bytes).unwrap();
}

#[test]
fn a_hole_that_rocksdb_takes_for_unwritten_space_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, at, _) = across_a_block(dir.path(), Durability::Sync);
    // The header alone, and the whole record.
    for length in [7, 32 * 1024 - at] {
        zero(&wal, at, length);
        let damaged = fs::read(&wal).unwrap();
        let error = RocksStore::open_with(dir.path(), EXISTING).unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{error}");
        assert!(error.to_string().contains(&format!("zeros at byte {at}")), "{error}");
        assert!(fs::read(&wal).unwrap() == damaged, "nothing was changed");
        assert_eq!(StoredCopy::open(dir.path()).unwrap_err().kind(), StoreErrorKind::Corrupt);
        assert!(!dir.path().join("before-the-hole").exists());
    }
}

#[test]
fn a_hole_in_what_was_never_acknowledged_is_where_the_log_ends() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, at, events) = across_a_block(dir.path(), Durability::Relaxed);
    zero(&wal, at, 32 * 1024 - at);
    let mut log =
        Log::open(Arc::new(RocksStore::open_with(dir.path(), EXISTING).unwrap()), LogOptions::default()).unwrap();
    assert_eq!(log.reader().head().seq.get(), events);
    assert_eq!(read_epoch_change(&**log.reader().store()).unwrap(), None, "nothing that was noted is missing");
    log.append(&[Draft::new("test", "goes on")], &VClock::new(), Timestamp::now()).unwrap();
    log.commit(Durability::Sync).unwrap();
    drop(log);
    let log = Log::open(Arc::new(RocksStore::open_with(dir.path(), EXISTING).unwrap()), LogOptions::default()).unwrap();
    assert_eq!(log.reader().head().seq.get(), events + 1);
    assert!(!dir.path().join("before-the-hole").exists());
}
