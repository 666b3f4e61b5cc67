//! A store in memory that keeps apart what is visible and what would survive a crash.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::seeded;
use crate::codec::decode_identity;
use crate::identity::{KeyError, Keys, Signer};
use crate::store::{
    Batch, Durability, Family, KERNEL_FAMILIES, KeyRange, KeyValue, Store, StoreError, StoreErrorKind, Visitor, keys,
};

type Entries = BTreeMap<Vec<u8>, Vec<u8>>;
type Families = BTreeMap<String, Entries>;

/// What a commit that fails leaves behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitFault {
    /// Nothing.
    Lost,
    /// All of it, visible at once.
    Applied,
    /// Nothing visible, and no write is taken any more; once the store is opened again, all of it is there. A write-ahead log
    /// whose sync fails does that: the batch is in the file and not in memory.
    AtReopen,
}

impl CommitFault {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Lost, Self::Applied, Self::AtReopen];
}

/// A [`Store`] with two layers: what reads see, and what was made durable. [`MemoryStore::crash`] drops the difference,
/// or keeps a prefix of it, as a real disk does; [`MemoryStore::fail_commits`] makes commits fail. Its clones of state are
/// whole, so it is for tests, not for data.
///
/// It keeps the keys of its cortex as long as it exists, and knows those of [`seeded_keys`](super::seeded_keys).
pub struct MemoryStore {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    visible: Families,
    durable: Families,
    pending: Vec<Batch>,
    /// Stands for the disk and the files that hold the data.
    place: u64,
    noted: Option<Vec<u8>>,
    free: Option<u64>,
    /// For each of the next commits: whether and how it fails.
    failing: VecDeque<Option<CommitFault>>,
    /// No write is taken before the store is opened again.
    broken: bool,
    failing_sync: bool,
    /// What is there once it is opened again.
    image: Option<Families>,
    /// Of the cortex whose log it holds. Copies have them too.
    keys: Option<Arc<dyn Signer>>,
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").field("pending", &self.pending()).finish_non_exhaustive()
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryStore {
    /// An empty store with the kernel's families.
    #[must_use]
    pub fn new() -> Self {
        let families: Families = KERNEL_FAMILIES.iter().map(|f| (f.name().to_owned(), Entries::new())).collect();
        Self { inner: Mutex::new(Inner { visible: families.clone(), durable: families, ..Inner::default() }) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panicking visitor leaves whole batches behind, never parts: the data is good.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Power loss: what was not durable is gone, but for its first `keep` batches. Returns how many there were.
    pub fn crash(&self, keep: usize) -> usize {
        let mut inner = self.lock();
        let pending = std::mem::take(&mut inner.pending);
        for batch in pending.iter().take(keep) {
            apply(&mut inner.durable, batch);
        }
        inner.visible = inner.durable.clone();
        inner.broken = false;
        pending.len()
    }

    /// A store with what a crash would leave now, in the same place: an image of the whole machine, for going back to.
    #[must_use]
    pub fn durable_copy(&self) -> Self {
        let inner = self.lock();
        let (durable, place, noted) = (inner.durable.clone(), inner.place, inner.noted.clone());
        let keys = inner.keys.clone();
        Self { inner: Mutex::new(Inner { visible: durable.clone(), durable, place, noted, keys, ..Inner::default() }) }
    }

    /// Says from now on that so many bytes are free.
    pub fn set_free_bytes(&self, free: u64) {
        self.lock().free = Some(free);
    }

    /// Says from now on that the data stand in this place: after a copy, as of a directory.
    pub fn move_to(&self, place: u64) {
        self.lock().place = place;
    }

    /// Whether a key would survive a crash now.
    #[must_use]
    pub fn is_durable(&self, family: Family<'_>, key: &[u8]) -> bool {
        self.lock().durable.get(family.name()).is_some_and(|keys| keys.contains_key(key))
    }

    /// The greatest key at or below `key` that begins with `prefix` and would survive a crash now, and its value.
    #[must_use]
    pub(crate) fn durable_floor(&self, family: Family<'_>, prefix: &[u8], key: &[u8]) -> Option<KeyValue> {
        let inner = self.lock();
        let (key, value) = floor(inner.durable.get(family.name())?, KeyRange { from: key, prefix })?;
        Some((key.to_vec(), value.to_vec()))
    }

    /// How many batches a crash could lose now.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.lock().pending.len()
    }

    /// Makes the next commits fail, one for each entry, instead of those set before.
    pub fn fail_commits(&self, faults: impl IntoIterator<Item = CommitFault>) {
        self.lock().failing = faults.into_iter().map(Some).collect();
    }

    /// Makes one commit fail, after `succeed` that do not, instead of those set before.
    pub fn fail_commit_after(&self, succeed: usize, fault: CommitFault) {
        self.lock().failing = std::iter::repeat_n(None, succeed).chain([Some(fault)]).collect();
    }

    /// Makes the next sync fail: what is pending stays so.
    pub fn fail_sync(&self) {
        self.lock().failing_sync = true;
    }

    /// The disk gives up what it had said to have: whoever opens the store again finds this image instead.
    pub fn reopen_as(&self, image: &Self) {
        let image = image.lock().durable.clone();
        self.lock().image = Some(image);
    }

    /// The same, of what was not durable: whoever opens the store again finds the first `keep` batches of that, and no more.
    pub fn lose_at_reopen(&self, keep: usize) {
        let mut inner = self.lock();
        let mut image = inner.durable.clone();
        inner.pending.iter().take(keep).for_each(|batch| apply(&mut image, batch));
        inner.image = Some(image);
    }

    /// Overwrites a value behind the kernel's back, visible and durable: damage.
    pub fn tamper(&self, family: Family<'_>, key: &[u8], value: Option<&[u8]>) {
        let mut batch = Batch::new();
        match value {
            Some(value) => batch.put(family, key, value),
            None => batch.delete(family, key),
        }
        let mut inner = self.lock();
        apply(&mut inner.visible, &batch);
        apply(&mut inner.durable, &batch);
    }
}

fn apply(families: &mut Families, batch: &Batch) {
    for change in batch.iter() {
        let keys = families.entry(change.family.name().to_owned()).or_default();
        match change.value {
            Some(value) => keys.insert(change.key.to_vec(), value.to_vec()),
            None => keys.remove(change.key),
        };
    }
}

fn family_of<'a>(families: &'a Families, family: Family<'_>) -> Result<&'a Entries, StoreError> {
    families
        .get(family.name())
        .ok_or_else(|| StoreError::new(StoreErrorKind::Misuse, format!("there is no family `{family}`")))
}

/// The greatest key of the range's prefix at or below its beginning.
fn floor<'a>(keys: &'a Entries, range: KeyRange<'_>) -> Option<(&'a [u8], &'a [u8])> {
    // Entries above the prefix may be at or below the beginning, too.
    let after = after_all(range.prefix).filter(|after| after.as_slice() <= range.from);
    let until = after.as_deref().map_or(Bound::Included(range.from), Bound::Excluded);
    let (key, value) = keys.range::<[u8], _>((Bound::Unbounded, until)).next_back()?;
    key.starts_with(range.prefix).then_some((key, value))
}

/// The least key that is greater than all keys of a prefix; `None` where there is none.
fn after_all(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|&byte| byte < 0xff)?;
    let mut after = prefix[..=last].to_vec();
    after[last] += 1;
    Some(after)
}

impl Store for MemoryStore {
    fn get(&self, family: Family<'_>, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(family_of(&self.lock().visible, family)?.get(key).cloned())
    }

    fn scan(&self, family: Family<'_>, range: KeyRange<'_>, visit: &mut Visitor<'_>) -> Result<(), StoreError> {
        let inner = self.lock();
        let keys = family_of(&inner.visible, family)?;
        let from = range.from.max(range.prefix);
        for (key, value) in keys.range::<[u8], _>((Bound::Included(from), Bound::Unbounded)) {
            if !key.starts_with(range.prefix) || visit(key, value).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn scan_floor(&self, family: Family<'_>, range: KeyRange<'_>, visit: &mut Visitor<'_>) -> Result<(), StoreError> {
        let inner = self.lock();
        let keys = family_of(&inner.visible, family)?;
        let from = floor(keys, range).map_or(range.from.max(range.prefix), |(key, _)| key);
        for (key, value) in keys.range::<[u8], _>((Bound::Included(from), Bound::Unbounded)) {
            if !key.starts_with(range.prefix) || visit(key, value).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn last(&self, family: Family<'_>, prefix: &[u8]) -> Result<Option<KeyValue>, StoreError> {
        let inner = self.lock();
        let keys = family_of(&inner.visible, family)?;
        let mut under = keys
            .range::<[u8], _>((Bound::Included(prefix), Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix));
        // The last of a prefix: from the back where the prefix is empty, else along it.
        let last = if prefix.is_empty() { keys.iter().next_back() } else { under.by_ref().last() };
        Ok(last.map(|(key, value)| (key.clone(), value.clone())))
    }

    fn commit(&self, batch: &Batch, durability: Durability) -> Result<(), StoreError> {
        let mut inner = self.lock();
        for change in batch.iter() {
            family_of(&inner.visible, change.family)?;
        }
        usable(&inner)?;
        let failure = inner.failing.pop_front().flatten();
        if matches!(failure, None | Some(CommitFault::Applied)) {
            apply(&mut inner.visible, batch);
        }
        if failure != Some(CommitFault::Lost) {
            inner.pending.push(batch.clone());
        }
        inner.broken = failure == Some(CommitFault::AtReopen);
        if failure.is_some() {
            return Err(StoreError::new(StoreErrorKind::Io, "this commit was made to fail"));
        }
        if durability == Durability::Sync {
            sync(&mut inner);
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), StoreError> {
        let mut inner = self.lock();
        usable(&inner)?;
        if std::mem::take(&mut inner.failing_sync) {
            return Err(StoreError::new(StoreErrorKind::Io, "the sync was made to fail"));
        }
        sync(&mut inner);
        Ok(())
    }

    fn ensure_families(&self, names: &[&str]) -> Result<(), StoreError> {
        let mut inner = self.lock();
        for name in names {
            inner.visible.entry((*name).to_owned()).or_default();
            inner.durable.entry((*name).to_owned()).or_default();
        }
        Ok(())
    }

    fn reopen(&self) -> Result<(), StoreError> {
        let mut inner = self.lock();
        if let Some(image) = inner.image.take() {
            inner.pending.clear();
            (inner.visible, inner.durable) = (image.clone(), image);
        } else if inner.broken {
            inner.visible = inner.durable.clone();
            let Inner { visible, pending, .. } = &mut *inner;
            pending.iter().for_each(|batch| apply(visible, batch));
        }
        inner.broken = false;
        Ok(())
    }

    fn check(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn free_bytes(&self) -> Result<Option<u64>, StoreError> {
        Ok(self.lock().free)
    }

    fn fingerprint(&self) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(Some(self.lock().place.to_be_bytes().to_vec()))
    }

    fn note(&self, bytes: &[u8], _: Durability) {
        self.lock().noted = Some(bytes.to_vec());
    }

    fn noted(&self) -> Option<Vec<u8>> {
        self.lock().noted.clone()
    }

    fn keys(&self) -> Result<Option<Arc<dyn Signer>>, KeyError> {
        if let Some(keys) = &self.lock().keys {
            return Ok(Some(Arc::clone(keys)));
        }
        let identity = self.get(Family::Meta, keys::META_IDENTITY).ok().flatten();
        let identity = identity.and_then(|bytes| decode_identity(&bytes).ok());
        Ok(identity.and_then(|identity| seeded::keys_of(identity.cortex_id)))
    }

    fn create_keys(&self) -> Result<Option<Arc<dyn Signer>>, KeyError> {
        let mut inner = self.lock();
        Ok(Some(Arc::clone(inner.keys.get_or_insert_with(|| Arc::new(Keys::generate())))))
    }
}

fn usable(inner: &Inner) -> Result<(), StoreError> {
    match inner.broken {
        true => Err(StoreError::new(StoreErrorKind::Io, "a commit failed, and it must be opened again")),
        false => Ok(()),
    }
}

fn sync(inner: &mut Inner) {
    let pending = std::mem::take(&mut inner.pending);
    for batch in &pending {
        apply(&mut inner.durable, batch);
    }
}
