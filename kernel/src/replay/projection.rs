//! What a replayer writes through.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::Relation;
use super::build::{BUILD_BYTES, BuildNumber};
use crate::store::{Batch, Family, KeyRange, Store, StoreError, StoreErrorKind};

type Writes = BTreeMap<(String, Vec<u8>), Option<Vec<u8>>>;
/// In the kernel's own family `replay`.
type OwnWrites = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// Reads and writes of a replayer's own families. Writes are readable at once and commit with the replay position. During a
/// rebuild they are those of the build that is filled, which is empty at first.
///
/// ```
/// use antiphon_kernel::{Event, EventReplayer, Projection, ReplayError};
///
/// /// Counts the events of each type.
/// struct Count;
///
/// impl EventReplayer for Count {
///     fn name(&self) -> &str {
///         "count"
///     }
///
///     fn families(&self) -> Vec<String> {
///         vec!["count".to_owned()]
///     }
///
///     fn replay_event(&mut self, event: &Event, count: &mut Projection<'_>) -> Result<(), ReplayError> {
///         let key = event.event_type.as_bytes();
///         let before = count.get("count", key)?.and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_be_bytes);
///         Ok(count.put("count", key, &(before + 1).to_be_bytes())?)
///     }
/// }
/// ```
pub struct Projection<'a> {
    store: &'a dyn Store,
    families: &'a [String],
    /// The build that is read and written.
    build: BuildNumber,
    /// Of events that were replayed, waiting for the commit.
    kept: Writes,
    /// Of the event that is being replayed.
    current: Writes,
    own: OwnWrites,
    relation: Option<Relation>,
}

impl<'a> Projection<'a> {
    pub(super) fn new(store: &'a dyn Store, families: &'a [String], build: BuildNumber) -> Self {
        let (kept, current, own) = (Writes::new(), Writes::new(), OwnWrites::new());
        Self { store, families, build, kept, current, own, relation: None }
    }

    fn check(&self, family: &str) -> Result<(), StoreError> {
        if self.families.iter().any(|own| own == family) {
            return Ok(());
        }
        Err(undeclared(family))
    }

    /// How the event at hand relates to earlier events of its conflict key: `None` unless the replayer asked for causality
    /// ([`super::ReplayOptions::causality`]) and the event has a key ([`super::EventReplayer::conflict_key`]).
    #[must_use]
    pub const fn relation(&self) -> Option<&Relation> {
        self.relation.as_ref()
    }

    pub(super) fn set_relation(&mut self, relation: Option<Relation>) {
        self.relation = relation;
    }

    /// A value of the kernel's own, with everything kept so far.
    pub(super) fn own(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        match self.own.get(key) {
            Some(written) => Ok(written.clone()),
            None => self.store.get(Family::Replay, key),
        }
    }

    pub(super) fn put_own(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) {
        self.own.insert(key, value);
    }

    /// The value at a key, with everything written so far.
    ///
    /// # Errors
    /// [`StoreError`]; kind `Misuse` for a family that the replayer did not declare.
    pub fn get(&self, family: &str, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.check(family)?;
        let at = (family.to_owned(), key.to_vec());
        if let Some(written) = self.current.get(&at).or_else(|| self.kept.get(&at)) {
            return Ok(written.clone());
        }
        self.store.get(Family::User(family), &self.build.key(key))
    }

    /// Visits the keys and values of a range in ascending order, with everything written so far, until the visitor breaks.
    ///
    /// # Errors
    /// As [`Projection::get`]; what was visited before an error must not be relied on.
    pub fn scan(
        &mut self,
        family: &str,
        range: KeyRange<'_>,
        mut visit: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.check(family)?;
        let mut written: BTreeMap<&[u8], Option<&[u8]>> = BTreeMap::new();
        for writes in [&self.kept, &self.current] {
            written.extend(in_range(writes, family, range));
        }
        let mut written = written.into_iter().peekable();
        let mut ended = false;
        self.build.scan(self.store, family, range, &mut |key, stored| {
            while let Some((at, value)) = written.next_if(|(at, _)| *at < key) {
                ended = value.is_some_and(|value| visit(at, value).is_break());
                if ended {
                    return ControlFlow::Break(());
                }
            }
            let value = written.next_if(|(at, _)| *at == key).map_or(Some(stored), |(_, value)| value);
            ended = value.is_some_and(|value| visit(key, value).is_break());
            if ended { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        // Keys after the last one that is stored.
        while !ended && let Some((at, value)) = written.next() {
            ended = value.is_some_and(|value| visit(at, value).is_break());
        }
        Ok(())
    }

    /// Deletes every key that begins with a prefix, and returns how many there were. Each takes memory until the commit.
    ///
    /// # Errors
    /// As [`Projection::get`].
    pub fn delete_prefix(&mut self, family: &str, prefix: &[u8]) -> Result<usize, StoreError> {
        let mut keys = Vec::new();
        self.scan(family, KeyRange::prefix(prefix), |key, _| {
            keys.push(key.to_vec());
            ControlFlow::Continue(())
        })?;
        let count = keys.len();
        keys.into_iter().try_for_each(|key| self.delete(family, &key))?;
        Ok(count)
    }

    /// Sets a key.
    ///
    /// # Errors
    /// Kind `Misuse` for a family that the replayer did not declare.
    pub fn put(&mut self, family: &str, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.write(family, key, Some(value.to_vec()))
    }

    /// Deletes a key; one that is not there is no error.
    ///
    /// # Errors
    /// As [`Projection::put`].
    pub fn delete(&mut self, family: &str, key: &[u8]) -> Result<(), StoreError> {
        self.write(family, key, None)
    }

    fn write(&mut self, family: &str, key: &[u8], value: Option<Vec<u8>>) -> Result<(), StoreError> {
        self.check(family)?;
        self.current.insert((family.to_owned(), key.to_vec()), value);
        Ok(())
    }

    /// The event was replayed: its writes belong to the batch.
    pub(super) fn keep(&mut self) {
        let current = std::mem::take(&mut self.current);
        self.kept.extend(current);
    }

    /// The event failed: its writes never were.
    pub(super) fn discard(&mut self) {
        self.current.clear();
    }

    pub(super) fn into_batch(self, batch: &mut Batch) {
        for (key, value) in self.own {
            match value {
                Some(value) => batch.put(Family::Replay, &key, &value),
                None => batch.delete(Family::Replay, &key),
            }
        }
        let mut at = self.build.to_bytes().to_vec();
        for ((family, key), value) in self.kept {
            at.truncate(BUILD_BYTES);
            at.extend_from_slice(&key);
            match value {
                Some(value) => batch.put(Family::User(&family), &at, &value),
                None => batch.delete(Family::User(&family), &at),
            }
        }
    }
}

/// The writes of a family within a range, in order of their keys.
fn in_range<'w>(
    writes: &'w Writes,
    family: &str,
    range: KeyRange<'_>,
) -> impl Iterator<Item = (&'w [u8], Option<&'w [u8]>)> {
    let from = (family.to_owned(), range.from.max(range.prefix).to_vec());
    let within = move |key: &(String, Vec<u8>)| key.0 == family && key.1.starts_with(range.prefix);
    let found = writes.range(from..).take_while(move |(key, _)| within(key));
    found.map(|((_, key), value)| (key.as_slice(), value.as_deref()))
}

/// The error of a family that the replayer did not declare.
pub(super) fn undeclared(family: &str) -> StoreError {
    StoreError::new(StoreErrorKind::Misuse, format!("`{family}` is not among this replayer's families"))
}
