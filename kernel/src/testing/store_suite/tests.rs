//! The suite examined: a good store passes it, and each broken one fails the case that is there for it.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

use super::{CASES, StoreHarness, message, run};
use crate::identity::{KeyError, Signer};
use crate::store::{Batch, Durability, Family, KeyRange, KeyValue, Sizes, Store, StoreError, Visitor};
use crate::testing::MemoryStore;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flaw {
    None,
    ScanStopsEarly,
    ScanForgetsThePrefix,
    FloorIsCeiling,
    FloorForgetsThePrefix,
    LastForgetsThePrefix,
    BatchLosesItsLastMutation,
    BatchIsAppliedInTwoSteps,
    SyncIsNotAwaited,
    EmptyBatchIsNotSynced,
    MissingFamilyIsEmpty,
    ValuesAreCutAt64KiB,
}

struct Flawed {
    good: Arc<MemoryStore>,
    flaw: Flaw,
}

#[deny(clippy::missing_trait_methods)]
impl Store for Flawed {
    fn free_bytes(&self) -> Result<Option<u64>, StoreError> {
        self.good.free_bytes()
    }

    fn get(&self, family: Family<'_>, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        match self.good.get(family, key) {
            Err(_) if self.flaw == Flaw::MissingFamilyIsEmpty => Ok(None),
            other => other,
        }
    }

    fn scan(&self, family: Family<'_>, mut range: KeyRange<'_>, visit: &mut Visitor<'_>) -> Result<(), StoreError> {
        if self.flaw == Flaw::ScanForgetsThePrefix {
            range = KeyRange::from(range.from);
        }
        let mut visited = 0;
        self.good.scan(family, range, &mut |key, value| {
            visited += 1;
            if self.flaw == Flaw::ScanStopsEarly && visited > 12 { ControlFlow::Break(()) } else { visit(key, value) }
        })
    }

    fn scan_floor(
        &self,
        family: Family<'_>,
        mut range: KeyRange<'_>,
        visit: &mut Visitor<'_>,
    ) -> Result<(), StoreError> {
        match self.flaw {
            Flaw::FloorIsCeiling => return self.good.scan(family, range, visit),
            Flaw::FloorForgetsThePrefix => range = KeyRange::from(range.from),
            _ => {}
        }
        self.good.scan_floor(family, range, visit)
    }

    fn last(&self, family: Family<'_>, prefix: &[u8]) -> Result<Option<KeyValue>, StoreError> {
        self.good.last(family, if self.flaw == Flaw::LastForgetsThePrefix { b"" } else { prefix })
    }

    fn commit(&self, batch: &Batch, durability: Durability) -> Result<(), StoreError> {
        let (mut first, mut second) = (Batch::new(), Batch::new());
        for (at, change) in batch.iter().enumerate() {
            let lost = self.flaw == Flaw::BatchLosesItsLastMutation && batch.len() > 1 && at == batch.len() - 1;
            let late = self.flaw == Flaw::BatchIsAppliedInTwoSteps && at > 0;
            match change.value {
                _ if lost => {}
                Some(value) => {
                    let end =
                        if self.flaw == Flaw::ValuesAreCutAt64KiB { value.len().min(1 << 16) } else { value.len() };
                    (if late { &mut second } else { &mut first }).put(change.family, change.key, &value[..end]);
                }
                None => (if late { &mut second } else { &mut first }).delete(change.family, change.key),
            }
        }
        let synced = match self.flaw {
            Flaw::SyncIsNotAwaited => Durability::Relaxed,
            Flaw::EmptyBatchIsNotSynced if batch.is_empty() => Durability::Relaxed,
            _ => durability,
        };
        self.good.commit(&first, synced)?;
        if second.is_empty() { Ok(()) } else { self.good.commit(&second, synced) }
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.good.sync()
    }

    fn ensure_families(&self, names: &[&str]) -> Result<(), StoreError> {
        self.good.ensure_families(names)
    }

    fn reopen(&self) -> Result<(), StoreError> {
        self.good.reopen()
    }

    fn check_location(&self) -> Result<(), StoreError> {
        self.good.check_location()
    }

    fn fingerprint(&self) -> Result<Option<Vec<u8>>, StoreError> {
        self.good.fingerprint()
    }

    fn note(&self, bytes: &[u8], durability: Durability) {
        self.good.note(bytes, durability);
    }

    fn noted(&self) -> Option<Vec<u8>> {
        self.good.noted()
    }

    fn lost_end(&self) -> bool {
        self.good.lost_end()
    }

    fn close(&self) {
        self.good.close();
    }

    fn sizes(&self) -> Result<Option<Sizes>, StoreError> {
        self.good.sizes()
    }

    fn check(&self) -> Result<(), StoreError> {
        self.good.check()
    }

    fn check_with(&self, report: &mut dyn FnMut(u64, u64)) -> Result<(), StoreError> {
        self.good.check_with(report)
    }

    fn keys(&self) -> Result<Option<Arc<dyn Signer>>, KeyError> {
        self.good.keys()
    }

    fn create_keys(&self) -> Result<Option<Arc<dyn Signer>>, KeyError> {
        self.good.create_keys()
    }
}

struct Harness {
    flaw: Flaw,
    stores: Mutex<BTreeMap<String, Arc<MemoryStore>>>,
}

impl StoreHarness for Harness {
    fn open(&self, name: &str) -> Result<Arc<dyn Store>, StoreError> {
        let good = self.stores.lock().unwrap().entry(name.to_owned()).or_default().clone();
        Ok(Arc::new(Flawed { good, flaw: self.flaw }))
    }

    fn crash(&self, name: &str) -> bool {
        self.stores.lock().unwrap()[name].crash(0);
        true
    }
}

fn examine(flaw: Flaw) -> Result<(), String> {
    let harness = Harness { flaw, stores: Mutex::default() };
    catch_unwind(AssertUnwindSafe(|| run(&harness))).map_err(|panic| message(panic.as_ref()).to_owned())
}

#[test]
fn the_store_in_memory_passes() {
    assert_eq!(examine(Flaw::None), Ok(()));
}

#[test]
fn a_broken_store_fails_the_case_that_is_there_for_it() {
    for (flaw, case) in [
        (Flaw::ScanStopsEarly, "keys_are_ordered_bytewise"),
        (Flaw::ScanForgetsThePrefix, "a_scan_visits_its_range"),
        (Flaw::FloorIsCeiling, "a_floor_scan_begins_at_the_key_before"),
        (Flaw::FloorForgetsThePrefix, "a_floor_scan_begins_at_the_key_before"),
        (Flaw::LastForgetsThePrefix, "last_is_the_greatest_key_of_a_prefix"),
        (Flaw::BatchLosesItsLastMutation, "mutations_of_one_key_apply_in_order"),
        (Flaw::BatchIsAppliedInTwoSteps, "a_refused_batch_leaves_nothing"),
        (Flaw::SyncIsNotAwaited, "a_synced_commit_survives_a_crash"),
        (Flaw::EmptyBatchIsNotSynced, "a_synced_commit_carries_those_before_it"),
        (Flaw::MissingFamilyIsEmpty, "a_missing_family_is_misuse"),
        (Flaw::ValuesAreCutAt64KiB, "values_up_to_16_mib_are_kept"),
    ] {
        let report = examine(flaw).expect_err(&format!("{flaw:?} passes"));
        assert!(report.contains(&format!("case `{case}`: ")), "{flaw:?} is not found by `{case}`, but: {report}");
    }
}

#[test]
fn every_case_has_a_name_of_its_own() {
    let names: Vec<_> = CASES.into_iter().flatten().map(|(name, _)| name).collect();
    let distinct: std::collections::BTreeSet<_> = names.iter().collect();
    assert_eq!(distinct.len(), names.len());
}
