//! Order, ranges, the last key, and every kind of key and value.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::Case;
use super::room::{Room, all, floor, good, keys, put, read};
use crate::store::{Batch, Durability, Family, KeyRange, Store};

pub(super) const CASES: &[Case] = &[
    ("a_new_store_is_empty", a_new_store_is_empty),
    ("keys_are_ordered_bytewise", keys_are_ordered_bytewise),
    ("empty_keys_and_values_are_kept", empty_keys_and_values_are_kept),
    ("a_scan_visits_its_range", a_scan_visits_its_range),
    ("a_scan_ends_where_the_visitor_breaks", a_scan_ends_where_the_visitor_breaks),
    ("a_floor_scan_begins_at_the_key_before", a_floor_scan_begins_at_the_key_before),
    ("a_floor_scan_ends_where_the_visitor_breaks", a_floor_scan_ends_where_the_visitor_breaks),
    ("last_is_the_greatest_key_of_a_prefix", last_is_the_greatest_key_of_a_prefix),
    ("values_up_to_16_mib_are_kept", values_up_to_16_mib_are_kept),
    ("it_agrees_with_a_model", it_agrees_with_a_model),
];

/// In ascending order: what goes wrong where keys are text, signed, zero-terminated or compared by length.
const KEYS: [&[u8]; 15] = [
    b"",
    b"\x00",
    b"\x00\x00",
    b"\x00\xff",
    b"\x01",
    b"a",
    b"a\x00",
    b"aa",
    b"b",
    b"\x7f",
    b"\x80",
    b"\xfe\xff",
    b"\xff",
    b"\xff\x00",
    b"\xff\xff",
];

/// A store whose family `Log` holds `KEYS`, put in no order.
#[track_caller]
fn put_keys(store: &dyn Store) {
    for at in 0..KEYS.len() {
        put(store, Family::Log, &[(KEYS[at * 7 % KEYS.len()], b"value")]);
    }
}

fn a_new_store_is_empty(room: &Room<'_>) {
    let store = room.open();
    for family in crate::store::KERNEL_FAMILIES {
        assert_eq!(all(&*store, family), [], "family `{family}`");
        assert_eq!(good(store.last(family, b"")), None, "family `{family}`");
        assert_eq!(good(store.get(family, b"")), None, "family `{family}`");
    }
}

fn keys_are_ordered_bytewise(room: &Room<'_>) {
    let store = room.open();
    put_keys(&*store);
    assert_eq!(keys(&*store, Family::Log, KeyRange::from(b"")), KEYS);
    for key in KEYS {
        assert_eq!(good(store.get(Family::Log, key)).as_deref(), Some(&b"value"[..]), "key {key:?}");
    }
    let store = room.restart(store);
    assert_eq!(keys(&*store, Family::Log, KeyRange::from(b"")), KEYS, "after a restart");
}

fn empty_keys_and_values_are_kept(room: &Room<'_>) {
    let store = room.open();
    put(&*store, Family::Meta, &[(b"", b""), (b"k", b"")]);
    assert_eq!(good(store.get(Family::Meta, b"")), Some(vec![]), "an empty value is not a missing one");
    assert_eq!(good(store.get(Family::Meta, b"k")), Some(vec![]));
    assert_eq!(good(store.get(Family::Meta, b"other")), None);
    assert_eq!(all(&*store, Family::Meta), [(vec![], vec![]), (b"k".to_vec(), vec![])]);
}

fn a_scan_visits_its_range(room: &Room<'_>) {
    let store = room.open();
    put_keys(&*store);
    let from: [&[u8]; 8] = [b"", b"\x00", b"a", b"a\x00\x00", b"ab", b"\x81", b"\xff\xff", b"\xff\xff\x00"];
    let prefixes: [&[u8]; 8] = [b"", b"\x00", b"a", b"c", b"aa", b"\xff", b"\xff\xff", b"\xff\xff\xff"];
    for prefix in prefixes {
        for from in from.into_iter().chain([prefix]) {
            let expected: Vec<_> = KEYS.into_iter().filter(|k| *k >= from && k.starts_with(prefix)).collect();
            let seen = keys(&*store, Family::Log, KeyRange { from, prefix });
            assert_eq!(seen, expected, "from {from:?}, prefix {prefix:?}");
        }
    }
}

fn a_scan_ends_where_the_visitor_breaks(room: &Room<'_>) {
    let store = room.open();
    put_keys(&*store);
    for stop_at in 1..=KEYS.len() {
        let mut seen = Vec::new();
        good(store.scan(Family::Log, KeyRange::from(b""), &mut |key, _| {
            seen.push(key.to_vec());
            if seen.len() == stop_at { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        }));
        assert_eq!(seen, KEYS[..stop_at], "a break at visit {stop_at}");
    }
}

/// What a floor scan of a range must visit, of keys in ascending order.
fn from_floor<K: AsRef<[u8]>>(keys: Vec<K>, range: KeyRange<'_>) -> Vec<K> {
    let mut under: Vec<K> = keys.into_iter().filter(|key| key.as_ref().starts_with(range.prefix)).collect();
    let above = under.partition_point(|key| key.as_ref() <= range.from);
    under.split_off(above.saturating_sub(1))
}

fn a_floor_scan_begins_at_the_key_before(room: &Room<'_>) {
    let mut store = room.open();
    assert_eq!(good(floor(&*store, Family::Log, KeyRange::from(b"a"))), [], "an empty family");
    put_keys(&*store);
    let from: [&[u8]; 11] = [
        b"",
        b"\x00",
        b"\x00\x01",
        b"a",
        b"a\x00\x00",
        b"ab",
        b"c",
        b"\x81",
        b"\xff\x01",
        b"\xff\xff",
        b"\xff\xff\x00",
    ];
    let prefixes: [&[u8]; 8] = [b"", b"\x00", b"a", b"c", b"aa", b"\xff", b"\xff\xff", b"\xff\xff\xff"];
    for when in ["at once", "after a restart"] {
        for prefix in prefixes {
            for from in from.into_iter().chain([prefix]) {
                let range = KeyRange { from, prefix };
                let seen: Vec<_> = good(floor(&*store, Family::Log, range)).into_iter().map(|(key, _)| key).collect();
                assert_eq!(seen, from_floor(KEYS.to_vec(), range), "from {from:?}, prefix {prefix:?}, {when}");
            }
        }
        store = room.restart(store);
    }
    let mut batch = Batch::new();
    batch.delete(Family::Log, b"aa");
    good(store.commit(&batch, Durability::Sync));
    let seen = good(floor(&*store, Family::Log, KeyRange { from: b"ab", prefix: b"a" }));
    assert_eq!(seen[0].0, b"a\x00", "once the key before was deleted");
}

fn a_floor_scan_ends_where_the_visitor_breaks(room: &Room<'_>) {
    let store = room.open();
    put_keys(&*store);
    for stop_at in 1..=3 {
        let mut seen = Vec::new();
        good(store.scan_floor(Family::Log, KeyRange::from(b"ab"), &mut |key, _| {
            seen.push(key.to_vec());
            if seen.len() == stop_at { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        }));
        assert_eq!(seen, KEYS[7..7 + stop_at], "a break at visit {stop_at}");
    }
}

fn last_is_the_greatest_key_of_a_prefix(room: &Room<'_>) {
    let store = room.open();
    put_keys(&*store);
    // Each with a neighbour just outside of it, and some with nothing inside.
    let prefixes: [&[u8]; 13] = [
        b"",
        b"\x00",
        b"\x00\xff",
        b"\x01",
        b"a",
        b"aa",
        b"ab",
        b"c",
        b"\x7f",
        b"\xfe",
        b"\xff",
        b"\xff\xff",
        b"\xff\xff\xff",
    ];
    for prefix in prefixes {
        let expected = KEYS.into_iter().rfind(|key| key.starts_with(prefix));
        let last = good(store.last(Family::Log, prefix));
        assert_eq!(last.map(|(key, _)| key).as_deref(), expected, "prefix {prefix:?}");
    }
    let mut batch = Batch::new();
    batch.delete(Family::Log, b"\xff\xff");
    batch.put(Family::Log, b"\xff\x00", b"new");
    good(store.commit(&batch, Durability::Sync));
    let last = good(store.last(Family::Log, b"\xff"));
    assert_eq!(last, Some((b"\xff\x00".to_vec(), b"new".to_vec())), "once the last key was deleted");
}

fn values_up_to_16_mib_are_kept(room: &Room<'_>) {
    let store = room.open();
    // No two stretches alike, so that nothing is stored by repeating it.
    let mut random = Random(7);
    let value: Vec<u8> = std::iter::repeat_with(|| random.next()).flat_map(u64::to_le_bytes).take(16 << 20).collect();
    put(&*store, Family::Log, &[(b"large", &value), (b"small", b"s")]);
    let store = room.restart(store);
    assert!(good(store.get(Family::Log, b"large")).as_deref() == Some(&value[..]), "16 MiB by `get`");
    assert!(good(store.last(Family::Log, b"l")).is_some_and(|(_, v)| v == value), "16 MiB by `last`");
    let seen = all(&*store, Family::Log);
    assert_eq!(seen.len(), 2);
    assert!(seen[0].1 == value, "16 MiB by `scan`");
}

fn it_agrees_with_a_model(room: &Room<'_>) {
    let mut store = room.open();
    let mut model = BTreeMap::<Vec<u8>, Vec<u8>>::new();
    let mut random = Random(42);
    for round in 0..120 {
        let mut batch = Batch::new();
        for _ in 0..random.below(6) {
            // Few and short keys, so that they are overwritten, deleted and prefixes of one another.
            let key: Vec<u8> = (0..random.below(4)).map(|_| [0, b'a', 0xfe, 0xff][random.below(4)]).collect();
            if random.below(3) == 0 {
                batch.delete(Family::Dots, &key);
                model.remove(&key);
            } else {
                let value = random.next().to_le_bytes()[..random.below(9)].to_vec();
                batch.put(Family::Dots, &key, &value);
                model.insert(key, value);
            }
        }
        good(store.commit(&batch, Durability::Sync));
        if round % 40 == 39 {
            store = room.restart(store);
        }
        let expected: Vec<_> = model.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
        assert_eq!(all(&*store, Family::Dots), expected, "after batch {round}");
        for prefix in [&b""[..], b"a", b"\xfe", b"\xff", b"\xff\xff", b"\x00"] {
            let under: Vec<_> = expected.iter().filter(|(k, _)| k.starts_with(prefix)).cloned().collect();
            let seen = good(read(&*store, Family::Dots, KeyRange::prefix(prefix)));
            assert_eq!(seen, under, "prefix {prefix:?} after batch {round}");
            for from in [&b""[..], b"\x00", b"a\xfe", b"b", b"\xff"] {
                let range = KeyRange { from, prefix };
                let keys: Vec<_> = under.iter().map(|(key, _)| key.clone()).collect();
                let seen: Vec<_> = good(floor(&*store, Family::Dots, range)).into_iter().map(|(key, _)| key).collect();
                assert_eq!(seen, from_floor(keys, range), "from {from:?}, prefix {prefix:?} after batch {round}");
            }
            assert_eq!(good(store.last(Family::Dots, prefix)), under.last().cloned(), "last of {prefix:?}");
        }
    }
}

/// The same numbers in every run: xorshift64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() >> 8) as usize % end
    }
}
