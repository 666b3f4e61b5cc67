//! A log knows when it is a copy, and when its end is gone that was durable once.

use std::fs::{self, OpenOptions};
use std::path::Path;
use std::sync::Arc;

use antiphon_kernel::clock::VClock;
use antiphon_kernel::event::Draft;
use antiphon_kernel::ids::Epoch;
use antiphon_kernel::internals::log::{EpochEnd, Log, LogOptions, read_epoch_change};
use antiphon_kernel::store::{Durability, Store};
use antiphon_kernel::time::Timestamp;
use antiphon_storage::RocksStore;

use crate::files::{EXISTING, copy, log_of, open};

fn append(log: &mut Log, count: usize) {
    for _ in 0..count {
        log.append(&[Draft::new("t", "data")], &VClock::new(), Timestamp::now()).unwrap();
        log.commit(Durability::Sync).unwrap();
    }
}

/// A log of so many events, closed. Returns its epoch.
fn written(dir: &Path, count: usize) -> Epoch {
    let store: Arc<dyn Store> = Arc::new(open(dir));
    Log::begin(&*store, "node", None).unwrap();
    let mut log = Log::open(store, LogOptions::default()).unwrap();
    append(&mut log, count);
    log.reader().local().epoch
}

/// Its epoch, why the one before ended, and how many events there are.
fn reopened(dir: &Path) -> (Epoch, Option<EpochEnd>, u64) {
    reopened_and_written(dir, 0)
}

/// The same after so many more events.
fn reopened_and_written(dir: &Path, count: usize) -> (Epoch, Option<EpochEnd>, u64) {
    let store: Arc<dyn Store> = Arc::new(RocksStore::open_with(dir, EXISTING).unwrap());
    let mut log = Log::open(Arc::clone(&store), LogOptions::default()).unwrap();
    append(&mut log, count);
    let why = read_epoch_change(&*store).unwrap().map(|change| change.why);
    (log.reader().local().epoch, why, log.reader().head().seq.get())
}

#[test]
fn a_copied_directory_goes_on_under_an_epoch_of_its_own_and_a_renamed_one_does_not() {
    let scratch = tempfile::tempdir().unwrap();
    let (first, renamed, copied) =
        (scratch.path().join("first"), scratch.path().join("renamed"), scratch.path().join("copied"));
    fs::create_dir(&first).unwrap();
    let epoch = written(&first, 3);
    assert_eq!(reopened(&first), (epoch, None, 3));
    fs::rename(&first, &renamed).unwrap();
    assert_eq!(reopened(&renamed), (epoch, None, 3));
    fs::create_dir(&copied).unwrap();
    copy(&renamed, &copied);
    assert_eq!(reopened(&copied), (epoch, None, 3), "it may be the only one, on another disk");
    assert_eq!(reopened_and_written(&renamed, 1), (epoch, None, 4), "the original");
    let (other, why, events) = reopened_and_written(&copied, 1);
    assert!(other != epoch && why == Some(EpochEnd::Copied) && events == 4);
    assert_eq!(reopened_and_written(&copied, 1).0, other, "once");
    assert_eq!(reopened(&renamed).0, epoch, "and the original is as it was");
}

#[test]
fn a_lost_tail_is_noticed_at_open() {
    let dir = tempfile::tempdir().unwrap();
    let epoch = written(dir.path(), 5);
    let log = log_of(dir.path());
    let length = fs::metadata(&log).unwrap().len();
    OpenOptions::new().write(true).open(&log).unwrap().set_len(length - 1).unwrap();
    let (other, why, events) = reopened(dir.path());
    assert_eq!((why, events), (Some(EpochEnd::LostTail), 4));
    assert_ne!(other, epoch);
    assert_eq!(reopened(dir.path()), (other, why, 4), "once");
}

#[test]
fn a_damaged_or_missing_note_claims_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let epoch = written(dir.path(), 2);
    let head = dir.path().join("HEAD");
    let mut bytes = fs::read(&head).unwrap();
    bytes[15] ^= 0x40;
    fs::write(&head, bytes).unwrap();
    assert_eq!(reopened(dir.path()), (epoch, None, 2));
    fs::remove_file(&head).unwrap();
    assert_eq!(reopened(dir.path()), (epoch, None, 2));
}
