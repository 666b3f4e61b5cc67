//! What the application had seen when it appends: the clock at its replayer's position.

use std::sync::{Arc, PoisonError, RwLock};

use super::log_reader::LogReader;
use super::shared::Generation;
use crate::clock::VClock;
use crate::codec::decode_replay_position;
use crate::cursor::Seq;
use crate::replay::{BuildNumber, Builds};
use crate::store::{Family, Store, StoreError, keys};

/// What a replayer published last.
#[derive(Debug, Clone)]
pub(crate) struct Replayed {
    pub(crate) replayer: String,
    pub(crate) clock: VClock,
    /// When the clock was read from the store.
    pub(crate) generation: Generation,
}

/// The clock at the position of the application's replayer, shared with the writer.
#[derive(Debug, Clone, Default)]
pub(crate) struct ReplayedClock(Arc<RwLock<Option<Replayed>>>);

impl ReplayedClock {
    /// Returns the clock. If the store was opened again since it was published, the position may have gone back: then the
    /// stored clock counts.
    pub(crate) fn get(&self, log: &LogReader) -> Result<VClock, StoreError> {
        let published = self.0.read().unwrap_or_else(PoisonError::into_inner);
        match &*published {
            None => Ok(VClock::new()),
            Some(replayed) if replayed.generation == log.generation() => Ok(replayed.clock.clone()),
            Some(replayed) => Ok(stored_position(&**log.store(), &replayed.replayer)?.unwrap_or_default().1),
        }
    }

    pub(crate) fn set(&self, replayed: Replayed) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(replayed);
    }
}

/// Reads how far a replayer's current build is, and the clock there; `None` before its first event.
pub(crate) fn stored_position(store: &dyn Store, replayer: &str) -> Result<Option<(Seq, VClock)>, StoreError> {
    let current = Builds::read(store, replayer)?.current();
    current.map_or(Ok(None), |build| position_in(store, replayer, build))
}

/// Reads how far one build of a replayer is, and the clock there.
pub(crate) fn position_in(
    store: &dyn Store,
    replayer: &str,
    build: BuildNumber,
) -> Result<Option<(Seq, VClock)>, StoreError> {
    let stored = store.get(Family::Replay, &keys::replay_position(replayer, build))?;
    let decode =
        |bytes: Vec<u8>| decode_replay_position(&bytes).map_err(|e| StoreError::unreadable("family `replay`", &e));
    stored.map(decode).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Draft, Event};
    use crate::log::{Log, LogOptions};
    use crate::replay::{EventReplayer, Projection, ReplayCore, ReplayError};
    use crate::store::Durability;
    use crate::testing::{CommitFault, MemoryStore};
    use crate::time::Timestamp;

    struct Nothing;

    impl EventReplayer for Nothing {
        fn name(&self) -> &'static str {
            "nothing"
        }

        fn families(&self) -> Vec<String> {
            Vec::new()
        }

        fn replay_event(&mut self, _: &Event, _: &mut Projection<'_>) -> Result<(), ReplayError> {
            Ok(())
        }
    }

    /// Found by the simulator, seed 657: an append was refused for an event that the disk had taken back.
    #[test]
    fn an_event_that_the_disk_took_back_was_not_seen() {
        let store = Arc::new(MemoryStore::new());
        Log::begin(&*store, "alpha", None).unwrap();
        let mut log = Log::open(Arc::clone(&store) as Arc<dyn Store>, LogOptions::default()).unwrap();
        let mut core = ReplayCore::open(log.reader(), Box::new(Nothing)).unwrap();
        let now = Timestamp::from_micros(1);
        let drafts = [Draft::new("t", "1")];
        log.append(&drafts, &VClock::new(), now).unwrap();
        log.commit(Durability::Relaxed).unwrap();
        core.step().unwrap();
        let published = ReplayedClock::default();
        published.set(core.replayed());
        assert_eq!(published.get(&log.reader()).unwrap(), *core.clock());

        store.lose_at_reopen(0);
        store.fail_commits([CommitFault::Lost]);
        log.append(&drafts, core.clock(), now).unwrap();
        log.commit(Durability::Relaxed).unwrap_err();
        log.recover().unwrap();
        let seen = published.get(&log.reader()).unwrap();
        assert_eq!((log.reader().visible(), seen.clone()), (Seq::ZERO, VClock::new()));
        log.append(&drafts, &seen, now).unwrap();
    }
}
