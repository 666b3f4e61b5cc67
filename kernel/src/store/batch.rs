//! Atomic batches, kept in one buffer: a put costs two copies into it and no allocation of its own.

use super::Family;

/// Puts and deletes that apply together.
///
/// ```
/// use antiphon_kernel::{Batch, Family};
///
/// let mut batch = Batch::new();
/// batch.put(Family::User("notes"), b"notes/1", b"hello");
/// batch.delete(Family::User("notes"), b"notes/2");
/// let deleted: Vec<_> = batch.iter().filter(|change| change.value.is_none()).map(|change| change.key).collect();
/// assert_eq!(deleted, [b"notes/2"]);
/// ```
#[derive(Debug, Clone, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    operations: Vec<Operation>,
    user_names: Vec<String>,
}

#[derive(Debug, Clone, Copy)]
struct Operation {
    family: FamilyRef,
    key_end: usize,
    /// `None` is a delete.
    value_end: Option<usize>,
}

#[derive(Debug, Clone, Copy)]
enum FamilyRef {
    Kernel(Family<'static>),
    User(usize),
}

/// One change of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mutation<'a> {
    /// Where.
    pub family: Family<'a>,
    /// Which key.
    pub key: &'a [u8],
    /// Its new value; `None` deletes it.
    pub value: Option<&'a [u8]>,
}

impl Batch {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a key.
    pub fn put(&mut self, family: Family<'_>, key: &[u8], value: &[u8]) {
        self.put_parts(family, key, &[value]);
    }

    /// Sets a key to several pieces in a row.
    pub fn put_parts(&mut self, family: Family<'_>, key: &[u8], value: &[&[u8]]) {
        let family = self.family(family);
        self.bytes.extend_from_slice(key);
        let key_end = self.bytes.len();
        for part in value {
            self.bytes.extend_from_slice(part);
        }
        self.operations.push(Operation { family, key_end, value_end: Some(self.bytes.len()) });
    }

    /// Deletes a key; one that is not there is no error.
    pub fn delete(&mut self, family: Family<'_>, key: &[u8]) {
        let family = self.family(family);
        self.bytes.extend_from_slice(key);
        self.operations.push(Operation { family, key_end: self.bytes.len(), value_end: None });
    }

    fn family(&mut self, family: Family<'_>) -> FamilyRef {
        FamilyRef::Kernel(match family {
            Family::User(name) => {
                let known = self.user_names.iter().position(|n| n == name);
                return FamilyRef::User(known.unwrap_or_else(|| {
                    self.user_names.push(name.to_owned());
                    self.user_names.len() - 1
                }));
            }
            Family::Log => Family::Log,
            Family::Dots => Family::Dots,
            Family::Marks => Family::Marks,
            Family::Clocks => Family::Clocks,
            Family::Cursors => Family::Cursors,
            Family::Pins => Family::Pins,
            Family::Health => Family::Health,
            Family::Replay => Family::Replay,
            Family::Evidence => Family::Evidence,
            Family::Meta => Family::Meta,
        })
    }

    /// The changes, in the order they were made.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Mutation<'_>> {
        let mut start = 0;
        self.operations.iter().map(move |operation| {
            let key = &self.bytes[start..operation.key_end];
            let value = operation.value_end.map(|end| &self.bytes[operation.key_end..end]);
            start = operation.value_end.unwrap_or(operation.key_end);
            Mutation {
                family: match operation.family {
                    FamilyRef::Kernel(family) => family,
                    FamilyRef::User(at) => Family::User(&self.user_names[at]),
                },
                key,
                value,
            }
        })
    }

    /// Appends another batch's changes.
    pub fn extend(&mut self, other: &Self) {
        for Mutation { family, key, value } in other.iter() {
            match value {
                Some(value) => self.put(family, key, value),
                None => self.delete(family, key),
            }
        }
    }

    /// How many changes it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.operations.len()
    }

    /// Whether it holds no change.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// Its size in bytes of keys and values.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Forgets every change and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.operations.clear();
        self.user_names.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_come_back_in_order() {
        let mut batch = Batch::new();
        batch.put(Family::Log, b"k", b"v");
        batch.delete(Family::User("mine"), b"gone");
        batch.put_parts(Family::User("mine"), b"", &[b"a", b"b"]);
        let mut twice = batch.clone();
        twice.extend(&batch);
        assert_eq!((batch.len(), twice.len(), batch.bytes()), (3, 6, 8));
        let seen: Vec<_> = twice.iter().skip(3).collect();
        assert_eq!(seen[0], Mutation { family: Family::Log, key: b"k", value: Some(b"v") });
        assert_eq!(seen[1], Mutation { family: Family::User("mine"), key: b"gone", value: None });
        assert_eq!(seen[2], Mutation { family: Family::User("mine"), key: b"", value: Some(b"ab") });
        batch.clear();
        assert!(batch.is_empty());
    }
}
