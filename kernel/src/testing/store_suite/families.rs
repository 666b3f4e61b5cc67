//! Families: apart from one another, made once, and never dropped.

use super::Case;
use super::room::{Room, all, good, misuse, put, read};
use crate::store::{Batch, Durability, Family, KERNEL_FAMILIES, KeyRange};

pub(super) const CASES: &[Case] = &[
    ("families_do_not_see_each_other", families_do_not_see_each_other),
    ("a_missing_family_is_misuse", a_missing_family_is_misuse),
    ("ensured_families_stay_as_they_are", ensured_families_stay_as_they_are),
    ("unknown_families_are_passed_through", unknown_families_are_passed_through),
    ("a_healthy_store_passes_its_check", a_healthy_store_passes_its_check),
];

fn families_do_not_see_each_other(room: &Room<'_>) {
    let store = room.open();
    good(store.ensure_families(&["view", "view2"]));
    let families = || KERNEL_FAMILIES.into_iter().chain(["view", "view2"].map(Family::User));
    for family in families() {
        put(&*store, family, &[(b"same", family.name().as_bytes()), (family.name().as_bytes(), b"own")]);
    }
    for family in families() {
        assert_eq!(all(&*store, family).len(), 2, "family `{family}`");
        let value = good(store.get(family, b"same"));
        assert_eq!(value.as_deref(), Some(family.name().as_bytes()), "family `{family}`");
    }
    let mut batch = Batch::new();
    batch.delete(Family::User("view"), b"same");
    good(store.commit(&batch, Durability::Sync));
    for family in families().filter(|f| *f != Family::User("view")) {
        assert!(good(store.get(family, b"same")).is_some(), "family `{family}` after a delete in another");
    }
}

fn a_missing_family_is_misuse(room: &Room<'_>) {
    let store = room.open();
    let absent = Family::User("absent");
    misuse("a get", store.get(absent, b"k"));
    misuse("a scan", read(&*store, absent, KeyRange::from(b"")));
    misuse("a last", store.last(absent, b""));
    let mut batch = Batch::new();
    batch.delete(absent, b"k");
    misuse("a delete", store.commit(&batch, Durability::Relaxed));
}

fn ensured_families_stay_as_they_are(room: &Room<'_>) {
    let mut store = room.open();
    let view = Family::User("view");
    good(store.ensure_families(&[]));
    good(store.ensure_families(&["view"]));
    put(&*store, view, &[(b"k", b"v")]);
    for round in 0..2 {
        good(store.ensure_families(&["other.view-2", "view", "view"]));
        assert_eq!(all(&*store, view), [(b"k".to_vec(), b"v".to_vec())], "round {round}");
        assert_eq!(all(&*store, Family::User("other.view-2")), [], "round {round}");
        store = room.restart(store);
    }
    good(store.reopen());
    assert_eq!(all(&*store, view).len(), 1, "after a reopen");
}

fn unknown_families_are_passed_through(room: &Room<'_>) {
    let store = room.open();
    good(store.ensure_families(&["full", "empty"]));
    put(&*store, Family::User("full"), &[(b"k", b"v")]);
    // Opened by somebody who never heard of them, who writes, and opens it again.
    let store = room.restart(store);
    put(&*store, Family::Log, &[(b"k", b"v")]);
    let store = room.restart(store);
    assert_eq!(all(&*store, Family::User("full")).len(), 1);
    assert_eq!(all(&*store, Family::User("empty")), []);
}

fn a_healthy_store_passes_its_check(room: &Room<'_>) {
    let store = room.open();
    good(store.check());
    good(store.ensure_families(&["view"]));
    put(&*store, Family::User("view"), &[(b"k", b"v")]);
    good(store.check());
    let store = room.restart(store);
    good(store.check());
}
