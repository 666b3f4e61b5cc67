//! The exam for a [`Store`]: every obligation written on the trait is a case.
//!
//! An implementer's whole test:
//!
//! ```
//! use std::sync::Arc;
//! use antiphon_kernel::store::Store;
//! use antiphon_kernel::testing::{MemoryStore, store_suite};
//!
//! struct Harness(Arc<MemoryStore>);
//!
//! impl store_suite::Harness for Harness {
//!     fn store(&self) -> &dyn Store { &*self.0 }
//!     fn restart(&mut self) { self.0.crash(0); }
//! }
//!
//! store_suite::run(&|| Box::new(Harness(Arc::new(MemoryStore::new()))));
//! ```

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::store::{Batch, Durability, Family, KeyRange, KeyValue, Store, StoreErrorKind};

/// One store under examination.
pub trait Harness {
    /// The store as it is open now.
    fn store(&self) -> &dyn Store;

    /// Ends it as a crash would, and opens it again. Everything synced must still be there.
    fn restart(&mut self);
}

type Case = (&'static str, fn(&mut dyn Harness));

const CASES: &[Case] = &[
    ("keys are ordered bytewise", ordered),
    ("scans keep to their range", ranges),
    ("the last key of a prefix is found", last_of_prefix),
    ("families do not see each other", isolated),
    ("mutations of one key apply in their order", in_order),
    ("a batch with an impossible part has no effect", all_or_nothing),
    ("synced commits survive a restart", survives),
    ("sync makes earlier relaxed commits durable", sync_covers),
    ("families of the embedder survive a restart", embedders_families),
    ("reopening keeps everything", reopening),
    ("large and empty values", sizes),
    ("readers never see part of a batch", no_partial_batches),
    ("a sound store checks clean", checks_clean),
];

/// Runs every case on a fresh store each.
///
/// # Panics
/// With the name of the case at the first obligation that is not kept.
pub fn run(fresh: &dyn Fn() -> Box<dyn Harness>) {
    for (name, case) in CASES {
        let mut harness = fresh();
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| case(&mut *harness)));
        assert!(result.is_ok(), "the store breaks an obligation: {name}");
    }
}

const F: Family<'static> = Family::Log;

fn put(store: &dyn Store, pairs: &[(&[u8], &[u8])]) {
    let mut batch = Batch::new();
    for (key, value) in pairs {
        batch.put(F, key, value);
    }
    store.commit(&batch, Durability::Sync).expect("a commit");
}

fn all(store: &dyn Store, family: Family<'_>, range: KeyRange<'_>) -> Vec<KeyValue> {
    let mut seen = Vec::new();
    let scanned = store.scan(family, range, &mut |key, value| {
        seen.push((key.to_vec(), value.to_vec()));
        ControlFlow::Continue(())
    });
    scanned.expect("a scan");
    seen
}

fn keys(store: &dyn Store, range: KeyRange<'_>) -> Vec<Vec<u8>> {
    all(store, F, range).into_iter().map(|pair| pair.0).collect()
}

fn ordered(harness: &mut dyn Harness) {
    let names: [&[u8]; 6] = [b"", b"\0", b"\0\xff", b"a", b"a\0", b"\xff\xff"];
    put(
        harness.store(),
        &[(names[4], b"4"), (names[2], b"2"), (names[5], b"5"), (names[0], b"0"), (names[3], b"3"), (names[1], b"1")],
    );
    assert_eq!(keys(harness.store(), KeyRange::prefix(&[])), names);
    assert_eq!(harness.store().get(F, b"a\0").expect("a get").as_deref(), Some(&b"4"[..]));
    assert_eq!(harness.store().get(F, b"missing").expect("a get"), None);
}

fn ranges(harness: &mut dyn Harness) {
    put(harness.store(), &[(b"a", b""), (b"ab", b""), (b"ac", b""), (b"b", b""), (b"\xff\xff", b"")]);
    let store = harness.store();
    assert_eq!(keys(store, KeyRange::prefix(b"a")), [&b"a"[..], b"ab", b"ac"]);
    assert_eq!(keys(store, KeyRange::from(b"ac")), [&b"ac"[..], b"b", b"\xff\xff"]);
    assert_eq!(keys(store, KeyRange { from: b"ab", prefix: b"a" }), [&b"ab"[..], b"ac"]);
    assert_eq!(keys(store, KeyRange { from: b"", prefix: b"b" }), [&b"b"[..]]);
    assert!(keys(store, KeyRange::prefix(b"x")).is_empty());
    let mut visits = 0;
    let scanned = store.scan(F, KeyRange::prefix(&[]), &mut |_, _| {
        visits += 1;
        ControlFlow::Break(())
    });
    assert!(scanned.is_ok() && visits == 1, "a break ends the scan");
}

fn last_of_prefix(harness: &mut dyn Harness) {
    let store = harness.store();
    assert_eq!(store.last(F, &[]).expect("last"), None);
    put(store, &[(b"a", b"1"), (b"a\xff", b"2"), (b"b", b"3"), (b"\xff", b"4"), (b"\xff\xff\x01", b"5")]);
    let last = |prefix: &[u8]| store.last(F, prefix).expect("last").map(|pair| pair.1);
    assert_eq!(last(b""), Some(b"5".to_vec()));
    assert_eq!(last(b"a"), Some(b"2".to_vec()));
    assert_eq!(last(b"b"), Some(b"3".to_vec()));
    assert_eq!(last(b"\xff"), Some(b"5".to_vec()));
    assert_eq!(last(b"\xff\xff"), Some(b"5".to_vec()));
    assert_eq!(last(b"0"), None);
    assert_eq!(last(b"c"), None);
}

fn isolated(harness: &mut dyn Harness) {
    put(harness.store(), &[(b"k", b"log")]);
    assert_eq!(harness.store().get(Family::Meta, b"k").expect("a get"), None);
    assert!(all(harness.store(), Family::Dots, KeyRange::prefix(&[])).is_empty());
    let missing = harness.store().get(Family::User("nobody"), b"k").expect_err("a family that does not exist");
    assert_eq!(missing.kind(), StoreErrorKind::Misuse);
}

fn in_order(harness: &mut dyn Harness) {
    let mut batch = Batch::new();
    batch.put(F, b"k", b"1");
    batch.delete(F, b"k");
    batch.put(F, b"k", b"2");
    batch.put(F, b"gone", b"1");
    batch.delete(F, b"gone");
    batch.delete(F, b"never there");
    harness.store().commit(&batch, Durability::Sync).expect("a commit");
    assert_eq!(all(harness.store(), F, KeyRange::prefix(&[])), [(b"k".to_vec(), b"2".to_vec())]);
}

fn all_or_nothing(harness: &mut dyn Harness) {
    let mut batch = Batch::new();
    batch.put(F, b"k", b"v");
    batch.put(Family::User("nobody"), b"k", b"v");
    let error = harness.store().commit(&batch, Durability::Sync).expect_err("a family that does not exist");
    assert_eq!(error.kind(), StoreErrorKind::Misuse);
    assert!(all(harness.store(), F, KeyRange::prefix(&[])).is_empty());
}

fn survives(harness: &mut dyn Harness) {
    let mut batch = Batch::new();
    batch.put(F, b"k", b"v");
    batch.put(Family::Meta, b"k", b"w");
    harness.store().commit(&batch, Durability::Sync).expect("a commit");
    harness.restart();
    assert_eq!(harness.store().get(F, b"k").expect("a get").as_deref(), Some(&b"v"[..]));
    assert_eq!(harness.store().get(Family::Meta, b"k").expect("a get").as_deref(), Some(&b"w"[..]));
}

fn sync_covers(harness: &mut dyn Harness) {
    for n in 0..3_u8 {
        let mut batch = Batch::new();
        batch.put(F, &[n], &[n]);
        harness.store().commit(&batch, Durability::Relaxed).expect("a commit");
        assert_eq!(harness.store().get(F, &[n]).expect("a get"), Some(vec![n]), "visible at once");
    }
    harness.store().sync().expect("a sync");
    harness.restart();
    assert_eq!(keys(harness.store(), KeyRange::prefix(&[])).len(), 3);
}

fn embedders_families(harness: &mut dyn Harness) {
    harness.store().ensure_families(&["mine", "yours"]).expect("families");
    harness.store().ensure_families(&["mine"]).expect("existing ones stay");
    let mut batch = Batch::new();
    batch.put(Family::User("mine"), b"k", b"v");
    harness.store().commit(&batch, Durability::Sync).expect("a commit");
    harness.restart();
    assert_eq!(harness.store().get(Family::User("mine"), b"k").expect("passed through").as_deref(), Some(&b"v"[..]));
    assert_eq!(harness.store().get(Family::User("yours"), b"k").expect("passed through"), None);
}

fn reopening(harness: &mut dyn Harness) {
    put(harness.store(), &[(b"k", b"v")]);
    harness.store().reopen().expect("a reopening");
    assert_eq!(harness.store().get(F, b"k").expect("a get").as_deref(), Some(&b"v"[..]));
    put(harness.store(), &[(b"l", b"w")]);
    assert_eq!(keys(harness.store(), KeyRange::prefix(&[])).len(), 2);
}

fn sizes(harness: &mut dyn Harness) {
    let large = vec![7; 16 * 1024 * 1024];
    put(harness.store(), &[(b"large", &large), (b"empty", b"")]);
    harness.restart();
    assert!(harness.store().get(F, b"large").expect("a get") == Some(large));
    assert_eq!(harness.store().get(F, b"empty").expect("a get"), Some(vec![]));
}

fn no_partial_batches(harness: &mut dyn Harness) {
    let store = harness.store();
    let done = AtomicBool::new(false);
    put(store, &[(b"x", &[0]), (b"y", &[0])]);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let pairs = all(store, F, KeyRange::prefix(&[]));
                assert_eq!(pairs[0].1, pairs[1].1, "both keys change together");
            }
        });
        for n in 1..=100_u8 {
            let mut batch = Batch::new();
            batch.put(F, b"x", &[n]);
            batch.put(F, b"y", &[n]);
            store.commit(&batch, Durability::Relaxed).expect("a commit");
        }
        done.store(true, Ordering::Relaxed);
        reader.join().expect("the reader");
    });
}

fn checks_clean(harness: &mut dyn Harness) {
    put(harness.store(), &[(b"k", b"v")]);
    harness.store().check().expect("nothing is damaged");
}
