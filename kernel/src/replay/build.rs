//! Builds of a replayer: each fills the replayer's whole state under a number of its own.

use crate::codec::{decode_builds, encode_builds};
use crate::store::{Batch, Family, KeyRange, Store, StoreError, Visitor, keys};

/// The number of a build: one filling of a replayer's state. It has no relation to the openings of the store.
///
/// Every key of the build begins with it, 8 bytes big-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct BuildNumber(u64);

/// How many bytes of a stored key are its build's number.
pub(super) const BUILD_BYTES: usize = 8;

impl BuildNumber {
    /// Wraps a number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    pub(crate) const fn to_bytes(self) -> [u8; BUILD_BYTES] {
        self.0.to_be_bytes()
    }

    const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The stored key of one of the replayer's own.
    pub(crate) fn key(self, key: &[u8]) -> Vec<u8> {
        [&self.to_bytes(), key].concat()
    }

    /// Visits a range of the replayer's keys, without the build's number.
    pub(super) fn scan(
        self,
        store: &dyn Store,
        family: &str,
        range: KeyRange<'_>,
        visit: &mut Visitor<'_>,
    ) -> Result<(), StoreError> {
        let (from, prefix) = (self.key(range.from), self.key(range.prefix));
        let range = KeyRange { from: &from, prefix: &prefix };
        store.scan(Family::User(family), range, &mut |key, value| visit(&key[BUILD_BYTES..], value))
    }
}

impl std::fmt::Display for BuildNumber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(&self.0, f)
    }
}

/// One build as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Build {
    /// Its number.
    pub number: BuildNumber,
    /// The version of the replayer that fills it.
    pub version: u32,
    /// The families that the replayer declared then, which are emptied with it.
    pub families: Vec<String>,
}

/// All builds of a replayer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Builds {
    /// The newest number that was given out; 0 before the first build.
    pub last: BuildNumber,
    /// The build that readers see. `None` before the first one, and after events left the log.
    pub current: Option<Build>,
    /// The build that a rebuild fills.
    pub filling: Option<Build>,
    /// Builds that no reader sees any more, and that are not empty yet.
    pub emptying: Vec<Build>,
}

impl Builds {
    /// Reads the builds of a replayer; none at all where it never ran.
    pub(crate) fn read(store: &dyn Store, replayer: &str) -> Result<Self, StoreError> {
        let stored = store.get(Family::Replay, &keys::replay_builds(replayer))?;
        let decode = |bytes: Vec<u8>| decode_builds(&bytes).map_err(|e| StoreError::unreadable("family `replay`", &e));
        stored.map(decode).transpose().map(Option::unwrap_or_default)
    }

    pub(crate) fn put(&self, replayer: &str, batch: &mut Batch) {
        batch.put(Family::Replay, &keys::replay_builds(replayer), &encode_builds(self));
    }

    /// The number of the build that readers see.
    pub(crate) fn current(&self) -> Option<BuildNumber> {
        self.current.as_ref().map(|build| build.number)
    }

    /// The number of the build that replay writes, and that commands act on.
    pub(crate) fn written(&self) -> Option<BuildNumber> {
        self.filling.as_ref().or(self.current.as_ref()).map(|build| build.number)
    }

    fn next(&mut self, version: u32, families: &[String]) -> Build {
        self.last = self.last.next();
        Build { number: self.last, version, families: families.to_vec() }
    }

    /// With a current build that is empty: the first one, or the next after [`Builds::voided`].
    pub(super) fn begun(mut self, version: u32, families: &[String]) -> Self {
        self.current = Some(self.next(version, families));
        self
    }

    /// With an empty build to fill. One that was being filled is given up.
    pub(super) fn refilled(mut self, version: u32, families: &[String]) -> Self {
        self = self.given_up();
        self.filling = Some(self.next(version, families));
        self
    }

    /// Without the build that was being filled.
    pub(super) fn given_up(mut self) -> Self {
        self.emptying.extend(self.filling.take());
        self
    }

    /// With the filled build as the current one.
    pub(super) fn switched(mut self) -> Self {
        if let Some(filled) = self.filling.take() {
            self.emptying.extend(self.current.replace(filled));
        }
        self
    }

    /// Without a current build: none of them agrees with the log any more.
    pub(crate) fn voided(mut self) -> Self {
        self.emptying.extend(self.current.take());
        self.given_up()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(builds: &Builds) -> (Option<u64>, Option<u64>, Vec<u64>) {
        let number = |build: &Build| build.number.get();
        let emptying = builds.emptying.iter().map(number).collect();
        (builds.current.as_ref().map(number), builds.filling.as_ref().map(number), emptying)
    }

    #[test]
    fn a_number_is_never_given_out_twice() {
        let builds = Builds::default().begun(1, &[]).refilled(1, &[]).refilled(2, &[]);
        assert_eq!(numbers(&builds), (Some(1), Some(3), vec![2]));
        let switched = builds.clone().switched();
        assert_eq!(
            (numbers(&switched), switched.current.as_ref().map(|build| build.version)),
            ((Some(3), None, vec![2, 1]), Some(2))
        );
        let voided = builds.voided();
        assert_eq!(numbers(&voided), (None, None, vec![2, 1, 3]));
        assert_eq!(numbers(&voided.begun(2, &[])), (Some(4), None, vec![2, 1, 3]));
    }

    #[test]
    fn a_key_has_the_number_before_it() {
        assert_eq!(BuildNumber::new(258).key(b"k"), [0, 0, 0, 0, 0, 0, 1, 2, b'k']);
    }
}
