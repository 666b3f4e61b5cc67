//! What is done to the store and to the model, and what both must then say.

use std::ops::ControlFlow;

use antiphon_kernel::store::{
    Batch, Durability, Family, KERNEL_FAMILIES, KeyRange, KeyValue, Store, StoreError, StoreErrorKind,
};

use super::World;
use super::model::{Change, Model, USER_FAMILIES};
use crate::choices::Choices;

/// First byte of each step.
pub(crate) mod step {
    /// A batch, durable at once.
    pub(crate) const COMMIT_SYNC: u8 = 0;
    /// A batch, durable later.
    pub(crate) const COMMIT: u8 = 1;
    /// The value at a key.
    pub(crate) const GET: u8 = 2;
    /// The keys from one on, or with a prefix, or both; all of them, or a few.
    pub(crate) const SCAN: u8 = 3;
    /// The last key with a prefix.
    pub(crate) const LAST: u8 = 4;
    /// Everything becomes durable.
    pub(crate) const SYNC: u8 = 5;
    /// A family of the embedder's is made.
    pub(crate) const ENSURE: u8 = 6;
    /// The store is asked to forget what it remembers.
    pub(crate) const REOPEN: u8 = 7;
    /// Power loss.
    pub(crate) const CRASH: u8 = 8;
    /// Closed and opened.
    pub(crate) const RESTART: u8 = 9;
    /// The next batch fails.
    pub(crate) const FAIL: u8 = 10;
    /// Every key is compared.
    pub(crate) const COMPARE: u8 = 11;
    /// The keys from the last one at or below a key on, of a prefix.
    pub(crate) const SCAN_FLOOR: u8 = 12;
}

const MAX_STEPS: usize = 200;
const MAX_CHANGES: u8 = 6;

pub(super) fn take(data: &[u8], world: &mut dyn World) {
    let mut choices = Choices::new(data);
    let mut model = Model::new();
    for _ in 0..MAX_STEPS {
        let Some(chosen) = choices.next() else { break };
        match chosen % 13 {
            step::COMMIT_SYNC => commit(world, &mut model, Durability::Sync, None, &mut choices),
            step::COMMIT => commit(world, &mut model, Durability::Relaxed, None, &mut choices),
            step::GET => get(world.store(), &model, &mut choices),
            step::SCAN => scan(world.store(), &model, &mut choices),
            step::SCAN_FLOOR => scan_floor(world.store(), &model, &mut choices),
            step::LAST => last(world.store(), &model, &mut choices),
            step::SYNC => {
                good(world.store().sync());
                model.sync();
            }
            step::ENSURE => {
                let name = choices.pick(&USER_FAMILIES);
                good(world.store().ensure_families(&[name]));
                model.ensure(name);
            }
            step::REOPEN => good(world.store().reopen()),
            step::CRASH => crash(world, &mut model, usize::from(choices.byte() % 8)),
            step::RESTART => world.restart(),
            step::FAIL => {
                let applied = choices.pick(&[true, false]);
                if world.fail_commit(applied) {
                    commit(
                        world,
                        &mut model,
                        choices.pick(&[Durability::Sync, Durability::Relaxed]),
                        Some(applied),
                        &mut choices,
                    );
                }
            }
            _ => compare(world.store(), &model),
        }
    }
    compare(world.store(), &model);
    good(world.store().check());
}

fn good<T>(result: Result<T, StoreError>) -> T {
    result.unwrap_or_else(|error| panic!("{error}"))
}

fn family(choices: &mut Choices<'_>) -> Family<'static> {
    let at = usize::from(choices.byte()) % (KERNEL_FAMILIES.len() + USER_FAMILIES.len());
    KERNEL_FAMILIES.get(at).copied().unwrap_or_else(|| Family::User(USER_FAMILIES[at - KERNEL_FAMILIES.len()]))
}

fn named(name: &str) -> Family<'_> {
    KERNEL_FAMILIES.into_iter().find(|family| family.name() == name).unwrap_or(Family::User(name))
}

/// Up to three bytes of a few that end alphabets and prefixes: keys are often equal, and often one another's prefix.
fn key(choices: &mut Choices<'_>) -> Vec<u8> {
    let length = choices.byte() % 4;
    (0..length).map(|_| choices.pick(&[b'a', 0, 0xff, b'b', 0xfe])).collect()
}

fn value(choices: &mut Choices<'_>) -> Vec<u8> {
    let filled = choices.byte();
    // Now and then one that does not fit into a small buffer.
    vec![filled; if filled == 255 { 5000 } else { usize::from(filled % 4) }]
}

fn commit(
    world: &mut dyn World,
    model: &mut Model,
    durability: Durability,
    fails: Option<bool>,
    choices: &mut Choices<'_>,
) {
    let (mut batch, mut changes): (Batch, Vec<Change>) = (Batch::new(), Vec::new());
    for _ in 0..choices.byte() % MAX_CHANGES {
        let (family, key) = (family(choices), key(choices));
        if choices.byte() % 4 == 3 {
            batch.delete(family, &key);
            changes.push((family.name().to_owned(), key, None));
        } else {
            let value = value(choices);
            // In pieces, which must come out as one.
            let (head, tail) = value.split_at(value.len() / 2);
            batch.put_parts(family, &key, &[head, tail]);
            changes.push((family.name().to_owned(), key, Some(value)));
        }
    }
    assert_eq!(batch.len(), changes.len());
    let result = world.store().commit(&batch, durability);
    if let Some((missing, ..)) = changes.iter().find(|change| !model.has(&change.0)) {
        let error = result.expect_err("a family that does not exist");
        assert_eq!(error.kind(), StoreErrorKind::Misuse);
        assert!(error.to_string().contains(missing), "`{error}` names the family");
        // Nothing of it was applied, whatever else stood in it; a failure that was due is still due.
        if let Some(applied) = fails {
            fail_empty(world, model, applied);
        }
        return;
    }
    match fails {
        None => {
            good(result);
            model.commit(&changes);
            if durability == Durability::Sync {
                model.sync();
            }
        }
        Some(applied) => {
            assert!(result.is_err(), "it was made to fail");
            good(world.store().reopen());
            if applied {
                model.commit(&changes);
            }
        }
    }
}

/// Uses up a failure that was due.
fn fail_empty(world: &mut dyn World, model: &mut Model, applied: bool) {
    assert!(world.store().commit(&Batch::new(), Durability::Relaxed).is_err());
    if applied {
        model.commit(&[]);
    }
}

fn get(store: &dyn Store, model: &Model, choices: &mut Choices<'_>) {
    let (family, key) = (family(choices), key(choices));
    match store.get(family, &key) {
        Ok(found) => {
            assert!(model.has(family.name()));
            assert_eq!(found, model.get(family.name(), &key), "{family} {key:02x?}");
        }
        Err(error) => is_missing(model, family, &error),
    }
}

fn is_missing(model: &Model, family: Family<'_>, error: &StoreError) {
    assert!(!model.has(family.name()), "{error}");
    assert_eq!(error.kind(), StoreErrorKind::Misuse);
}

fn scanned(
    store: &dyn Store,
    family: Family<'_>,
    range: KeyRange<'_>,
    most: usize,
) -> Result<Vec<KeyValue>, StoreError> {
    let mut found = Vec::new();
    store.scan(family, range, &mut |key, value| {
        found.push((key.to_vec(), value.to_vec()));
        if found.len() < most { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    Ok(found)
}

fn scan(store: &dyn Store, model: &Model, choices: &mut Choices<'_>) {
    let (family, from, prefix) = (family(choices), key(choices), key(choices));
    let most = choices.pick(&[usize::MAX, 1, 2]);
    match scanned(store, family, KeyRange { from: &from, prefix: &prefix }, most) {
        Ok(found) => {
            assert!(model.has(family.name()));
            let mut expected = model.scan(family.name(), &from, &prefix);
            expected.truncate(most);
            assert_eq!(found, expected, "{family} from {from:02x?} with {prefix:02x?}, at most {most}");
        }
        Err(error) => is_missing(model, family, &error),
    }
}

fn scan_floor(store: &dyn Store, model: &Model, choices: &mut Choices<'_>) {
    let (family, from, prefix) = (family(choices), key(choices), key(choices));
    let mut found = Vec::new();
    let scanned = store.scan_floor(family, KeyRange { from: &from, prefix: &prefix }, &mut |key, value| {
        found.push((key.to_vec(), value.to_vec()));
        ControlFlow::Continue(())
    });
    match scanned {
        Ok(()) => {
            assert!(model.has(family.name()));
            let mut expected = model.scan(family.name(), &[], &prefix);
            let above = expected.partition_point(|(key, _)| *key <= from);
            let expected = expected.split_off(above.saturating_sub(1));
            assert_eq!(found, expected, "{family} from the floor of {from:02x?} with {prefix:02x?}");
        }
        Err(error) => is_missing(model, family, &error),
    }
}

fn last(store: &dyn Store, model: &Model, choices: &mut Choices<'_>) {
    let (family, prefix) = (family(choices), key(choices));
    match store.last(family, &prefix) {
        Ok(found) => {
            assert!(model.has(family.name()));
            assert_eq!(found, model.scan(family.name(), &[], &prefix).pop(), "{family} with {prefix:02x?}");
        }
        Err(error) => is_missing(model, family, &error),
    }
}

fn crash(world: &mut dyn World, model: &mut Model, keep: usize) {
    let Some(pending) = world.crash(keep) else {
        return world.restart();
    };
    assert_eq!(pending, model.pending(), "what a crash can take is what no sync covered");
    model.crash(keep);
    compare(world.store(), model);
}

fn compare(store: &dyn Store, model: &Model) {
    for name in model.families() {
        let found = good(scanned(store, named(name), KeyRange::prefix(&[]), usize::MAX));
        assert_eq!(found, model.scan(name, &[], &[]), "{name}");
    }
}
