//! What is still there after a restart, a reopening and a crash.

use super::Case;
use super::room::{Room, all, good, put, puts};
use crate::store::{Batch, Durability, Family, KeyRange, Store};

pub(super) const CASES: &[Case] = &[
    ("a_restart_keeps_everything", a_restart_keeps_everything),
    ("a_reopen_keeps_what_was_synced", a_reopen_keeps_what_was_synced),
    ("a_synced_commit_survives_a_crash", a_synced_commit_survives_a_crash),
    ("a_synced_commit_carries_those_before_it", a_synced_commit_carries_those_before_it),
    ("a_sync_carries_all_commits", a_sync_carries_all_commits),
    ("a_crash_leaves_a_prefix", a_crash_leaves_a_prefix),
    ("an_ensured_family_survives_a_crash", an_ensured_family_survives_a_crash),
];

/// Commits the batch with this number: the number itself, in two families.
#[track_caller]
fn commit(store: &dyn Store, number: u32, durability: Durability) {
    let mut batch = puts(Family::Log, &[(&number.to_be_bytes(), b"event")]);
    batch.put(Family::Meta, b"newest", &number.to_be_bytes());
    good(store.commit(&batch, durability));
}

/// How many batches are there, which must be the first ones, and each whole.
#[track_caller]
fn count(store: &dyn Store) -> u32 {
    let log = all(store, Family::Log);
    let there = u32::try_from(log.len()).expect("a case commits few batches");
    assert!(log.iter().zip(1..=there).all(|((key, _), n)| *key == n.to_be_bytes()), "there is a hole in {log:?}");
    let newest = good(store.get(Family::Meta, b"newest"));
    let newest = newest.map_or(0, |v| u32::from_be_bytes(v.try_into().expect("four bytes were written")));
    assert_eq!(newest, there, "`meta` and `log` are parts of different batches");
    there
}

fn a_restart_keeps_everything(room: &Room<'_>) {
    let mut store = room.open();
    for number in 1..=6 {
        commit(&*store, number, if number % 2 == 0 { Durability::Relaxed } else { Durability::Sync });
        if number % 3 == 0 {
            store = room.restart(store);
            assert_eq!(count(&*store), number, "a store that is closed loses nothing, relaxed or not");
        }
    }
}

fn a_reopen_keeps_what_was_synced(room: &Room<'_>) {
    let store = room.open();
    good(store.reopen());
    for number in 1..=4 {
        commit(&*store, number, Durability::Sync);
        good(store.reopen());
        assert_eq!(count(&*store), number);
    }
    let store = room.restart(store);
    assert_eq!(count(&*store), 4, "after a restart");
}

fn a_synced_commit_survives_a_crash(room: &Room<'_>) {
    let mut store = room.open();
    for number in 1..=4 {
        commit(&*store, number, Durability::Sync);
        (store, _) = room.crash(store);
        assert_eq!(count(&*store), number);
    }
    // Deletes and overwrites are no less durable than what they replace.
    let mut batch = Batch::new();
    batch.delete(Family::Log, &4_u32.to_be_bytes());
    batch.put(Family::Meta, b"newest", &3_u32.to_be_bytes());
    good(store.commit(&batch, Durability::Sync));
    (store, _) = room.crash(store);
    assert_eq!(count(&*store), 3);
}

fn a_synced_commit_carries_those_before_it(room: &Room<'_>) {
    let mut store = room.open();
    for number in 1..=5 {
        commit(&*store, number, Durability::Relaxed);
    }
    commit(&*store, 6, Durability::Sync);
    (store, _) = room.crash(store);
    assert_eq!(count(&*store), 6);
    commit(&*store, 7, Durability::Relaxed);
    good(store.commit(&Batch::new(), Durability::Sync));
    (store, _) = room.crash(store);
    assert_eq!(count(&*store), 7, "an empty batch that is synced carries the commits before it");
}

fn a_sync_carries_all_commits(room: &Room<'_>) {
    let store = room.open();
    good(store.sync());
    for number in 1..=5 {
        commit(&*store, number, Durability::Relaxed);
    }
    good(store.sync());
    let (store, _) = room.crash(store);
    assert_eq!(count(&*store), 5);
}

fn a_crash_leaves_a_prefix(room: &Room<'_>) {
    let store = room.open();
    for number in 1..=8 {
        commit(&*store, number, if number == 3 { Durability::Sync } else { Durability::Relaxed });
    }
    assert_eq!(count(&*store), 8, "what is relaxed is visible nevertheless");
    let (store, crashed) = room.crash(store);
    let there = count(&*store);
    assert!((3..=8).contains(&there) && (crashed || there == 8), "{there} of 8 batches are there");
    // It goes on from there, as from any other state.
    commit(&*store, there + 1, Durability::Sync);
    let (store, _) = room.crash(store);
    assert_eq!(count(&*store), there + 1);
}

fn an_ensured_family_survives_a_crash(room: &Room<'_>) {
    let store = room.open();
    good(store.ensure_families(&["view"]));
    let (store, _) = room.crash(store);
    put(&*store, Family::User("view"), &[(b"k", b"v")]);
    let (store, _) = room.crash(store);
    let mut seen = 0;
    good(store.scan(Family::User("view"), KeyRange::prefix(b"k"), &mut |_, _| {
        seen += 1;
        std::ops::ControlFlow::Continue(())
    }));
    assert_eq!(seen, 1);
}
