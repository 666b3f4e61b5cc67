//! Clocks built from arbitrary bytes obey the laws of [`VClock`], and agree with a map from origin to counter that does
//! everything the obvious way.

use std::collections::BTreeMap;

use antiphon_kernel::clock::{Causality, ClockError, VClock};
use antiphon_kernel::codec::EventRef;
use antiphon_kernel::event::Draft;
use antiphon_kernel::ids::{CortexId, Dot, Epoch, EventId, MAX_COUNTER, Origin};
use antiphon_kernel::internals::clock::compare;
use antiphon_kernel::internals::codec::{EncodedDraft, encode_record};
use antiphon_kernel::time::Timestamp;
use arbitrary::{Result, Unstructured};

/// The most entries a clock gets here. Few, so that clocks often share origins; the bound of 1,024 has tests of its own.
const MAX_ENTRIES: usize = 12;
/// From how many origins entries are drawn.
const ORIGINS: u8 = 16;

type Model = BTreeMap<Origin, u64>;

/// Builds three clocks from `data` and checks every law on them.
///
/// # Panics
/// Where a law does not hold.
pub fn run(data: &[u8]) {
    let mut input = Unstructured::new(data);
    // Too few bytes are not a finding: `arbitrary` pads with zeros and only errs on an impossible demand.
    let (Ok(a), Ok(b), Ok(c)) = (model(&mut input), model(&mut input), model(&mut input)) else { return };
    let clocks @ [x, y, z] = &[clock(&a), clock(&b), clock(&c)];
    for (m, k) in [&a, &b, &c].into_iter().zip(clocks) {
        reads_as_its_model(m, k);
        is_the_same_however_it_was_built(m, k);
        grows_by_one(m, k);
        survives_its_codec(k);
    }
    compares_as_its_model(&a, &b, x, y);
    compares_as_its_model(&b, &c, y, z);
    is_transitive(x, y, z);
    merges_as_its_model(&a, &b, x, y);
    merges_in_any_order(x, y, z);
    merges_to_the_least_upper_bound(x, y, z);
    is_rebuilt_from_its_delta(x, y);
    clocks_that_grew_from_one_another(&a, &b, x);
}

fn model(input: &mut Unstructured<'_>) -> Result<Model> {
    let mut model = Model::new();
    for _ in 0..input.int_in_range(0..=MAX_ENTRIES)? {
        let origin = origin(input.int_in_range(0..=ORIGINS - 1)?);
        let counter = match input.int_in_range(0..=3_u8)? {
            0 => input.int_in_range(1..=MAX_COUNTER)?,
            1 => MAX_COUNTER - input.int_in_range(0..=3_u64)?,
            // Mostly small ones, which are often equal.
            _ => input.int_in_range(1..=4_u64)?,
        };
        model.insert(origin, counter);
    }
    Ok(model)
}

/// Two epochs of each of eight cortexes: origins that differ only in their last bytes, and ones that differ in the first.
fn origin(n: u8) -> Origin {
    Origin::new(CortexId::from_bytes([n / 2; 16]), Epoch::new(u64::from(n % 2)))
}

fn clock(model: &Model) -> VClock {
    let entries: Vec<_> = model.iter().map(|(&origin, &counter)| (origin, counter)).collect();
    VClock::from_sorted(&entries).expect("a map's entries are sorted, and these are in range")
}

fn joined(a: &VClock, b: &VClock) -> VClock {
    let mut both = a.clone();
    both.merge(b).expect("two small clocks fit into one");
    both
}

fn at(model: &Model, origin: Origin) -> u64 {
    model.get(&origin).copied().unwrap_or(0)
}

fn all_origins() -> impl Iterator<Item = Origin> {
    (0..ORIGINS).map(origin)
}

fn model_compare(a: &Model, b: &Model) -> Causality {
    let less = all_origins().any(|o| at(a, o) < at(b, o));
    let greater = all_origins().any(|o| at(a, o) > at(b, o));
    match (less, greater) {
        (false, false) => Causality::Equal,
        (true, false) => Causality::Before,
        (false, true) => Causality::After,
        (true, true) => Causality::Concurrent,
    }
}

fn reads_as_its_model(model: &Model, clock: &VClock) {
    assert_eq!(clock.len(), model.len());
    assert_eq!(clock.is_empty(), model.is_empty());
    assert!(clock.iter().eq(model.iter().map(|(&origin, &counter)| (origin, counter))));
    // Keys in the store and entries on the wire are ordered by bytes; the two orders have to be one.
    assert!(clock.iter().is_sorted_by(|a, b| a.0.to_bytes() < b.0.to_bytes()));
    for origin in all_origins() {
        let highest = at(model, origin);
        assert_eq!(clock.get(origin), highest);
        assert_eq!(clock.without(origin).get(origin), 0);
        assert_eq!(clock.without(origin).len(), clock.len() - usize::from(highest > 0));
        for counter in [highest, highest + 1] {
            let Some(dot) = Dot::new(origin, counter) else { continue };
            assert_eq!(clock.contains(dot), counter <= highest);
        }
    }
}

fn is_the_same_however_it_was_built(model: &Model, clock: &VClock) {
    let mut raised = VClock::new();
    for (&origin, &counter) in model.iter().rev() {
        raised.raise(origin, counter).expect("in range");
        raised.raise(origin, 1).expect("a lower counter changes nothing");
    }
    assert_eq!(&raised, clock);
    assert_eq!(raised.compare(clock), Causality::Equal);
}

fn grows_by_one(model: &Model, clock: &VClock) {
    for origin in all_origins() {
        let mut next = clock.clone();
        let result = next.increment(origin);
        if at(model, origin) == MAX_COUNTER {
            assert_eq!(result, Err(ClockError::CounterOutOfRange { counter: MAX_COUNTER + 1 }));
            assert_eq!(&next, clock, "a refused increment changes nothing");
        } else {
            assert_eq!(result, Ok(at(model, origin) + 1));
            assert_eq!(clock.compare(&next), Causality::Before);
        }
    }
}

fn compares_as_its_model(a: &Model, b: &Model, x: &VClock, y: &VClock) {
    let causality = x.compare(y);
    assert_eq!(causality, model_compare(a, b), "{x:?} to {y:?}");
    assert_eq!(y.compare(x), causality.reverse(), "compare is antisymmetric");
    assert_eq!(x == y, causality == Causality::Equal);
    assert_eq!(x.partial_cmp(y), causality.into());
    assert_eq!(compare(x, y), -compare(y, x));
    assert_eq!(x.first_beyond(y).is_none(), x <= y);
    assert_eq!(x <= y, joined(x, y) == *y, "compare agrees with merge");
}

fn is_transitive(x: &VClock, y: &VClock, z: &VClock) {
    // Arbitrary clocks are seldom ordered; these always are.
    let (low, middle) = (joined(x, y), joined(&joined(x, y), z));
    assert!(*x <= low && low <= middle && *x <= middle);
    assert!(!(x <= y && y <= z) || x <= z);
}

fn merges_as_its_model(a: &Model, b: &Model, x: &VClock, y: &VClock) {
    let mut model = a.clone();
    for (&origin, &counter) in b {
        let held = model.entry(origin).or_insert(counter);
        *held = counter.max(*held);
    }
    let both = joined(x, y);
    reads_as_its_model(&model, &both);

    let mut capped = x.clone();
    assert_eq!(capped.merge_capped(y, both.len()), Ok(()));
    assert_eq!(capped, both);
    if let Some(limit) = both.len().checked_sub(1) {
        let mut refused = x.clone();
        assert_eq!(refused.merge_capped(y, limit), Err(ClockError::TooManyEntries { limit }));
        assert_eq!(&refused, x, "a refused merge changes nothing");
    }
}

fn merges_in_any_order(x: &VClock, y: &VClock, z: &VClock) {
    assert_eq!(joined(x, y), joined(y, x), "merge is commutative");
    assert_eq!(joined(&joined(x, y), z), joined(x, &joined(y, z)), "merge is associative");
    assert_eq!(&joined(x, x), x, "merge is idempotent");
}

fn merges_to_the_least_upper_bound(x: &VClock, y: &VClock, z: &VClock) {
    let both = joined(x, y);
    assert!(*x <= both && *y <= both);
    let mut beyond = x.clone();
    for (origin, counter) in y.iter().chain(z.iter()) {
        beyond.raise(origin, counter).expect("in range");
    }
    assert!(both <= beyond, "no clock that is beyond both lies below their merge");
    let entries: Vec<_> = both.iter().collect();
    for at in 0..entries.len() {
        let mut less = entries.clone();
        less[at].1 -= 1;
        less.retain(|entry| entry.1 > 0);
        let less = VClock::from_sorted(&less).expect("still sorted and in range");
        assert!(!(*x <= less && *y <= less), "the merge of {x:?} and {y:?} could be less");
    }
}

/// A clock travels as what an event's writer had seen.
fn survives_its_codec(clock: &VClock) {
    let writer = Origin::new(CortexId::from_bytes([0xff; 16]), Epoch::new(1));
    let dot = Dot::new(writer, 1).expect("the first");
    let time = Timestamp::from_micros(0);
    let record =
        encode_record(&Draft::new("t", ""), &EncodedDraft { id: EventId::from_parts(1, 1), dot, deps: clock, time });
    let view = EventRef::decode(&record).expect("what was encoded decodes");
    assert_eq!(&view.deps, clock);
    assert_eq!(view.deps.compare(clock), Causality::Equal);
}

fn is_rebuilt_from_its_delta(x: &VClock, y: &VClock) {
    let later = joined(x, y);
    let delta = later.since(x);
    assert_eq!(joined(x, &delta), later);
    assert!(delta.iter().all(|(origin, counter)| counter > x.get(origin)), "a delta repeats nothing");
    assert!(later.since(&later).is_empty());
}

/// Clocks that share their slice of origins are compared and merged by another path than clocks built apart.
fn clocks_that_grew_from_one_another(a: &Model, b: &Model, x: &VClock) {
    let (mut grown_model, mut grown) = (a.clone(), x.clone());
    for (&origin, &counter) in b.iter().filter(|entry| a.contains_key(entry.0)) {
        grown.raise(origin, counter).expect("in range");
        let held = grown_model.entry(origin).or_insert(counter);
        *held = counter.max(*held);
    }
    compares_as_its_model(a, &grown_model, x, &grown);
    merges_as_its_model(a, &grown_model, x, &grown);

    // The other way as well, or one of two clocks that share their origins would always be the later one.
    let mut other_model = a.clone();
    let mut other = x.clone();
    if let Some((&first, counter)) = other_model.iter_mut().next()
        && *counter < MAX_COUNTER
    {
        *counter += 1;
        other.increment(first).expect("below the highest counter");
    }
    compares_as_its_model(&other_model, &grown_model, &other, &grown);
    merges_as_its_model(&other_model, &grown_model, &other, &grown);
}
