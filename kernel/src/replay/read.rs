//! Reads a replayer's state from outside, at one position.

use std::ops::ControlFlow;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::build::{BuildNumber, Builds};
use super::projection::undeclared;
use crate::clock::VClock;
use crate::cursor::Seq;
use crate::error_code::ErrorCode;
use crate::log::{LogReader, position_in};
use crate::store::{Family, KeyRange, Store, StoreError};

/// What was read of a replayer's state, and where the replayer was.
///
/// ```
/// use antiphon_kernel::testing::MemoryStore;
/// use antiphon_kernel::{Cortex, Draft, Event, EventReplayer, Projection, ReadAt, ReplayError};
///
/// # struct Count;
/// # impl EventReplayer for Count {
/// #     fn name(&self) -> &str {
/// #         "count"
/// #     }
/// #     fn families(&self) -> Vec<String> {
/// #         vec!["count".to_owned()]
/// #     }
/// #     fn replay_event(&mut self, _: &Event, count: &mut Projection<'_>) -> Result<(), ReplayError> {
/// #         let before = count.get("count", b"")?.map_or(0, |bytes| bytes[0]);
/// #         Ok(count.put("count", b"", &[before + 1])?)
/// #     }
/// # }
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let cortex = Cortex::builder(MemoryStore::new()).causal_replayer(Count).start().await?;
/// let event = cortex.append(Draft::new("note.written", "hello")).await?;
/// cortex.wait_replayed(&event).await?;
/// let count = cortex.replayer("count").expect("it was given to the builder");
/// let ReadAt { position, value, .. } = count.read(|state| state.get("count", b"")).await?;
/// assert_eq!((position, value), (event.seq, Some(vec![1])));
/// cortex.stop().await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadAt<T> {
    /// The last sequence number that was replayed.
    pub position: Seq,
    /// The clock there: the context of an append that relies on what was read ([`crate::log::CausalContext::Exactly`]).
    pub clock: VClock,
    /// What was read.
    pub value: T,
}

/// Why a replayer's state was not read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadStateError {
    /// Events left the log, so the replayer's state was given up, and a new one has not begun.
    #[error("replayer `{replayer}` begins again, because events left the log")]
    Rebuilding {
        /// The replayer.
        replayer: String,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ReadStateError {
    /// The stable code of this failure.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Rebuilding { .. } => ErrorCode::ReplayRebuilding,
            Self::Store(error) => error.code(),
        }
    }
}

/// A replayer's families at one position. Nothing of them changes while it lasts.
pub struct Snapshot<'a> {
    store: &'a dyn Store,
    families: &'a [String],
    build: BuildNumber,
    version: u32,
    position: Seq,
    clock: VClock,
}

impl Snapshot<'_> {
    /// The last sequence number that was replayed.
    #[must_use]
    pub const fn position(&self) -> Seq {
        self.position
    }

    /// The clock at the position.
    #[must_use]
    pub const fn clock(&self) -> &VClock {
        &self.clock
    }

    /// The version of the replayer that wrote the families: an older one while a rebuild for a newer version runs.
    #[must_use]
    pub const fn version(&self) -> u32 {
        self.version
    }

    /// The value at a key.
    ///
    /// # Errors
    /// [`StoreError`]; kind `Misuse` for a family that the replayer did not declare.
    pub fn get(&self, family: &str, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.store.get(self.family(family)?, &self.build.key(key))
    }

    /// Visits the keys and values of a range in ascending order, until the visitor breaks.
    ///
    /// # Errors
    /// As [`Snapshot::get`]; what was visited before an error must not be relied on.
    pub fn scan(
        &mut self,
        family: &str,
        range: KeyRange<'_>,
        mut visit: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.family(family)?;
        self.build.scan(self.store, family, range, &mut visit)
    }

    fn family<'f>(&self, family: &'f str) -> Result<Family<'f>, StoreError> {
        let declared = self.families.iter().any(|own| own == family);
        declared.then_some(Family::User(family)).ok_or_else(|| undeclared(family))
    }
}

/// Keeps a replayer's commits and the reads of its state apart. The log's sequence numbers are locked before it, by both.
#[derive(Debug, Default)]
pub(super) struct Commits(RwLock<()>);

impl Commits {
    /// No commit happens until this is dropped.
    fn hold(&self) -> RwLockReadGuard<'_, ()> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// No read happens until this is dropped.
    pub(super) fn enter(&self) -> RwLockWriteGuard<'_, ()> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads the families of a replayer at one position.
pub(super) fn read<T>(
    log: &LogReader,
    commits: &Commits,
    replayer: &str,
    families: &[String],
    read: impl FnOnce(&mut Snapshot<'_>) -> Result<T, StoreError>,
) -> Result<ReadAt<T>, ReadStateError> {
    let mut read = Some(read);
    loop {
        // The store is not opened again meanwhile, and no event leaves the log: the values belong to one history.
        let done = log.as_of(log.generation(), || {
            let _hold = commits.hold();
            read.take().map(|read| read_held(&**log.store(), replayer, families, read))
        });
        if let Some(done) = done.flatten() {
            return done;
        }
    }
}

fn read_held<T>(
    store: &dyn Store,
    replayer: &str,
    families: &[String],
    read: impl FnOnce(&mut Snapshot<'_>) -> Result<T, StoreError>,
) -> Result<ReadAt<T>, ReadStateError> {
    let Some(current) = Builds::read(store, replayer)?.current else {
        return Err(ReadStateError::Rebuilding { replayer: replayer.to_owned() });
    };
    let (build, version) = (current.number, current.version);
    let (position, clock) = position_in(store, replayer, build)?.unwrap_or_default();
    let mut snapshot = Snapshot { store, families, build, version, position, clock };
    let value = read(&mut snapshot)?;
    Ok(ReadAt { position, clock: snapshot.clock, value })
}
