//! Begins, fills, switches and empties builds.

use std::ops::ControlFlow;

use super::ReplayCore;
use crate::cursor::Seq;
use crate::mutant::{self, Mutant};
use crate::replay::build::{BuildNumber, Builds};
use crate::replay::{OpenReplayerError, Start};
use crate::store::{Batch, Durability, Family, KeyRange, StoreError, keys};

/// How many keys of an old build one step deletes.
const EMPTY_KEYS: usize = 1_000;

impl ReplayCore {
    /// Reads the position again if sequence numbers came to mean other events, or the store was opened again. Where no build is
    /// current, because the replayer is new or events left the log, an empty one begins.
    ///
    /// # Errors
    /// [`StoreError`]; then [`ReplayCore::load`] reads the truth again.
    pub(crate) fn be_current(&mut self) -> Result<(), StoreError> {
        if !self.is_current() {
            self.load()?;
        }
        while self.builds.current.is_none() {
            let first = self.builds.last == BuildNumber::default();
            let builds = self.builds.clone().begun(self.replayer.version(), &self.families);
            self.begin(&builds, first)?;
        }
        Ok(())
    }

    /// Begins to fill a new build, from the position that the replayer's options name, or from the log's beginning. Readers see the
    /// current build until the new one has replayed what the log holds now. A rebuild that already runs begins again.
    ///
    /// # Errors
    /// [`StoreError`]; then [`ReplayCore::load`] reads the truth again.
    pub fn rebuild(&mut self) -> Result<(), StoreError> {
        self.be_current()?;
        loop {
            let builds = self.builds.clone().refilled(self.replayer.version(), &self.families);
            if self.begin(&builds, false)? {
                return Ok(());
            }
            self.be_current()?;
        }
    }

    /// Writes builds with the start of the one that is written. False where sequence numbers came to mean other events meanwhile.
    fn begin(&mut self, builds: &Builds, first: bool) -> Result<bool, StoreError> {
        let mut batch = Batch::new();
        builds.put(self.name(), &mut batch);
        // The start's clocks are of the new build, which has none yet.
        self.build = builds.written().unwrap_or_default();
        self.chains.clear();
        self.tries = 0;
        match self.options.start {
            Start::Beginning if first => {}
            Start::Now if !first => self.put_position(&mut batch, Seq::ZERO, &Default::default(), &Default::default()),
            Start::Beginning | Start::Now | Start::After(_) => self.put_start(&mut batch)?,
        }
        self.commit_builds(&batch, Durability::Sync)
    }

    /// Begins or gives up a rebuild as the replayer's version demands.
    pub(super) fn follow_version(&mut self) -> Result<(), OpenReplayerError> {
        let version = self.replayer.version();
        let Some(current) = self.builds.current.as_ref() else { return Ok(()) };
        if current.version > version {
            let (replayer, stored) = (self.name().to_owned(), current.version);
            return Err(OpenReplayerError::Downgrade { replayer, stored, version });
        }
        let filled_by = self.builds.filling.as_ref().map(|build| build.version);
        if current.version < version && filled_by != Some(version) {
            let (replayer, from) = (self.name(), current.version);
            tracing::info!(replayer, from, to = version, "a replayer of a new version is rebuilt");
            self.rebuild()?;
        } else if filled_by.is_some_and(|filled_by| filled_by != version) {
            // The program went back to the version of the current build.
            let builds = self.builds.clone().given_up();
            self.put_builds(&builds)?;
        }
        Ok(())
    }

    /// Gives up all builds: they hold what the log does not.
    pub(super) fn void(&mut self) -> Result<(), StoreError> {
        let builds = self.builds.clone().voided();
        self.put_builds(&builds).map(|_| ())
    }

    fn put_builds(&mut self, builds: &Builds) -> Result<bool, StoreError> {
        let mut batch = Batch::new();
        builds.put(self.name(), &mut batch);
        self.commit_builds(&batch, Durability::Sync)
    }

    /// Whether the build that is filled has all that the log held when the rebuild began, and all that readers saw.
    pub(super) fn is_filled(&self) -> bool {
        self.shown.is_some() && (self.position >= self.until || mutant::is(Mutant::SwitchBeforeFilled))
    }

    /// Has readers see the build that was filled, in one batch.
    pub(super) fn switch(&mut self) -> Result<(), StoreError> {
        let builds = self.builds.clone().switched();
        if self.put_builds(&builds)? {
            tracing::info!(replayer = self.name(), build = %self.build, at = self.position.get(), "a replayer was rebuilt");
        }
        Ok(())
    }

    /// Deletes some keys of a build that no reader sees.
    pub(super) fn empty_some(&mut self) -> Result<(), StoreError> {
        let Some(build) = self.builds.emptying.first() else { return Ok(()) };
        let (mut batch, mut left) = (Batch::new(), EMPTY_KEYS);
        let own = keys::replay_build(self.name(), build.number);
        let number = build.number.to_bytes();
        let users = build.families.iter().map(|family| (Family::User(family), &number[..]));
        let families: Vec<_> = users.chain([(Family::Replay, &own[..])]).collect();
        let (mut at, mut from) = self.emptied.clone();
        if mutant::is(Mutant::OldBuildsStay) {
            at = families.len();
        }
        while let Some(&(family, prefix)) = families.get(at).filter(|_| left > 0) {
            let mut last = None;
            let range = KeyRange { from: from.as_slice().max(prefix), prefix };
            self.view.store().scan(family, range, &mut |key, _| {
                batch.delete(family, key);
                left -= 1;
                if left == 0 {
                    last = Some(key.to_vec());
                    return ControlFlow::Break(());
                }
                ControlFlow::Continue(())
            })?;
            match last {
                Some(last) => from = last,
                None => (at, from) = (at + 1, Vec::new()),
            }
        }
        if at < families.len() {
            // If the commit fails, the position in the deletion is read again with all else.
            let commit = || self.view.store().commit(&batch, Durability::Relaxed);
            let committed = self.view.as_of(self.generation, commit);
            if committed.is_some() {
                self.emptied = (at, from);
            }
            return self.written_or_not(committed);
        }
        let mut builds = self.builds.clone();
        builds.emptying.remove(0);
        builds.put(self.name(), &mut batch);
        self.commit_builds(&batch, Durability::Relaxed).map(|_| ())
    }

    /// Commits what changes the builds, and reads them again. False, and nothing is written, where sequence numbers came to mean
    /// other events meanwhile.
    fn commit_builds(&mut self, batch: &Batch, durability: Durability) -> Result<bool, StoreError> {
        let committed = self.view.as_of(self.generation, || {
            // Readers that began before end first.
            let _alone = self.commits.enter();
            self.view.store().commit(batch, durability)
        });
        let done = committed.is_some();
        self.written_or_not(committed)?;
        self.load()?;
        Ok(done)
    }

    /// After a failed commit, the log is to open the store again.
    fn written_or_not(&mut self, committed: Option<Result<(), StoreError>>) -> Result<(), StoreError> {
        committed.unwrap_or(Ok(())).inspect_err(|error| self.unwritten = Some(error.clone()))
    }
}
