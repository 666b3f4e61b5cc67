//! A replayer whose state is a function of the events it saw, so that its position can be checked against it.

use antiphon_kernel::digest::Digest;
use antiphon_kernel::event::Event;
use antiphon_kernel::ids::EventId;
use antiphon_kernel::replay::{EventReplayer, Projection, ReplayError, read_current};
use antiphon_kernel::store::{Store, StoreError, StoreErrorKind};

const FAMILY: &str = "tally";
const KEY: &[u8] = b"seen";

/// Folds bytes into a digest of what came before.
pub(crate) fn folded(before: Digest, bytes: &[u8]) -> Digest {
    Digest::of(&[&before.to_bytes()[..], bytes].concat())
}

pub(crate) struct Tally;

/// How many events were seen, and all their ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) count: u64,
    pub(crate) fold: Digest,
}

impl Seen {
    pub(crate) const NOTHING: Self = Self { count: 0, fold: Digest::ZERO };

    pub(crate) fn and(self, id: EventId) -> Self {
        Self { count: self.count + 1, fold: folded(self.fold, &id.to_bytes()) }
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (count, fold) = bytes.split_at_checked(8)?;
        Some(Self {
            count: u64::from_be_bytes(count.try_into().ok()?),
            fold: Digest::from_bytes(fold.try_into().ok()?),
        })
    }

    fn encode(self) -> Vec<u8> {
        [&self.count.to_be_bytes()[..], &self.fold.to_bytes()].concat()
    }

    /// As it is stored; an error for bytes that are none.
    pub(crate) fn stored(store: &dyn Store) -> Result<Self, StoreError> {
        match read_current(store, FAMILY, |state| state.get(FAMILY, KEY)) {
            Ok(Some(bytes)) => {
                Self::decode(&bytes).ok_or_else(|| StoreError::corrupt("the replayer's state does not read back"))
            }
            Ok(None) => Ok(Self::NOTHING),
            // No family: no replayer was ever here.
            Err(error) if error.kind() == StoreErrorKind::Misuse => Ok(Self::NOTHING),
            Err(error) => Err(error),
        }
    }
}

impl EventReplayer for Tally {
    fn name(&self) -> &str {
        "tally"
    }

    fn families(&self) -> Vec<String> {
        vec![FAMILY.to_owned()]
    }

    fn replay_event(&mut self, event: &Event, projection: &mut Projection<'_>) -> Result<(), ReplayError> {
        let seen = projection.get(FAMILY, KEY)?;
        let seen = seen.as_deref().map_or(Some(Seen::NOTHING), Seen::decode).ok_or("the state does not read back")?;
        projection.put(FAMILY, KEY, &seen.and(event.id).encode())?;
        Ok(())
    }
}
