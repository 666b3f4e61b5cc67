//! Commits what was replayed, with the position.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{CRASHES, ReplayCore};
use crate::clock::VClock;
use crate::codec::{encode_conflicts, encode_replay_position, encode_tries};
use crate::cursor::Seq;
use crate::ids::Origin;
use crate::replay::Projection;
use crate::store::{Batch, Durability, Family, StoreError, StoreErrorKind, keys};

impl ReplayCore {
    /// Commits a batch, and with it how many conflicts there are then. False, and nothing counts, where what it was made from is
    /// not what is stored any more.
    pub(super) fn commit_counted(&mut self, mut batch: Batch) -> Result<bool, StoreError> {
        let now = self.conflicts.saturating_add_signed(self.conflicts_change);
        if now != self.conflicts || !self.conflicts_stored {
            batch.put(
                Family::Replay,
                &keys::replay_conflicts(self.replayer.name(), self.build),
                &encode_conflicts(now),
            );
        }
        let committed = self.view.as_of(self.generation, || {
            let _alone = self.commits.enter();
            self.view.store().commit(&batch, Durability::Relaxed)
        });
        if let Some(committed) = committed {
            committed.inspect_err(|error| {
                // A family that is not there is the replayer's mistake, and no fault of the store.
                self.unwritten = (error.kind() != StoreErrorKind::Misuse).then(|| error.clone());
            })?;
            (self.conflicts, self.conflicts_change, self.conflicts_stored) = (now, 0, true);
            return Ok(true);
        }
        Ok(false)
    }

    /// Why the last commit failed, once: the log is to open the store again.
    pub(in crate::replay) fn take_unwritten(&mut self) -> Option<StoreError> {
        self.unwritten.take()
    }

    pub(super) fn put_position(&self, batch: &mut Batch, at: Seq, chains: &BTreeMap<Origin, VClock>, clock: &VClock) {
        let (name, build) = (self.replayer.name(), self.build);
        batch.put(Family::Replay, &keys::replay_position(name, build), &encode_replay_position(at, clock));
        for (&origin, chain) in chains {
            if self.chains.get(&origin) != Some(chain) {
                batch.put(Family::Replay, &keys::replay_clock(name, build, origin), &encode_replay_position(at, chain));
            }
        }
    }

    pub(super) fn commit(
        &mut self,
        projection: Projection<'_>,
        last: Seq,
        chains: BTreeMap<Origin, VClock>,
        clock: VClock,
    ) -> Result<bool, StoreError> {
        let mut batch = Batch::new();
        projection.into_batch(&mut batch);
        self.put_position(&mut batch, last, &chains, &clock);
        if self.tries > 1 {
            // Still wary: a crash at the next event counts on.
            let tries = encode_tries(last, self.tries.min(CRASHES - 1));
            batch.put(Family::Replay, &keys::replay_tries(self.replayer.name(), self.build), &tries);
        }
        if !self.commit_counted(batch)? {
            return Ok(false);
        }
        self.position = last;
        self.clock = clock;
        self.chains.extend(chains);
        // A replayer's panic here must not take its thread down either.
        let merged = catch_unwind(AssertUnwindSafe(|| self.replayer.merge_clock(&self.clock)));
        if merged.is_err() {
            tracing::error!(replayer = self.replayer.name(), "a replayer panicked in merge_clock");
        }
        Ok(true)
    }
}
