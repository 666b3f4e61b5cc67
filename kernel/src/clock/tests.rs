use std::collections::BTreeMap;

use proptest::prelude::*;

use super::causality::compare;
use super::*;
use crate::ids::{CortexId, Epoch};

fn origin(n: u8) -> Origin {
    Origin::new(CortexId::from_bytes([n; 16]), Epoch::new(u64::from(n)))
}

fn clock(entries: &BTreeMap<u8, u64>) -> VClock {
    let entries: Vec<_> = entries.iter().map(|(&o, &c)| (origin(o), c)).collect();
    VClock::from_sorted(&entries).unwrap()
}

fn any_entries() -> impl Strategy<Value = BTreeMap<u8, u64>> {
    prop::collection::btree_map(0..6_u8, 1..4_u64, 0..6)
}

fn model_compare(a: &BTreeMap<u8, u64>, b: &BTreeMap<u8, u64>) -> Causality {
    let get = |m: &BTreeMap<u8, u64>, k| m.get(&k).copied().unwrap_or(0);
    let less = (0..6).any(|k| get(a, k) < get(b, k));
    let greater = (0..6).any(|k| get(a, k) > get(b, k));
    match (less, greater) {
        (false, false) => Causality::Equal,
        (true, false) => Causality::Before,
        (false, true) => Causality::After,
        (true, true) => Causality::Concurrent,
    }
}

proptest! {
    #[test]
    fn compare_is_antisymmetric_and_agrees_with_the_model(a in any_entries(), b in any_entries()) {
        let (x, y) = (clock(&a), clock(&b));
        prop_assert_eq!(x.compare(&y), model_compare(&a, &b));
        prop_assert_eq!(y.compare(&x), x.compare(&y).reverse());
        prop_assert_eq!(x == y, x.compare(&y) == Causality::Equal);
        prop_assert_eq!(compare(&x, &y), -compare(&y, &x));
    }

    #[test]
    fn merge_is_the_least_upper_bound(a in any_entries(), b in any_entries(), c in any_entries()) {
        let (x, y, z) = (clock(&a), clock(&b), clock(&c));
        let join = |l: &VClock, r: &VClock| { let mut m = l.clone(); m.merge(r).unwrap(); m };
        let both = join(&x, &y);
        prop_assert!(both >= x && both >= y);
        prop_assert_eq!(&both, &join(&y, &x));
        prop_assert_eq!(join(&both, &z), join(&x, &join(&y, &z)));
        prop_assert_eq!(&join(&both, &both), &both);
        prop_assert_eq!(x >= y, join(&x, &y) == x);
        for o in 0..6 {
            let highest = a.get(&o).max(b.get(&o)).copied().unwrap_or(0);
            prop_assert_eq!(both.get(origin(o)), highest);
        }
    }

    #[test]
    fn the_delta_rebuilds_the_clock(a in any_entries(), b in any_entries()) {
        let earlier = clock(&a);
        let mut later = earlier.clone();
        later.merge(&clock(&b)).unwrap();
        let mut rebuilt = earlier.clone();
        rebuilt.merge(&later.since(&earlier)).unwrap();
        prop_assert_eq!(rebuilt, later);
    }
}

#[test]
fn shared_and_separate_origins_compare_alike() {
    let a = clock(&BTreeMap::from([(1, 5), (2, 5)]));
    let mut shared = a.clone();
    shared.increment(origin(1)).unwrap();
    let separate = clock(&BTreeMap::from([(1, 6), (2, 5)]));
    assert_eq!(a.compare(&shared), Causality::Before);
    assert_eq!(a.compare(&separate), Causality::Before);
    assert_eq!(shared, separate);
}

#[test]
fn entries_are_strictly_increasing_by_origin() {
    assert_eq!(VClock::from_sorted(&[(origin(2), 1), (origin(1), 1)]), Err(ClockError::NotSorted));
    assert_eq!(VClock::from_sorted(&[(origin(1), 1), (origin(1), 1)]), Err(ClockError::NotSorted));
    let mut grown = VClock::new();
    for n in [3, 1, 2] {
        grown.increment(origin(n)).unwrap();
    }
    assert!(grown.iter().is_sorted());
}

#[test]
fn a_counter_never_wraps() {
    let mut full = VClock::from_sorted(&[(origin(1), MAX_COUNTER)]).unwrap();
    assert_eq!(full.increment(origin(1)), Err(ClockError::CounterOutOfRange { counter: MAX_COUNTER + 1 }));
    assert_eq!(full.get(origin(1)), MAX_COUNTER);
    assert!(VClock::from_sorted(&[(origin(1), 0)]).is_err());
}

#[test]
fn an_origin_beyond_the_bound_is_refused_and_nothing_changes() {
    let many: Vec<_> =
        (0..MAX_CLOCK_ENTRIES as u64).map(|n| (Origin::new(CortexId::from_bytes([0; 16]), Epoch::new(n)), 1)).collect();
    let mut full = VClock::from_sorted(&many).unwrap();
    let before = full.clone();
    assert!(full.increment(origin(9)).is_err());
    assert!(full.merge(&clock(&BTreeMap::from([(9, 1)]))).is_err());
    assert_eq!(full, before);
    full.increment(many[0].0).unwrap();
    let mut capped = clock(&BTreeMap::from([(1, 1)]));
    assert!(capped.merge_capped(&clock(&BTreeMap::from([(2, 1)])), 1).is_err());
    assert_eq!(capped.len(), 1);
    assert!(before.clone().merge_capped(&before, 3).is_err());
}

#[test]
fn small_questions() {
    let held = clock(&BTreeMap::from([(1, 2), (3, 4)]));
    assert!(held.contains(Dot::new(origin(1), 2).unwrap()));
    assert!(!held.contains(Dot::new(origin(1), 3).unwrap()));
    assert_eq!(held.without(origin(1)).len(), 1);
    assert_eq!(held.without(origin(7)), held);
    let more = clock(&BTreeMap::from([(1, 2), (2, 1)]));
    assert_eq!(more.first_beyond(&held), Some((origin(2), 1)));
    assert_eq!(held.first_beyond(&held), None);
    assert_eq!(held.to_string().split(' ').count(), 2);
    assert!(format!("{held:?}").starts_with('{'));
    assert_eq!(held.partial_cmp(&more), None);
}
