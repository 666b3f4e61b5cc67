//! Noting forks, and ending them.

use super::Log;
use crate::codec::{encode_chain, encode_decision};
use crate::digest::Digest;
use crate::error_code::ErrorCode;
use crate::ids::Origin;
use crate::log::bringers::forget_bringers;
use crate::log::epoch_change::EpochEnd;
use crate::log::findings::{ForkFinding, NotAFork, NotedFork, Proof, forget_fork, keep_fork, plan_fork};
use crate::log::forks::{Fork, forks, withhold_from};
use crate::log::marks::cut_marks;
use crate::log::origins::{OriginNote, put_origin_note};
use crate::log::set_aside::{
    ResolveError, Resolved, SetAsidePlan, begin_again, choose, forget_forks, plan_set_aside, void_builds,
};
use crate::mutant::{self, Mutant};
use crate::protocol::ChainHead;
use crate::store::{Batch, Durability, Family, StoreError, StoreErrorKind, keys};
use crate::time::Timestamp;

impl Log {
    /// Stages what was found out about a fork, with its evidence. If the origin is the one that we append under, we continue
    /// under a new epoch: another incarnation of us writes the old one.
    ///
    /// # Errors
    /// [`NotAFork`]; then nothing is staged, but for [`NotAFork::Over`].
    pub fn note_fork(&mut self, finding: &ForkFinding, now: Timestamp) -> Result<NotedFork, NotAFork> {
        self.usable()?;
        self.close_group()?;
        let &ForkFinding { origin, from, holder, .. } = finding;
        let known = withhold_from(&**self.store(), holder)?;
        let (fork, evidence) = match plan_fork(finding, &known, now, self)? {
            Proof::Fork(fork, evidence) => (*fork, evidence),
            Proof::Over => {
                let over = forget_fork(&**self.store(), finding)?;
                self.stage_state(&over)?;
                self.staged.forks.insert(holder);
                return Err(NotAFork::Over { origin, from });
            }
        };
        let listed = known.get(origin) == Some(ChainHead { counter: from, digest: fork.ours });
        let changes = keep_fork(&**self.store(), &fork, evidence, &self.view.shared.limits())?;
        self.stage_state(&changes)?;
        self.staged.forks.insert(holder);
        if !listed {
            tracing::error!(
                %origin, from, peer = %fork.peer, code = %ErrorCode::ForkFound,
                "two histories of one origin: what follows from there does not cross"
            );
        }
        if origin == self.identity.origin() && self.epoch_taken != Some(origin.epoch()) {
            self.part_epoch(&finding.peer, from - 1, now)?;
        } else if origin.cortex() == self.identity.cortex_id {
            self.cut_epoch(origin, from - 1)?;
        }
        Ok(NotedFork { fork, listed })
    }

    /// Ends a fork here in favour of the version with this digest at the first difference. If that is the one held here,
    /// there is nothing to do: the others set theirs aside. Otherwise our suffix of the origin and all that depends on it
    /// move to the evidence, the log closes ranks, all cursors are forgotten, every replayer is marked to begin again, and
    /// a new epoch begins, in one batch. Commits at once, and what was staged before with it.
    ///
    /// # Errors
    /// [`ResolveError`].
    pub fn resolve_fork(&mut self, keep: Digest, now: Timestamp) -> Result<Resolved, ResolveError> {
        self.usable()?;
        self.commit(Durability::Sync)?;
        let known = forks(&**self.store())?;
        let (fork, ours) = choose(&known, keep)?;
        let set_aside = if ours {
            self.decide(fork, keep, false)?;
            0
        } else if self.view.chain_digest(fork.origin, fork.from)?.is_none() {
            // Another version was decided for before, and never came.
            self.decide(fork, keep, true)?;
            0
        } else {
            self.set_aside(fork.origin, fork.from, keep, now)?
        };
        Ok(Resolved { origin: fork.origin, from: fork.from, set_aside })
    }

    fn decide(&mut self, fork: &Fork, keep: Digest, over: bool) -> Result<(), StoreError> {
        let mut changes = Batch::new();
        changes.put(Family::Evidence, &keys::decision(fork.origin, fork.from), &encode_decision(keep));
        let ended = if over { self.forget_later_decisions(fork.origin, fork.from, &mut changes) } else { Vec::new() };
        if over {
            forget_forks(&**self.store(), fork.origin, &mut changes)?;
        }
        self.stage_state(&changes)?;
        self.commit(Durability::Sync)?;
        self.decisions.retain(|decided, _| !ended.contains(decided));
        self.decisions.insert((fork.origin, fork.from), keep);
        Ok(())
    }

    /// Adds to a batch that later counters of an origin are decided for no more, and returns which were. Those versions follow on what
    /// is given up: none of them is in the history that is kept, which could otherwise never be stored.
    fn forget_later_decisions(&self, origin: Origin, from: u64, changes: &mut Batch) -> Vec<(Origin, u64)> {
        if mutant::is(Mutant::LaterDecisionsKept) {
            return Vec::new();
        }
        let later = self.decisions.range((origin, from + 1)..=(origin, u64::MAX)).map(|(&decided, _)| decided);
        let later: Vec<_> = later.collect();
        for &(origin, counter) in &later {
            changes.delete(Family::Evidence, &keys::decision(origin, counter));
        }
        later
    }

    /// Moves an origin's events from a counter on, and all that depends on them, to the evidence. Commits at once. Returns how many
    /// they are.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(in crate::log) fn set_aside(
        &mut self,
        origin: Origin,
        from: u64,
        keep: Digest,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        self.begin_epoch(EpochEnd::Resolved, now)?;
        // A log has whole groups only.
        let staged = self
            .view
            .group_start(origin, from)
            .and_then(|start| plan_set_aside(origin, start, self))
            .and_then(|plan| Ok((plan.events, self.stage_set_aside(plan, (origin, from), keep)?)));
        // Nothing of it may be left staged; and everything in memory must be read again.
        self.view.shared.note_rewriting();
        let view = self.view.clone();
        let moving = view.shared.move_places();
        let tried = staged.is_ok();
        let committed = staged.and_then(|(events, ())| {
            // Replayers commit nothing from here on.
            let mut changes = Batch::new();
            void_builds(&**self.store(), &mut changes)?;
            self.stage_state(&changes)?;
            self.commit(Durability::Sync).map(|()| events)
        });
        if tried {
            self.view.shared.durable_mut().rewrites += 1;
            // What was asked for on top of what is gone must not be applied.
            self.options.process = (self.options.entropy)() as u64;
            self.view.shared.set_process(self.options.process);
        }
        self.fail(&StoreError::new(StoreErrorKind::ReadOnly, "the log is being rewritten"));
        let recovered = self.recover_rewritten(moving);
        self.view.shared.note_rewriting();
        let events = committed?;
        if let Err(error) = recovered {
            // What was asked for is done, and durable. The next read or write meets the damage.
            tracing::error!(%error, code = %error.code(), %origin, from, "a fork was resolved, and then the log could not be read again");
        }
        tracing::warn!(%origin, from, events, "a fork was resolved: events were set aside");
        Ok(events)
    }

    fn stage_set_aside(
        &mut self,
        plan: SetAsidePlan,
        (origin, from): (Origin, u64),
        keep: Digest,
    ) -> Result<(), StoreError> {
        let SetAsidePlan { mut changes, first, gone, kept, .. } = plan;
        // What a reader has read up to there is what it would read today.
        self.lineage.cut(first.prev());
        self.lineage.put(&mut changes);
        for (author, from) in gone.iter() {
            cut_marks(&**self.store(), author, from, &mut changes)?;
            match kept.get(&author) {
                Some(left) => {
                    changes.put(Family::Clocks, &keys::chain(author), &encode_chain(&left.tip));
                    let note = self.view.shared.notes().get(&author).cloned().unwrap_or_default();
                    let note = OriginNote { bytes: left.bytes, events: left.events, ..note };
                    put_origin_note(&mut changes, author, &note);
                }
                None => {
                    changes.delete(Family::Clocks, &keys::chain(author));
                    changes.delete(Family::Meta, &keys::origin_note(author));
                }
            }
        }
        forget_bringers(&**self.store(), &gone, &mut changes)?;
        changes.put(Family::Evidence, &keys::decision(origin, from), &encode_decision(keep));
        self.forget_later_decisions(origin, from, &mut changes);
        begin_again(&**self.store(), origin, &mut changes)?;
        self.stage_state(&changes)
    }
}
