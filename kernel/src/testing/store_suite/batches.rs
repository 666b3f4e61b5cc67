//! Batches: whole, in order, and never seen in part.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use super::Case;
use super::room::{Room, all, good, misuse, put, puts, read};
use crate::store::{Batch, Durability, Family, KERNEL_FAMILIES, KeyRange, Store};

pub(super) const CASES: &[Case] = &[
    ("a_batch_changes_several_families", a_batch_changes_several_families),
    ("mutations_of_one_key_apply_in_order", mutations_of_one_key_apply_in_order),
    ("deleting_what_is_not_there_is_no_error", deleting_what_is_not_there_is_no_error),
    ("an_empty_batch_is_no_error", an_empty_batch_is_no_error),
    ("a_large_batch_is_kept_whole", a_large_batch_is_kept_whole),
    ("a_refused_batch_leaves_nothing", a_refused_batch_leaves_nothing),
    ("readers_see_whole_batches", readers_see_whole_batches),
];

fn a_batch_changes_several_families(room: &Room<'_>) {
    let store = room.open();
    put(&*store, Family::Meta, &[(b"old", b"1")]);
    let mut batch = Batch::new();
    for family in KERNEL_FAMILIES {
        batch.put(family, b"k", family.name().as_bytes());
    }
    batch.delete(Family::Meta, b"old");
    good(store.commit(&batch, Durability::Sync));
    let store = room.restart(store);
    for family in KERNEL_FAMILIES {
        assert_eq!(all(&*store, family), [(b"k".to_vec(), family.name().as_bytes().to_vec())], "family `{family}`");
    }
}

fn mutations_of_one_key_apply_in_order(room: &Room<'_>) {
    let store = room.open();
    put(&*store, Family::Log, &[(b"c", b"old"), (b"d", b"old")]);
    let mut batch = Batch::new();
    batch.put(Family::Log, b"a", b"1");
    batch.put(Family::Log, b"a", b"2");
    batch.put(Family::Log, b"b", b"1");
    batch.delete(Family::Log, b"b");
    batch.delete(Family::Log, b"c");
    batch.put(Family::Log, b"c", b"new");
    batch.put(Family::Log, b"d", b"1");
    batch.put(Family::Dots, b"a", b"another family's");
    batch.delete(Family::Log, b"d");
    batch.put(Family::Log, b"d", b"2");
    good(store.commit(&batch, Durability::Sync));
    let expected = [(&b"a"[..], &b"2"[..]), (b"c", b"new"), (b"d", b"2")].map(|(k, v)| (k.to_vec(), v.to_vec()));
    assert_eq!(all(&*store, Family::Log), expected);
    let store = room.restart(store);
    assert_eq!(all(&*store, Family::Log), expected, "after a restart");
}

fn deleting_what_is_not_there_is_no_error(room: &Room<'_>) {
    let store = room.open();
    put(&*store, Family::Log, &[(b"k", b"v"), (b"l", b"v")]);
    let mut batch = Batch::new();
    batch.delete(Family::Log, b"k");
    batch.delete(Family::Log, b"never");
    for _ in 0..3 {
        good(store.commit(&batch, Durability::Sync));
        assert_eq!(all(&*store, Family::Log), [(b"l".to_vec(), b"v".to_vec())]);
    }
}

fn an_empty_batch_is_no_error(room: &Room<'_>) {
    let store = room.open();
    put(&*store, Family::Log, &[(b"k", b"v")]);
    good(store.commit(&Batch::new(), Durability::Relaxed));
    good(store.commit(&Batch::new(), Durability::Sync));
    assert_eq!(all(&*store, Family::Log).len(), 1);
}

fn a_large_batch_is_kept_whole(room: &Room<'_>) {
    let store = room.open();
    let mut batch = Batch::new();
    for n in 0..20_000_u32 {
        batch.put(Family::Log, &n.to_be_bytes(), &[0xaa; 100]);
        batch.put(Family::Dots, &n.to_be_bytes(), b"");
    }
    good(store.commit(&batch, Durability::Sync));
    let store = room.restart(store);
    for family in [Family::Log, Family::Dots] {
        let seen = all(&*store, family);
        assert_eq!(seen.len(), 20_000, "family `{family}`");
        assert!(seen.iter().zip(0_u32..).all(|((key, _), n)| *key == n.to_be_bytes()), "family `{family}`: its keys");
    }
}

fn a_refused_batch_leaves_nothing(room: &Room<'_>) {
    let store = room.open();
    let mut batch = puts(Family::Log, &[(b"before", b"v")]);
    batch.put(Family::User("absent"), b"k", b"v");
    batch.put(Family::Log, b"after", b"v");
    misuse("a commit", store.commit(&batch, Durability::Sync));
    assert_eq!(all(&*store, Family::Log), []);
    put(&*store, Family::Log, &[(b"next", b"v")]);
    let store = room.restart(store);
    assert_eq!(all(&*store, Family::Log).len(), 1, "after a restart");
}

/// One thread commits batches that set every key to the batch's number; others must never see two numbers at once, nor a
/// number go back, nor one older than what had returned before they looked.
fn readers_see_whole_batches(room: &Room<'_>) {
    const KEYS: [&[u8]; 4] = [b"a", b"b", b"y", b"z"];
    let store = room.open();
    let write = |number: u64| {
        let mut batch = Batch::new();
        for key in KEYS {
            batch.put(Family::Log, key, &number.to_be_bytes());
        }
        batch.put(Family::Meta, b"number", &number.to_be_bytes());
        good(store.commit(&batch, if number.is_multiple_of(16) { Durability::Sync } else { Durability::Relaxed }));
    };
    write(0);
    let (returned, done) = (AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut last = 0;
                    while !done.load(Ordering::Acquire) {
                        last = one_look(&*store, KEYS.len(), last.max(returned.load(Ordering::Acquire)));
                    }
                })
            })
            .collect();
        for number in 1..=300 {
            write(number);
            returned.store(number, Ordering::Release);
            if readers.iter().any(thread::ScopedJoinHandle::is_finished) {
                break; // it panicked; the scope reports that
            }
        }
        done.store(true, Ordering::Release);
        for reader in readers {
            reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
    });
}

/// Reads all keys, which must agree and be no older than `least`; returns what a later look must not go behind.
fn one_look(store: &dyn Store, keys: usize, least: u64) -> u64 {
    let number = |value: &[u8]| u64::from_be_bytes(value.try_into().expect("eight bytes were written"));
    let seen = good(read(store, Family::Log, KeyRange::from(b"")));
    assert_eq!(seen.len(), keys, "a scan misses keys");
    let first = number(&seen[0].1);
    assert!(seen.iter().all(|(_, value)| number(value) == first), "a scan sees a part of a batch: {seen:?}");
    assert!(first >= least, "a scan sees batch {first}, after batch {least} was there");
    let elsewhere = good(store.get(Family::Meta, b"number")).map(|value| number(&value));
    assert!(elsewhere >= Some(first), "family `meta` is at batch {elsewhere:?}, after `log` was at {first}");
    elsewhere.unwrap_or(first)
}
